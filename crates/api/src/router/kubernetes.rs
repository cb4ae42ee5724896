//! Endpoints that a Kubernetes cluster lists.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PoolSpec;
use crate::{Diagnostic, Diagnostics, Scheme, Span, Spanned, check_selector, objects::POOL_GROUP};

/// The group of pools of before, version v1alpha2.
const LEGACY_GROUP: &str = "inference.networking.x-k8s.io";
/// Most ports of a pod that can be endpoints, as for an `InferencePool`.
const MOST_PORTS: usize = 8;

/// Pods of a Kubernetes cluster: exactly one of `pool`, `pools`, `poolSelector`, `podSelector` and `service`. The cluster is that of
/// the kubeconfig (`KUBECONFIG`), or the one that this process runs in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KubernetesEndpoints {
    /// Namespace of everything that is looked at. Default: `NAMESPACE` of the environment, else that of this process's pod, else
    /// `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Spanned<String>>,
    /// The name of an `InferencePool`: its selector and its ports say which endpoints there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Spanned<String>>,
    /// Names of several of them. Each is a pool of its own that bears its name; what else is said of this one goes for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Spanned<String>>,
    /// A label selector: each `InferencePool` that it selects is a pool of its own that bears its name, as they come and go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_selector: Option<Spanned<String>>,
    /// API group of pools: `inference.networking.k8s.io` (v1), or `inference.networking.x-k8s.io` (v1alpha2). Default: the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Spanned<String>>,
    /// A label selector of pods, without any `InferencePool`; needs `ports`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<Spanned<String>>,
    /// The name of a Service: its `EndpointSlice`s list the endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Spanned<String>>,
    /// Ports of each pod, 1 to 8; each is an endpoint of its own. For a Service: which of its slices' ports. Default there: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Spanned<u16>>,
    /// How endpoints are spoken to, `http` or `https`. Default `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
}

impl KubernetesEndpoints {
    /// The API group of its pools.
    #[must_use]
    pub fn group(&self) -> &str {
        self.group.as_ref().map_or(POOL_GROUP, |group| group.as_str())
    }

    pub(super) fn check(&self, pool: &PoolSpec, at: Span, path: &str, found: &mut Diagnostics) {
        let error = |message: &str| Diagnostic::error(at, path, message);
        let chosen = [&self.pool, &self.pool_selector, &self.pod_selector, &self.service];
        let chosen = chosen.into_iter().filter(|one| one.is_some()).count() + usize::from(!self.pools.is_empty());
        if chosen != 1 {
            let help = "set exactly one of pool, pools, poolSelector, podSelector and service";
            found.push(error("it does not say which endpoints are meant").with_help(help));
        }
        let names = [&self.namespace, &self.pool, &self.service].into_iter().flatten().chain(&self.pools);
        for name in names.filter(|name| !is_name(name)) {
            found.push(name.error(format!("{:?} is no name of an object in Kubernetes", name.as_str())));
        }
        for selector in [&self.pool_selector, &self.pod_selector].into_iter().flatten() {
            if let Err(wrong) = check_selector(selector) {
                found.push(selector.error(wrong.to_string()));
            }
        }
        if let Some(group) = self.group.as_ref().filter(|group| ![POOL_GROUP, LEGACY_GROUP].contains(&group.as_str())) {
            found.push(
                group
                    .error(format!("there are no pools in {:?}", group.as_str()))
                    .with_nearest(group.as_str(), [POOL_GROUP, LEGACY_GROUP]),
            );
        }
        self.check_ports(error, found);
        if pool.app_protocol.is_some() && self.pod_selector.is_none() && self.service.is_none() {
            found.push(error("an InferencePool says its appProtocol itself").with_help("leave appProtocol out"));
        }
        if pool.is_template() && !pool.models.is_empty() {
            found.push(pool.models[0].error("several pools cannot serve the same models").with_help("leave models out"));
        }
    }

    fn check_ports(&self, error: impl Fn(&str) -> Diagnostic, found: &mut Diagnostics) {
        if self.pod_selector.is_some() && self.ports.is_empty() {
            found.push(error("podSelector needs ports").with_help("write ports: [8000]"));
        }
        match self.ports.first() {
            Some(first) if self.pod_selector.is_none() && self.service.is_none() => {
                found.push(first.error("an InferencePool says its ports itself"));
            }
            Some(first) if self.ports.len() > MOST_PORTS => {
                found.push(first.error(format!("at most {MOST_PORTS} ports can be endpoints")));
            }
            _ => {}
        }
        for (place, port) in self.ports.iter().enumerate() {
            if port.value == 0 {
                found.push(port.error("0 is no port"));
            } else if self.ports[..place].iter().any(|other| other.value == port.value) {
                found.push(port.error(format!("the port {} is listed twice", port.value)));
            }
        }
    }
}

impl PoolSpec {
    /// Whether it stands for several pools, which are named by a cluster.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.endpoints.kubernetes.as_ref().is_some_and(|one| one.pool_selector.is_some() || !one.pools.is_empty())
    }
}

/// A DNS subdomain.
pub(super) fn is_name(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = |label: &str| !label.is_empty() && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-');
    text.len() <= 253 && text.split('.').all(label)
}
