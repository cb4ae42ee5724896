//! One tick drives all endpoints.

use std::{
    collections::HashMap,
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use weir_pool::Endpoint;

use super::{Counters, Entry, Shared};
use crate::{
    ScrapeOptions,
    cadence::{Cadence, Load},
    visit::{Outcome, Session},
};

/// Most endpoints that are asked at one moment; others wait for the next tick.
const MAX_IN_FLIGHT: usize = 1024;
/// Ticks per scrape interval: endpoints are spread over them.
const TICKS_PER_INTERVAL: u32 = 5;
const MIN_TICK: Duration = Duration::from_millis(2);
const MAX_TICK: Duration = Duration::from_millis(50);

struct Target {
    number: u64,
    endpoint: Arc<Endpoint>,
    options: Arc<ScrapeOptions>,
    counters: Arc<Counters>,
    cadence: Cadence,
    /// Gone while it is being asked.
    session: Option<Box<Session>>,
    asked: bool,
}

struct Done {
    /// Where its target was when the visit began.
    index: usize,
    number: u64,
    session: Box<Session>,
    outcome: Outcome,
}

type Visit = Pin<Box<dyn Future<Output = Done> + Send>>;

pub(super) struct Worker {
    shared: Arc<Shared>,
    pools: Arc<Vec<Entry>>,
    generations: Vec<u64>,
    revision: u64,
    targets: Vec<Target>,
    visits: FuturesUnordered<Visit>,
    numbers: u64,
    unasked: usize,
    /// Where the next tick begins to look, so that none is left out if there are too many.
    first: usize,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            pools: Arc::default(),
            generations: Vec::new(),
            revision: 0,
            targets: Vec::new(),
            visits: FuturesUnordered::new(),
            numbers: 0,
            unasked: 0,
            first: 0,
        }
    }

    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let shared = Arc::clone(&self.shared);
        let mut cancelled = pin!(cancel.cancelled());
        let mut tick = pin!(sleep(Duration::ZERO));
        let mut changed = pin!(shared.changed.notified());
        loop {
            tokio::select! {
                biased;
                () = &mut cancelled => return,
                Some(done) = self.visits.next() => self.finish(done),
                () = &mut tick => {
                    let wait = self.tick();
                    tick.as_mut().reset(Instant::now() + wait);
                }
                () = &mut changed => {
                    changed.set(shared.changed.notified());
                    tick.as_mut().reset(Instant::now());
                }
            }
        }
    }

    /// Starts what is due; how long until the next tick.
    fn tick(&mut self) -> Duration {
        self.refresh();
        let now = (self.shared.clock)();
        let mut wait = MAX_TICK;
        let count = self.targets.len();
        for offset in 0..count {
            let index = (self.first + offset) % count;
            let Some(target) = self.targets.get_mut(index) else { continue };
            let load = Load::of(&target.endpoint);
            let busy = target.cadence.busy(&target.options, load);
            if busy {
                wait = wait.min((target.options.interval / TICKS_PER_INTERVAL).max(MIN_TICK));
            }
            if target.session.is_none() || !target.cadence.due(busy, &target.options, now) {
                continue;
            }
            if self.visits.len() >= MAX_IN_FLIGHT {
                self.first = index;
                break;
            }
            let Some(mut session) = target.session.take() else { continue };
            session.adopt(&target.options);
            target.cadence.started(load, now);
            let (number, shared) = (target.number, Arc::clone(&self.shared));
            self.visits.push(Box::pin(async move {
                let outcome = session.visit(&shared.clock, &shared.buffers).await;
                Done { index, number, session, outcome }
            }));
        }
        wait
    }

    fn finish(&mut self, done: Done) {
        let Done { index, number, session, outcome } = done;
        let index = match self.targets.get(index) {
            Some(target) if target.number == number => Some(index),
            _ => self.targets.iter().position(|target| target.number == number),
        };
        // Without a target the endpoint was removed meanwhile.
        let Some(target) = index.and_then(|index| self.targets.get_mut(index)) else { return };
        target.session = Some(session);
        target.cadence.finished(outcome.answered, outcome.probing);
        target.counters.scrapes.fetch_add(1, Relaxed);
        target.counters.bytes.fetch_add(outcome.bytes, Relaxed);
        target.counters.incomplete.fetch_add(u64::from(outcome.incomplete), Relaxed);
        if !outcome.answered {
            target.counters.errors.fetch_add(1, Relaxed);
        }
        if !std::mem::replace(&mut target.asked, true) {
            self.unasked -= 1;
            self.announce();
        }
    }

    fn announce(&self) {
        if self.unasked == 0 {
            self.shared.asked.send_if_modified(|asked| std::mem::replace(asked, self.revision) != self.revision);
        }
    }

    /// Takes over changed pools and endpoints.
    fn refresh(&mut self) {
        let revision = self.shared.revision.load(Relaxed);
        let moved = |(entry, generation): (&Entry, &u64)| entry.pool.load().generation != *generation;
        if revision == self.revision && !self.pools.iter().zip(&self.generations).any(moved) {
            return;
        }
        {
            let pools = self.shared.pools.lock();
            self.pools = Arc::clone(&pools);
            self.revision = self.shared.revision.load(Relaxed);
        }
        let mut known: HashMap<*const Endpoint, Target> =
            self.targets.drain(..).map(|target| (Arc::as_ptr(&target.endpoint), target)).collect();
        self.generations.clear();
        for entry in self.pools.iter() {
            let snapshot = entry.pool.snapshot();
            self.generations.push(snapshot.generation);
            for endpoint in &snapshot.endpoints {
                let target = match known.remove(&Arc::as_ptr(endpoint)) {
                    Some(target) => {
                        Target { options: Arc::clone(&entry.options), counters: Arc::clone(&entry.counters), ..target }
                    }
                    None => {
                        self.numbers += 1;
                        Target {
                            number: self.numbers,
                            endpoint: Arc::clone(endpoint),
                            options: Arc::clone(&entry.options),
                            counters: Arc::clone(&entry.counters),
                            cadence: Cadence::new(self.numbers),
                            session: Some(Box::new(Session::new(Arc::clone(endpoint), Arc::clone(&entry.options)))),
                            asked: false,
                        }
                    }
                };
                self.targets.push(target);
            }
        }
        self.unasked = self.targets.iter().filter(|target| !target.asked).count();
        self.announce();
    }
}
