//! One set of numbers for each combination of model, target model, fairness id and priority.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::{Mutex, RwLock};
use weir_pool::{Endpoint, Time};

use super::{Histogram, MOST_NAMES, MOST_SERIES, OTHER, PinnedNames, histogram::bounds};

/// What tells series apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Labels<'a> {
    pub(crate) model: &'a str,
    pub(crate) target: &'a str,
    pub(crate) fairness_id: &'a str,
    pub(crate) priority: i32,
}

/// The numbers of one combination.
#[derive(Debug)]
pub(crate) struct Series {
    model: Box<str>,
    target: Box<str>,
    fairness_id: Box<str>,
    priority: i32,
    pub(crate) total: AtomicU64,
    pub(crate) running: AtomicI64,
    errors: Mutex<Vec<(&'static str, u64)>>,
    pub(crate) duration: Histogram,
    pub(crate) request_bytes: Histogram,
    pub(crate) response_bytes: Histogram,
    pub(crate) input_tokens: Histogram,
    pub(crate) cached_tokens: Histogram,
    pub(crate) output_tokens: Histogram,
    /// Whole answers, streamed ones.
    pub(crate) ttft: [Histogram; 2],
    pub(crate) ntpot: Histogram,
    pub(crate) tpot: Histogram,
    pub(crate) itl: Histogram,
}

impl Series {
    fn new(labels: Labels<'_>) -> Self {
        Self {
            model: labels.model.into(),
            target: labels.target.into(),
            fairness_id: labels.fairness_id.into(),
            priority: labels.priority,
            total: AtomicU64::new(0),
            running: AtomicI64::new(0),
            errors: Mutex::default(),
            duration: Histogram::new(bounds::REQUEST),
            request_bytes: Histogram::new(bounds::REQUEST_BYTES),
            response_bytes: Histogram::new(bounds::RESPONSE_BYTES),
            input_tokens: Histogram::new(bounds::INPUT_TOKENS),
            cached_tokens: Histogram::new(bounds::INPUT_TOKENS),
            output_tokens: Histogram::new(bounds::OUTPUT_TOKENS),
            ttft: [Histogram::new(bounds::TTFT), Histogram::new(bounds::TTFT)],
            ntpot: Histogram::new(bounds::NTPOT),
            tpot: Histogram::new(bounds::TPOT),
            itl: Histogram::new(bounds::ITL),
        }
    }

    pub(crate) fn labels(&self) -> Labels<'_> {
        Labels { model: &self.model, target: &self.target, fairness_id: &self.fairness_id, priority: self.priority }
    }

    /// A request failed.
    pub(crate) fn failed(&self, code: &'static str) {
        let mut errors = self.errors.lock();
        match errors.iter_mut().find(|(one, _)| *one == code) {
            Some((_, count)) => *count += 1,
            None => errors.push((code, 1)),
        }
    }

    /// Failures by code.
    pub(crate) fn errors(&self) -> Vec<(&'static str, u64)> {
        self.errors.lock().clone()
    }
}

/// All series. Looking one up hashes its labels and takes a lock that only new series take for themselves.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    /// No other table of this process has it.
    number: u64,
    hasher: RandomState,
    all: RwLock<HashMap<u64, Vec<Arc<Series>>>>,
    count: AtomicU64,
    /// Models and fairness ids that have names of their own.
    names: Mutex<[HashSet<Box<str>>; 2]>,
    pinned: Arc<PinnedNames>,
}

/// The series that a thread was given last.
#[derive(Debug)]
pub(crate) struct LastSeries {
    table: u64,
    series: Arc<Series>,
}

/// Tables made by this process.
static TABLES: AtomicU64 = AtomicU64::new(0);

impl SeriesTable {
    /// No series yet.
    pub(crate) fn new(pinned: Arc<PinnedNames>) -> Self {
        let number = TABLES.fetch_add(1, Relaxed);
        let (all, count, names) = (RwLock::default(), AtomicU64::new(0), Mutex::default());
        Self { number, hasher: RandomState::new(), all, count, names, pinned }
    }

