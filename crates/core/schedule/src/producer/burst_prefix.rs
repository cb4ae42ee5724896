//! `burst-prefix-cache-producer`: requests of one burst with the same beginning go to one replica, before any of them is cached.

#[cfg(test)]
mod tests;

use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_api::Diagnostic;
use weir_plan::{
    Attributes, Column, DataKey, DataSet, Draft, ExtensionPoint, Need, Parts, PluginContext, PluginType, Producer, PromptStream,
    RequestView,
};
use weir_pool::{Endpoint, Time};
use weir_prefix::{BlockHasher, chain_seed};

use super::Hashing;
use crate::declare::alpha;

pub(crate) fn plugin() -> PluginType {
    alpha::<Params>(
        "burst-prefix-cache-producer",
        &[ExtensionPoint::DataProducer],
        "Places the requests of a burst so that equal prompts, and prompts with the same beginning, meet on one replica.",
        draft,
    )
}

/// What belongs together and how much of it one replica takes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Milliseconds that a burst lasts from its first request, 1 to 10000.
    window_duration_ms: u64,
    /// Most requests with one prompt on one replica; -1: all of them.
    max_per_replica: i64,
    /// Tokens in a block.
    block_size_tokens: u32,
    /// Most tokens of a prompt that are looked at; 0: 2048 blocks.
    max_prefix_tokens_to_match: u64,
    /// Leading blocks that different prompts must share to be placed together; 0: only equal prompts are.
    min_colocate_blocks: u32,
    /// Requests of a burst that are placed; those beyond it are routed unaided. -1: no limit but that of memory.
    max_batch_size: i64,
    /// What is shared out evenly.
    balance_by: BalanceBy,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            window_duration_ms: 100,
            max_per_replica: -1,
            block_size_tokens: 64,
            max_prefix_tokens_to_match: 0,
            min_colocate_blocks: 0,
            max_batch_size: 1_000,
            balance_by: BalanceBy::Requests,
        }
    }
}

/// What is shared out evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum BalanceBy {
    /// Requests.
    Requests,
    /// Tokens to compute: what requests on a replica share counts once there.
    Tokens,
}

const DEFAULT_BLOCKS: u64 = 2_048;
/// Block hashes that one burst may keep, in all: 16 MiB.
const MAX_HASHES: usize = 2 << 20;

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if !(1..=10_000).contains(&params.window_duration_ms) {
        return Err(context.error_at("windowDurationMs", format!("must be in 1..=10000, is {}", params.window_duration_ms)));
    }
    for (field, value) in [("maxPerReplica", params.max_per_replica), ("maxBatchSize", params.max_batch_size)] {
        if value != -1 && value < 1 {
            return Err(context.error_at(field, format!("must be -1 or at least 1, is {value}")));
        }
    }
    if params.block_size_tokens == 0 {
        return Err(context.error_at("blockSizeTokens", "must be above 0"));
    }
    let need = Need::required(DataKey::TokenizedPrompt, None);
    let tokens_from = need.producer.clone();
    let missing = context.error(format!("`{tokens_from}` produces no tokens"));
    Ok(Draft::wired(vec![need], vec![DataKey::PrefixCacheMatchInfo], move |wiring| {
        let (Some(prompt), Some(column)) = (wiring.prompt_stream(&tokens_from), wiring.own_prefix_column()) else {
            return Err(missing);
        };
        let plugin = Arc::new(Burst { params, prompt, column, window: Mutex::default() });
        Ok(Parts { producer: Some(plugin), prefix_column: Some(column), ..Parts::default() })
    }))
}

/// llm-d holds all requests of a window back and places them when it ends. Here a request is placed when it comes, next to those of its
/// window that came before: nobody waits.
struct Burst {
    params: Params,
    prompt: Arc<dyn PromptStream>,
    column: Column,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    began: Option<Time>,
    placed: Vec<Placed>,
    hashes: usize,
    /// By replica.
    loads: HashMap<u32, u64>,
}

/// A request of the window.
struct Placed {
    hashes: Box<[u64]>,
    replica: u32,
}

impl Placed {
    /// Leading blocks that it shares. Hashes are chained, so an equal hash means that all before it are equal too.
    fn shared(&self, hashes: &[u64]) -> usize {
        let most = self.hashes.len().min(hashes.len());
        let (mut same, mut different) = (0, most + 1);
        while different - same > 1 {
            let middle = usize::midpoint(same, different);
            if self.hashes[middle - 1] == hashes[middle - 1] {
                same = middle;
            } else {
                different = middle;
            }
        }
        same
    }
}

impl Window {
    fn load(&self, endpoint: &Endpoint) -> u64 {
        self.loads.get(&endpoint.serial()).copied().unwrap_or(0)
    }

