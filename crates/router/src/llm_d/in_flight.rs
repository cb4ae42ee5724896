//! Requests and tokens in flight, by endpoint, fairness id and priority.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use weir_pool::Endpoint;

use super::Series;

/// What is in flight now. An entry that comes to nothing is removed, so that nothing remains of clients that left.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight {
    all: Arc<Mutex<HashMap<Key, Entry>>>,
}

/// Addresses of an endpoint and of a series, which the entry keeps alive; and the producer's name.
type Key = (usize, usize, Arc<str>);

#[derive(Debug)]
struct Entry {
    endpoint: Arc<Endpoint>,
    series: Arc<Series>,
    requests: u64,
    tokens: u64,
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
    all: InFlight,
    key: Key,
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
        let mut all = self.all.lock();
        let new = || Entry { endpoint: Arc::clone(endpoint), series: Arc::clone(series), requests: 0, tokens: 0 };
        let entry = all.entry(key.clone()).or_insert_with(new);
        entry.requests += 1;
        entry.tokens += prompt_tokens + output_tokens;
        drop(all);
        InFlightEntry { all: self.clone(), key, prompt_tokens, output_tokens }
    }

    /// Requests and tokens, in the order of their labels.
    pub(crate) fn read(&self) -> BTreeMap<InFlightLabels, (u64, u64)> {
        let mut sums: BTreeMap<InFlightLabels, (u64, u64)> = BTreeMap::new();
        for ((_, _, producer), entry) in self.all.lock().iter() {
            let (spec, labels) = (entry.endpoint.spec(), entry.series.labels());
            let labels = InFlightLabels {
                namespace: spec.namespace.clone(),
                endpoint: spec.name.clone(),
                producer: Arc::clone(producer),
                fairness_id: labels.fairness_id.to_owned(),
                priority: labels.priority,
            };
            let sum = sums.entry(labels).or_default();
            sum.0 += entry.requests;
            sum.1 += entry.tokens;
        }
        sums
    }
}

impl InFlightEntry {
    /// The prompt was computed: its tokens are no longer in flight.
    pub(crate) fn prompt_done(&mut self) {
        let tokens = std::mem::take(&mut self.prompt_tokens);
        if let Some(entry) = self.all.all.lock().get_mut(&self.key) {
            entry.tokens -= tokens;
        }
    }
}

impl Drop for InFlightEntry {
    fn drop(&mut self) {
        let mut all = self.all.all.lock();
        if let Some(entry) = all.get_mut(&self.key) {
            entry.requests -= 1;
            entry.tokens -= self.prompt_tokens + self.output_tokens;
            if entry.requests == 0 {
                all.remove(&self.key);
            }
        }
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
        let series = SeriesTable::default().get(Labels { model: "m", target: "m", fairness_id: "f", priority: 0 });
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
