//! `p2p-source-producer`: names the worker from which the chosen one can fetch KV blocks instead of computing them.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, headers::KV_CACHE_SOURCE_HOST_PORT};
use weir_plan::{
    Attributes, Column, DataKey, Draft, ExtensionPoint, Need, Outgoing, Parts, PluginContext, PluginType, PreRequest,
    PrefixMatch, RequestView, Targets,
};

use crate::declare::alpha;

const HEADER: HeaderName = HeaderName::from_static(KV_CACHE_SOURCE_HOST_PORT);

pub(crate) fn plugin() -> PluginType {
    alpha::<Params>(
        "p2p-source-producer",
        &[ExtensionPoint::PreRequest],
        "Names, in a header, the endpoint that holds most of the prompt, so that the chosen one can fetch it from there.",
        draft,
    )
}

/// Which match, and when fetching pays.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Name of the producer of the match. Default: `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: Option<String>,
    /// Tokens that the other endpoint must hold beyond those of the chosen one, at least 1.
    min_cached_token_delta: u64,
    /// Profile whose target computes the prompt, if it ran.
    prefill_profile_name: String,
}

impl Default for Params {
    fn default() -> Self {
        Self { prefix_match_info_producer_name: None, min_cached_token_delta: 1, prefill_profile_name: "prefill".to_owned() }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if params.min_cached_token_delta == 0 {
        return Err(context.error_at("minCachedTokenDelta", "must be at least 1"));
    }
    let name = params.prefix_match_info_producer_name.filter(|name| !name.is_empty());
    let need = Need::required(DataKey::PrefixCacheMatchInfo, name.as_deref());
    let from = need.producer.clone();
    let missing = context.error(format!("`{from}` produces no prefix matches"));
    Ok(Draft::wired(vec![need], Vec::new(), move |wiring| {
        let prefix = wiring.prefix_column(&from).ok_or(missing)?;
        let prefill = wiring.profiles().iter().position(|name| *name == params.prefill_profile_name);
        let plugin = P2pSource { prefix, min_delta_tokens: params.min_cached_token_delta, prefill };
        Ok(Parts { pre_request: Some(Arc::new(plugin)), ..Parts::default() })
    }))
}

struct P2pSource {
    prefix: Column,
    min_delta_tokens: u64,
    /// Place of the profile whose target computes the prompt.
    prefill: Option<usize>,
}

/// FNV-1a of 32 bits: spreads requests the same way in every replica.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Blocks that others can fetch from an endpoint.
fn fetchable(found: &PrefixMatch, index: usize) -> u32 {
    if found.host_blocks.is_empty() { found.cached(index) } else { found.host_blocks.get(index).copied().unwrap_or(0) }
}

impl P2pSource {
    /// The endpoint with the most blocks; those within one block of it share by `1 / (1 + waiting)`, at a place that the request's id
    /// gives.
    fn source(&self, id: &str, found: &PrefixMatch, targets: &Targets<'_>) -> Option<usize> {
        let most = (0..targets.endpoints.len()).map(|index| fetchable(found, index)).max().filter(|most| *most > 0)?;
        let good = |index: &usize| fetchable(found, *index) + 1 >= most && fetchable(found, *index) > 0;
        let weight = |index: usize| 1.0 / (1.0 + f64::from(targets.endpoints[index].engine.waiting()));
        let all = || (0..targets.endpoints.len()).filter(good);
        let sum: f64 = all().map(weight).sum();
        let mut left = f64::from(fnv1a(id)) / 4_294_967_296.0 * sum;
        all().find(|index| {
            left -= weight(*index);
            left < 0.0
        })
    }
}

impl PreRequest for P2pSource {
    fn picked(&self, request: &RequestView<'_>, targets: &Targets<'_>, attributes: &Attributes, outgoing: &mut Outgoing) {
        outgoing.remove(HEADER);
        let Some(found) = attributes.prefix(self.prefix) else { return };
        let prefill = self.prefill.and_then(|profile| targets.of(profile).first());
        let Some(computing) = prefill.or(targets.primary.first()).map(|index| *index as usize) else { return };
        let Some(source) = self.source(request.id, found, targets).filter(|source| *source != computing) else { return };
        let delta = fetchable(found, source).saturating_sub(found.cached(computing));
        if u64::from(delta) * u64::from(found.block_size_tokens) < self.min_delta_tokens {
            return;
        }
        if let Ok(authority) = HeaderValue::from_str(targets.endpoints[source].authority()) {
            outgoing.set(HEADER, authority);
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_pool::{Scrape, Time};

    use super::*;
    use crate::testing::{Fixture, compile, refused};

    fn source(fixture: &Fixture, parameters: &str, chosen: u32) -> Option<String> {
        let plan =
            compile(&format!("plugins: [{{type: p2p-source-producer, parameters: {parameters}}}, {{type: queue-scorer}}]"))
                .unwrap();
        let outgoing = fixture.picked(&plan, chosen);
        assert!(outgoing.remove.contains(&HEADER), "what a client sends is always removed");
        outgoing.headers.get(HEADER).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn golden_vector_of_the_hash() {
        assert_eq!(fnv1a("req-1"), 3_675_655_953);
        assert!((f64::from(fnv1a("req-1")) / 4_294_967_296.0 - 0.855_805_34).abs() < 1e-8);
    }

    #[test]
    fn the_best_holder_is_named_unless_it_was_chosen() {
        let mut fixture = Fixture::new(3);
        fixture.prefix(&[0, 8, 2], 10, 64);
        assert_eq!(source(&fixture, "{}", 0).as_deref(), Some("10.0.0.1:8001"));
        assert_eq!(source(&fixture, "{}", 1), None);
        assert_eq!(source(&fixture, "{minCachedTokenDelta: 384}", 2).as_deref(), Some("10.0.0.1:8001"));
        assert_eq!(source(&fixture, "{minCachedTokenDelta: 385}", 2), None);
        fixture.prefix(&[0, 0, 0], 10, 64);
        assert_eq!(source(&fixture, "{}", 0), None);
        assert!(refused("p2p-source-producer", "{minCachedTokenDelta: 0}").contains("at least 1"));
    }

    #[test]
    fn equal_holders_share_by_their_queues() {
        let mut fixture = Fixture::new(3);
        fixture.prefix(&[0, 8, 7], 10, 64);
        // The id of the fixture's request is "test", which stands at 0.687 of the way.
        assert_eq!(source(&fixture, "{}", 0).as_deref(), Some("10.0.0.1:8002"));
        fixture.endpoints[2].engine.record(&Scrape { waiting: Some(3), ..Scrape::default() }, 0, Time::ZERO);
        assert_eq!(source(&fixture, "{}", 0).as_deref(), Some("10.0.0.1:8001"));
    }

    #[test]
    fn blocks_in_host_memory_count_where_they_are_known() {
        let mut fixture = Fixture::new(2);
        fixture.prefix(&[0, 8], 10, 64);
        fixture.attributes.prefix_mut(Column::for_tests(0)).unwrap().host_blocks = vec![0, 0];
        assert_eq!(source(&fixture, "{}", 0), None);
    }

    #[test]
    fn the_prefill_target_computes() {
        let text = "plugins: [{type: p2p-source-producer, parameters: {prefillProfileName: first}}, {type: header-profile-handler}]\n\
                    schedulingProfiles: [{name: first, plugins: []}, {name: decode, plugins: []}]";
        let plan = compile(text).unwrap();
        let mut fixture = Fixture::new(2);
        fixture.prefix(&[0, 8], 10, 64);
        // Decode goes to 0, prefill to 1, which holds the prompt itself.
        let outgoing = fixture.picked_by_profile(&plan, &[0], &[&[1], &[0]]);
        assert!(outgoing.headers.is_empty());
        let outgoing = fixture.picked_by_profile(&plan, &[1], &[&[0], &[1]]);
        assert_eq!(outgoing.headers[HEADER], "10.0.0.1:8001");
    }
}
