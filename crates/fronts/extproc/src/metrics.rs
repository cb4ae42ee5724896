//! What the server counts. Handles are resolved once: a request touches atomics only.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use weir_protocol_extproc::Completion;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// The server's metrics, `weir_extproc_*`.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// By [`outcome`].
    streams: [Counter; 6],
    pub(crate) in_flight: Gauge<i64, AtomicI64>,
    pub(crate) connections: Gauge<i64, AtomicI64>,
    pub(crate) moved: Counter,
}

/// A message that may not come where it came.
pub(crate) const VIOLATION: usize = 5;
const OUTCOMES: [&str; 6] = ["complete", "client_gone", "broken", "evicted", "refused", "violation"];

fn outcome(completion: Completion) -> usize {
    match completion {
        Completion::Complete => 0,
        Completion::ClientGone => 1,
        Completion::Broken => 2,
        Completion::Evicted => 3,
        Completion::Refused => 4,
    }
}

impl Metrics {
    /// New metrics, registered in `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let streams = Family::<Outcome, Counter>::default();
        registry.register("weir_extproc_streams", "External processing streams, by how they ended", streams.clone());
        let gauge = |registry: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::<i64, AtomicI64>::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let in_flight = gauge(registry, "weir_extproc_streams_in_flight", "External processing streams that are open");
        let connections = gauge(registry, "weir_extproc_connections", "Connections of proxies that are open");
        let moved = Counter::default();
        let help = "Requests that the proxy sent to another endpoint than the chosen one";
        registry.register("weir_extproc_served_elsewhere", help, moved.clone());
        let streams = OUTCOMES.map(|outcome| streams.get_or_create_owned(&Outcome { outcome }));
        Self { streams, in_flight, connections, moved }
    }

    pub(crate) fn ended(&self, completion: Completion) {
        self.streams[outcome(completion)].inc();
    }

    pub(crate) fn violated(&self) {
        self.streams[VIOLATION].inc();
    }
}
