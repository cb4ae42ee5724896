//! One request's accounts: metrics, its span and the access log, settled exactly once however it ends.

use std::{sync::Arc, time::Instant};

use http::{HeaderValue, Method, Uri, request::Parts};
use weir_api::Reason;
use weir_fronts::Answered;
use weir_pool::Endpoint;
use weir_protocol::ErrorStyle;
use weir_traces::{Parent, Span, Tracer};

use crate::{metrics::Metrics, service::Peer};

/// Opened when a request's head is there. Dropping it unsettled means that the client left.
pub(crate) struct Ticket {
    peer: Arc<Peer>,
    /// What only the access log wants.
    entry: Option<Box<Entry>>,
    /// From the head to the end of the answer.
    span: Option<Box<Span>>,
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// How the client wants to read errors.
    pub(crate) style: ErrorStyle,
    pub(crate) status: u16,
    pub(crate) reason: Option<Reason>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    settled: bool,
}

struct Entry {
    id: HeaderValue,
    method: Method,
    path: Uri,
    started: Instant,
}

impl Ticket {
    pub(crate) fn open(peer: &Arc<Peer>, log: bool, id: &HeaderValue, method: &Method, path: &Uri) -> Self {
        peer.watch.begin();
        peer.shared.metrics.in_flight.inc();
        let entry = (log && peer.shared.log.wanted())
            .then(|| Box::new(Entry { id: id.clone(), method: method.clone(), path: path.clone(), started: Instant::now() }));
        let style = ErrorStyle::default();
        Self {
            peer: Arc::clone(peer),
            entry,
            span: None,
            endpoint: None,
            style,
            status: 0,
            reason: None,
            bytes_in: 0,
            bytes_out: 0,
            settled: false,
        }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.peer.shared.metrics
    }

    /// Begins the request's span. Returns what others hang on.
    pub(crate) fn trace(&mut self, tracer: &Tracer, head: &Parts, id: &HeaderValue) -> Parent {
        let mut span = tracer.request("gateway.request", &head.headers);
        if span.is_recording() {
            span.set("http.request.method", head.method.as_str().to_owned());
            span.set("url.path", head.uri.path().to_owned());
            span.set("gen_ai.request.id", id.to_str().unwrap_or("-").to_owned());
            span.set("client.address", self.peer.address.to_str().unwrap_or("-").to_owned());
        }
        let parent = span.parent();
        self.span = span.is_recording().then(|| Box::new(span));
        parent
    }

    /// The request is over.
    pub(crate) fn settle(&mut self) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        self.peer.watch.end();
        let metrics = self.metrics();
        metrics.in_flight.dec();
        metrics.answered(self.status);
        metrics.bytes_in.inc_by(self.bytes_in);
        metrics.bytes_out.inc_by(self.bytes_out);
        if let Some(mut span) = self.span.take() {
            span.answered(self.status, self.reason.map(Reason::as_str));
        }
        if let Some(entry) = &self.entry {
            self.peer.shared.log.write(&Answered {
                id: entry.id.to_str().unwrap_or("-"),
                client: Some(self.peer.address.to_str().unwrap_or("-")),
                method: entry.method.as_str(),
                path: entry.path.path(),
                status: self.status,
                endpoint: self.endpoint.as_ref().map(|endpoint| endpoint.authority()),
                bytes: Some((self.bytes_in, self.bytes_out)),
                took: entry.started.elapsed(),
                reason: self.reason.map(Reason::as_str),
            });
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.status = Reason::ClientDisconnected.status();
            self.reason = Some(Reason::ClientDisconnected);
            self.settle();
        }
    }
}