    /// The same as [`get`](Self::get). `last` is what this thread was given last; mostly it is wanted again.
    pub(crate) fn get_again(&self, labels: Labels<'_>, last: &mut Option<LastSeries>) -> Arc<Series> {
        match last {
            Some(last) if last.table == self.number && last.series.labels() == labels => Arc::clone(&last.series),
            _ => {
                let series = self.get(labels);
                *last = Some(LastSeries { table: self.number, series: Arc::clone(&series) });
                series
            }
        }
    }

    /// The series of these labels, as far as they have names of their own.
    pub(crate) fn get(&self, labels: Labels<'_>) -> Arc<Series> {
        self.find(labels).unwrap_or_else(|| {
            let labels = self.admitted(labels);
            self.find(labels).unwrap_or_else(|| self.insert(labels))
        })
    }

    fn find(&self, labels: Labels<'_>) -> Option<Arc<Series>> {
        let all = self.all.read();
        all.get(&self.hasher.hash_one(labels))?.iter().find(|one| one.labels() == labels).cloned()
    }

    fn insert(&self, labels: Labels<'_>) -> Arc<Series> {
        let mut all = self.all.write();
        let full = self.count.load(Relaxed) >= MOST_SERIES as u64;
        let labels = if full { Labels { model: OTHER, target: OTHER, fairness_id: OTHER, priority: 0 } } else { labels };
        let bucket = all.entry(self.hasher.hash_one(labels)).or_default();
        if let Some(found) = bucket.iter().find(|one| one.labels() == labels) {
            return Arc::clone(found);
        }
        let series = Arc::new(Series::new(labels));
        self.count.fetch_add(1, Relaxed);
        bucket.push(Arc::clone(&series));
        series
    }

    /// The labels with `other` for names that came too late.
    fn admitted<'a>(&self, labels: Labels<'a>) -> Labels<'a> {
        let mut names = self.names.lock();
        let [models, ids] = &mut *names;
        let own = |known: &mut HashSet<Box<str>>, name: &'a str| {
            if known.contains(name) {
                return name;
            }
            if known.len() >= MOST_NAMES {
                return OTHER;
            }
            known.insert(name.into());
            name
        };
        let model =
            |known: &mut HashSet<Box<str>>, name: &'a str| if self.pinned.contains(name) { name } else { own(known, name) };
        Labels {
            model: model(models, labels.model),
            target: model(models, labels.target),
            fairness_id: own(ids, labels.fairness_id),
            priority: labels.priority,
        }
    }

    /// All of them, in the order of their labels.
    pub(crate) fn all(&self) -> Vec<Arc<Series>> {
        let mut all: Vec<Arc<Series>> = self.all.read().values().flatten().cloned().collect();
        all.sort_by(|one, other| one.labels().cmp(&other.labels()));
        all
    }
}

/// A request that runs: counted as running until it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) series: Arc<Series>,
    /// When it came.
    pub(crate) received: Time,
}

impl Running {
    /// A request of `bytes` bytes came.
    pub(crate) fn new(series: Arc<Series>, bytes: usize, received: Time) -> Self {
        series.total.fetch_add(1, Relaxed);
        series.running.fetch_add(1, Relaxed);
        series.request_bytes.observe(bytes as f64);
        Self { series, received }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.series.running.fetch_sub(1, Relaxed);
    }
}

/// Decisions by target model and endpoint. Those of endpoints that are gone are forgotten when they are read.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    hasher: RandomState,
    all: RwLock<HashMap<u64, Vec<Arc<Attempt>>>>,
    failures: Mutex<HashMap<Box<str>, u64>>,
}

/// Decisions that failed, by target model.
pub(crate) type Failures = Vec<(Box<str>, u64)>;

/// Decisions for one target model at one endpoint.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) target: Box<str>,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) count: AtomicU64,
}

