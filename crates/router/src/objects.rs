//! Objectives and rewrites in force: which priority a request has, and which model is really served.
//!
//! An exact match comes before a rule for every model, over all objects; then the older object, then its namespace and name, then the
//! order of its rules. So a set of objects has one meaning, whatever the order in which they came.
//!
//! Cost: one lookup by name each; compiled once per change of the objects.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use fastrand::Rng;
use weir_api::{ObjectId, Objective, Rewrite, RewriteRule};

/// The objects of one pool, compiled.
#[derive(Clone, Debug, Default)]
pub struct ObjectsInForce {
    objectives: HashMap<Arc<str>, i32>,
    rules: Vec<Rule>,
    /// The rule for each model that one names.
    exact: HashMap<String, usize>,
    /// The rule for all others.
    generic: Option<usize>,
}

/// A rule in force.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The object's name.
    pub(crate) object: Arc<str>,
    /// As people find it again: `namespace/name rule 2`, counted from 1.
    pub(crate) label: Arc<str>,
    pub(crate) targets: Vec<Target>,
    /// Sum of the weights.
    total: u64,
}

/// A target of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) model: Arc<str>,
    pub(crate) weight: u64,
}

/// Something about an object that its author should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The object.
    pub id: ObjectId,
    /// Its rule, counted from 0.
    pub rule: usize,
    /// What.
    pub what: FindingKind,
}

/// What is odd about a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// Another rule is in force for this model (`None`: for every model).
    Shadowed {
        /// The model.
        model: Option<String>,
        /// The rule that is in force, as `namespace/name rule 2`.
        by: Arc<str>,
    },
    /// It has no targets, or their weights add up to nothing: it is not in force.
    NoTargets,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InferenceModelRewrite {}/{} rule {}: ", self.id.namespace, self.id.name, self.rule + 1)?;
        match &self.what {
            FindingKind::Shadowed { model: Some(model), by } => write!(f, "for the model `{model}`, {by} is in force"),
            FindingKind::Shadowed { model: None, by } => write!(f, "{by} is in force for every model"),
            FindingKind::NoTargets => f.write_str("there is no target that requests could get: the rule is not in force"),
        }
    }
}

/// A rule that applies to a model, for people and tools.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Split {
    /// The rule, as `namespace/name rule 2`.
    pub rule: String,
    /// Whether it names the model, and is not one for every model.
    pub exact: bool,
    /// Targets with their share of requests, 0 to 1.
    pub targets: Vec<(String, f64)>,
}

impl ObjectsInForce {
    /// Compiles the objects of one pool.
    pub fn compile(objectives: &[Objective], rewrites: &[Rewrite]) -> (Self, Vec<Finding>) {
        let mut found = Vec::new();
        let mut compiled = Self {
            objectives: objectives.iter().map(|one| (one.id.name.as_str().into(), one.priority)).collect(),
            ..Self::default()
        };
        let mut ordered: Vec<&Rewrite> = rewrites.iter().collect();
        ordered.sort_by_key(|one| (one.id.created, &one.id.namespace, &one.id.name));
        for object in ordered {
            for (place, rule) in object.rules.iter().enumerate() {
                compiled.add(&object.id, place, rule, &mut found);
            }
        }
        (compiled, found)
    }

    fn add(&mut self, id: &ObjectId, place: usize, rule: &RewriteRule, found: &mut Vec<Finding>) {
        let note = |what| Finding { id: id.clone(), rule: place, what };
        let Some(compiled) = Rule::new(id, place, rule) else {
            found.push(note(FindingKind::NoTargets));
            return;
        };
        let index = self.rules.len();
        let mut used = false;
        if rule.models.is_empty() {
            match self.generic {
                None => {
                    self.generic = Some(index);
                    used = true;
                }
                Some(other) => {
                    found.push(note(FindingKind::Shadowed { model: None, by: Arc::clone(&self.rules[other].label) }));
                }
            }
        }
        for model in &rule.models {
            match self.exact.get(model) {
                None => {
                    self.exact.insert(model.clone(), index);
                    used = true;
                }
                // The same rule may list a model twice.
                Some(other) if *other == index => {}
                Some(other) => {
                    let by = Arc::clone(&self.rules[*other].label);
                    found.push(note(FindingKind::Shadowed { model: Some(model.clone()), by }));
                }
            }
        }
        if used {
            self.rules.push(compiled);
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.objectives.is_empty() && self.rules.is_empty()
    }

    /// The priority of requests that name this objective; `None` if there is none of that name.
    pub fn priority(&self, objective: &str) -> Option<i32> {
        self.objective(objective).map(|(_, priority)| priority)
    }

    pub(crate) fn objective(&self, name: &str) -> Option<(&Arc<str>, i32)> {
        self.objectives.get_key_value(name).map(|(name, priority)| (name, *priority))
    }

    /// All priorities that requests may have, 0 included.
    pub fn priorities(&self) -> BTreeSet<i32> {
        self.objectives.values().copied().chain([0]).collect()
    }

    /// Models that a rule names.
    pub fn exact_models(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(String::as_str)
    }

    /// Models that a rule names, and those that rules may serve instead.
    pub(crate) fn models(&self) -> impl Iterator<Item = &str> {
        self.exact_models().chain(self.rules.iter().flat_map(|rule| &rule.targets).map(|target| &*target.model))
    }

    /// Whether there is a rule for every model.
    pub fn has_generic(&self) -> bool {
        self.generic.is_some()
    }

    /// The rule for a request that names this model, or none.
    pub(crate) fn rule(&self, model: Option<&str>) -> Option<&Rule> {
        let exact = model.and_then(|model| self.exact.get(model)).copied();
        self.rules.get(exact.or(self.generic)?)
    }

    /// What becomes of requests that name this model; `None`: they are served as they are.
    pub fn split(&self, model: Option<&str>) -> Option<Split> {
        let rule = self.rule(model)?;
        let share = |target: &Target| (target.model.to_string(), target.weight as f64 / rule.total as f64);
        Some(Split {
            rule: rule.label.to_string(),
            exact: model.is_some_and(|model| self.exact.contains_key(model)),
            targets: rule.targets.iter().map(share).collect(),
        })
    }
}

impl Rule {
    fn new(id: &ObjectId, place: usize, rule: &RewriteRule) -> Option<Self> {
        let weighted = rule.targets.iter().any(|target| target.weight.is_some());
        let weight = |weight: Option<u32>| if weighted { u64::from(weight.unwrap_or(0)) } else { 1 };
        let named = rule.targets.iter().filter(|target| !target.model.is_empty());
        let targets: Vec<Target> =
            named.map(|target| Target { model: target.model.as_str().into(), weight: weight(target.weight) }).collect();
        let total = targets.iter().map(|target| target.weight).sum();
        let label = format!("{}/{} rule {}", id.namespace, id.name, place + 1).into();
        (total > 0).then(|| Self { object: id.name.as_str().into(), label, targets, total })
    }

    /// The place of one of the targets, by weight.
    pub(crate) fn choose(&self, random: &mut Rng) -> usize {
        self.at(random.u64(..self.total))
    }

    /// The place of the target that owns this number in `0..total`.
    fn at(&self, number: u64) -> usize {
        let mut end = 0;
        let found = self.targets.iter().position(|target| {
            end += target.weight;
            number < end
        });
        // The number is below the sum of the weights.
        found.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
