//! How objects name a pool.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Group of `InferencePool` v1.
pub const POOL_GROUP: &str = "inference.networking.k8s.io";
/// Group of objectives and rewrites.
pub const LLM_D_GROUP: &str = "llm-d.ai";
/// Group of `InferencePool` v1alpha2, and of objectives and rewrites before they moved.
pub const LEGACY_GROUP: &str = "inference.networking.x-k8s.io";

/// A DNS subdomain, or nothing.
pub(crate) const GROUP_PATTERN: &str = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A kind.
pub(crate) const KIND_PATTERN: &str = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";

/// The pool that an object belongs to, in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolRef {
    /// API group of the pool.
    #[serde(default = "pool_group")]
    #[schemars(length(max = 253), regex(pattern = GROUP_PATTERN))]
    pub group: String,
    /// Kind of the pool.
    #[serde(default = "pool_kind")]
    #[schemars(length(min = 1, max = 63), regex(pattern = KIND_PATTERN))]
    pub kind: String,
    /// Name of the pool.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

impl PoolRef {
    /// The pool of this name, of the current version.
    pub fn new(name: impl Into<String>) -> Self {
        Self { group: pool_group(), kind: pool_kind(), name: name.into() }
    }
}

fn pool_group() -> String {
    POOL_GROUP.to_owned()
}

fn pool_kind() -> String {
    "InferencePool".to_owned()
}
