//! `precise-prefix-cache-producer`: which endpoints hold the beginning of this prompt, as their engines say.

mod expected;
mod params;
mod scorer;
mod tokens;

use std::{cell::RefCell, collections::HashSet, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use weir_api::Diagnostic;
use weir_plan::{
    Attributes, Column, DataKey, DataSet, Draft, ExtensionPoint, KvEventSink, Need, Outgoing, Parts, Payload, PluginContext,
    PluginType, PreRequest, Producer, PromptStream, RequestView, Targets,
};
use weir_pool::{Endpoint, Time};
use weir_prefix::{ApproxIndex, Batch, ExtraKey, Extras, KeyHasher, KvIndex, KvIndexConfig, KvScratch, LookupScratch, Tiers};

use self::{
    expected::Expected,
    params::{Mode, Params},
    tokens::Tokens,
};
use crate::declare::beta;

pub(crate) fn plugins() -> [PluginType; 2] {
    [
        beta::<Params>(
            "precise-prefix-cache-producer",
            &[ExtensionPoint::DataProducer, ExtensionPoint::PreRequest, ExtensionPoint::Extractor],
            "Follows engines' KV-cache events, and tells how much of a prompt's beginning each endpoint holds.",
            draft,
        ),
        scorer::plugin(),
    ]
}

/// Prompts of one request that are looked at.
const MAX_PROMPTS: usize = 256;
/// Blocks of an endpoint's cache, where it does not say: what is remembered of what was sent there.
const DEFAULT_CAPACITY_BLOCKS: usize = 31_250;
/// Memory of what was sent to endpoints without events.
const APPROX_BYTES: usize = 128 << 20;
/// Memory of an endpoint's blocks that wait for their parent.
const ORPHAN_BYTES: usize = 1 << 20;
/// Between searches for endpoints that are gone.
const PURGE_EVERY: Duration = Duration::from_secs(120);

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    params.check(context, false)?;
    Ok(wired(context, params, false))
}

/// `scores`: it is its own scorer, too.
fn wired(context: &PluginContext<'_>, params: Params, scores: bool) -> Draft {
    let need = Need::required(DataKey::TokenizedPrompt, None);
    let tokens_from = need.producer.clone();
    let missing = context.error(format!("`{tokens_from}` produces no tokens"));
    let draft = Draft::wired(vec![need], vec![DataKey::PrefixCacheMatchInfo], move |wiring| {
        let (Some(prompt), Some(column)) = (wiring.prompt_stream(&tokens_from), wiring.own_prefix_column()) else {
            return Err(missing);
        };
        let plugin = Arc::new(PrecisePrefix::new(&params, prompt, column));
        let sink: Arc<dyn KvEventSink> = plugin.clone();
        Ok(Parts {
            producer: Some(plugin.clone()),
            pre_request: Some(plugin),
            prefix_column: Some(column),
            scorer: scores.then(|| scorer::score_by(column)),
            kv_events: Some(params.source(sink)),
            ..Parts::default()
        })
    });
    draft.taking(&[Payload::EndpointEvents])
}

pub(crate) struct PrecisePrefix {
    prompt: Arc<dyn PromptStream>,
    column: Column,
    mode: Mode,
    /// What engines say, and what is on its way to them.
    exact: KvIndex,
    /// What was sent to endpoints that say nothing.
    approx: ApproxIndex,
    /// Sets of tiers, best first, with what a block on one of them is worth.
    tiers: Vec<(Tiers, f64)>,
    /// Endpoints whose engines say what they hold.
    heard: RwLock<HashSet<u32>>,
    /// How long a decision counts as an event; `None`: it does not.
    speculative: Option<Duration>,
    expected: Mutex<Expected>,
}

#[derive(Default)]
struct Work {
    tokens: Tokens,
    exact: KvScratch,
    approx: LookupScratch,
    matched: Vec<u32>,
    before: Vec<u32>,
    weighted: Vec<f64>,
}

thread_local! {
    static WORK: RefCell<Work> = RefCell::default();
}

