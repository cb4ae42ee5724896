//! `header-based-testing-filter`: the client names the endpoints. For conformance tests.

use std::{net::IpAddr, sync::Arc};

use fastrand::Rng;
use weir_api::{Diagnostic, headers::TEST_ENDPOINT_SELECTION};
use weir_plan::{Candidates, DataSet, Draft, ExtensionPoint, Filter, Parts, PluginContext, PluginType, PoolView, RequestView};
use weir_pool::Endpoint;

use crate::declare::{NoParameters, beta};

pub(crate) fn plugin() -> PluginType {
    beta::<NoParameters>(
        "header-based-testing-filter",
        &[ExtensionPoint::Filter],
        "For conformance tests: keeps the endpoints that the header `test-epp-endpoint-selection` lists, none without it.",
        draft,
    )
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let NoParameters {} = context.params()?;
    Ok(Draft::ready(Parts { filter: Some(Arc::new(HeaderTesting)), ..Parts::default() }))
}

struct HeaderTesting;

impl Filter for HeaderTesting {
    fn reads(&self) -> DataSet {
        DataSet::HEADERS
    }

    fn filter(&self, request: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        let Some(listed) = request.headers.get(TEST_ENDPOINT_SELECTION).and_then(|value| value.to_str().ok()) else { return };
        view.retain(keep, |i| listed.split(',').any(|one| names(one.trim(), view.endpoint(i))));
    }
}

/// Whether `text`, an address or an address with a port, is the endpoint's.
fn names(text: &str, endpoint: &Endpoint) -> bool {
    let url = &endpoint.spec().url;
    match text.parse::<IpAddr>() {
        Ok(ip) => url.host.ip() == Some(ip),
        Err(_) => text == endpoint.authority(),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Fixture;

    const KIND: &str = "header-based-testing-filter";

    #[test]
    fn addresses_with_and_without_port() {
        let mut fixture = Fixture::new(3);
        assert!(fixture.filter(KIND, "{}").is_empty());
        for (listed, kept) in [
            ("10.0.0.1:8001, 10.0.0.1:8002", vec![1, 2]),
            ("10.0.0.1", vec![0, 1, 2]),
            ("10.0.0.2,", vec![]),
            ("10.0.0.1:80", vec![]),
        ] {
            fixture.headers.insert("test-epp-endpoint-selection", listed.parse().unwrap());
            assert_eq!(fixture.filter(KIND, "{}"), kept, "{listed}");
        }
    }
}
