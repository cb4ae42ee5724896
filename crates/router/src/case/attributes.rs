//! What a case says that producers found.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, de::DeserializeOwned};
use weir_api::{Diagnostics, Params};
use weir_plan::{Attributes, Column, DataKey, DataSet, LatencyPrediction, MediaItem, Named, Plan, Producer, RequestView};
use weir_pool::Endpoint;
use weir_protocol::MediaKind;

use super::Case;

/// Kinds of data that a case can give.
const KINDS: [DataKey; 4] = [
    DataKey::PrefixCacheMatchInfo,
    DataKey::UncachedRequestTokens,
    DataKey::LatencyPredictionInfo,
    DataKey::EncoderCacheMatchInfo,
];

type Write = Box<dyn Fn(&mut Attributes) + Send + Sync>;

/// Stands behind a producer and replaces what that found.
struct Given(Write);

impl Producer for Given {
    fn reads(&self) -> DataSet {
        DataSet::NONE
    }

    fn produce(&self, _: &RequestView<'_>, _: &[Arc<Endpoint>], out: &mut Attributes) {
        (self.0)(out);
    }
}

/// The values of one attribute, one an endpoint.
struct Values<'c>(Vec<Option<&'c Params>>);

impl Values<'_> {
    /// Reads them; what is not given is the default.
    fn decode<T: DeserializeOwned + Default>(&self, notes: &mut Diagnostics) -> Option<Vec<T>> {
        self.0.iter().map(|value| value.map_or_else(|| Some(T::default()), |value| value.decode_noting(notes))).collect()
    }
}

/// Puts what the case gives behind the producers that it stands for.
pub(super) fn give(case: &Case, plan: &mut Plan, notes: &mut Diagnostics) {
    let mut keys: BTreeMap<&str, Values<'_>> = BTreeMap::new();
    for (place, endpoint) in case.endpoints.iter().enumerate() {
        for (key, value) in &endpoint.attributes {
            keys.entry(key).or_insert_with(|| Values(vec![None; case.endpoints.len()])).0[place] = Some(value);
        }
    }
    for (key, values) in keys {
        let Some(first) = values.0.iter().copied().flatten().next() else { continue };
        let (kind, producer) = key.split_once('/').unwrap_or((key, ""));
        let Some(kind) = KINDS.into_iter().find(|one| one.to_string() == kind) else {
            let kinds = KINDS.map(|one| format!("{one}/{}", one.default_producer()));
            notes
                .push(first.error(format!("no attribute is named `{key}`")).with_help(format!("there are {}", kinds.join(", "))));
            continue;
        };
        let names = producers(plan, kind);
        if !names.iter().any(|one| one == producer) {
            let error = first.error(format!("no producer of the configuration is named `{producer}`, so nobody reads `{key}`"));
            notes.push(error.with_help(match names.as_slice() {
                [] => "no plugin of the configuration reads such data".to_owned(),
                names => format!("such data come from: {}", names.join(", ")),
            }));
            continue;
        }
        let write = match kind {
            DataKey::UncachedRequestTokens => uncached(&values, notes),
            DataKey::LatencyPredictionInfo => Column::of(&names, producer).and_then(|column| latency(column, &values, notes)),
            DataKey::EncoderCacheMatchInfo => Column::of(&names, producer).and_then(|column| encoder(column, &values, notes)),
            _ => Column::of(&names, producer).and_then(|column| prefix(column, &values, notes)),
        };
        if let Some(write) = write {
            let given = Named { name: producer.to_owned(), kind: "given", plugin: Arc::new(Given(write)) as Arc<dyn Producer> };
            // A producer that is not yet active does not run; what it would find is given all the same.
            let place = plan.producers.iter().position(|one| one.name == producer);
            plan.producers.insert(place.map_or(plan.producers.len(), |place| place + 1), given);
        }
    }
}

