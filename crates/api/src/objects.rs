//! Objectives and model rewrites as files hold them: the Kubernetes objects, without Kubernetes.

use std::collections::HashMap;

use serde::Deserialize;

use crate::{
    Checked, Diagnostic, Diagnostics, Span, Spanned,
    yaml::{self, Node},
};

mod time;

/// `apiVersion` of objectives and rewrites.
pub const OBJECTS_API_VERSION: &str = "llm-d.ai/v1alpha2";
/// The `apiVersion` of before.
pub const OBJECTS_API_VERSION_DEPRECATED: &str = "inference.networking.x-k8s.io/v1alpha2";
/// Group of the pools that objects refer to.
pub const POOL_GROUP: &str = "inference.networking.k8s.io";

/// Which object it is, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was made, seconds since the Unix epoch; 0 if unknown.
    pub created: i64,
}

/// The pool that an object belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolReference {
    /// API group of the pool.
    pub group: String,
    /// Its name.
    pub name: String,
}

/// An `InferenceObjective`: how important requests are that name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objective {
    /// Which.
    pub id: ObjectId,
    /// Its pool.
    pub pool: PoolReference,
    /// Higher is served first; below zero may be shed.
    pub priority: i32,
}

/// An `InferenceModelRewrite`: rules that replace the model that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Which.
    pub id: ObjectId,
    /// Its pool.
    pub pool: PoolReference,
    /// Its rules.
    pub rules: Vec<RewriteRule>,
}

/// A rule of a [`Rewrite`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewriteRule {
    /// Models that it is for; none: every model, and requests without one.
    pub models: Vec<String>,
    /// What they are replaced by.
    pub targets: Vec<RewriteTarget>,
}

/// A model that takes the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewriteTarget {
    /// The model.
    pub model: String,
    /// Its share of the sum of weights. If no target has a weight, all get the same; if only some have, the others get nothing.
    pub weight: Option<u32>,
}

/// Objects of one or several files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Objectives.
    pub objectives: Vec<Objective>,
    /// Rewrites.
    pub rewrites: Vec<Rewrite>,
}

impl Objects {
    /// Reads a file of documents, each an `InferenceObjective`, an `InferenceModelRewrite` or a `List` of them.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Checked<Self>, Diagnostics> {
        Self::parse_source(text, 0)
    }

    /// [`Objects::parse`] for one document of several: its spans carry the number `source`.
    ///
    /// # Errors
    /// As [`Objects::parse`].
    pub fn parse_source(text: &str, source: u16) -> Result<Checked<Self>, Diagnostics> {
        let mut reader = Reader::default();
        for document in yaml::parse_documents(text, source)? {
            reader.read(&document, "");
        }
        Ok(Checked { warnings: reader.found.into_result()?, value: reader.objects })
    }
}

#[derive(Default)]
struct Reader {
    objects: Objects,
    seen: HashMap<(&'static str, String, String), Span>,
    found: Diagnostics,
}

const OBJECTIVE: &str = "InferenceObjective";
const REWRITE: &str = "InferenceModelRewrite";

impl Reader {
    fn read(&mut self, node: &Node, path: &str) {
        let text = |key: &str| match node.get(key).map(|value| &value.value) {
            Some(yaml::Value::String(text)) => text.as_str(),
            _ => "",
        };
        let at = |key: &str| node.entry(key).map_or(node.at, |entry| entry.value.at);
        match (text("kind"), text("apiVersion")) {
            ("List", _) => {
                for (place, item) in node.get("items").map(Node::items).unwrap_or_default().iter().enumerate() {
                    self.read(item, &format!("{path}items[{place}]"));
                }
            }
            (kind @ (OBJECTIVE | REWRITE), version) => {
                if version == OBJECTS_API_VERSION_DEPRECATED {
                    let warning = Diagnostic::warning(at("apiVersion"), "apiVersion", "this group is deprecated");
                    self.found.push(warning.with_help(format!("write apiVersion: {OBJECTS_API_VERSION}")));
                } else if version != OBJECTS_API_VERSION {
                    let error =
                        Diagnostic::error(at("apiVersion"), "apiVersion", format!("the apiVersion `{version}` is not supported"));
                    self.found.push(error.with_help(format!("write apiVersion: {OBJECTS_API_VERSION}")));
                }
                if kind == OBJECTIVE { self.objective(node, path) } else { self.rewrite(node, path) }
            }
            (kind, _) => {
                let error = Diagnostic::error(at("kind"), "kind", format!("`{kind}` is neither {OBJECTIVE} nor {REWRITE}"));
                self.found.push(error.with_nearest(kind, [OBJECTIVE, REWRITE]));
            }
        }
    }

    fn objective(&mut self, node: &Node, path: &str) {
        let Some(read) = self.decode::<Document<ObjectiveSpec>>(node, path) else { return };
        let priority = read.spec.priority.map_or(0, |priority| priority.value);
        if let Some(id) = self.id(&read.metadata, OBJECTIVE) {
            self.objects.objectives.push(Objective { id, pool: read.spec.pool_ref.into(), priority });
        }
    }

