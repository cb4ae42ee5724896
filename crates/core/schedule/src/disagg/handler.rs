//! `disagg-profile-handler`: decode always, prefill and encode where deciders say so.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, nearest};
use weir_plan::{
    Decider, Draft, ExtensionPoint, Parts, PickError, PluginContext, PluginType, PoolView, ProfileHandler, ProfileResult,
    RequestView,
};

use super::headers::StageHeaders;
use crate::declare::beta;

pub(super) fn plugin() -> PluginType {
    beta::<Params>(
        "disagg-profile-handler",
        &[ExtensionPoint::ProfileHandler, ExtensionPoint::PreRequest],
        "Runs the decode profile, and those of prefill and encode where their deciders say so; names the chosen workers in headers.",
        draft,
    )
}

/// Order, profiles and deciders of the stages.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Which worker is chosen first: `decode-first` (default) or `prefill-first`. Case, `-` and `_` do not matter.
    stage_order: String,
    /// Profiles of the stages.
    profiles: Profiles,
    /// Names of the plugins that decide about a stage; a stage without one does not run.
    deciders: Deciders,
    /// Deprecated: write `profiles.decode`.
    decode_profile: Option<String>,
    /// Deprecated: write `profiles.prefill`.
    prefill_profile: Option<String>,
    /// Deprecated: write `profiles.encode`.
    encode_profile: Option<String>,
    /// Deprecated: write `deciders.prefill`.
    prefill_decider_plugin_name: Option<String>,
    /// Deprecated: write `deciders.encode`.
    encode_decider_plugin_name: Option<String>,
    /// Deprecated: write `deciders.prefill`.
    decider_plugin_name: Option<String>,
}

/// Profiles of the stages.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Profiles {
    /// Default: `decode`.
    decode: Option<String>,
    /// Default: `prefill`.
    prefill: Option<String>,
    /// Default: `encode`.
    encode: Option<String>,
}

/// Names of the plugins that decide about a stage.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Deciders {
    /// About prefill.
    prefill: Option<String>,
    /// About encode.
    encode: Option<String>,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let prefill_first = match params.stage_order.to_lowercase().replace(['-', '_'], "").as_str() {
        "" | "decodefirst" | "decode" => false,
        "prefillfirst" | "prefill" => true,
        _ => {
            let error =
                context.error_at("stageOrder", format!("`{}` is neither decode-first nor prefill-first", params.stage_order));
            let near = nearest(&params.stage_order, ["decode-first", "prefill-first"]);
            return Err(near.map_or(error.clone(), |near| error.with_help(format!("did you mean `{near}`?"))));
        }
    };
    let flat = [
        ("decodeProfile", &params.decode_profile),
        ("prefillProfile", &params.prefill_profile),
        ("encodeProfile", &params.encode_profile),
        ("prefillDeciderPluginName", &params.prefill_decider_plugin_name),
        ("encodeDeciderPluginName", &params.encode_decider_plugin_name),
        ("deciderPluginName", &params.decider_plugin_name),
    ];
    let (profiles, deciders) = (&params.profiles, &params.deciders);
    let nested = [&profiles.decode, &profiles.prefill, &profiles.encode, &deciders.prefill, &deciders.encode];
    if let Some((field, _)) = flat.iter().find(|(_, value)| value.is_some()) {
        if nested.iter().any(|value| value.is_some()) {
            let error = context.error_at(field, format!("`{field}` is the old way to write `profiles` and `deciders`: not both"));
            return Err(error.with_help("write profiles: {decode, prefill, encode}, deciders: {prefill, encode}"));
        }
        context.warn(format!("`{field}` is deprecated: write profiles: {{…}}, deciders: {{prefill, encode}}"));
    }
    let first = |names: &[&Option<String>]| names.iter().find_map(|name| name.as_ref().filter(|name| !name.is_empty()).cloned());
    let stages = Stages {
        decode: first(&[&profiles.decode, &params.decode_profile]).unwrap_or_else(|| "decode".to_owned()),
        prefill: first(&[&profiles.prefill, &params.prefill_profile]).unwrap_or_else(|| "prefill".to_owned()),
        encode: first(&[&profiles.encode, &params.encode_profile]).unwrap_or_else(|| "encode".to_owned()),
        prefill_decider: first(&[&deciders.prefill, &params.prefill_decider_plugin_name, &params.decider_plugin_name]),
        encode_decider: first(&[&deciders.encode, &params.encode_decider_plugin_name]),
    };
    if prefill_first && stages.prefill_decider.is_some() {
        return Err(context.error_at("stageOrder", "with prefill-first the prefill profile always runs: it takes no decider"));
    }
    let decider_fields = if deciders.prefill.is_some() || deciders.encode.is_some() {
        ("deciders.prefill", "deciders.encode")
    } else {
        ("prefillDeciderPluginName", "encodeDeciderPluginName")
    };
    stages.draft(context, prefill_first, decider_fields)
}