/// Names of those that produce this kind of data.
fn producers(plan: &Plan, kind: DataKey) -> Vec<String> {
    match kind {
        DataKey::PrefixCacheMatchInfo => plan.columns.prefix.clone(),
        DataKey::LatencyPredictionInfo => plan.columns.latency.clone(),
        DataKey::EncoderCacheMatchInfo => plan.columns.encoder.clone(),
        _ => plan.producers.iter().filter(|one| one.kind == kind.default_producer()).map(|one| one.name.clone()).collect(),
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Prefix {
    match_blocks: u32,
    cached_block_count: Option<u32>,
    host_blocks: u32,
    total_blocks: u32,
    block_size_tokens: u32,
}

fn prefix(column: Column, values: &Values<'_>, notes: &mut Diagnostics) -> Option<Write> {
    let found: Vec<Prefix> = values.decode(notes)?;
    let total_blocks = found.iter().map(|one| one.total_blocks).max().unwrap_or(0);
    let block_size_tokens = found.iter().map(|one| one.block_size_tokens).max().unwrap_or(0);
    for (one, value) in found.iter().zip(&values.0) {
        if let Some(value) = value
            && (one.total_blocks, one.block_size_tokens) != (total_blocks, block_size_tokens)
        {
            notes.push(value.error("`totalBlocks` and `blockSizeTokens` are the request's: they are the same at every endpoint"));
        }
    }
    Some(Box::new(move |out| {
        let Some(out) = out.prefix_mut(column) else { return };
        out.matched_blocks = found.iter().map(|one| one.match_blocks).collect();
        out.cached_blocks = found.iter().map(|one| one.cached_block_count.unwrap_or(one.match_blocks)).collect();
        out.host_blocks = found.iter().map(|one| one.host_blocks).collect();
        (out.total_blocks, out.block_size_tokens) = (total_blocks, block_size_tokens);
    }))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Tokens {
    tokens: u64,
}

fn uncached(values: &Values<'_>, notes: &mut Diagnostics) -> Option<Write> {
    let tokens: Vec<u64> = values.decode::<Tokens>(notes)?.into_iter().map(|one| one.tokens).collect();
    Some(Box::new(move |out| out.uncached_tokens.clone_from(&tokens)))
}

/// As llm-d names it; times in milliseconds.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Latency {
    ttft: f64,
    tpot: f64,
    ttft_headroom: f64,
    tpot_headroom: f64,
    ttft_valid: bool,
    tpot_valid: bool,
    dispatched_request_count: u64,
}

fn latency(column: Column, values: &Values<'_>, notes: &mut Diagnostics) -> Option<Write> {
    let found: Vec<Latency> = values.decode(notes)?;
    let predicted = found.into_iter().zip(&values.0).map(|(one, value)| {
        value.map(|_| LatencyPrediction {
            ttft_ms: one.ttft,
            tpot_ms: one.tpot,
            ttft_headroom_ms: one.ttft_headroom,
            tpot_headroom_ms: one.tpot_headroom,
            ttft_valid: one.ttft_valid,
            tpot_valid: one.tpot_valid,
            dispatched_requests: one.dispatched_request_count,
        })
    });
    let predicted: Vec<_> = predicted.collect();
    Some(Box::new(move |out| {
        if let Some(out) = out.latencies_mut(column) {
            out.clone_from(&predicted);
        }
    }))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Encoder {
    /// Tokens of the items that this endpoint encoded before.
    matched_tokens: u64,
    /// Tokens of each item of the request.
    request_items: Vec<u32>,
}

fn encoder(column: Column, values: &Values<'_>, notes: &mut Diagnostics) -> Option<Write> {
    let found: Vec<Encoder> = values.decode(notes)?;
    let items = found.iter().map(|one| &one.request_items).find(|items| !items.is_empty()).cloned().unwrap_or_default();
    Some(Box::new(move |out| {
        let Some(out) = out.encoder_mut(column) else { return };
        out.items =
            items.iter().zip(0..).map(|(tokens, hash)| MediaItem { kind: MediaKind::Image, hash, tokens: *tokens }).collect();
        out.matched_tokens = found.iter().map(|one| one.matched_tokens).collect();
    }))
}
