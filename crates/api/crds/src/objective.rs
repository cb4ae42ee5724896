//! How important requests are.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Condition, PoolRef,
    condition::{conditions, pending_conditions},
};

/// A use of a pool's models, with its priority. Requests name it in `x-llm-d-inference-objective`.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "llm-d.ai",
    version = "v1alpha2",
    kind = "InferenceObjective",
    doc = "How important the requests are that name this object.",
    derive = "PartialEq",
    namespaced,
    status = "InferenceObjectiveStatus",
    printcolumn = r#"{"name": "Inference Pool", "type": "string", "jsonPath": ".spec.poolRef.name"}"#,
    printcolumn = r#"{"name": "Priority", "type": "string", "jsonPath": ".spec.priority"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct InferenceObjectiveSpec {
    /// The pool that this objective is of.
    pub pool_ref: PoolRef,
    /// Higher is served first when there is not enough for all; below zero may be dropped then. Unset counts as 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}

/// What the router says of an objective.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InferenceObjectiveStatus {
    /// `Accepted`: whether it is in force.
    #[serde(default)]
    // Upstream's default is of the type `Ready`, though `Accepted` is what it documents.
    #[schemars(schema_with = "conditions", extend("default" = pending_conditions("Ready")))]
    pub conditions: Vec<Condition>,
}
