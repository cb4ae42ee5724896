//! One worker in real time: an engine, what it counts, and the task that turns its clock.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use weir_engine::{AdapterId, Engine, Event, KvChange, Micros, Refused, Request, Stats};

use crate::{
    answer::Finish,
    config::SimConfig,
    metrics::{Gauges, LoraGauge, Metrics, Padding, page},
};

mod adapters;
mod ticket;

pub(crate) use self::{
    adapters::Adapters,
    ticket::{Progress, Ticket},
};

/// Ids that `/detokenize` can turn back into text.
const VOCABULARY_LIMIT: usize = 1 << 16;

/// See the module's first line. Shared by the connections and the driver.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) config: SimConfig,
    pub(crate) port: u16,
    pub(crate) created_unix: u64,
    started: Instant,
    state: Mutex<State>,
    /// The driver has to look again.
    wake: Notify,
    /// The last ticket was dropped.
    idle: Notify,
    /// Something happened to the cache.
    kv_changed: Notify,
    open: AtomicUsize,
    stopping: AtomicBool,
    requests: AtomicU64,
    padding: Padding,
    vocabulary: Mutex<HashMap<u32, Box<str>>>,
}

#[derive(Debug)]
struct State {
    engine: Engine,
    /// By request index.
    streams: Vec<Option<Stream>>,
    metrics: Metrics,
    adapters: Adapters,
    /// When the driver will wake by itself.
    armed: Option<Micros>,
}

#[derive(Debug)]
struct Stream {
    progress: Arc<Progress>,
    prompt_tokens: u32,
    finish: Finish,
    max_tokens: Option<u32>,
}

impl Worker {
    pub(crate) fn new(config: SimConfig, port: u16) -> Self {
        let mut engine = Engine::new(config.engine(), config.seed);
        if config.kv_events.is_some() {
            engine.record_kv_changes();
        }
        let state = State {
            engine,
            streams: Vec::new(),
            metrics: Metrics::new(config.max_model_len),
            adapters: Adapters::new(&config.lora_modules),
            armed: None,
        };
        let mut worker = Self {
            port,
            created_unix: unix_now().as_secs(),
            started: Instant::now(),
            state: Mutex::new(state),
            wake: Notify::new(),
            idle: Notify::new(),
            kv_changed: Notify::new(),
            open: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            padding: Padding::default(),
            vocabulary: Mutex::new(HashMap::new()),
            config,
        };
        if worker.config.metrics_padding_bytes > 0 {
            let own = worker.metrics_page().len();
            worker.padding = Padding::new(worker.config.metrics_padding_bytes.saturating_sub(own));
        }
        worker
    }

