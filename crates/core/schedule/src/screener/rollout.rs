//! `disaggregatedset-rollout-screener`: keeps the workers of one request on one revision while another is rolled out.

#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_api::Diagnostic;
use weir_plan::{
    Candidates, DataSet, Draft, ExtensionPoint, Figure, Parts, PluginContext, PluginType, PoolView, RequestView, ResponseHeaders,
    Screener, Served,
};

use crate::{
    declare::{alpha, header_name},
    filter::label_selector::{Selector, SelectorParams},
};

pub(crate) fn plugin() -> PluginType {
    alpha::<Params>(
        "disaggregatedset-rollout-screener",
        &[ExtensionPoint::Screener, ExtensionPoint::ResponseHeader],
        "While a disaggregated set is rolled out, keeps prefill and decode of a request on one revision, drawn by its share of workers; \
         headers may choose it.",
        draft,
    )
}

/// Which workers, which headers, and how revisions are drawn.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// The workers that it is about. Others are never given requests.
    scope: Option<Scope>,
    /// Headers that choose workers by a label, and are sent back with the label of the one that served.
    header_selectors: Vec<HeaderSelector>,
    /// How a revision is drawn. Required.
    revision_gating: Option<Gating>,
}

/// The workers that it is about.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Scope {
    /// Their labels.
    label_selector: SelectorParams,
}

/// A header that chooses workers by a label.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HeaderSelector {
    /// Its name in messages. Unique.
    name: String,
    /// Name of the header. Unique.
    header_name: String,
    /// Label that must have the header's value.
    label_key: String,
    /// What happens if no worker has it.
    mode: Mode,
}

/// What happens if no worker has the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// The request is refused. If workers have it, no revision is drawn.
    Strict,
    /// The header is ignored.
    Prefer,
}

/// How a revision is drawn.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Gating {
    /// Label of the revision. Default: `disaggregatedset.x-k8s.io/revision`.
    #[serde(default = "revision_label")]
    revision_label_key: String,
    /// Label of the role. Default: `disaggregatedset.x-k8s.io/role`.
    #[serde(default = "role_label")]
    role_label_key: String,
    /// What a revision's chance is proportional to.
    mode: Share,
    /// Roles that a revision must have. Required unless `mode` is `disabled`.
    #[serde(default)]
    require_roles: Roles,
}

fn revision_label() -> String {
    "disaggregatedset.x-k8s.io/revision".to_owned()
}

fn role_label() -> String {
    "disaggregatedset.x-k8s.io/role".to_owned()
}

/// What a revision's chance is proportional to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Share {
    /// Its workers of all required roles.
    Sum,
    /// Its workers of the role that has most workers over all revisions.
    MaxRole,
    /// Nothing: no revision is drawn.
    Disabled,
}

/// Roles that a revision must have.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Roles {
    /// Their names.
    values: Vec<String>,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let Some(scope) = params.scope else {
        return Err(context.error_at("scope", "is required: {labelSelector: {matchLabels: {…}}}"));
    };
    let Some(gating) = params.revision_gating else {
        return Err(context.error_at("revisionGating", "is required: {mode: sum, requireRoles: {values: [prefill, decode]}}"));
    };
    if gating.mode != Share::Disabled && gating.require_roles.values.is_empty() {
        return Err(context.error_at("revisionGating.requireRoles", "must name at least one role unless mode is disabled"));
    }
    let mut selectors: Vec<Chosen> = Vec::new();
    for one in params.header_selectors {
        let header = header_name(context, "headerSelectors", &one.header_name)?;
        if one.name.is_empty() || one.label_key.is_empty() {
            return Err(context.error_at("headerSelectors", "`name` and `labelKey` must not be empty"));
        }
        if selectors.iter().any(|other| other.name == one.name || other.header == header) {
            return Err(
                context.error_at("headerSelectors", format!("two selectors have the name or the header of `{}`", one.name))
            );
        }
        let strict = one.mode == Mode::Strict;
        selectors.push(Chosen { name: one.name, header, label: one.label_key, strict, unmatched: AtomicU64::new(0) });
    }
    let scope = Selector::new(context, "scope.labelSelector", scope.label_selector)?;
    let plugin = Arc::new(Rollout { scope, selectors, gating, shares: Mutex::default() });
    Ok(Draft::ready(Parts { screener: Some(plugin.clone()), response_headers: Some(plugin), ..Parts::default() }))
}

struct Rollout {
    scope: Selector,
    selectors: Vec<Chosen>,
    gating: Gating,
    /// Chance of each revision, at the last draw.
    shares: Mutex<BTreeMap<String, f64>>,
}

/// A header selector, checked.
struct Chosen {
    name: String,
    header: HeaderName,
    label: String,
    strict: bool,
    /// Requests whose header no worker matched.
    unmatched: AtomicU64,
}

/// Workers of one revision, by the place of their role.
type Counts = Vec<u64>;

