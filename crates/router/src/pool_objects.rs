//! One pool's objects with their counters, replaced as a whole when they change.

use std::{collections::HashMap, sync::Arc};

use arc_swap::{ArcSwap, Guard};
use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use crate::{ObjectsInForce, RouterMetrics, Split, names, objects::Rule};

/// Models that rules for every model are counted by; the rest counts as `other`.
const COUNTED_MODELS: usize = 1000;

/// The objects of one pool. Shared by routers before and after a reload.
#[derive(Debug)]
pub struct PoolObjects {
    pool: String,
    metrics: Arc<RouterMetrics>,
    current: ArcSwap<Counted>,
}

/// Objects, and the counters of all that can happen by them.
#[derive(Debug)]
pub(crate) struct Counted {
    objects: ObjectsInForce,
    /// For each model that a rule names, one for each target.
    exact: HashMap<String, Vec<Counter>>,
    /// For models that no rule names, as they come.
    generic: Mutex<HashMap<String, Vec<Counter>>>,
    priorities: HashMap<i32, Counter>,
}

/// What objects and headers make of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolution {
    pub(crate) priority: i32,
    /// The objective that gave it.
    pub(crate) objective: Option<Arc<str>>,
    /// The model that is really served, if it is not the one that the request names.
    pub(crate) served: Option<Arc<str>>,
    /// The rule that chose it; `None`: the client itself did.
    pub(crate) rule: Option<Arc<str>>,
    /// The model that the request names, if another is served.
    pub(crate) asked: Box<str>,
}

/// What objects and headers would make of a request.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// Its priority.
    pub priority: i32,
    /// The objective that gives it; `None`: the request names none that exists.
    pub objective: Option<String>,
    /// The rule for it.
    pub split: Option<Split>,
    /// Without a rule, the model that the client wants served whatever the body says.
    pub wanted: Option<String>,
}

impl ObjectsInForce {
    /// What becomes of a request that names this model and has these headers. Chooses nothing, counts nothing.
    pub fn preview(&self, model: Option<&str>, headers: &HeaderMap) -> Preview {
        let objective = header(headers, &names::OBJECTIVE).and_then(|name| self.objective(name));
        let split = self.split(model);
        Preview {
            priority: objective.map_or(0, |(_, priority)| priority),
            objective: objective.map(|(name, _)| name.to_string()),
            wanted: wanted_model(headers).filter(|_| split.is_none()).map(str::to_owned),
            split,
        }
    }
}

impl PoolObjects {
    /// No objects yet.
    pub fn new(pool: impl Into<String>, metrics: Arc<RouterMetrics>) -> Self {
        let pool = pool.into();
        let current = ArcSwap::from_pointee(Counted::new(&pool, ObjectsInForce::default(), &metrics));
        Self { pool, metrics, current }
    }

    /// Puts other objects into force.
    pub fn set(&self, objects: ObjectsInForce) {
        self.metrics.pinned.set(&self.pool, objects.models());
        self.current.store(Arc::new(Counted::new(&self.pool, objects, &self.metrics)));
    }

    /// What is in force, to look at.
    pub fn with<R>(&self, look: impl FnOnce(&ObjectsInForce) -> R) -> R {
        look(&self.current.load().objects)
    }

    pub(crate) fn load(&self) -> Guard<Arc<Counted>> {
        self.current.load()
    }
}

impl Counted {
    fn new(pool: &str, objects: ObjectsInForce, metrics: &RouterMetrics) -> Self {
        let exact = objects.exact_models().filter_map(|model| {
            let rule = objects.rule(Some(model))?;
            Some((model.to_owned(), counters(metrics, rule, model)))
        });
        let exact = exact.collect();
        let priorities = objects.priorities().into_iter().map(|one| (one, metrics.priority(pool, one))).collect();
        Self { exact, generic: Mutex::default(), priorities, objects }
    }

    /// The priority of a request, and the objective that gives it; `default` without one.
    pub(crate) fn prioritize(&self, headers: &HeaderMap, default: i32, out: &mut Resolution) {
        let named = header(headers, &names::OBJECTIVE);
        let found = named.and_then(|name| self.objects.objective(name));
        out.objective = found.map(|(name, _)| Arc::clone(name));
        out.priority = found.map_or(default, |(_, priority)| priority);
    }

    /// Counts a request that was given an endpoint.
    pub(crate) fn count(&self, priority: i32) {
        if let Some(counter) = self.priorities.get(&priority) {
            counter.inc();
        }
    }

