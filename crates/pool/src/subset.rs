//! The endpoints that a request may go to, as a proxy lists them.

use std::net::{IpAddr, SocketAddr};

use crate::Endpoint;

/// A list of addresses. An entry is `ip:port`, or an address without a port, which means every port of it; hosts may be names.
/// IPv6 addresses with a port have brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subset {
    /// Sorted, all three.
    exact: Vec<SocketAddr>,
    any_port: Vec<IpAddr>,
    names: Vec<String>,
}

impl Subset {
    /// The listed endpoints. An entry may itself be a list with commas.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let mut subset = Self::default();
        for entry in entries.into_iter().flat_map(|entry| entry.split(',')).map(str::trim).filter(|entry| !entry.is_empty()) {
            let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
            if let Ok(address) = entry.parse::<SocketAddr>() {
                subset.exact.push(SocketAddr::new(address.ip().to_canonical(), address.port()));
            } else if let Ok(ip) = bare.parse::<IpAddr>() {
                subset.any_port.push(ip.to_canonical());
            } else {
                subset.names.push(entry.to_ascii_lowercase());
            }
        }
        subset.exact.sort_unstable();
        subset.any_port.sort_unstable();
        subset.names.sort_unstable();
        subset
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.any_port.is_empty() && self.names.is_empty()
    }

    /// Whether one of the endpoint's addresses, or its name, is listed.
    pub fn contains(&self, endpoint: &Endpoint) -> bool {
        let listed = |address: &SocketAddr| {
            let ip = address.ip().to_canonical();
            self.exact.binary_search(&SocketAddr::new(ip, address.port())).is_ok() || self.any_port.binary_search(&ip).is_ok()
        };
        let named = |name: &str| self.names.binary_search_by(|one| one.as_str().cmp(name)).is_ok();
        (!(self.exact.is_empty() && self.any_port.is_empty()) && endpoint.addresses().iter().any(listed))
            || (!self.names.is_empty() && (named(endpoint.authority()) || endpoint.spec().url.host.name().is_some_and(named)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EndpointSpec, EndpointUrl};

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint::new(EndpointSpec::new("e", EndpointUrl::http(host, port)))
    }

    #[test]
    fn address_and_port_both_count() {
        for (entries, host, port, listed) in [
            (&["10.0.0.1:8000"][..], "10.0.0.1", 8000, true),
            (&["10.0.0.1:8000"], "10.0.0.1", 8001, false),
            (&["10.0.0.1"], "10.0.0.1", 8001, true),
            (&["10.0.0.2:8000, 10.0.0.1:8000"], "10.0.0.1", 8000, true),
            (&["10.0.0.2:8000", "10.0.0.1:8000"], "10.0.0.1", 8000, true),
            (&["[::1]:8000"], "::1", 8000, true),
            (&["[::1]:8000"], "::1", 8001, false),
            (&["[::1]"], "::1", 8001, true),
            (&["::1"], "::1", 8001, true),
            (&["[::ffff:10.0.0.1]:8000"], "10.0.0.1", 8000, true),
            (&["Engine:8000"], "engine", 8000, true),
            (&["engine"], "engine", 8000, true),
            (&["engine:8001"], "engine", 8000, false),
            (&[], "10.0.0.1", 8000, false),
            (&[" , "], "10.0.0.1", 8000, false),
        ] {
            let subset = Subset::new(entries.iter().copied());
            assert_eq!(subset.contains(&endpoint(host, port)), listed, "{entries:?} {host} {port}");
        }
        assert!(Subset::new([" ,"]).is_empty());
    }

    #[test]
    fn a_name_counts_by_what_it_resolved_to() {
        let named = endpoint("engine", 8000);
        let subset = Subset::new(["10.0.0.7:8000"]);
        assert!(!subset.contains(&named));
        named.set_addresses(vec!["10.0.0.7:8000".parse().unwrap()]);
        assert!(subset.contains(&named));
    }
}