    /// The least loaded endpoint; ties by running requests, then by name.
    fn least<'e>(&self, endpoints: &'e [Arc<Endpoint>]) -> Option<&'e Arc<Endpoint>> {
        endpoints.iter().min_by(|a, b| {
            let key = |one: &Arc<Endpoint>| (self.load(one), one.engine.running());
            key(a).cmp(&key(b)).then_with(|| a.id().cmp(b.id()))
        })
    }
}

impl Burst {
    /// Serial number of the endpoint that gets the request; `None` if the burst is too large.
    fn place(&self, now: Time, hashes: &[u64], tokens: u64, endpoints: &[Arc<Endpoint>]) -> Option<u32> {
        let Params { window_duration_ms, max_per_replica, min_colocate_blocks, max_batch_size, balance_by, .. } = self.params;
        let window = &mut *self.window.lock();
        if window.began.is_none_or(|began| now.since(began) >= Duration::from_millis(window_duration_ms)) {
            *window = Window { began: Some(now), ..Window::default() };
        }
        let full = usize::try_from(max_batch_size).is_ok_and(|most| window.placed.len() >= most);
        if full || window.hashes + hashes.len() > MAX_HASHES {
            return None;
        }
        // By replica: requests with this very prompt, and the longest beginning that one of its requests shares.
        let (mut equal, mut shared): (HashMap<u32, i64>, HashMap<u32, usize>) = Default::default();
        for placed in &window.placed {
            let common = placed.shared(hashes);
            let best = shared.entry(placed.replica).or_default();
            *best = (*best).max(common);
            if common == hashes.len() && placed.hashes.len() == hashes.len() {
                *equal.entry(placed.replica).or_default() += 1;
            }
        }
        let cost = |replica: u32| match balance_by {
            BalanceBy::Requests => 1,
            BalanceBy::Tokens => {
                let held = shared.get(&replica).copied().unwrap_or(0) as u64 * u64::from(self.params.block_size_tokens);
                tokens.saturating_sub(held)
            }
        };
        let has_room = |replica: u32| max_per_replica < 0 || equal.get(&replica).is_none_or(|count| *count < max_per_replica);
        let total: u64 = window.loads.values().sum::<u64>() + cost(u32::MAX);
        let fair = total.div_ceil(endpoints.len().max(1) as u64);
        let joins = |endpoint: &&Arc<Endpoint>| {
            let replica = endpoint.serial();
            let colocated = min_colocate_blocks > 0
                && shared.get(&replica).is_some_and(|blocks| *blocks >= min_colocate_blocks as usize)
                && window.load(endpoint) < fair;
            (equal.contains_key(&replica) || colocated) && has_room(replica)
        };
        let rank = |endpoint: &&Arc<Endpoint>| {
            let replica = endpoint.serial();
            (equal.contains_key(&replica), shared.get(&replica).copied().unwrap_or(0), std::cmp::Reverse(window.load(endpoint)))
        };
        let home = endpoints.iter().filter(joins).max_by_key(rank);
        let replica = home.or_else(|| window.least(endpoints))?.serial();
        *window.loads.entry(replica).or_default() += cost(replica);
        window.hashes += hashes.len();
        window.placed.push(Placed { hashes: hashes.into(), replica });
        Some(replica)
    }

    fn max_blocks(&self) -> usize {
        let blocks = match self.params.max_prefix_tokens_to_match {
            0 => DEFAULT_BLOCKS,
            tokens => tokens / u64::from(self.params.block_size_tokens),
        };
        usize::try_from(blocks).unwrap_or(usize::MAX)
    }
}

thread_local! {
    static HASHER: RefCell<BlockHasher> = RefCell::default();
}

impl Producer for Burst {
    fn reads(&self) -> DataSet {
        DataSet::PROMPT
    }

    fn produce(&self, request: &RequestView<'_>, endpoints: &[Arc<Endpoint>], out: &mut Attributes) {
        HASHER.with_borrow_mut(|hasher| {
            hasher.start(self.params.block_size_tokens, self.max_blocks());
            if !self.prompt.stream(request, &mut Hashing(hasher)) {
                return;
            }
            hasher.finish();
            let tokens = hasher.tokens();
            let Some(found) = out.prefix_mut(self.column) else { return };
            let salt = request.scanned.and_then(|scanned| scanned.cache_salt(request.body)).unwrap_or_default();
            hasher.chain(chain_seed(request.model, &salt), &mut found.hashes);
            if found.hashes.is_empty() {
                return;
            }
            let Some(replica) = self.place(request.now, &found.hashes, tokens, endpoints) else { return };
            found.total_blocks = u32::try_from(found.hashes.len()).unwrap_or(u32::MAX);
            found.block_size_tokens = self.params.block_size_tokens;
            let all = found.total_blocks;
            found.matched_blocks.extend(endpoints.iter().map(|one| if one.serial() == replica { all } else { 0 }));
        });
    }

    fn memory(&self) -> Option<(usize, usize)> {
        Some((self.window.lock().hashes * size_of::<u64>(), MAX_HASHES * size_of::<u64>()))
    }
}