impl PrecisePrefix {
    fn new(params: &Params, prompt: Arc<dyn PromptStream>, column: Column) -> Self {
        let config = KvIndexConfig {
            hasher: params.hasher(),
            block_tokens: params.block_tokens(),
            limit_bytes: params.limit_bytes(),
            orphan_bytes: ORPHAN_BYTES,
        };
        Self {
            prompt,
            column,
            mode: params.mode,
            exact: KvIndex::new(config),
            approx: ApproxIndex::new(APPROX_BYTES),
            tiers: params.tiers(),
            heard: RwLock::default(),
            speculative: params.speculative(),
            expected: Mutex::default(),
        }
    }

    fn hasher(&self) -> &KeyHasher {
        self.exact.hasher()
    }

    /// Whether what is known of an endpoint is what its engine says. What was not tokenized exactly no engine knows.
    fn is_exact(&self, heard: &HashSet<u32>, endpoint: &Endpoint, exact_tokens: bool) -> bool {
        match self.mode {
            Mode::Precise => true,
            Mode::Auto => exact_tokens && heard.contains(&endpoint.serial()),
        }
    }

    /// Blocks that count as held by an endpoint, with their worth: `matched[i]` and `weighted[i]` for `endpoints[i]`.
    fn exact_matches(&self, keys: &[u64], endpoints: &[Arc<Endpoint>], work: &mut Work) {
        let holders = || endpoints.iter().map(|endpoint| endpoint.serial());
        let Work { exact, matched, before, weighted, .. } = work;
        let all = self.exact.longest(keys, holders(), Tiers::ALL, matched, exact);
        if !all {
            weighted.iter_mut().zip(matched.iter()).for_each(|(weight, blocks)| *weight = f64::from(*blocks));
            return;
        }
        // What the better tiers hold counts by them, what the others add by those.
        weighted.iter_mut().for_each(|weight| *weight = 0.0);
        before.iter_mut().for_each(|blocks| *blocks = 0);
        for (tiers, worth) in &self.tiers {
            self.exact.longest(keys, holders(), *tiers, matched, exact);
            for ((weight, blocks), before) in weighted.iter_mut().zip(matched.iter_mut()).zip(before.iter_mut()) {
                *blocks = (*blocks).max(*before);
                *weight += f64::from(*blocks - *before) * worth;
                *before = *blocks;
            }
        }
    }

    /// Forgets endpoints that are gone.
    fn purge(&self, expected: &mut Expected, endpoints: &[Arc<Endpoint>], now: Time) {
        if !expected.purge_due(now, PURGE_EVERY) {
            return;
        }
        let present: HashSet<u32> = endpoints.iter().map(|endpoint| endpoint.serial()).collect();
        self.approx.retain_holders(|holder| present.contains(&holder));
        self.exact.retain_holders(|holder| present.contains(&holder));
        self.heard.write().retain(|holder| present.contains(holder));
    }
}

impl Producer for PrecisePrefix {
    fn reads(&self) -> DataSet {
        DataSet::PROMPT | DataSet::CACHE_CONFIG
    }

