//! A pod without what nobody here reads: its specification, which is most of it, is skipped while it is decoded.

use std::borrow::Cow;

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::Deserialize;

use crate::PodFacts;

/// A pod's metadata and the little of its status that decides whether it serves.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LightPod {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(rename = "podIP", default)]
    ip: Option<String>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Resource for LightPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl From<LightPod> for PodFacts {
    fn from(pod: LightPod) -> Self {
        let LightPod { metadata, status } = pod;
        let annotations = metadata.annotations.unwrap_or_default();
        Self {
            name: metadata.name.unwrap_or_default(),
            namespace: metadata.namespace.unwrap_or_default(),
            // Empty until the pod has one.
            ip: status.ip.and_then(|ip| ip.parse().ok()),
            ready: status.conditions.iter().any(|one| one.kind == "Ready" && one.status == "True"),
            deleting: metadata.deletion_timestamp.is_some(),
            active_ports: Self::ports_of(&annotations),
            labels: metadata.labels.unwrap_or_default(),
        }
    }
}
