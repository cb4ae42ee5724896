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
    page::{PageOptions, PageSession},
    visit::{Outcome, Session},
};

/// Most endpoints that are asked at one moment; others wait for the next tick.
const MAX_IN_FLIGHT: usize = 1024;
/// Ticks per scrape interval: endpoints are spread over them.
const TICKS_PER_INTERVAL: u32 = 5;
const MIN_TICK: Duration = Duration::from_millis(2);
const MAX_TICK: Duration = Duration::from_millis(50);

/// What is visited: an endpoint itself, or a page about it.
enum Visitor {
    Endpoint(Box<Session>),
    Page(Box<PageSession>),
}

impl Visitor {
    async fn visit(&mut self, shared: &Shared) -> Outcome {
        match self {
            Self::Endpoint(session) => session.visit(&shared.clock, &shared.buffers).await,
            Self::Page(session) => session.visit(&shared.clock, &shared.buffers).await,
        }
    }
}

struct Target {
    number: u64,
    endpoint: Arc<Endpoint>,
    /// The page, if it is not the endpoint itself.
    page: Option<Arc<PageOptions>>,
    options: Arc<ScrapeOptions>,
    counters: Arc<Counters>,
    cadence: Cadence,
    /// Gone while it is being asked.
    session: Option<Visitor>,
    asked: bool,
}

struct Done {
    /// Where its target was when the visit began.
    index: usize,
    number: u64,
    session: Visitor,
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
            match (&mut session, &target.page) {
                (Visitor::Endpoint(session), _) => session.adopt(&target.options),
                (Visitor::Page(session), Some(page)) => session.adopt(page, &target.options),
                (Visitor::Page(_), None) => {}
            }
            target.cadence.started(load, now);
            let (number, shared) = (target.number, Arc::clone(&self.shared));
            self.visits.push(Box::pin(async move {
                let outcome = session.visit(&shared).await;
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
        let key = |target: Target| ((Arc::as_ptr(&target.endpoint), target.page.as_ref().map(Arc::as_ptr)), target);
        let mut known: HashMap<(*const Endpoint, Option<*const PageOptions>), Target> = self.targets.drain(..).map(key).collect();
        self.generations.clear();
        for entry in self.pools.iter() {
            let snapshot = entry.pool.snapshot();
            self.generations.push(snapshot.generation);
            for endpoint in &snapshot.endpoints {
                let own = (None, &entry.options, &entry.counters);
                let pages = entry.pages.iter().map(|one| (Some(&one.page), &one.options, &one.counters));
                for (page, options, counters) in std::iter::once(own).chain(pages) {
                    let found = known.remove(&(Arc::as_ptr(endpoint), page.map(Arc::as_ptr)));
                    let number = found.as_ref().map_or(self.numbers + 1, |target| target.number);
                    self.numbers = self.numbers.max(number);
                    self.targets.push(match found {
                        Some(target) => Target { options: Arc::clone(options), counters: Arc::clone(counters), ..target },
                        None => Target {
                            number,
                            endpoint: Arc::clone(endpoint),
                            page: page.cloned(),
                            options: Arc::clone(options),
                            counters: Arc::clone(counters),
                            cadence: Cadence::new(number),
                            session: Some(visitor(endpoint, page, options)),
                            asked: false,
                        },
                    });
                }
            }
        }
        self.unasked = self.targets.iter().filter(|target| !target.asked).count();
        self.announce();
    }
}

fn visitor(endpoint: &Arc<Endpoint>, page: Option<&Arc<PageOptions>>, options: &Arc<ScrapeOptions>) -> Visitor {
    let (endpoint, options) = (Arc::clone(endpoint), Arc::clone(options));
    match page {
        None => Visitor::Endpoint(Box::new(Session::new(endpoint, options))),
        Some(page) => Visitor::Page(Box::new(PageSession::new(endpoint, Arc::clone(page), options))),
    }
}