impl Attempts {
    /// A request for `target` was given to `endpoint`.
    pub(crate) fn succeeded(&self, target: &str, endpoint: &Arc<Endpoint>) {
        let hash = self.hasher.hash_one((target, Arc::as_ptr(endpoint).addr()));
        let is = |one: &&Arc<Attempt>| *one.target == *target && Arc::ptr_eq(&one.endpoint, endpoint);
        if let Some(found) = self.all.read().get(&hash).and_then(|bucket| bucket.iter().find(is)) {
            found.count.fetch_add(1, Relaxed);
            return;
        }
        let mut all = self.all.write();
        let full = all.values().map(Vec::len).sum::<usize>() >= MOST_SERIES;
        let bucket = all.entry(hash).or_default();
        match bucket.iter().find(is) {
            Some(found) => {
                found.count.fetch_add(1, Relaxed);
            }
            None if full => {}
            None => {
                bucket.push(Arc::new(Attempt { target: target.into(), endpoint: Arc::clone(endpoint), count: AtomicU64::new(1) }))
            }
        }
    }

    /// A request for `target` was given to nobody.
    pub(crate) fn failed(&self, target: &str) {
        let mut failures = self.failures.lock();
        if let Some(count) = failures.get_mut(target) {
            *count += 1;
        } else {
            let name = if failures.len() < MOST_NAMES { target } else { OTHER };
            *failures.entry(name.into()).or_default() += 1;
        }
    }

    /// Decisions, in order, without those of endpoints that drain; and failures by target model.
    pub(crate) fn read(&self) -> (Vec<Arc<Attempt>>, Failures) {
        let mut all = self.all.write();
        for bucket in all.values_mut() {
            bucket.retain(|one| !one.endpoint.health.is_draining());
        }
        all.retain(|_, bucket| !bucket.is_empty());
        let mut attempts: Vec<Arc<Attempt>> = all.values().flatten().cloned().collect();
        drop(all);
        attempts.sort_by(|one, other| (&one.target, one.endpoint.id()).cmp(&(&other.target, other.endpoint.id())));
        let mut failures: Failures = self.failures.lock().iter().map(|(name, count)| (name.clone(), *count)).collect();
        failures.sort();
        (attempts, failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels<'a>(model: &'a str, fairness_id: &'a str) -> Labels<'a> {
        Labels { model, target: model, fairness_id, priority: 0 }
    }

    #[test]
    fn the_same_labels_are_the_same_series() {
        let table = SeriesTable::new(Arc::default());
        let first = table.get(labels("m", "f"));
        assert!(Arc::ptr_eq(&first, &table.get(labels("m", "f"))));
        assert!(!Arc::ptr_eq(&first, &table.get(Labels { priority: 1, ..labels("m", "f") })));
        {
            let _running = Running::new(Arc::clone(&first), 10, Time::ZERO);
            assert_eq!(first.running.load(Relaxed), 1);
        }
        assert_eq!((first.running.load(Relaxed), first.total.load(Relaxed)), (0, 1));
        first.failed("Internal");
        first.failed("Internal");
        assert_eq!(first.errors(), [("Internal", 2)]);
    }

    #[test]
    fn names_that_clients_choose_are_bounded() {
        let pinned = Arc::new(PinnedNames::default());
        let table = SeriesTable::new(Arc::clone(&pinned));
        for number in 0..3 * MOST_NAMES {
            table.get(labels("m", &format!("flow-{number}")));
            table.get(labels(&format!("model-{number}"), "f"));
        }
        let all = table.all();
        let distinct = |read: fn(&Series) -> &str| all.iter().map(|one| read(one)).collect::<HashSet<_>>().len();
        assert_eq!(distinct(|one| &one.fairness_id), MOST_NAMES + 1);
        assert_eq!(distinct(|one| &one.model), MOST_NAMES + 1);
        assert_eq!(&*table.get(labels("late", "f")).model, OTHER);
        pinned.set("pool", ["late"].into_iter());
        assert_eq!(&*table.get(labels("late", "f")).model, "late", "somebody configured it");
        for number in 0..2 * MOST_SERIES {
            table.get(Labels { priority: number as i32, ..labels("m", "f") });
        }
        assert!(table.all().len() <= MOST_SERIES + 1);
        assert!(
            table.all().iter().any(|one| one.labels() == Labels { model: OTHER, target: OTHER, fairness_id: OTHER, priority: 0 })
        );
    }
}
