//! Which model is really served.

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{
    Condition, PoolRef,
    condition::{conditions, pending_conditions},
};

/// Rules that replace the model that a request names.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "llm-d.ai",
    version = "v1alpha2",
    kind = "InferenceModelRewrite",
    doc = "Rules that replace the model that a request names.",
    derive = "PartialEq",
    namespaced,
    status = "InferenceModelRewriteStatus",
    printcolumn = r#"{"name": "Inference Pool", "type": "string", "jsonPath": ".spec.poolRef.name"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct InferenceModelRewriteSpec {
    /// The pool whose requests are rewritten.
    pub pool_ref: PoolRef,
    /// The rules. Over all objects of a pool an exact match comes before a rule for every model, then the older object comes first,
    /// then the order of this list.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Which requests; any of these suffices. None: every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "plain_list::<ModelMatch>")]
    pub matches: Vec<ModelMatch>,
    /// Models of which one takes the place of the model that the request names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "targets")]
    pub targets: Vec<Target>,
}

/// A condition that a request may meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelMatch {
    /// On the model that it names.
    pub model: Model,
}

/// A condition on a model's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    /// How names are compared.
    #[serde(rename = "type", default)]
    pub kind: MatchType,
    /// What they are compared with.
    #[schemars(length(min = 1))]
    pub value: String,
}

/// How names are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MatchType {
    /// They must be equal.
    #[default]
    Exact,
}

/// A model that requests may get, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The model's name.
    pub model_rewrite: String,
    /// Its share is this divided by the sum over the targets. If no target has a weight, all get the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub weight: Option<i32>,
}

/// What the router says of a rewrite.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InferenceModelRewriteStatus {
    /// `Accepted`: whether it is in force.
    #[serde(default)]
    #[schemars(schema_with = "conditions", extend("default" = pending_conditions("Accepted")))]
    pub conditions: Vec<Condition>,
}

fn plain_list<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<Vec<T>>()
}

fn targets(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = plain_list::<Target>(generator);
    schema.insert("minItems".to_owned(), 1.into());
    schema
}
