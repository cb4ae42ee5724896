//! Requests and tokens in flight, by endpoint, fairness id and priority.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use weir_pool::Endpoint;

use super::Series;

/// What is in flight now. Entries that have come to nothing are removed when they are read, or when there are many, so that
/// nothing remains of clients that left.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight {
    all: Arc<Mutex<All>>,
}

#[derive(Debug, Default)]
struct All {
    entries: HashMap<Key, Arc<Entry>>,
    /// So many entries, and those of nothing are removed.
    full_at: usize,
}

/// Entries that may be there before those of nothing are looked for.
const FEW: usize = 1_024;

/// Addresses of an endpoint and of a series, which the entry keeps alive; and the producer's name.
type Key = (usize, usize, Arc<str>);

#[derive(Debug)]
struct Entry {
    endpoint: Arc<Endpoint>,
    series: Arc<Series>,
    requests: AtomicU64,
    tokens: AtomicU64,
}

/// What tells entries apart when they are read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InFlightLabels {
    pub(crate) namespace: String,
    pub(crate) endpoint: String,
    pub(crate) producer: Arc<str>,
    pub(crate) fairness_id: String,
    pub(crate) priority: i32,
}

/// One request's part; dropping it takes it out.
#[derive(Debug)]
pub(crate) struct InFlightEntry {
    entry: Arc<Entry>,
    prompt_tokens: u64,
    output_tokens: u64,
}

impl InFlight {
    /// Enters one request: `prompt_tokens` until its first byte, `output_tokens` until its end.
    pub(crate) fn enter(
        &self,
        endpoint: &Arc<Endpoint>,
        series: &Arc<Series>,
        producer: &Arc<str>,
        prompt_tokens: u64,
        output_tokens: u64,
    ) -> InFlightEntry {
        let key = (Arc::as_ptr(endpoint).addr(), Arc::as_ptr(series).addr(), Arc::clone(producer));
        let all = &mut *self.all.lock();
        if all.entries.len() >= all.full_at.max(FEW) {
            all.tidy();
            all.full_at = all.entries.len() * 2;
        }
        let entry = all.entries.entry(key).or_insert_with(|| {
            let (endpoint, series) = (Arc::clone(endpoint), Arc::clone(series));
            Arc::new(Entry { endpoint, series, requests: AtomicU64::new(0), tokens: AtomicU64::new(0) })
        });
        // Under the lock, so that an entry is not removed between its being found and its being used.
        entry.requests.fetch_add(1, Relaxed);
        entry.tokens.fetch_add(prompt_tokens + output_tokens, Relaxed);
        InFlightEntry { entry: Arc::clone(entry), prompt_tokens, output_tokens }
    }

    /// Requests and tokens, in the order of their labels.
    pub(crate) fn read(&self) -> BTreeMap<InFlightLabels, (u64, u64)> {
        let mut sums: BTreeMap<InFlightLabels, (u64, u64)> = BTreeMap::new();
        let mut all = self.all.lock();
        all.tidy();
        for ((_, _, producer), entry) in &all.entries {
            let (spec, labels) = (entry.endpoint.spec(), entry.series.labels());
            let labels = InFlightLabels {
                namespace: spec.namespace.clone(),
                endpoint: spec.name.clone(),
                producer: Arc::clone(producer),
                fairness_id: labels.fairness_id.to_owned(),
                priority: labels.priority,
            };
            let sum = sums.entry(labels).or_default();
            sum.0 += entry.requests.load(Relaxed);
            sum.1 += entry.tokens.load(Relaxed);
        }
        sums
    }
}

impl All {
    fn tidy(&mut self) {
        self.entries.retain(|_, entry| entry.requests.load(Relaxed) > 0);
    }
}

impl InFlightEntry {
    /// The prompt was computed: its tokens are no longer in flight.
    pub(crate) fn prompt_done(&mut self) {
        self.entry.tokens.fetch_sub(std::mem::take(&mut self.prompt_tokens), Relaxed);
    }
}

impl Drop for InFlightEntry {
    fn drop(&mut self) {
        self.entry.tokens.fetch_sub(self.prompt_tokens + self.output_tokens, Relaxed);
        self.entry.requests.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use weir_pool::{EndpointSpec, EndpointUrl};

    use super::*;
    use crate::llm_d::{Labels, SeriesTable};

    #[test]
    fn nothing_remains_of_what_has_ended() {
        let in_flight = InFlight::default();
        let endpoint = Arc::new(Endpoint::new(EndpointSpec::new("a", EndpointUrl::http("10.0.0.1", 1))));
        let series = SeriesTable::new(Arc::default()).get(Labels { model: "m", target: "m", fairness_id: "f", priority: 0 });
        let producer: Arc<str> = "p".into();
        let sum = || in_flight.read().into_values().collect::<Vec<_>>();
        let mut first = in_flight.enter(&endpoint, &series, &producer, 80, 20);
        let second = in_flight.enter(&endpoint, &series, &producer, 50, 0);
        assert_eq!(sum(), [(2, 150)]);
        first.prompt_done();
        assert_eq!(sum(), [(2, 70)]);
        drop(second);
        drop(first);
        assert_eq!(sum(), []);
    }
}