    fn rewrite(&mut self, node: &Node, path: &str) {
        let Some(read) = self.decode::<Document<RewriteSpec>>(node, path) else { return };
        let rules = read.spec.rules.iter().map(|rule| self.rule(rule)).collect();
        if let Some(id) = self.id(&read.metadata, REWRITE) {
            self.objects.rewrites.push(Rewrite { id, pool: read.spec.pool_ref.into(), rules });
        }
    }

    fn rule(&mut self, rule: &Spanned<Rule>) -> RewriteRule {
        if rule.targets.is_empty() {
            self.found
                .push(rule.error("the rule has no targets").with_help("list at least one: targets: [{modelRewrite: NAME}]"));
        }
        for one in &rule.matches {
            if let Some(kind) = one.model.kind.as_ref().filter(|kind| kind.as_str() != "Exact") {
                self.found.push(kind.error(format!("`{}` is no way to compare names", kind.as_str())).with_help("write Exact"));
            }
            if one.model.value.is_empty() {
                self.found.push(one.model.value.error("a model's name cannot be empty"));
            }
        }
        let weighted = rule.targets.iter().filter(|target| target.weight.is_some()).count();
        for target in &rule.targets {
            if target.model_rewrite.is_empty() {
                self.found.push(target.model_rewrite.error("a model's name cannot be empty"));
            }
            match &target.weight {
                Some(weight) if weight.value > 1_000_000 => self.found.push(weight.error("a weight is at most 1000000")),
                None if weighted > 0 => {
                    let message = "this target gets no requests: others have a weight, and it has none";
                    self.found.push(target.model_rewrite.warning(message));
                }
                _ => {}
            }
        }
        if weighted > 0 && rule.targets.iter().all(|target| target.weight.as_ref().is_none_or(|weight| weight.value == 0)) {
            self.found.push(rule.error("the weights add up to nothing"));
        }
        RewriteRule {
            models: rule.matches.iter().map(|one| one.model.value.value.clone()).collect(),
            targets: rule
                .targets
                .iter()
                .map(|target| RewriteTarget {
                    model: target.model_rewrite.value.clone(),
                    weight: target.weight.as_ref().map(|weight| weight.value),
                })
                .collect(),
        }
    }

    fn decode<T: serde::de::DeserializeOwned>(&mut self, node: &Node, path: &str) -> Option<T> {
        let (value, found) = yaml::decode(node, path, yaml::Case::Sensitive);
        let failed = found.has_errors();
        self.found.extend(found);
        value.filter(|_| !failed)
    }

    fn id(&mut self, metadata: &Metadata, kind: &'static str) -> Option<ObjectId> {
        let name = &metadata.name;
        if name.is_empty() {
            self.found.push(name.error("an object's name cannot be empty"));
            return None;
        }
        let namespace = metadata.namespace.as_ref().map_or(crate::DEFAULT_NAMESPACE, |namespace| namespace.as_str()).to_owned();
        if let Some(first) = self.seen.insert((kind, namespace.clone(), name.value.clone()), name.at) {
            self.found
                .push(name.error(format!("two objects of this kind are called `{name}`; the first is on line {}", first.line)));
        }
        let created = match &metadata.creation_timestamp {
            None => 0,
            Some(text) => time::unix_seconds(text).unwrap_or_else(|| {
                self.found.push(text.error(format!("{:?} is not a time", text.as_str())).with_help("write 2026-01-31T12:00:00Z"));
                0
            }),
        };
        Some(ObjectId { namespace, name: name.value.clone(), created })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "fields that an API server adds are accepted, so that its output is a file")]
struct Document<S> {
    api_version: Node,
    kind: Node,
    metadata: Metadata,
    spec: S,
    #[serde(default)]
    status: Option<Node>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "fields that an API server adds are accepted, so that its output is a file")]
struct Metadata {
    name: Spanned<String>,
    #[serde(default)]
    namespace: Option<Spanned<String>>,
    #[serde(default)]
    creation_timestamp: Option<Spanned<String>>,
    #[serde(default)]
    labels: Option<Node>,
    #[serde(default)]
    annotations: Option<Node>,
    #[serde(default)]
    uid: Option<Node>,
    #[serde(default)]
    resource_version: Option<Node>,
    #[serde(default)]
    generation: Option<Node>,
    #[serde(default)]
    managed_fields: Option<Node>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ObjectiveSpec {
    pool_ref: PoolRef,
    #[serde(default)]
    priority: Option<Spanned<i32>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RewriteSpec {
    pool_ref: PoolRef,
    rules: Vec<Spanned<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PoolRef {
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "accepted as upstream does; there is one kind")]
    kind: Option<String>,
    name: String,
}

impl From<PoolRef> for PoolReference {
    fn from(read: PoolRef) -> Self {
        Self { group: read.group.unwrap_or_else(|| POOL_GROUP.to_owned()), name: read.name }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    matches: Vec<Match>,
    #[serde(default)]
    targets: Vec<Target>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Match {
    model: Model,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    #[serde(rename = "type", default)]
    kind: Option<Spanned<String>>,
    value: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Target {
    model_rewrite: Spanned<String>,
    #[serde(default)]
    weight: Option<Spanned<u32>>,
}

#[cfg(test)]
mod tests;