thread_local! {
    static PLACES: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

impl Rollout {
    /// Chance of each revision that has all required roles, by name.
    fn weights<'v>(&self, view: &PoolView<'v>, places: &[usize]) -> BTreeMap<&'v str, u64> {
        let roles = &self.gating.require_roles.values;
        let mut revisions: BTreeMap<&str, Counts> = BTreeMap::new();
        for place in places {
            let endpoint = view.endpoint(*place);
            let Some(revision) = endpoint.label(&self.gating.revision_label_key) else { continue };
            let counts = revisions.entry(revision).or_insert_with(|| vec![0; roles.len()]);
            let role = endpoint.label(&self.gating.role_label_key);
            if let Some(role) = role.and_then(|role| roles.iter().position(|one| one == role)) {
                counts[role] += 1;
            }
        }
        let total = |role: usize| revisions.values().map(|counts| counts[role]).sum::<u64>();
        // Of equally numerous roles the first counts.
        let dominant = (0..roles.len()).rev().max_by_key(|role| total(*role)).unwrap_or(0);
        let complete = revisions.into_iter().filter(|(_, counts)| counts.iter().all(|count| *count > 0));
        complete
            .map(|(revision, counts)| {
                let weight = match self.gating.mode {
                    Share::MaxRole => counts[dominant],
                    Share::Sum | Share::Disabled => counts.iter().sum(),
                };
                (revision, weight)
            })
            .collect()
    }

    /// Keeps the chances for metrics; most draws are from the same.
    fn note(&self, weights: &BTreeMap<&str, u64>, sum: u64) {
        let share = |weight: u64| if sum == 0 { 0.0 } else { weight as f64 / sum as f64 };
        let mut known = self.shares.lock();
        let same = known.len() == weights.len()
            && known.iter().zip(weights).all(|((name, known), (other, weight))| name == other && *known == share(*weight));
        if !same {
            *known = weights.iter().map(|(revision, weight)| ((*revision).to_owned(), share(*weight))).collect();
        }
    }

    /// Narrows `places`, which are places among the candidates.
    fn narrow(&self, headers: &HeaderMap, view: &PoolView<'_>, random: &mut Rng, places: &mut Vec<usize>) {
        places.retain(|place| self.scope.selects(view.endpoint(*place)));
        let mut decided = false;
        for one in &self.selectors {
            let value = headers.get(&one.header).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
            let Some(value) = value else { continue };
            let has = |place: &usize| view.endpoint(*place).label(&one.label) == Some(value);
            if one.strict || places.iter().any(has) {
                places.retain(has);
                decided |= one.strict;
                if places.is_empty() {
                    one.unmatched.fetch_add(1, Relaxed);
                }
            }
        }
        if decided || self.gating.mode == Share::Disabled {
            return;
        }
        let weights = self.weights(view, places);
        let sum: u64 = weights.values().sum();
        self.note(&weights, sum);
        let mut left = if sum == 0 { 0 } else { random.u64(..sum) };
        let drawn = weights.into_iter().find(|(_, weight)| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        let drawn = drawn.map(|(revision, _)| revision);
        places.retain(|place| drawn.is_some() && view.endpoint(*place).label(&self.gating.revision_label_key) == drawn);
    }
}

impl Screener for Rollout {
    fn reads(&self) -> DataSet {
        DataSet::LABELS | DataSet::HEADERS
    }

    fn screen(&self, request: &RequestView<'_>, view: &PoolView<'_>, random: &mut Rng, keep: &mut Candidates) {
        PLACES.with_borrow_mut(|places| {
            places.clear();
            places.extend(0..view.len());
            self.narrow(request.headers, view, random, places);
            keep.extend(places.iter().map(|place| view.index(*place) as u32));
        });
    }

    fn figures(&self) -> Vec<Figure> {
        let mode = match self.gating.mode {
            Share::Sum => "sum",
            Share::MaxRole => "max-role",
            Share::Disabled => "disabled",
        };
        let unmatched = self.selectors.iter().filter(|one| one.strict).map(|one| Figure {
            family: "disaggregatedset_strict_header_no_match",
            help: "Requests with a strict header that no worker matched",
            counts: true,
            labels: vec![("selector", one.name.clone())],
            value: one.unmatched.load(Relaxed) as f64,
        });
        let shares = self.shares.lock();
        let shares = shares.iter().map(|(revision, share)| Figure {
            family: "disaggregatedset_revision_gating_share",
            help: "Share of requests that a revision gets",
            counts: false,
            labels: vec![("mode", mode.to_owned()), ("revision", revision.clone())],
            value: *share,
        });
        unmatched.chain(shares).collect()
    }
}

impl ResponseHeaders for Rollout {
    /// The client can send the labels back, and stays with what served it.
    fn respond(&self, served: &Served<'_>, headers: &mut HeaderMap) {
        for one in &self.selectors {
            if let Some(value) = served.endpoint.label(&one.label).and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(one.header.clone(), value);
            }
        }
    }
}
