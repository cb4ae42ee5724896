//! What expressions can name.

use std::{collections::HashMap, sync::Arc};

use cel::{
    Value,
    objects::{Key, Map},
};
use weir_plan::{Column, DataKey, DataSet, Need, PoolView, RequestView};
use weir_pool::ListedModel;

use super::Expression;

/// A map with these entries.
pub(crate) fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
    from_iter(entries)
}

fn from_iter<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let entries = entries.into_iter().map(|(key, value)| (Key::String(Arc::new(key.to_owned())), value));
    Value::Map(Map { map: Arc::new(entries.collect::<HashMap<Key, Value>>()) })
}

fn text(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

/// The request: `id`, `model`, `priority`, `fairness_id`, `headers`, `prompt_tokens`, `stream`.
const REQUEST: &str = "request";
/// The endpoint: `name`, `namespace`, `address`, `labels`, `models` (what `models-data-extractor` keeps).
const ENDPOINT: &str = "endpoint";
/// Its numbers; see [`Values::metrics`].
const METRICS: [&str; 2] = ["metrics", "m"];

/// What one expression names, and how it is found.
pub(super) struct Values {
    request: bool,
    endpoint: bool,
    models: bool,
    metrics: [bool; 2],
    prefix: Option<Column>,
}

impl Values {
    /// What `expression` names; `prefix` is where matches stand, if somebody produces any.
    pub(super) fn of(expression: &Expression, prefix: Option<Column>) -> Self {
        let metrics = METRICS.map(|name| expression.uses(name));
        let models = expression.mentions("models");
        Self { request: expression.uses(REQUEST), endpoint: expression.uses(ENDPOINT), models, metrics, prefix }
    }

    pub(super) fn reads(&self) -> DataSet {
        let mut reads = DataSet::NONE;
        if self.request {
            reads |= DataSet::HEADERS | DataSet::PROMPT;
        }
        if self.endpoint {
            reads |= DataSet::LABELS;
        }
        if self.metrics.contains(&true) {
            reads |= DataSet::QUEUE | DataSet::RUNNING | DataSet::KV_USAGE | DataSet::IN_FLIGHT | DataSet::ATTRIBUTES;
            if self.prefix.is_some() {
                reads |= DataSet::PREFIX;
            }
        }
        reads
    }

    /// Values of the request's variables, the same for every candidate.
    pub(super) fn request(&self, request: &RequestView<'_>, view: &PoolView<'_>) -> Option<(&'static str, Value)> {
        self.request.then(|| {
            let headers = request.headers.iter().filter_map(|(name, value)| Some((name.as_str(), text(value.to_str().ok()?))));
            let fields = [
                ("id", text(request.id)),
                ("model", text(request.model)),
                ("priority", Value::Float(request.priority.into())),
                ("fairness_id", text(request.fairness_id)),
                ("headers", from_iter(headers)),
                ("prompt_tokens", Value::Float(view.attributes().prompt_tokens.unwrap_or(0) as f64)),
                ("stream", Value::Bool(request.scanned.is_some_and(weir_protocol::Scanned::stream))),
            ];
            (REQUEST, object(fields))
        })
    }

    /// Values of the `i`-th candidate's variables.
    pub(super) fn candidate(&self, view: &PoolView<'_>, i: usize) -> impl Iterator<Item = (&'static str, Value)> {
        let endpoint = self.endpoint.then(|| {
            let spec = view.endpoint(i).spec();
            let labels = from_iter(spec.labels.iter().map(|(key, value)| (key.as_str(), text(value))));
            let fields = [
                ("name", text(&spec.name)),
                ("namespace", text(&spec.namespace)),
                ("address", text(view.endpoint(i).authority())),
                ("labels", labels),
                ("models", if self.models { models(&view.endpoint(i).listing()) } else { models(&[]) }),
            ];
            (ENDPOINT, object(fields))
        });
        let metrics = self.metrics.contains(&true).then(|| self.metrics(view, i));
        let named = METRICS.into_iter().zip(self.metrics).filter(|(_, used)| *used).map(|(name, _)| name);
        endpoint.into_iter().chain(named.filter_map(move |name| Some((name, metrics.clone()?))))
    }

    fn metrics(&self, view: &PoolView<'_>, i: usize) -> Value {
        let state = view.state(i);
        let (matched, total) = self.prefix.map_or((0, 0), |column| view.prefix(column, i));
        let uncached = view.attributes().uncached_tokens.get(view.index(i)).copied();
        let custom = view.endpoint(i).numbers.list();
        object([
            ("waiting", Value::Float(state.waiting.into())),
            ("running", Value::Float(state.running.into())),
            ("kv", Value::Float(state.kv_usage)),
            ("known", Value::Bool(state.age.is_some())),
            ("stale", Value::Bool(state.stale)),
            ("age_ms", Value::Float(state.age.map_or(f64::INFINITY, |age| age.as_secs_f64() * 1_000.0))),
            ("inflight_requests", Value::Float(state.inflight_requests as f64)),
            ("inflight_tokens", Value::Float(state.inflight_tokens as f64)),
            ("uncached_tokens", Value::Float(uncached.or(view.attributes().prompt_tokens).unwrap_or(0) as f64)),
            ("prefix", Value::Float(if total == 0 { 0.0 } else { f64::from(matched) / f64::from(total) })),
            ("custom", from_iter(custom.iter().map(|(key, number)| (&**key, Value::Float(*number))))),
        ])
    }
}

/// Models as their endpoint lists them.
fn models(listing: &[ListedModel]) -> Value {
    let model = |one: &ListedModel| {
        object([
            ("id", text(&one.id)),
            ("object", text(&one.object)),
            ("created", Value::Int(one.created)),
            ("owned_by", text(&one.owned_by)),
            ("parent", text(one.parent.as_deref().unwrap_or_default())),
        ])
    };
    Value::List(Arc::new(listing.iter().map(model).collect()))
}

/// Made-up values, on which an expression is tried out.
pub(super) fn sample() -> [(&'static str, Value); 4] {
    let numbers = || {
        object([
            ("waiting", Value::Float(1.0)),
            ("running", Value::Float(1.0)),
            ("kv", Value::Float(0.5)),
            ("known", Value::Bool(true)),
            ("stale", Value::Bool(false)),
            ("age_ms", Value::Float(10.0)),
            ("inflight_requests", Value::Float(1.0)),
            ("inflight_tokens", Value::Float(100.0)),
            ("uncached_tokens", Value::Float(100.0)),
            ("prefix", Value::Float(0.5)),
            ("custom", object([])),
        ])
    };
    let request = object([
        ("id", text("id")),
        ("model", text("model")),
        ("priority", Value::Float(0.0)),
        ("fairness_id", text("default-flow")),
        ("headers", object([])),
        ("prompt_tokens", Value::Float(100.0)),
        ("stream", Value::Bool(false)),
    ]);
    let endpoint = object([
        ("name", text("name")),
        ("namespace", text("default")),
        ("address", text("10.0.0.1:80")),
        ("labels", object([])),
        ("models", models(&[ListedModel::default()])),
    ]);
    [(REQUEST, request), (ENDPOINT, endpoint), (METRICS[0], numbers()), (METRICS[1], numbers())]
}

/// What must be produced for an expression: matches if it names them; the prompt's tokens if it names those.
pub(super) fn needs(expression: &Expression, prefix_from: Option<&str>) -> Vec<Need> {
    let mut needs = Vec::new();
    if expression.mentions("prefix") || prefix_from.is_some() {
        needs.push(Need::required(DataKey::PrefixCacheMatchInfo, prefix_from));
    }
    if expression.mentions("uncached_tokens") || expression.mentions("inflight_tokens") || expression.mentions("prompt_tokens") {
        needs.push(Need::required(DataKey::UncachedRequestTokens, None));
    }
    needs
}
