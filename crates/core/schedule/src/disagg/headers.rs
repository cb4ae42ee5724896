//! The headers that tell a decode worker's sidecar where prefill and encoding are done; and the plugins that once only set them.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{
    Diagnostic,
    headers::{ENCODER_HOSTS_PORTS, PREFILLER_HOST_PORT},
};
use weir_plan::{
    Attributes, Deprecation, Draft, ExtensionPoint, Outgoing, Parts, PluginContext, PluginType, PreRequest, RequestView, Targets,
};

use crate::declare::beta;

const PREFILLER: HeaderName = HeaderName::from_static(PREFILLER_HOST_PORT);
const ENCODERS: HeaderName = HeaderName::from_static(ENCODER_HOSTS_PORTS);

/// Sets both headers by what the stages' profiles chose.
pub(super) struct StageHeaders {
    /// Place of the prefill profile.
    pub(super) prefill: Option<usize>,
    /// Place of the encode profile.
    pub(super) encode: Option<usize>,
}

impl PreRequest for StageHeaders {
    fn picked(&self, _: &RequestView<'_>, targets: &Targets<'_>, _: &Attributes, outgoing: &mut Outgoing) {
        outgoing.remove(PREFILLER);
        outgoing.remove(ENCODERS);
        let of = |profile: Option<usize>| profile.map_or(&[][..], |profile| targets.of(profile));
        let authority = |index: &u32| targets.endpoints.get(*index as usize).map(|endpoint| endpoint.authority());
        if let Some(prefiller) = of(self.prefill).first().and_then(authority)
            && let Ok(value) = HeaderValue::from_str(prefiller)
        {
            outgoing.set(PREFILLER, value);
        }
        let encoders: Vec<&str> = of(self.encode).iter().filter_map(authority).collect();
        if !encoders.is_empty()
            && let Ok(value) = HeaderValue::from_str(&encoders.join(","))
        {
            outgoing.set(ENCODERS, value);
        }
    }
}

pub(super) fn plugin() -> PluginType {
    PluginType {
        deprecated: &[Deprecation { alias: "prefill-header-handler", since: "0.9", removed_in: "0.11" }],
        ..beta::<Params>(
            "disagg-headers-handler",
            &[ExtensionPoint::PreRequest],
            "Names the prefill and encode workers in headers. Deprecated: `disagg-profile-handler` does so itself.",
            draft,
        )
    }
}

/// Profiles of the stages.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Name of the prefill profile.
    prefill_profile: String,
    /// Name of the encode profile.
    encode_profile: String,
}

impl Default for Params {
    fn default() -> Self {
        Self { prefill_profile: "prefill".to_owned(), encode_profile: "encode".to_owned() }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let Params { prefill_profile, encode_profile } = context.params()?;
    context.warn(
        "`disagg-headers-handler` is deprecated since llm-d 0.9 and gone in 0.11: `disagg-profile-handler` sets the headers itself",
    );
    Ok(Draft::wired(Vec::new(), Vec::new(), move |wiring| {
        let place = |name: &str| wiring.profiles().iter().position(|one| one == name);
        let headers = StageHeaders { prefill: place(&prefill_profile), encode: place(&encode_profile) };
        Ok(Parts { pre_request: Some(Arc::new(headers)), ..Parts::default() })
    }))
}
