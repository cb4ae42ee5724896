//! Pods that serve the same models, and who picks among them.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Condition,
    condition::conditions,
    reference::{GROUP_PATTERN, KIND_PATTERN},
};

/// Pods that serve the same models.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "inference.networking.k8s.io",
    version = "v1",
    kind = "InferencePool",
    doc = "Pods that serve the same models, and the endpoint picker that chooses among them.",
    derive = "PartialEq",
    namespaced,
    shortname = "infpool",
    status = "InferencePoolStatus",
    annotation("api-approved.kubernetes.io", "https://github.com/kubernetes-sigs/gateway-api-inference-extension/pull/1173")
)]
#[serde(rename_all = "camelCase")]
pub struct InferencePoolSpec {
    /// Which pods of the namespace belong to the pool.
    pub selector: LabelSelector,
    /// Ports on which each pod serves; each is an endpoint of its own.
    #[schemars(schema_with = "target_ports")]
    pub target_ports: Vec<Port>,
    /// What is spoken on these ports.
    #[serde(default)]
    pub app_protocol: AppProtocol,
    /// Who picks endpoints. Without it that is up to the gateway, which may refuse the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_picker_ref: Option<EndpointPickerRef>,
}

/// A selection by labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that an object must have, all of them.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    pub match_labels: BTreeMap<String, LabelValue>,
}

/// The value of a label; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct LabelValue(
    #[schemars(length(min = 0, max = 63), regex(pattern = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"))] pub String,
);

/// A port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Port {
    /// Its number.
    #[schemars(range(min = 1, max = 65535))]
    pub number: i32,
}

/// What is spoken on a pool's ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AppProtocol {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "http")]
    Http,
    /// HTTP/2 in cleartext.
    #[serde(rename = "kubernetes.io/h2c")]
    H2c,
}

/// The Service of an endpoint picker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.kind != 'Service' || has(self.port)",
    "message": "port is required when kind is 'Service' or unspecified (defaults to 'Service')",
}]))]
pub struct EndpointPickerRef {
    /// API group; empty for a Service.
    #[serde(default)]
    #[schemars(length(max = 253), regex(pattern = GROUP_PATTERN))]
    pub group: String,
    /// Kind. A Service of type ExternalName is not allowed.
    #[serde(default = "service")]
    #[schemars(length(min = 1, max = 63), regex(pattern = KIND_PATTERN))]
    pub kind: String,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Port of the Service, not of its pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// What a gateway does while the picker does not answer.
    #[serde(default)]
    pub failure_mode: FailureMode,
}

/// What a gateway does while the picker does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailureMode {
    /// It picks an endpoint itself.
    FailOpen,
    /// It refuses requests.
    #[default]
    FailClose,
}

/// What gateways say of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InferencePoolStatus {
    /// What each of them says; every controller writes only its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "parents")]
    pub parents: Vec<ParentStatus>,
}

/// What one parent says of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// `Accepted`, `ResolvedRefs`, `Exported`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The parent.
    pub parent_ref: ParentReference,
    /// Who wrote this, as `domain/path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$")
    )]
    pub controller_name: Option<String>,
}

/// An object that a pool is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParentReference {
    /// API group.
    #[serde(default = "gateway_group")]
    #[schemars(length(max = 253), regex(pattern = GROUP_PATTERN))]
    pub group: String,
    /// Kind.
    #[serde(default = "gateway_kind")]
    #[schemars(length(min = 1, max = 63), regex(pattern = KIND_PATTERN))]
    pub kind: String,
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace. Default: the pool's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
}

fn target_ports(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Vec<Port>>();
    schema.insert("minItems".to_owned(), json!(1));
    schema.insert("maxItems".to_owned(), json!(8));
    schema.insert("x-kubernetes-list-type".to_owned(), json!("atomic"));
    let rule = "self.all(p1, self.exists_one(p2, p1.number==p2.number))";
    schema.insert("x-kubernetes-validations".to_owned(), json!([{"rule": rule, "message": "port number must be unique"}]));
    schema
}

fn parents(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Vec<ParentStatus>>();
    schema.insert("maxItems".to_owned(), json!(32));
    schema.insert("x-kubernetes-list-type".to_owned(), json!("atomic"));
    schema
}

fn service() -> String {
    "Service".to_owned()
}

fn gateway_group() -> String {
    "gateway.networking.k8s.io".to_owned()
}

fn gateway_kind() -> String {
    "Gateway".to_owned()
}
