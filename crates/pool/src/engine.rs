//! What a model server says of itself: the numbers of its metrics page.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use arc_swap::ArcSwap;

use crate::Time;

/// Adapters on one engine, from its newest `lora_requests_info` series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoraState {
    /// Adapters that run now.
    pub active: Vec<String>,
    /// Adapters that requests wait for.
    pub waiting: Vec<String>,
    /// How many may be active at once.
    pub max: u32,
}

/// One decoded metrics page; `None` where the page lacks the family.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    /// Requests in the engine's queue.
    pub waiting: Option<u32>,
    /// Requests in the engine's batch.
    pub running: Option<u32>,
    /// Used share of the KV cache, 0 to 1.
    pub kv_usage: Option<f64>,
    /// Tokens in one KV-cache block.
    pub block_size_tokens: Option<u32>,
    /// Blocks of the whole KV cache.
    pub num_blocks: Option<u32>,
    /// Adapters.
    pub lora: Option<LoraState>,
    /// Further numbers, in the order in which the configuration lists them.
    pub custom: Vec<Option<f64>>,
}

/// The newest known numbers of one engine. Written by the scraper, read by everybody.
#[derive(Debug)]
pub struct EngineState {
    waiting: AtomicU32,
    running: AtomicU32,
    kv_usage: AtomicU64,
    block_size_tokens: AtomicU32,
    num_blocks: AtomicU32,
    /// Microseconds plus one; 0 means never.
    scraped_at: AtomicU64,
    foreign: AtomicU32,
    foreign_last: AtomicU32,
    lora: ArcSwap<LoraState>,
}

impl Default for EngineState {
    fn default() -> Self {
        Self {
            waiting: AtomicU32::new(0),
            running: AtomicU32::new(0),
            kv_usage: AtomicU64::new(0),
            block_size_tokens: AtomicU32::new(0),
            num_blocks: AtomicU32::new(0),
            scraped_at: AtomicU64::new(0),
            foreign: AtomicU32::new(0),
            foreign_last: AtomicU32::new(0),
            lora: ArcSwap::from_pointee(LoraState::default()),
        }
    }
}

impl EngineState {
    /// Takes over what a scrape that was answered at `now` found. `own_requests` is the ledger's count at that moment: what the
    /// engine reports beyond it was sent by somebody else. Two scrapes must agree on that, so that requests on their way
    /// (counted on one side only) are not mistaken for foreign ones.
    pub fn record(&self, scrape: &Scrape, own_requests: u64, now: Time) {
        self.record_more(scrape);
        let reported = u64::from(scrape.waiting.unwrap_or(0)) + u64::from(scrape.running.unwrap_or(0));
        let surplus = u32::try_from(reported.saturating_sub(own_requests)).unwrap_or(u32::MAX);
        let last = self.foreign_last.swap(surplus, Relaxed);
        self.foreign.store(last.min(surplus), Relaxed);
        self.scraped_at.store(now.as_micros() + 1, Relaxed);
    }

    /// Takes over what another page says besides. The engine's numbers are as fresh or stale as before.
    pub fn record_more(&self, scrape: &Scrape) {
        if let Some(waiting) = scrape.waiting {
            self.waiting.store(waiting, Relaxed);
        }
        if let Some(running) = scrape.running {
            self.running.store(running, Relaxed);
        }
        if let Some(usage) = scrape.kv_usage.filter(|usage| usage.is_finite()) {
            self.kv_usage.store(usage.to_bits(), Relaxed);
        }
        if let Some(tokens) = scrape.block_size_tokens {
            self.block_size_tokens.store(tokens, Relaxed);
        }
        if let Some(blocks) = scrape.num_blocks {
            self.num_blocks.store(blocks, Relaxed);
        }
        if let Some(lora) = &scrape.lora
            && **self.lora.load() != *lora
        {
            self.lora.store(Arc::new(lora.clone()));
        }
    }

    /// Requests in the engine's queue.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Requests in the engine's batch.
    pub fn running(&self) -> u32 {
        self.running.load(Relaxed)
    }

    /// Used share of the KV cache, 0 to 1.
    pub fn kv_usage(&self) -> f64 {
        f64::from_bits(self.kv_usage.load(Relaxed))
    }

    /// Tokens in one KV-cache block; 0 if unknown.
    pub fn block_size_tokens(&self) -> u32 {
        self.block_size_tokens.load(Relaxed)
    }

    /// Blocks of the whole KV cache; 0 if unknown.
    pub fn num_blocks(&self) -> u32 {
        self.num_blocks.load(Relaxed)
    }

    /// Requests on the engine that did not come through this process.
    pub fn foreign_requests(&self) -> u32 {
        self.foreign.load(Relaxed)
    }

    /// When the numbers were fetched; `None` if never.
    pub fn scraped_at(&self) -> Option<Time> {
        self.scraped_at.load(Relaxed).checked_sub(1).map(Time::from_micros)
    }

    /// Adapters.
    pub fn lora(&self) -> Arc<LoraState> {
        self.lora.load_full()
    }

    /// Whether an adapter is active, waiting, and whether there is room for one more; no allocation.
    pub fn with_lora<R>(&self, read: impl FnOnce(&LoraState) -> R) -> R {
        read(&self.lora.load())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(running: u32) -> Scrape {
        Scrape { running: Some(running), waiting: Some(0), ..Scrape::default() }
    }

    #[test]
    fn a_surplus_counts_as_foreign_once_two_scrapes_agree() {
        let engine = EngineState::default();
        engine.record(&busy(5), 3, Time::from_millis(1));
        assert_eq!(engine.foreign_requests(), 0);
        engine.record(&busy(7), 3, Time::from_millis(2));
        assert_eq!(engine.foreign_requests(), 2);
        engine.record(&busy(3), 3, Time::from_millis(3));
        assert_eq!(engine.foreign_requests(), 0);
    }

    #[test]
    fn a_page_without_a_family_leaves_the_old_number() {
        let engine = EngineState::default();
        assert_eq!(engine.scraped_at(), None);
        engine.record(&Scrape { kv_usage: Some(0.5), ..busy(1) }, 1, Time::ZERO);
        engine.record(&Scrape { kv_usage: Some(f64::NAN), running: None, ..busy(1) }, 1, Time::from_millis(9));
        assert_eq!((engine.kv_usage(), engine.running()), (0.5, 1));
        assert_eq!(engine.scraped_at(), Some(Time::from_millis(9)));
    }
}