    /// Turns the clock until cancelled. One timer, and only while something is due.
    pub(crate) async fn drive(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state.lock();
                state.advance(self.now());
                state.armed = state.engine.next_event_at();
                state.armed
            };
            self.kv_changed.notify_one();
            match next {
                None => self.wake.notified().await,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(self.started + Duration::from_micros(at)) => {}
                    () = self.wake.notified() => {}
                },
            }
        }
    }

    fn now(&self) -> Micros {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Hands a sequence to the engine.
    pub(crate) fn submit(self: &Arc<Self>, request: Request, finish: Finish, max_tokens: Option<u32>) -> Result<Ticket, Refused> {
        let prompt_tokens = request.prompt_tokens;
        let mut state = self.state.lock();
        let now = self.now();
        state.advance(now);
        let id = state.engine.submit(now, request)?;
        let progress = Arc::new(Progress::default());
        if state.streams.len() <= id.index() {
            state.streams.resize_with(id.index() + 1, || None);
        }
        state.streams[id.index()] = Some(Stream { progress: Arc::clone(&progress), prompt_tokens, finish, max_tokens });
        state.advance(now);
        self.rearm(&state);
        drop(state);
        self.kv_changed.notify_one();
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(Ticket::new(Arc::clone(self), id, progress))
    }

    /// Waits until something happened to the cache, and takes it; never empty.
    pub(crate) async fn kv_changes(&self) -> Vec<KvChange> {
        loop {
            let changes = self.state.lock().engine.take_kv_changes();
            if !changes.is_empty() {
                return changes;
            }
            self.kv_changed.notified().await;
        }
    }

    /// Counts a request body of so many choices, and numbers it.
    pub(crate) fn count_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn count_choices(&self, choices: u32) {
        self.state.lock().metrics.request(choices);
    }

    fn close(&self, id: weir_engine::RequestId, finished: bool) {
        if !finished {
            let mut state = self.state.lock();
            let now = self.now();
            state.advance(now);
            if state.engine.cancel(now, id) {
                state.streams[id.index()] = None;
                state.metrics.aborted();
                state.advance(now);
                self.rearm(&state);
            }
        }
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }

    /// Wakes the driver if something is due before it would wake by itself.
    fn rearm(&self, state: &State) {
        if let Some(next) = state.engine.next_event_at()
            && state.armed.is_none_or(|armed| next < armed)
        {
            self.wake.notify_one();
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut state = self.state.lock();
        state.advance(self.now());
        state.engine.stats()
    }

    /// Reads or changes the adapters.
    pub(crate) fn adapters<T>(&self, with: impl FnOnce(&mut Adapters) -> T) -> T {
        with(&mut self.state.lock().adapters)
    }

    /// Forgets an adapter's cache as well.
    pub(crate) fn unload_adapter(&self, name: &str) -> bool {
        let mut state = self.state.lock();
        let Some(id) = state.adapters.unload(name) else { return false };
        state.engine.unload_adapter(id);
        self.kv_changed.notify_one();
        true
    }

    pub(crate) fn reset_prefix_cache(&self) {
        self.state.lock().engine.reset_prefix_cache();
        self.kv_changed.notify_one();
    }

    pub(crate) fn metrics_page(&self) -> String {
        let (metrics, stats, lora) = {
            let mut state = self.state.lock();
            state.advance(self.now());
            let lora = state.adapters.any().then(|| {
                let (running, waiting) = state.engine.adapters();
                let names = |ids: Vec<AdapterId>| ids.into_iter().filter_map(|id| state.adapters.name(id)).collect();
                LoraGauge { max: self.config.max_loras, running: names(running), waiting: names(waiting) }
            });
            (state.metrics.clone(), state.engine.stats(), lora)
        };
        let gauges = Gauges {
            stats,
            model: self.config.display_name(),
            engine: self.config.engine_index,
            block_size: self.config.block_size,
            kv_blocks: self.config.kv_blocks,
            prefix_caching: self.config.enable_kv_cache && self.config.prefix_caching,
            lora,
            unix_seconds: unix_now().as_secs_f64(),
        };
        page(&metrics, &gauges, &self.padding)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.started.elapsed() >= self.config.startup && !self.is_stopping()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Takes no more work; completes when the last ticket is gone.
    pub(crate) async fn drain(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Remembers how tokens read, as far as there is room.
    pub(crate) fn learn<'a>(&self, pieces: impl Iterator<Item = (u32, &'a str)>) {
        let mut vocabulary = self.vocabulary.lock();
        for (id, piece) in pieces {
            if piece.len() <= 64 && (vocabulary.len() < VOCABULARY_LIMIT || vocabulary.contains_key(&id)) {
                vocabulary.entry(id).or_insert_with(|| piece.into());
            }
        }
    }

    /// The text of tokens; those never seen read as U+FFFD.
    pub(crate) fn recall(&self, ids: &[u32]) -> String {
        let vocabulary = self.vocabulary.lock();
        ids.iter().map(|id| vocabulary.get(id).map_or("\u{fffd}", |piece| piece)).collect()
    }
}

impl State {
    fn advance(&mut self, now: Micros) {
        let Self { engine, streams, metrics, .. } = self;
        engine.advance(now, |event| match event {
            Event::Started { id, cached_tokens, .. } => {
                if let Some(stream) = &streams[id.index()] {
                    metrics.started(stream.prompt_tokens);
                    stream.progress.started(cached_tokens);
                }
            }
            Event::Token { id, index, gap, .. } => {
                metrics.token(index, gap);
                if let Some(stream) = &streams[id.index()] {
                    stream.progress.produced(index + 1);
                }
            }
            Event::Finished { id, timings, .. } => {
                if let Some(stream) = streams[id.index()].take() {
                    metrics.finished(&timings, stream.finish, stream.max_tokens);
                    stream.progress.finish();
                }
            }
            _ => {}
        });
    }
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