    fn produce(&self, request: &RequestView<'_>, endpoints: &[Arc<Endpoint>], out: &mut Attributes) {
        WORK.with_borrow_mut(|work| {
            work.tokens.start();
            if !self.prompt.stream(request, &mut work.tokens) {
                return;
            }
            work.tokens.finish();
            out.prompt_tokens = Some(work.tokens.count());
            let Some(found) = out.prefix_mut(self.column) else { return };
            self.expected.lock().expire(request.now, |holder, keys| self.exact.unexpect(holder, keys));

            let block = self.exact.block_tokens();
            let salt = request.scanned.and_then(|scanned| scanned.cache_salt(request.body)).unwrap_or_default();
            let root = self.hasher().root(request.model);
            let mut ends = Vec::new();
            for prompt in work.tokens.prompts().take(MAX_PROMPTS) {
                let mut extras = Extras::default();
                prompt.media.iter().for_each(|one| extras.push_media(&one.id, one.offset, one.length, block));
                if !salt.is_empty() {
                    extras.push(0, ExtraKey::Salt(&salt));
                }
                self.hasher().chain(root, prompt.tokens, block, &extras, &mut found.hashes);
                ends.push(found.hashes.len());
            }
            found.total_blocks = u32::try_from(found.hashes.len()).unwrap_or(u32::MAX);
            found.block_size_tokens = block;
            let exact_tokens = work.tokens.is_exact();
            found.exact_tokens = exact_tokens;
            for column in [&mut found.matched_blocks, &mut found.cached_blocks] {
                column.resize(endpoints.len(), 0);
            }
            for list in [&mut work.matched, &mut work.before] {
                list.resize(endpoints.len(), 0);
            }
            work.weighted.resize(endpoints.len(), 0.0);
            let heard = self.heard.read();
            let mut worth = vec![0.0; endpoints.len()];
            let mut start = 0;
            for end in ends {
                let keys = &found.hashes[start..end];
                start = end;
                if keys.is_empty() {
                    continue;
                }
                self.exact_matches(keys, endpoints, work);
                for (at, sum) in worth.iter_mut().enumerate() {
                    *sum += work.weighted[at];
                    found.cached_blocks[at] += work.matched[at];
                }
                let unheard = |one: &Arc<Endpoint>| !self.is_exact(&heard, one, exact_tokens);
                if self.mode == Mode::Auto && endpoints.iter().any(unheard) {
                    let exact: Vec<(u32, f64)> = work.matched.iter().copied().zip(work.weighted.iter().copied()).collect();
                    let holders = endpoints.iter().map(|endpoint| endpoint.serial());
                    self.approx.longest(keys, holders, &mut work.matched, &mut work.approx);
                    for (at, _) in endpoints.iter().enumerate().filter(|(_, endpoint)| unheard(endpoint)) {
                        let (known, weighted) = exact[at];
                        if work.matched[at] > known {
                            found.cached_blocks[at] += work.matched[at] - known;
                            worth[at] += f64::from(work.matched[at]) - weighted;
                        }
                    }
                }
            }
            // A part of a block counts half up: one block on the host is not nothing.
            found.matched_blocks.iter_mut().zip(&worth).for_each(|(blocks, worth)| *blocks = worth.round() as u32);
        });
    }

    fn memory(&self) -> Option<(usize, usize)> {
        let (exact, approx) = (self.exact.stats(), self.approx.stats());
        Some((exact.used_bytes() + approx.used_bytes, exact.limit_bytes + approx.limit_bytes))
    }

    fn entries(&self) -> Option<usize> {
        Some(self.exact.stats().blocks + self.approx.len())
    }
}

impl PreRequest for PrecisePrefix {
    fn picked(&self, request: &RequestView<'_>, targets: &Targets<'_>, attributes: &Attributes, _: &mut Outgoing) {
        let Some(found) = attributes.prefix(self.column).filter(|found| found.total_blocks > 0) else { return };
        let mut expected = self.expected.lock();
        let heard = self.heard.read();
        for endpoint in targets.computing().filter_map(|index| targets.endpoints.get(index)) {
            if !self.is_exact(&heard, endpoint, found.exact_tokens) {
                let blocks = endpoint.engine.num_blocks() as usize;
                let capacity = if blocks > 0 { blocks } else { DEFAULT_CAPACITY_BLOCKS };
                self.approx.record(endpoint.serial(), &found.hashes, capacity);
            } else if let Some(time) = self.speculative {
                self.exact.expect(endpoint.serial(), &found.hashes);
                expected.push(request.now + time, endpoint.serial(), &found.hashes, |holder, keys| {
                    self.exact.unexpect(holder, keys);
                });
            }
        }
        drop(heard);
        self.purge(&mut expected, targets.endpoints, request.now);
    }
}

impl KvEventSink for PrecisePrefix {
    fn batch(&self, endpoint: u32, model: &str, payload: &[u8]) {
        let Ok(batch) = Batch::read(payload) else { return };
        // One event that cannot be read says nothing of the others.
        for event in batch.flatten() {
            self.exact.apply(endpoint, model, &event);
        }
        if !self.heard.read().contains(&endpoint) {
            self.heard.write().insert(endpoint);
            self.approx.remove_holder(endpoint);
        }
    }

    fn clear(&self, endpoint: u32) {
        self.exact.clear(endpoint);
    }

    fn gone(&self, endpoint: u32) {
        self.exact.remove_holder(endpoint);
        self.approx.remove_holder(endpoint);
        self.heard.write().remove(&endpoint);
    }

    fn following(&self, endpoint: u32, yes: bool) {
        // What an engine says while nobody listens is unknown; what it held is still the better guess.
        if !yes {
            self.heard.write().remove(&endpoint);
        }
    }
}

#[cfg(test)]
mod tests;
