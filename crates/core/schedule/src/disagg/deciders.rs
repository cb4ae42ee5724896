//! `always-disagg-pd-decider`, `always-disagg-multimodal-decider`, `prefix-based-pd-decider`: whether a stage is worth a worker of its
//! own.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{
    Column, DataKey, Decider, Draft, ExtensionPoint, Need, Parts, PluginContext, PluginType, PoolView, PromptSink, PromptStream,
    RequestView,
};
use weir_protocol::MediaKind;

use crate::declare::{NoParameters, beta};

const DECIDER: &[ExtensionPoint] = &[ExtensionPoint::Decider];

pub(super) fn plugins() -> [PluginType; 3] {
    [
        beta::<NoParameters>("always-disagg-pd-decider", DECIDER, "Always splits prefill from decode.", |context| {
            let NoParameters {} = context.params()?;
            Ok(Draft::ready(Parts { decider: Some(Arc::new(Always)), ..Parts::default() }))
        }),
        beta::<NoParameters>(
            "always-disagg-multimodal-decider",
            DECIDER,
            "Splits requests with images, videos or sounds.",
            multimodal,
        ),
        beta::<Params>(
            "prefix-based-pd-decider",
            DECIDER,
            "Splits requests of whose prompt the decode worker holds too little.",
            prefix_based,
        ),
    ]
}

struct Always;

impl Decider for Always {
    fn splits(&self, _: &RequestView<'_>, _: &PoolView<'_>, _: Option<u32>) -> bool {
        true
    }
}

fn multimodal(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let NoParameters {} = context.params()?;
    let need = Need::required(DataKey::TokenizedPrompt, None);
    let tokens_from = need.producer.clone();
    let missing = context.error(format!("`{tokens_from}` produces no tokens"));
    Ok(Draft::wired(vec![need], Vec::new(), move |wiring| {
        let prompt = wiring.prompt_stream(&tokens_from).ok_or(missing)?;
        Ok(Parts { decider: Some(Arc::new(Multimodal { prompt })), ..Parts::default() })
    }))
}

struct Multimodal {
    prompt: Arc<dyn PromptStream>,
}

/// Notes whether a prompt has media.
#[derive(Default)]
struct HasMedia(bool);

impl PromptSink for HasMedia {
    fn bytes(&mut self, _: &[u8]) {}

    fn wants_bytes(&self) -> bool {
        false
    }

    fn align(&mut self) {}

    fn repeat(&mut self, _: u32, _: u32) {}

    fn next_prompt(&mut self) {}

    fn media(&mut self, _: MediaKind, _: u64, _: u32) {
        self.0 = true;
    }
}

impl Decider for Multimodal {
    fn splits(&self, request: &RequestView<'_>, _: &PoolView<'_>, _: Option<u32>) -> bool {
        let mut found = HasMedia::default();
        self.prompt.stream(request, &mut found) && found.0
    }
}

/// How much must be left to compute.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Tokens of the prompt that the decode worker must lack, at least; 0: nothing is ever split.
    non_cached_tokens: i64,
    /// Tokens that the prompt must have, at least.
    prompt_tokens: i64,
    /// Name of the producer of the match. Default: `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: Option<String>,
}

fn prefix_based(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    for (field, value) in [("nonCachedTokens", params.non_cached_tokens), ("promptTokens", params.prompt_tokens)] {
        if value < 0 {
            return Err(context.error_at(field, format!("must be 0 or more, is {value}")));
        }
    }
    if params.non_cached_tokens == 0 {
        context.warn("`nonCachedTokens` is 0: nothing is ever split");
    }
    let name = params.prefix_match_info_producer_name.filter(|name| !name.is_empty());
    let need = Need::required(DataKey::PrefixCacheMatchInfo, name.as_deref());
    let from = need.producer.clone();
    let missing = context.error(format!("`{from}` produces no prefix matches"));
    let (uncached, prompt) = (params.non_cached_tokens.unsigned_abs(), params.prompt_tokens.unsigned_abs());
    Ok(Draft::wired(vec![need], Vec::new(), move |wiring| {
        let prefix = wiring.prefix_column(&from).ok_or(missing)?;
        Ok(Parts { decider: Some(Arc::new(PrefixBased { uncached, prompt, prefix })), ..Parts::default() })
    }))
}

struct PrefixBased {
    /// Least tokens that are not cached.
    uncached: u64,
    /// Least tokens of the prompt.
    prompt: u64,
    prefix: Column,
}

impl Decider for PrefixBased {
    fn splits(&self, _: &RequestView<'_>, view: &PoolView<'_>, chosen: Option<u32>) -> bool {
        let (Some(chosen), Some(tokens)) = (chosen, view.attributes().prompt_tokens) else { return false };
        let Some(found) = view.attributes().prefix(self.prefix).filter(|found| found.total_blocks > 0) else { return false };
        if self.uncached == 0 || tokens < self.prompt || tokens < self.uncached {
            return false;
        }
        let held = u64::from(found.cached(chosen as usize)) * u64::from(found.block_size_tokens);
        tokens.saturating_sub(held) >= self.uncached
    }
}
