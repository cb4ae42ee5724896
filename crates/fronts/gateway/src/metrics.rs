//! What the gateway counts. Handles are resolved once: a request touches atomics only.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

/// The gateway's metrics, `weir_gateway_*`.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// By hundreds of the status; the first is for clients that left.
    classes: [Counter; 6],
    pub(crate) connects: Counter,
    pub(crate) connect_failures: Counter,
    pub(crate) reused: Counter,
    pub(crate) stale: Counter,
    pub(crate) budget_exhausted: Counter,
    pub(crate) connections: Gauge<i64, AtomicI64>,
    pub(crate) in_flight: Gauge<i64, AtomicI64>,
    pub(crate) broken_streams: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
}

const CLASSES: [&str; 6] = ["client_gone", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl Metrics {
    /// New metrics, registered in `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let requests = Family::<Class, Counter>::default();
        registry.register("weir_gateway_requests", "Requests, by class of the status that was answered", requests.clone());
        let connects = Family::<Result, Counter>::default();
        registry.register("weir_gateway_upstream_connects", "Connections opened to endpoints", connects.clone());
        let bytes = Family::<Direction, Counter>::default();
        registry.register_with_unit("weir_gateway_body", "Body bytes, from clients and to clients", Unit::Bytes, bytes.clone());

        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let reused = counter("weir_gateway_upstream_reused", "Requests that were sent on a connection that was open already");
        let stale = counter("weir_gateway_upstream_stale", "Connections that turned out to be closed when they were used again");
        let budget_exhausted = counter("weir_gateway_retry_budget_exhausted", "Retries that were not made for lack of budget");
        let broken_streams = counter("weir_gateway_broken_streams", "Responses that an endpoint broke off after the first byte");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let connections = gauge("weir_gateway_open_connections", "Clients' connections");
        let in_flight = gauge("weir_gateway_requests_in_flight", "Requests that are being served, streams included");

        let result = |result| connects.get_or_create(&Result { result }).clone();
        let direction = |direction| bytes.get_or_create(&Direction { direction }).clone();
        Self {
            classes: CLASSES.map(|class| requests.get_or_create(&Class { class }).clone()),
            connects: result("ok"),
            connect_failures: result("failed"),
            reused,
            stale,
            budget_exhausted,
            connections,
            in_flight,
            broken_streams,
            bytes_in: direction("in"),
            bytes_out: direction("out"),
        }
    }

    /// A request was answered with `status`, or its client left (499).
    pub(crate) fn answered(&self, status: u16) {
        let class = if status == 499 { 0 } else { usize::from(status / 100).min(5) };
        self.classes[class].inc();
    }
}
