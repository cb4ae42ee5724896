//! `InferencePool` before it was stable. Some controllers still write it beside the current one.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    AppProtocol, Condition, EndpointPickerRef, FailureMode, InferencePoolSpec, LabelSelector, LabelValue, Port,
    condition::{conditions, pending_conditions},
    reference::{GROUP_PATTERN, KIND_PATTERN},
};

/// Pods that serve the same models.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "inference.networking.x-k8s.io",
    version = "v1alpha2",
    kind = "InferencePool",
    root = "LegacyInferencePool",
    doc = "Pods that serve the same models. The current version is in the group inference.networking.k8s.io.",
    derive = "PartialEq",
    namespaced,
    status = "LegacyInferencePoolStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct LegacyInferencePoolSpec {
    /// Labels of the pods that belong to the pool.
    pub selector: BTreeMap<String, LabelValue>,
    /// Port on which each pod serves.
    #[schemars(range(min = 1, max = 65535))]
    pub target_port_number: i32,
    /// Who picks endpoints.
    pub extension_ref: ExtensionRef,
}

/// The Service of an endpoint picker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionRef {
    /// API group; empty for a Service.
    #[serde(default)]
    #[schemars(length(max = 253), regex(pattern = GROUP_PATTERN))]
    pub group: String,
    /// Kind.
    #[serde(default = "service")]
    #[schemars(length(min = 1, max = 63), regex(pattern = KIND_PATTERN))]
    pub kind: String,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Port of the Service. Default: 9002.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port_number: Option<i32>,
    /// What a gateway does while the picker does not answer.
    #[serde(default)]
    pub failure_mode: FailureMode,
}

/// What gateways say of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("default" = {"parent": [{
    "conditions": pending_conditions("Accepted"),
    "parentRef": {"kind": "Status", "name": "default"},
}]}))]
pub struct LegacyInferencePoolStatus {
    /// What each of them says. The name is singular.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "parents")]
    pub parent: Vec<LegacyParentStatus>,
}

/// What one parent says of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LegacyParentStatus {
    /// `Accepted`, `ResolvedRefs`.
    #[serde(default)]
    #[schemars(schema_with = "conditions", extend("default" = pending_conditions("Accepted")))]
    pub conditions: Vec<Condition>,
    /// The parent, as `corev1.ObjectReference`.
    #[schemars(schema_with = "object_reference")]
    pub parent_ref: Value,
}

impl From<LegacyInferencePoolSpec> for InferencePoolSpec {
    /// `targetPortNumber` is the first and only port; a picker without a port is at 9002.
    fn from(old: LegacyInferencePoolSpec) -> Self {
        let ExtensionRef { group, kind, name, port_number, failure_mode } = old.extension_ref;
        let port = Some(Port { number: port_number.unwrap_or(9002) });
        Self {
            selector: LabelSelector { match_labels: old.selector },
            target_ports: vec![Port { number: old.target_port_number }],
            app_protocol: AppProtocol::Http,
            endpoint_picker_ref: Some(EndpointPickerRef { group, kind, name, port, failure_mode }),
        }
    }
}

fn parents(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Vec<LegacyParentStatus>>();
    schema.insert("maxItems".to_owned(), json!(32));
    schema
}

fn object_reference(_: &mut SchemaGenerator) -> Schema {
    let text = json!({"type": "string"});
    let fields = ["apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid"];
    let properties: serde_json::Map<String, Value> = fields.iter().map(|field| ((*field).to_owned(), text.clone())).collect();
    let schema = json!({"type": "object", "properties": properties, "x-kubernetes-map-type": "atomic"});
    schema.try_into().unwrap_or_default()
}

fn service() -> String {
    "Service".to_owned()
}
