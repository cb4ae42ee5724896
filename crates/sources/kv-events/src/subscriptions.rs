//! Which streams are followed: those of the endpoints that there are.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use weir_plan::{KvEventSink, KvEventSource};
use weir_pool::{Endpoint, Pool};

use crate::{
    central::Central,
    counters::{Counters, StreamStats},
    follow::Stream,
    timing::{REPLAYS_AT_ONCE, Timing},
};

/// What the socket is called to which engines connect.
const CENTRAL: &str = "local-subscriber";

/// Follows the events of all endpoints of its pools, for every plugin that wants them.
#[derive(Clone)]
pub struct KvEvents {
    shared: Arc<Shared>,
}

struct Shared {
    timing: Timing,
    wanted: Mutex<Vec<Wanted>>,
    /// For statistics.
    streams: Mutex<HashMap<Key, Described>>,
}

/// A pool, and who wants its events.
#[derive(Clone)]
struct Wanted {
    pool: Arc<Pool>,
    source: KvEventSource,
}

/// Who wants what: the plugin, and the endpoint's serial number; `None`: where engines connect.
type Key = (usize, Option<u32>);

/// An endpoint and its rank.
type Ranked = (Arc<Endpoint>, u16);

struct Described {
    pool: String,
    endpoint: String,
    counters: Arc<Counters>,
}

struct Running {
    cancel: CancellationToken,
    task: JoinHandle<()>,
    address: String,
    sink: Arc<dyn KvEventSink>,
}

impl KvEvents {
    /// Follows nothing yet.
    pub fn new(timing: Timing) -> Self {
        Self { shared: Arc::new(Shared { timing, wanted: Mutex::default(), streams: Mutex::default() }) }
    }

    /// Replaces the pools and who wants their events. Streams that stay go on.
    pub fn set_pools(&self, pools: impl IntoIterator<Item = (Arc<Pool>, Vec<KvEventSource>)>) {
        let wanted = pools
            .into_iter()
            .flat_map(|(pool, sources)| sources.into_iter().map(move |source| Wanted { pool: Arc::clone(&pool), source }));
        *self.shared.wanted.lock() = wanted.collect();
    }

    /// What happened on each stream, by pool and endpoint.
    pub fn stats(&self) -> Vec<StreamStats> {
        let streams = self.shared.streams.lock();
        let mut all: Vec<StreamStats> = streams.values().map(|one| one.counters.stats(&one.pool, &one.endpoint)).collect();
        all.sort_by(|a, b| (&a.pool, &a.endpoint).cmp(&(&b.pool, &b.endpoint)));
        all
    }