    /// The model to be served for one that a request names. A rule comes before the header.
    pub(crate) fn rewrite(
        &self,
        asked: Option<&str>,
        headers: &HeaderMap,
        metrics: &RouterMetrics,
        random: &mut Rng,
        out: &mut Resolution,
    ) {
        let served = match self.objects.rule(asked) {
            Some(rule) => {
                let place = rule.choose(random);
                self.decided(rule, place, asked.unwrap_or_default(), metrics);
                out.rule = Some(Arc::clone(&rule.label));
                Arc::clone(&rule.targets[place].model)
            }
            None => match wanted_model(headers) {
                Some(model) => model.into(),
                None => return,
            },
        };
        if asked != Some(&*served) {
            out.asked = asked.unwrap_or_default().into();
            out.served = Some(served);
        }
    }

    fn decided(&self, rule: &Rule, target: usize, model: &str, metrics: &RouterMetrics) {
        let all = self.exact.get(model);
        if let Some(counter) = all.and_then(|all| all.get(target)) {
            counter.inc();
            return;
        }
        let mut generic = self.generic.lock();
        let model = if generic.len() < COUNTED_MODELS || generic.contains_key(model) { model } else { "other" };
        if !generic.contains_key(model) {
            generic.insert(model.to_owned(), counters(metrics, rule, model));
        }
        if let Some(counter) = generic.get(model).and_then(|all| all.get(target)) {
            counter.inc();
        }
    }
}

/// The model that the client wants served, whatever the body says.
pub(crate) fn wanted_model(headers: &HeaderMap) -> Option<&str> {
    header(headers, &names::MODEL_REWRITE)
}

/// A header that is not empty; the first name comes before the second.
fn header<'h>(headers: &'h HeaderMap, [name, alias]: &[HeaderName; 2]) -> Option<&'h str> {
    let value = headers.get(name).or_else(|| headers.get(alias));
    value.map(HeaderValue::to_str)?.ok().map(str::trim).filter(|text| !text.is_empty())
}

fn counters(metrics: &RouterMetrics, rule: &Rule, model: &str) -> Vec<Counter> {
    rule.targets.iter().map(|target| metrics.rewrite(&rule.object, model, &target.model)).collect()
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use weir_api::{
        Objects,
        headers::{INFERENCE_OBJECTIVE, INFERENCE_OBJECTIVE_ALIAS, MODEL_NAME_REWRITE},
    };

    use super::*;

    const OBJECTS: &str = "\
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: batch}
spec: {poolRef: {name: p}, priority: -5}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: r}
spec:
  poolRef: {name: p}
  rules:
  - matches: [{model: {value: a}}]
    targets: [{modelRewrite: a-1}]
";

    fn resolve(headers: &[(&'static str, &str)], asked: Option<&str>) -> Resolution {
        let mut registry = Registry::default();
        let metrics = RouterMetrics::register(&mut registry);
        let objects = Objects::parse(OBJECTS).unwrap().value;
        let pool = PoolObjects::new("p", Arc::clone(&metrics));
        pool.set(ObjectsInForce::compile(&objects.objectives, &objects.rewrites).0);
        let map: HeaderMap = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let mut out = Resolution::default();
        let current = pool.load();
        current.prioritize(&map, 0, &mut out);
        current.rewrite(asked, &map, &metrics, &mut Rng::with_seed(1), &mut out);
        out
    }

    #[test]
    fn the_canonical_header_comes_before_its_alias_and_an_unknown_objective_is_none() {
        let canonical = (INFERENCE_OBJECTIVE, "batch");
        assert_eq!(resolve(&[canonical], None).priority, -5);
        assert_eq!(resolve(&[(INFERENCE_OBJECTIVE_ALIAS, "batch")], None).priority, -5);
        let found = resolve(&[(INFERENCE_OBJECTIVE, "nobody"), (INFERENCE_OBJECTIVE_ALIAS, "batch")], None);
        assert_eq!((found.priority, found.objective), (0, None));
        assert_eq!(resolve(&[], None).priority, 0);
    }

    #[test]
    fn a_rule_comes_before_the_header_and_the_header_before_the_body() {
        let header = (MODEL_NAME_REWRITE, "h");
        let served = |found: Resolution| found.served.as_deref().map(str::to_owned);
        assert_eq!(served(resolve(&[header], Some("a"))).as_deref(), Some("a-1"));
        assert_eq!(served(resolve(&[header], Some("b"))).as_deref(), Some("h"));
        assert_eq!(served(resolve(&[header], None)).as_deref(), Some("h"));
        assert_eq!(served(resolve(&[header], Some("h"))), None);
        assert_eq!(served(resolve(&[], Some("b"))), None);
        let found = resolve(&[], Some("a"));
        assert_eq!((&*found.asked, found.rule.as_deref()), ("a", Some("default/r rule 1")));
    }
}