/// Names, before they are looked up.
pub(super) struct Stages {
    pub(super) decode: String,
    pub(super) prefill: String,
    pub(super) encode: String,
    pub(super) prefill_decider: Option<String>,
    pub(super) encode_decider: Option<String>,
}

impl Stages {
    /// `fields` are those that name the deciders of prefill and encode.
    pub(super) fn draft(
        self,
        context: &PluginContext<'_>,
        prefill_first: bool,
        fields: (&str, &str),
    ) -> Result<Draft, Diagnostic> {
        let mut references = Vec::new();
        let no_decider = |field: &str, name: &Option<String>| {
            name.as_ref().map(|name| context.error_at(field, format!("`{name}` is no decider")))
        };
        let wrong = (no_decider(fields.0, &self.prefill_decider), no_decider(fields.1, &self.encode_decider));
        references.extend(self.prefill_decider.as_ref().map(|name| context.reference(fields.0, name.clone())));
        references.extend(self.encode_decider.as_ref().map(|name| context.reference(fields.1, name.clone())));
        let no_decode = context.error(format!("no profile is named `{}`, and decode always runs", self.decode));
        let draft = Draft::wired(Vec::new(), Vec::new(), move |wiring| {
            let place = |name: &str| wiring.profiles().iter().position(|one| one == name);
            let find = |name: Option<String>, wrong: Option<Diagnostic>| match (name, wrong) {
                (Some(name), Some(wrong)) => wiring.decider(&name).map(Some).ok_or(wrong),
                _ => Ok(None),
            };
            let handler = Arc::new(Disagg {
                prefill_first,
                decode: place(&self.decode).ok_or(no_decode)?,
                prefill: place(&self.prefill),
                encode: place(&self.encode),
                prefill_decider: find(self.prefill_decider, wrong.0)?,
                encode_decider: find(self.encode_decider, wrong.1)?,
            });
            let headers = Arc::new(StageHeaders { prefill: handler.prefill, encode: handler.encode });
            Ok(Parts { handler: Some(handler), pre_request: Some(headers), ..Parts::default() })
        });
        Ok(draft.after(references))
    }
}

struct Disagg {
    prefill_first: bool,
    decode: usize,
    prefill: Option<usize>,
    encode: Option<usize>,
    prefill_decider: Option<Arc<dyn Decider>>,
    encode_decider: Option<Arc<dyn Decider>>,
}

impl Disagg {
    /// A stage that has a profile and did not run, if its decider wants it.
    fn wanted(
        &self,
        stage: Option<usize>,
        decider: Option<&Arc<dyn Decider>>,
        (request, view, results): (&RequestView<'_>, &PoolView<'_>, &[ProfileResult]),
    ) -> Option<usize> {
        let place = stage.filter(|place| !results[*place].ran)?;
        let chosen = results[self.decode].targets.first().copied();
        decider?.splits(request, view, chosen).then_some(place)
    }
}

impl ProfileHandler for Disagg {
    /// A stage that fails is left out; only decode must succeed.
    fn next(&self, request: &RequestView<'_>, view: &PoolView<'_>, results: &[ProfileResult]) -> Option<usize> {
        let cycle = (request, view, results);
        let decode = &results[self.decode];
        if self.prefill_first {
            let prefill = self.prefill.filter(|place| !results[*place].ran && !decode.ran);
            let encode = || self.wanted(self.encode, self.encode_decider.as_ref(), cycle).filter(|_| !decode.ran);
            return prefill.or_else(encode).or_else(|| (!decode.ran).then_some(self.decode));
        }
        if !decode.ran {
            return Some(self.decode);
        }
        if decode.targets.is_empty() {
            return None;
        }
        let encode = self.wanted(self.encode, self.encode_decider.as_ref(), cycle);
        encode.or_else(|| self.wanted(self.prefill, self.prefill_decider.as_ref(), cycle))
    }

    fn primary(&self, _: &RequestView<'_>, results: &[ProfileResult]) -> Result<usize, PickError> {
        results[self.decode].error.clone().map_or(Ok(self.decode), Err)
    }

    /// Prefill and decode exchange the KV cache: whichever is chosen second is chosen near the first.
    fn peer(&self, results: &[ProfileResult]) -> Option<u32> {
        let first = if self.prefill_first { self.prefill? } else { self.decode };
        results[first].targets.first().copied()
    }

    fn prefill(&self) -> Option<usize> {
        self.prefill
    }

    fn split(&self, results: &[ProfileResult]) -> Option<&'static str> {
        let found = |stage: Option<usize>| stage.is_some_and(|place| !results[place].targets.is_empty());
        Some(match (found(self.encode), found(self.prefill)) {
            (false, false) => "decode-only",
            (false, true) => "prefill-decode",
            (true, false) => "encode-decode",
            (true, true) => "encode-prefill-decode",
        })
    }
}
