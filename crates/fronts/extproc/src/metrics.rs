//! What the server counts. Handles are resolved once: a request touches atomics only.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tonic::Code;
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
    llm_d: LlmD,
}

/// The same under llm-d's names.
#[derive(Clone, Debug)]
struct LlmD {
    in_flight: Gauge<i64, AtomicI64>,
    duration: Histogram,
    streams: Family<StreamCode, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamCode {
    code: &'static str,
}

const STREAM_SECONDS: [f64; 14] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// A code as gRPC's Go library writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        _ => "Unknown",
    }
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
        let llm_d = LlmD {
            in_flight: gauge(registry, "llm_d_epp_extproc_streams_inflight", "[ALPHA] External processing streams that are open"),
            duration: Histogram::new(STREAM_SECONDS),
            streams: Family::default(),
        };
        let help = "[ALPHA] How long external processing streams were open";
        registry.register("llm_d_epp_extproc_stream_duration_seconds", help, llm_d.duration.clone());
        let help = "[ALPHA] External processing streams, by the code that they ended with";
        registry.register("llm_d_epp_extproc_streams", help, llm_d.streams.clone());
        // Zero is something to say, too.
        drop(llm_d.streams.get_or_create(&StreamCode { code: code_name(Code::Ok) }));
        Self { streams, in_flight, connections, moved, llm_d }
    }

    /// A stream began.
    pub(crate) fn stream_began(&self) {
        self.in_flight.inc();
        self.llm_d.in_flight.inc();
    }

    /// A stream is over, after so many seconds.
    pub(crate) fn stream_over(&self, seconds: f64, code: Code) {
        self.in_flight.dec();
        self.llm_d.in_flight.dec();
        self.llm_d.duration.observe(seconds);
        self.llm_d.streams.get_or_create(&StreamCode { code: code_name(code) }).inc();
    }

    pub(crate) fn ended(&self, completion: Completion) {
        self.streams[outcome(completion)].inc();
    }

    pub(crate) fn violated(&self) {
        self.streams[VIOLATION].inc();
    }
}
