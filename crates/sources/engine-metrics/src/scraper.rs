//! The task that asks all endpoints of all pools.

mod worker;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use weir_pool::Pool;

use self::worker::Worker;
use crate::{Clock, PageOptions, PageReader, ScrapeOptions, connection::Buffers};

/// Scrapes and probes every endpoint of its pools, in one task, and publishes what they say into the pools.
///
/// Readiness is published through [`weir_pool::Health`], numbers through [`weir_pool::EngineState`], models through
/// [`weir_pool::Endpoint::set_models`]. An endpoint without a metrics page is ready when `/v1/models` or `/health` answers 200.
#[derive(Clone)]
pub struct Scraper {
    shared: Arc<Shared>,
}

/// What the scrapes of one source of a pool came to since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrapeTotals {
    /// The pool's name.
    pub pool: String,
    /// Type of the source.
    pub source: &'static str,
    /// Types of those that read it.
    pub extractors: Vec<&'static str>,
    /// Visits, probes included.
    pub scrapes: u64,
    /// Visits to which no usable answer came.
    pub errors: u64,
    /// Pages without a family that the engine's mapping names, adapters aside.
    pub incomplete: u64,
    /// Bytes received.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Counters {
    scrapes: AtomicU64,
    errors: AtomicU64,
    incomplete: AtomicU64,
    bytes: AtomicU64,
}

struct Entry {
    pool: Arc<Pool>,
    options: Arc<ScrapeOptions>,
    counters: Arc<Counters>,
    pages: Vec<Page>,
}

/// A page besides the engine's own.
struct Page {
    page: Arc<PageOptions>,
    /// Those of the pool, at the page's pace.
    options: Arc<ScrapeOptions>,
    counters: Arc<Counters>,
}

struct Shared {
    clock: Clock,
    buffers: Buffers,
    pools: Mutex<Arc<Vec<Entry>>>,
    /// Grows with each [`Scraper::set_pools`].
    revision: AtomicU64,
    changed: Notify,
    /// The newest revision of which every endpoint was asked.
    asked: watch::Sender<u64>,
}

impl Scraper {
    /// A scraper without pools, which stamps what it publishes with `clock`.
    pub fn new(clock: Clock) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                buffers: Buffers::default(),
                pools: Mutex::new(Arc::default()),
                revision: AtomicU64::new(0),
                changed: Notify::new(),
                asked: watch::Sender::new(0),
            }),
        }
    }

    /// Replaces the pools. Endpoints that stay keep their connections.
    pub fn set_pools(&self, pools: Vec<(Arc<Pool>, ScrapeOptions)>) {
        let mut current = self.shared.pools.lock();
        let mut known: HashMap<(&str, &str), Arc<Counters>> = HashMap::new();
        for entry in current.iter() {
            known.insert((entry.pool.name(), METRICS), Arc::clone(&entry.counters));
            for one in &entry.pages {
                known.insert((entry.pool.name(), one.page.path.as_str()), Arc::clone(&one.counters));
            }
        }
        let entries: Vec<Entry> = pools
            .into_iter()
            .map(|(pool, options)| {
                let kept = |key: &str| kept(&known, pool.name(), key);
                let page = |page: &Arc<PageOptions>| {
                    let paced = ScrapeOptions { interval: page.interval, pages: Vec::new(), ..options.clone() };
                    Page { page: Arc::clone(page), options: Arc::new(paced), counters: kept(&page.path) }
                };
                let (pages, own) = (options.pages.iter().map(page).collect(), kept(METRICS));
                Entry { pool, options: Arc::new(options), counters: own, pages }
            })
            .collect();
        *current = Arc::new(entries);
        self.shared.revision.fetch_add(1, Relaxed);
        drop(current);
        self.shared.changed.notify_one();
    }

    /// Asks endpoints until cancelled. Run it once.
    pub async fn run(&self, cancel: CancellationToken) {
        Worker::new(Arc::clone(&self.shared)).run(cancel).await;
    }

    /// Waits until every endpoint that the pools have now was asked once, whatever it answered; at most two timeouts long, while
    /// [`Scraper::run`] runs.
    pub async fn wait_first_round(&self) {
        let revision = self.shared.revision.load(Relaxed);
        // The sender lives in `shared`, so the channel cannot close.
        let _ = self.shared.asked.subscribe().wait_for(|asked| *asked >= revision).await;
    }

    /// Totals of each source of each pool, in the order of the pools; engines' own pages first.
    pub fn totals(&self) -> Vec<ScrapeTotals> {
        let pools = Arc::clone(&self.shared.pools.lock());
        let total = |pool: &str, source, extractors, counters: &Counters| ScrapeTotals {
            pool: pool.to_owned(),
            source,
            extractors,
            scrapes: counters.scrapes.load(Relaxed),
            errors: counters.errors.load(Relaxed),
            incomplete: counters.incomplete.load(Relaxed),
            bytes: counters.bytes.load(Relaxed),
        };
        let mut totals = Vec::with_capacity(pools.len());
        for entry in pools.iter() {
            totals.push(total(entry.pool.name(), METRICS, vec![CORE], &entry.counters));
            for one in &entry.pages {
                let readers = one.page.readers.iter().map(|reader| match reader {
                    PageReader::Engines(_) => CORE,
                    PageReader::Numbers { extractor, .. } => *extractor,
                });
                totals.push(total(entry.pool.name(), one.page.source, readers.collect(), &one.counters));
            }
        }
        totals
    }
}

fn kept(known: &HashMap<(&str, &str), Arc<Counters>>, pool: &str, source: &str) -> Arc<Counters> {
    known.get(&(pool, source)).cloned().unwrap_or_default()
}

/// Types of the source of engines' own pages, and of whoever reads them.
const METRICS: &str = "metrics-data-source";
const CORE: &str = "core-metrics-extractor";

#[cfg(test)]
mod tests;
