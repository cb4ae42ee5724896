//! From pods to endpoints: pure, so that the rules can be tried on vectors.
//!
//! A pod counts while it is `Ready` and not being deleted. Each port of its pool is an endpoint `<pod>-rank-<i>`, where `i` is the
//! port's place in the pool's list; an annotation may restrict them to some.

use std::{collections::BTreeMap, net::IpAddr};

use weir_pool::{EndpointSpec, EndpointUrl, Scheme};

/// Annotation with the ports that serve.
const ACTIVE_PORTS: &str = "llm-d.ai/active-ports";
/// The same before it was renamed; the other one wins.
const ACTIVE_PORTS_LEGACY: &str = "inference.networking.k8s.io/active-ports";

/// What endpoints are derived from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Name of the pod.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its address; `None` until it has one.
    pub ip: Option<IpAddr>,
    /// Whether its condition `Ready` is true.
    pub ready: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Ports that serve, as its annotation says; `None`: all.
    pub active_ports: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl PodFacts {
    /// Whether requests may go there.
    pub fn is_eligible(&self) -> bool {
        self.ready && !self.deleting && self.ip.is_some()
    }

    /// The ports that its annotations name, if there are such annotations.
    pub(crate) fn ports_of(annotations: &BTreeMap<String, String>) -> Option<String> {
        annotations.get(ACTIVE_PORTS).or_else(|| annotations.get(ACTIVE_PORTS_LEGACY)).cloned()
    }
}

/// The endpoints of a pod, in the order of the ports.
pub fn endpoints(pod: &PodFacts, ports: &[u16], scheme: Scheme) -> Vec<EndpointSpec> {
    let Some(ip) = pod.ip.filter(|_| pod.is_eligible()) else { return Vec::new() };
    let endpoint = |rank: usize| EndpointSpec {
        name: format!("{}-rank-{rank}", pod.name),
        namespace: pod.namespace.clone(),
        url: EndpointUrl { scheme, ..EndpointUrl::http(ip, ports[rank]) },
        labels: pod.labels.clone(),
    };
    active_ports(pod.active_ports.as_deref(), ports).into_iter().map(endpoint).collect()
}

/// Places in `ports` of those that an annotation lists, ascending; all without one, none if it is empty. What is no port of the pool
/// does not count.
pub fn active_ports(annotation: Option<&str>, ports: &[u16]) -> Vec<usize> {
    let Some(listed) = annotation else { return (0..ports.len()).collect() };
    let listed: Vec<u16> = listed.split(',').filter_map(leading_number).collect();
    (0..ports.len()).filter(|place| listed.contains(&ports[*place])).collect()
}

/// The number that a text begins with: `8000abc` is 8000, as llm-d reads it.
fn leading_number(text: &str) -> Option<u16> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::pod::LightPod;

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        pod: LightPod,
        ports: Vec<u16>,
        want: Vec<String>,
    }

    #[test]
    fn the_vectors() {
        let text = include_str!("../../../../testdata/kubernetes/endpoints.json");
        let vectors: Vec<Vector> = serde_json::from_str(text).unwrap();
        assert!(vectors.len() > 15, "{}", vectors.len());
        for vector in vectors {
            let pod = PodFacts::from(vector.pod);
            let found: Vec<String> =
                endpoints(&pod, &vector.ports, Scheme::Http).iter().map(|one| format!("{} {}", one.name, one.url)).collect();
            assert_eq!(found, vector.want, "{}", vector.name);
        }
    }

    #[test]
    fn endpoints_bear_the_pod_s_labels_and_namespace() {
        let pod = PodFacts {
            name: "p".to_owned(),
            namespace: "team".to_owned(),
            ip: Some([10, 0, 0, 1].into()),
            ready: true,
            labels: BTreeMap::from([("llm-d.ai/role".to_owned(), "decode".to_owned())]),
            ..PodFacts::default()
        };
        let [one] = endpoints(&pod, &[443], Scheme::Https).try_into().unwrap();
        assert_eq!((one.namespace.as_str(), &one.labels, one.url.scheme), ("team", &pod.labels, Scheme::Https));
    }
}
