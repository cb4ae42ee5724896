//! Endpoints of a Service, from its slices.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use weir_pool::{EndpointSpec, EndpointUrl, Scheme};

/// Labels that endpoints of a slice get from where they run.
const ZONE: &str = "topology.kubernetes.io/zone";
const NODE: &str = "kubernetes.io/hostname";

/// What counts of an `EndpointSlice`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    namespace: String,
    ports: Vec<u16>,
    members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    name: String,
    ip: IpAddr,
    labels: BTreeMap<String, String>,
}

impl Slice {
    /// An endpoint for each member and port, as for pods; `wanted` restricts the ports unless it is empty.
    pub(crate) fn endpoints(&self, wanted: &[u16], scheme: Scheme) -> Vec<EndpointSpec> {
        let ports: Vec<u16> = if wanted.is_empty() { self.ports.clone() } else { wanted.to_vec() };
        let served = |port: &u16| self.ports.contains(port);
        let of = |member: &Member| -> Vec<EndpointSpec> {
            let ranked = ports.iter().enumerate().filter(|(_, port)| served(port));
            let endpoint = |(rank, port): (usize, &u16)| EndpointSpec {
                name: format!("{}-rank-{rank}", member.name),
                namespace: self.namespace.clone(),
                url: EndpointUrl { scheme, ..EndpointUrl::http(member.ip, *port) },
                labels: member.labels.clone(),
            };
            ranked.map(endpoint).collect()
        };
        self.members.iter().flat_map(of).collect()
    }
}

impl From<EndpointSlice> for Slice {
    fn from(slice: EndpointSlice) -> Self {
        let mut ports: Vec<u16> = slice.ports.iter().flatten().filter_map(|one| u16::try_from(one.port?).ok()).collect();
        ports.sort_unstable();
        ports.dedup();
        Self {
            namespace: slice.metadata.namespace.unwrap_or_default(),
            ports,
            members: slice.endpoints.into_iter().flatten().filter_map(member).collect(),
        }
    }
}

/// An endpoint that serves: unknown readiness counts as ready, an endpoint that ends does not.
fn member(endpoint: Endpoint) -> Option<Member> {
    let conditions = endpoint.conditions.unwrap_or_default();
    if conditions.ready == Some(false) || conditions.terminating == Some(true) {
        return None;
    }
    let address = endpoint.addresses.into_iter().next()?;
    let ip: IpAddr = address.parse().ok()?;
    let labels = [(ZONE, endpoint.zone), (NODE, endpoint.node_name)];
    Some(Member {
        name: endpoint.target_ref.and_then(|target| target.name).unwrap_or(address),
        ip,
        labels: labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_serve_become_endpoints_of_the_ports_that_are_wanted() {
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "s-1", "namespace": "team"},
            "addressType": "IPv4",
            "ports": [{"port": 9000}, {"port": 8000}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "zone": "z1", "targetRef": {"kind": "Pod", "name": "a"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}, "targetRef": {"name": "b"}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": true, "terminating": true}},
                {"addresses": ["10.0.0.4"]},
                {"addresses": ["example.com"]}
            ]
        }))
        .unwrap();
        let slice = Slice::from(slice);
        let names = |ports: &[u16]| -> Vec<String> {
            slice.endpoints(ports, Scheme::Http).iter().map(|one| format!("{} {}", one.name, one.url)).collect()
        };
        assert_eq!(names(&[8000]), ["a-rank-0 http://10.0.0.1:8000", "10.0.0.4-rank-0 http://10.0.0.4:8000"]);
        assert_eq!(names(&[]).len(), 4);
        assert_eq!(names(&[7000]), [""; 0]);
        assert_eq!(slice.endpoints(&[8000], Scheme::Http)[0].labels, BTreeMap::from([(ZONE.to_owned(), "z1".to_owned())]));
    }
}
