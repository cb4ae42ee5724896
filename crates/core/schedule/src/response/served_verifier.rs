//! `destination-endpoint-served-verifier`: tells conformance tests which endpoint answered.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use weir_plan::{Draft, ExtensionPoint, Parts, PluginType, ResponseHeaders, Served, Told};

use crate::declare::{NoParameters, beta};

const HEADER: HeaderName = HeaderName::from_static("x-conformance-test-served-endpoint");

pub(crate) fn plugin() -> PluginType {
    beta::<NoParameters>(
        "destination-endpoint-served-verifier",
        &[ExtensionPoint::ResponseHeader],
        "For conformance tests: names the endpoint that answered in the header `x-conformance-test-served-endpoint`.",
        |context| {
            let NoParameters {} = context.params()?;
            Ok(Draft::ready(Parts { response_headers: Some(Arc::new(Verifier)), ..Parts::default() }))
        },
    )
}

struct Verifier;

impl ResponseHeaders for Verifier {
    fn respond(&self, served: &Served<'_>, headers: &mut HeaderMap) {
        let text = match served.told {
            Told::Directly => served.endpoint.authority(),
            Told::ByProxy(name) => name,
            Told::NotNamed => "fail: missing destination endpoint served metadata",
            Told::NotTold => "fail: missing envoy lb metadata",
        };
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(HEADER, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixture, compile};

    #[test]
    fn what_is_known_of_who_answered() {
        let plan = compile("plugins: [{type: destination-endpoint-served-verifier}, {type: queue-scorer}]").unwrap();
        let fixture = Fixture::new(1);
        for (told, want) in [
            (Told::Directly, "10.0.0.1:8000"),
            (Told::ByProxy("10.1.1.1:80"), "10.1.1.1:80"),
            (Told::NotNamed, "fail: missing destination endpoint served metadata"),
            (Told::NotTold, "fail: missing envoy lb metadata"),
        ] {
            let mut headers = HeaderMap::new();
            plan.response_headers[0].plugin.respond(&Served { endpoint: &fixture.endpoints[0], told }, &mut headers);
            assert_eq!(headers["x-conformance-test-served-endpoint"], want);
        }
    }
}
