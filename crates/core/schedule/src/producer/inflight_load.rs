//! `inflight-load-producer`: what this request would add to each endpoint, and how it is charged to the one that gets it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{
    Attributes, Column, DataKey, DataSet, Draft, ExtensionPoint, InFlightPolicy, Need, Parts, PluginContext, PluginType,
    Producer, PromptStream, RequestView,
};
use weir_pool::Endpoint;

use super::Counting;
use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "inflight-load-producer",
        &[ExtensionPoint::DataProducer],
        "Counts requests and tokens in flight per endpoint, and the tokens that this request would add.",
        draft,
    )
}

/// What counts as in flight.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Whether tokens that the request will generate count too.
    add_estimated_output_tokens: bool,
    /// Generated tokens per token of the prompt.
    output_ratio: f64,
    /// Most generated tokens that are counted; 0: no limit.
    max_estimated_output_tokens: u64,
    /// Name of the producer of the prefix match. Default: `approx-prefix-cache-producer`, if there is one.
    prefix_match_info_producer_name: Option<String>,
    /// Whether other replicas' counts are added. Not yet active.
    sync_cross_replica_state: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            add_estimated_output_tokens: false,
            output_ratio: 1.5,
            max_estimated_output_tokens: 0,
            prefix_match_info_producer_name: None,
            sync_cross_replica_state: true,
        }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if !params.output_ratio.is_finite() || params.output_ratio < 0.0 {
        return Err(context.error_at("outputRatio", format!("must be 0 or more, is {}", params.output_ratio)));
    }
    let Params { add_estimated_output_tokens, output_ratio, max_estimated_output_tokens, sync_cross_replica_state: _, .. } =
        params;
    let policy = InFlightPolicy { add_estimated_output_tokens, output_ratio, max_estimated_output_tokens };
    let tokens = Need::required(DataKey::TokenizedPrompt, None);
    let name = params.prefix_match_info_producer_name.filter(|name| !name.is_empty());
    let prefix = match &name {
        Some(name) => Need::required(DataKey::PrefixCacheMatchInfo, Some(name)),
        None => Need::optional(DataKey::PrefixCacheMatchInfo, None),
    };
    let (tokens_from, prefix_from) = (tokens.producer.clone(), prefix.producer.clone());
    let missing = context.error(format!("`{tokens_from}` produces no tokens"));
    let offers = vec![DataKey::InFlightLoad, DataKey::UncachedRequestTokens];
    Ok(Draft::wired(vec![tokens, prefix], offers, move |wiring| {
        let prompt = wiring.prompt_stream(&tokens_from).ok_or(missing)?;
        let producer = InflightLoad { prompt, prefix: wiring.prefix_column(&prefix_from) };
        Ok(Parts { producer: Some(Arc::new(producer)), in_flight: Some(policy), ..Parts::default() })
    }))
}

/// Requests and tokens in flight themselves are in each endpoint's ledger.
struct InflightLoad {
    prompt: Arc<dyn PromptStream>,
    prefix: Option<Column>,
}

impl Producer for InflightLoad {
    fn reads(&self) -> DataSet {
        DataSet::PROMPT
    }

    /// `(total − match)·blockSize`, and what lies behind the last block that was looked at. llm-d lets the partial last block
    /// count as a full one; here the sum is never above the prompt.
    fn produce(&self, request: &RequestView<'_>, endpoints: &[Arc<Endpoint>], out: &mut Attributes) {
        let tokens = match out.prompt_tokens {
            Some(tokens) => tokens,
            None => {
                let mut counting = Counting::default();
                if !self.prompt.stream(request, &mut counting) {
                    return;
                }
                *out.prompt_tokens.insert(counting.tokens())
            }
        };
        let mut uncached = std::mem::take(&mut out.uncached_tokens);
        let found = self.prefix.and_then(|column| out.prefix(column)).filter(|found| found.total_blocks > 0);
        uncached.extend((0..endpoints.len()).map(|index| {
            let Some(found) = found else { return tokens };
            let block = u64::from(found.block_size_tokens);
            let unmatched = u64::from(found.total_blocks.saturating_sub(found.matched(index))) * block;
            let behind = tokens.saturating_sub(u64::from(found.total_blocks) * block);
            (unmatched + behind).min(tokens)
        }));
        out.uncached_tokens = uncached;
    }
}

#[cfg(test)]
mod tests {
    use weir_plan::InFlightPolicy;

    use crate::testing::{Fixture, compile, refused};

    #[test]
    fn without_a_prefix_everything_is_uncached() {
        let plan = compile("plugins: [{type: active-request-scorer}]").unwrap();
        assert!(plan.columns.prefix.is_empty());
        let mut fixture = Fixture::new(2);
        fixture.produce(&plan);
        assert_eq!((fixture.attributes.prompt_tokens, fixture.attributes.uncached_tokens.len()), (None, 0));
        fixture.chat(&"x".repeat(396));
        fixture.produce(&plan);
        assert_eq!(fixture.attributes.prompt_tokens, Some(100));
        assert_eq!(fixture.attributes.uncached_tokens, [100, 100]);
    }

    #[test]
    fn what_an_endpoint_holds_does_not_count() {
        let plan = compile(
            "plugins: [{type: prefix-cache-scorer}, {type: token-load-scorer}, {type: approx-prefix-cache-producer, \
             parameters: {maxPrefixTokensToMatch: 256}}]",
        )
        .unwrap();
        let mut fixture = Fixture::new(2);
        fixture.chat(&"x".repeat(4 * 300 - 4));
        fixture.produce(&plan);
        assert_eq!(fixture.attributes.uncached_tokens, [300, 300]);
        fixture.picked(&plan, 1);
        fixture.produce(&plan);
        assert_eq!(fixture.attributes.prompt_tokens, Some(300));
        assert_eq!(fixture.attributes.uncached_tokens, [300, 44], "4 blocks of 64 are matched, 44 tokens are not looked at");
    }

    #[test]
    fn output_estimate() {
        let plan = compile("plugins: [{type: inflight-load-producer}]").unwrap();
        assert_eq!(plan.in_flight.unwrap().output_tokens(100, None), 0);
        let plan = compile(
            "plugins: [{type: inflight-load-producer, parameters: {addEstimatedOutputTokens: true, maxEstimatedOutputTokens: 500}}]",
        )
        .unwrap();
        let want = InFlightPolicy { add_estimated_output_tokens: true, output_ratio: 1.5, max_estimated_output_tokens: 500 };
        assert_eq!(plan.in_flight, Some(want));
        assert_eq!([10, 1_000].map(|tokens| want.output_tokens(tokens, None)), [15, 500]);
        assert!(refused("inflight-load-producer", "{outputRatio: -1}").contains("outputRatio"));
        assert!(refused("inflight-load-producer", "{prefixMatchInfoProducerName: x}").contains('x'));
    }
}
