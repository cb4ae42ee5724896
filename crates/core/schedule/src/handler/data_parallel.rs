//! `data-parallel-profile-handler`: requests go to one port, whose sidecar passes them to the chosen rank.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, headers::DATA_PARALLEL_HOST_PORT};
use weir_plan::{
    Attributes, Draft, ExtensionPoint, Outgoing, Parts, PluginContext, PluginType, PreRequest, RequestView, Targets,
};

use super::single::Single;
use crate::declare::beta;

const HEADER: HeaderName = HeaderName::from_static(DATA_PARALLEL_HOST_PORT);

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "data-parallel-profile-handler",
        &[ExtensionPoint::ProfileHandler, ExtensionPoint::PreRequest],
        "Runs the only profile. The request goes to the primary port of the chosen endpoint's host, and a header names the rank that was \
         chosen. Deprecated in llm-d.",
        draft,
    )
}

/// The port.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Port that requests go to, 1 to 65535.
    primary_port: u16,
}

impl Default for Params {
    fn default() -> Self {
        Self { primary_port: 8_000 }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if params.primary_port == 0 {
        return Err(context.error_at("primaryPort", "must be in 1..=65535"));
    }
    context.warn("`data-parallel-profile-handler` is deprecated in llm-d: give every rank an endpoint of its own");
    let one_profile = context.error("data-parallel-profile-handler runs one profile, and there are several");
    Ok(Draft::wired(Vec::new(), Vec::new(), move |wiring| {
        if wiring.profiles().len() > 1 {
            return Err(one_profile);
        }
        let ranks = Arc::new(DataParallel { port: params.primary_port });
        Ok(Parts { handler: Some(Arc::new(Single)), pre_request: Some(ranks), ..Parts::default() })
    }))
}

struct DataParallel {
    port: u16,
}

impl PreRequest for DataParallel {
    fn picked(&self, _: &RequestView<'_>, targets: &Targets<'_>, _: &Attributes, outgoing: &mut Outgoing) {
        let Some(rank) = targets.primary_endpoint() else { return };
        match HeaderValue::from_str(rank.authority()) {
            Ok(authority) => outgoing.set(HEADER, authority),
            Err(_) => outgoing.remove(HEADER),
        }
        outgoing.port = Some(self.port).filter(|port| *port != rank.spec().url.port);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, compile, refused};

    #[test]
    fn the_rank_is_named_and_the_port_replaced() {
        let fixture = Fixture::new(2);
        for (parameters, ports) in [("{}", [None, Some(8_000)]), ("{primaryPort: 9000}", [Some(9_000), Some(9_000)])] {
            let text =
                format!("plugins: [{{type: data-parallel-profile-handler, parameters: {parameters}}}, {{type: queue-scorer}}]");
            let plan = compile(&text).unwrap();
            for (index, port) in (0..2).zip(ports) {
                let outgoing = fixture.picked(&plan, index);
                assert_eq!(outgoing.headers["x-data-parallel-host-port"], format!("10.0.0.1:{}", 8_000 + index));
                assert_eq!(outgoing.port, port, "{parameters} {index}");
            }
        }
    }

    #[test]
    fn what_is_refused() {
        assert!(refused("data-parallel-profile-handler", "{primaryPort: 0}").contains("1..=65535"));
        let two = "plugins: [{type: data-parallel-profile-handler}]\nschedulingProfiles: [{name: a, plugins: []}, {name: b, plugins: []}]";
        let notes = compile(two).unwrap_err();
        assert!(notes.errors().any(|one| one.message.contains("runs one profile")));
    }
}