    /// Follows until cancelled. Run it once.
    pub async fn run(&self, cancel: CancellationToken) {
        let replays = Arc::new(Semaphore::new(REPLAYS_AT_ONCE));
        let mut running: HashMap<Key, Running> = HashMap::new();
        let mut tick = tokio::time::interval(self.shared.timing.look);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                _ = tick.tick() => self.reconcile(&mut running, &replays).await,
            }
        }
        for one in running.into_values() {
            one.stop().await;
        }
    }

    /// Starts and ends streams as endpoints and plugins come and go.
    async fn reconcile(&self, running: &mut HashMap<Key, Running>, replays: &Arc<Semaphore>) {
        let wanted = self.shared.wanted.lock().clone();
        let mut due: HashMap<Key, (Wanted, Option<Ranked>)> = HashMap::new();
        for one in wanted {
            let plugin = Arc::as_ptr(&one.source.sink).cast::<()>() as usize;
            if !one.source.zmq_endpoint.is_empty() {
                due.insert((plugin, None), (one.clone(), None));
            }
            if !one.source.discover {
                continue;
            }
            for (endpoint, rank) in ranked(&one.pool.snapshot().endpoints) {
                due.insert((plugin, Some(endpoint.serial())), (one.clone(), Some((endpoint, rank))));
            }
        }
        let gone: Vec<Key> = running.keys().filter(|key| !due.contains_key(key)).copied().collect();
        for key in gone {
            self.shared.streams.lock().remove(&key);
            let Some(one) = running.remove(&key) else { continue };
            let sink = Arc::clone(&one.sink);
            one.stop().await;
            if let Some(serial) = key.1 {
                sink.gone(serial);
            }
        }
        for (key, (wanted, endpoint)) in due {
            let address = address(&wanted.source, endpoint.as_ref());
            if running.get(&key).is_some_and(|one| one.address == address && !one.task.is_finished()) {
                continue;
            }
            // A stream that moved is another stream.
            if let Some(before) = running.remove(&key) {
                before.stop().await;
            }
            running.insert(key, self.start(key, wanted, endpoint, address, replays));
        }
    }

    fn start(&self, key: Key, wanted: Wanted, endpoint: Option<Ranked>, address: String, replays: &Arc<Semaphore>) -> Running {
        let Wanted { pool, source } = wanted;
        let counters = Arc::new(Counters::default());
        let name = endpoint.as_ref().map_or(CENTRAL, |(endpoint, _)| endpoint.authority());
        let described = Described { pool: pool.name().to_owned(), endpoint: name.to_owned(), counters: Arc::clone(&counters) };
        self.shared.streams.lock().insert(key, described);
        let cancel = CancellationToken::new();
        let (sink, timing, token) = (Arc::clone(&source.sink), self.shared.timing, cancel.clone());
        let topic_filter = source.topic_filter.clone();
        let task = match endpoint {
            None => {
                let central = Central { pool, address: address.clone(), topic_filter, sink: source.sink, counters, timing };
                tokio::spawn(central.run(token))
            }
            Some((endpoint, rank)) => {
                let replay_address = source.replay_port.and_then(|port| port.checked_add(rank)).map(|port| tcp(&endpoint, port));
                let stream = Stream {
                    endpoint,
                    address: address.clone(),
                    replay_address,
                    topic_filter,
                    sink: source.sink,
                    counters,
                    replays: Arc::clone(replays),
                    timing,
                };
                tokio::spawn(stream.run(token))
            }
        };
        Running { cancel, task, address, sink }
    }
}

impl Running {
    async fn stop(self) {
        self.cancel.cancel();
        // A task that panicked has stopped, too.
        let _ = self.task.await;
    }
}

fn address(source: &KvEventSource, endpoint: Option<&Ranked>) -> String {
    match endpoint {
        None => source.zmq_endpoint.replace("://*:", "://0.0.0.0:"),
        Some((endpoint, rank)) => tcp(endpoint, source.socket_port.saturating_add(*rank)),
    }
}

fn tcp(endpoint: &Endpoint, port: u16) -> String {
    let authority = endpoint.authority();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    format!("tcp://{host}:{port}")
}

/// Each endpoint with its rank: its place among those of the same host, by port.
fn ranked(endpoints: &[Arc<Endpoint>]) -> Vec<Ranked> {
    let mut by_host: HashMap<String, Vec<&Arc<Endpoint>>> = HashMap::new();
    for endpoint in endpoints {
        by_host.entry(endpoint.spec().url.host.to_string()).or_default().push(endpoint);
    }
    let mut out = Vec::with_capacity(endpoints.len());
    for mut same in by_host.into_values() {
        same.sort_by_key(|endpoint| endpoint.spec().url.port);
        out.extend(same.into_iter().enumerate().map(|(rank, endpoint)| (Arc::clone(endpoint), rank as u16)));
    }
    out
}

#[cfg(test)]
mod tests {
    use weir_pool::{EndpointSpec, EndpointUrl};

    use super::*;

    #[test]
    fn ranks_follow_the_ports_of_a_host() {
        let pool = Pool::new("p");
        let spec = |host: &str, port| EndpointSpec::new(format!("{host}-{port}"), EndpointUrl::http(host, port));
        pool.reconcile(&[spec("10.0.0.1", 8_001), spec("10.0.0.2", 8_000), spec("10.0.0.1", 8_000)]);
        let mut ranks: Vec<(String, u16)> =
            ranked(&pool.snapshot().endpoints).into_iter().map(|(one, rank)| (tcp(&one, 5_557 + rank), rank)).collect();
        ranks.sort();
        assert_eq!(
            ranks,
            [("tcp://10.0.0.1:5557".to_owned(), 0), ("tcp://10.0.0.1:5558".to_owned(), 1), ("tcp://10.0.0.2:5557".to_owned(), 0)]
        );
    }
}
