//! `pd-profile-handler`: what `disagg-profile-handler` was before it knew encoding. Deprecated.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{Draft, ExtensionPoint, PluginContext, PluginType};

use super::handler::Stages;
use crate::declare::beta;

pub(super) fn handler() -> PluginType {
    beta::<Params>(
        "pd-profile-handler",
        &[ExtensionPoint::ProfileHandler, ExtensionPoint::PreRequest],
        "Runs the decode profile, and that of prefill where a decider says so. Deprecated: use `disagg-profile-handler`.",
        draft,
    )
}

/// Profiles and the decider.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Name of the decode profile.
    decode_profile: String,
    /// Name of the prefill profile.
    prefill_profile: String,
    /// Ignored with a warning: use `data-parallel-profile-handler`, or give every rank an endpoint of its own.
    primary_port: Option<u16>,
    /// Name of the plugin that decides about prefill.
    decider_plugin_name: String,
    /// Ignored, as in llm-d.
    prefix_plugin_type: Option<String>,
    /// Ignored, as in llm-d.
    prefix_plugin_name: Option<String>,
    /// Ignored: the decider has its own.
    prefix_match_info_producer_name: Option<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            decode_profile: "decode".to_owned(),
            prefill_profile: "prefill".to_owned(),
            primary_port: None,
            decider_plugin_name: "prefix-based-pd-decider".to_owned(),
            prefix_plugin_type: None,
            prefix_plugin_name: None,
            prefix_match_info_producer_name: None,
        }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    context
        .warn("plugin type `pd-profile-handler` is deprecated since llm-d 0.7 and gone in 0.9; write `disagg-profile-handler`");
    if params.primary_port.is_some_and(|port| port != 0) {
        context.warn("`primaryPort` has no effect: give every rank an endpoint of its own");
    }
    if params.prefix_plugin_type.is_some()
        || params.prefix_plugin_name.is_some()
        || params.prefix_match_info_producer_name.is_some()
    {
        context.warn("the prefix producer is named in the decider's parameters: here its name has no effect");
    }
    let stages = Stages {
        decode: params.decode_profile,
        prefill: params.prefill_profile,
        encode: String::new(),
        prefill_decider: Some(params.decider_plugin_name),
        encode_decider: None,
    };
    stages.draft(context, false, ("deciderPluginName", "deciderPluginName"))
}
