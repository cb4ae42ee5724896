//! One request's way through the router.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE},
};
use weir_api::{Destinations, Reason};
use weir_fronts::{AccessLog, Answered};
use weir_pool::{Endpoint, Subset, Time};
use weir_protocol::{Api, ErrorStyle, ModelRestore, RestoreForm, Route, Scanner, classify};
use weir_protocol_extproc::{Completion, Decision, Headers, Immediate, Number, Request};
use weir_router::{End, Proxy, Refusal, RequestHead, Routed};
use weir_traces::{Parent, Span};

use crate::{
    Live,
    metrics::Metrics,
    refusal::{immediate, refusal},
    wire::Metadata,
};

/// A debug marker that conformance tests look for.
const WENT_THROUGH: HeaderName = HeaderName::from_static("x-went-into-resp-headers");

/// A body is read while it comes from this size on: to read a shorter one at the end takes no time to speak of, and is done in
/// memory that other requests have used.
const READ_EARLY_BYTES: usize = 32 * 1024;

/// What is known of a request besides its messages. Dropped unfinished, it counts as left by the client.
pub(crate) struct Session {
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    log: AccessLog,
    /// When the request's headers came.
    received: Time,
    api: Option<Api>,
    /// No parser takes the body, if there is one.
    unreadable: bool,
    grpc: bool,
    /// Reads the body while it comes.
    scanner: Option<Box<Scanner>>,
    /// The body is not what its API takes, as its end will show again.
    malformed: bool,
    subset: Option<Subset>,
    sent: Option<Sent>,
    /// Pieces of the response may be changed.
    full_duplex: bool,
    /// Gives them the model's name back that the client asked for.
    restore: Option<Box<ModelRestore>>,
    entry: Option<Box<Entry>>,
    /// From the request's headers to its end.
    span: Option<Box<Span>>,
    /// What others hang on.
    trace: Option<Parent>,
    status: u16,
    reason: Option<Reason>,
}

/// A request that has its endpoint.
struct Sent {
    routed: Routed,
    /// The endpoint's circuit breaker has been told how it went.
    judged: bool,
}

/// What only the access log wants.
struct Entry {
    id: HeaderValue,
    method: Method,
    path: String,
    endpoint: Option<Arc<Endpoint>>,
    started: Instant,
}

impl Session {
    /// `full_duplex`: pieces of the response may be answered with other ones.
    pub(crate) fn new(live: Arc<Live>, metrics: Arc<Metrics>, log: AccessLog, full_duplex: bool) -> Self {
        let received = live.router.now();
        Self {
            live,
            metrics,
            log,
            received,
            api: None,
            unreadable: false,
            grpc: false,
            scanner: None,
            malformed: false,
            subset: None,
            sent: None,
            full_duplex,
            restore: None,
            entry: None,
            span: None,
            trace: None,
            status: 0,
            reason: None,
        }
    }

    pub(crate) fn max_body_bytes(&self) -> u64 {
        self.live.settings.max_body_bytes
    }

    /// Looks at the headers of the request. Returns whether its body is wanted.
    pub(crate) fn begin(&mut self, headers: &Headers, id: &HeaderValue) -> bool {
        let route = classify(self.live.router.parsers(), headers.method(), headers.path());
        self.unreadable = route == Route::Refused;
        self.api = match route {
            Route::Parsed(api) => Some(api),
            _ => None,
        };
        self.grpc = headers.is_grpc();
        if self.live.settings.access_log && self.log.wanted() {
            self.entry = Some(Box::new(Entry {
                id: id.clone(),
                method: headers.method().clone(),
                path: path_of(headers).to_owned(),
                endpoint: None,
                started: Instant::now(),
            }));
        }
        self.begin_span(headers, id);
        self.api.is_some() || self.unreadable
    }

    /// Reads what came so far of the request's body.
    pub(crate) fn read(&mut self, so_far: &[u8]) {
        let Some(api) = self.api.filter(|_| so_far.len() >= READ_EARLY_BYTES && !self.malformed) else { return };
        let scanner = self.scanner.get_or_insert_with(|| Box::new(Scanner::new(api)));
        self.malformed = scanner.feed(so_far).is_err();
    }

    fn begin_span(&mut self, headers: &Headers, id: &HeaderValue) {
        let Some(tracer) = self.live.router.tracer() else { return };
        let mut span = tracer.request("gateway.request", &headers.fields);
        if span.is_recording() {
            span.set("http.request.method", headers.method().as_str().to_owned());
            span.set("url.path", path_of(headers).to_owned());
            span.set("gen_ai.request.id", id.to_str().unwrap_or("-").to_owned());
        }
        self.trace = Some(span.parent());
        self.span = span.is_recording().then(|| Box::new(span));
    }

    /// Takes the hints that came with a message of the request. The newest list that names somebody counts; an empty one only as
    /// long as there is no other.
    pub(crate) fn hint(&mut self, metadata: Option<&Metadata>) {
        let Some(listed) = metadata.and_then(|all| all.subset.as_ref()).filter(|_| self.live.settings.subset_hint) else {
            return;
        };
        let subset = Subset::new(listed.iter().map(String::as_str));
        if !subset.is_empty() || self.subset.is_none() {
            self.subset = Some(subset);
        }
    }

    /// Gives the request its endpoint.
    pub(crate) fn route(&mut self, request: &Request<'_>, id: &HeaderValue) -> Result<Decision, Immediate> {
        if self.unreadable && request.body.is_some_and(|body| !body.is_empty()) {
            return Err(self.refused(&Refusal::no_parser(request.headers.path())));
        }
        let empty = Bytes::new();
        let head = RequestHead {
            id: id.to_str().unwrap_or("-"),
            method: request.headers.method(),
            path: request.headers.path(),
            headers: &request.headers.fields,
            received: self.received,
            // A body that is not known whole cannot be read: such a request is routed by load.
            api: self.api.filter(|_| request.body.is_some()),
            priority: 0,
            within: self.subset.as_ref(),
            wants_scores: self.live.settings.scores,
            trace: self.trace.as_ref(),
        };
        let body = request.body.unwrap_or(&empty);
        let routed = match self.scanner.take().filter(|_| head.api.is_some() && !self.malformed) {
            Some(scanner) => self.live.router.route_read(&head, body, *scanner),
            None => self.live.router.route(&head, body),
        };
        match routed {
            Ok(mut routed) => {
                let decision = self.decision(&mut routed, body);
                if let Some(entry) = &mut self.entry {
                    entry.endpoint = Some(Arc::clone(&routed.endpoint));
                }
                self.sent = Some(Sent { routed, judged: false });
                Ok(decision)
            }
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    /// The answer to a request that is refused.
    pub(crate) fn refused(&mut self, refusal: &Refusal) -> Immediate {
        self.status = refusal.outcome.status;
        self.reason = Some(refusal.outcome.reason);
        let style = if self.grpc { ErrorStyle::Grpc } else { self.api.map(Api::error_style).unwrap_or_default() };
        immediate(refusal, self.live.settings.errors, style)
    }

    /// The answer to a request whose body is too long to be kept.
    pub(crate) fn too_large(&mut self) -> Immediate {
        self.refused(&refusal(Reason::BodyTooLarge))
    }

    fn decision(&self, routed: &mut Routed, body: &Bytes) -> Decision {
        let mut outgoing = std::mem::take(&mut routed.outgoing);
        if routed.rewritten().is_some() {
            // The model's name can be found only in what is not compressed.
            outgoing.remove.push(ACCEPT_ENCODING);
        }
        let mut destination = address(&routed.endpoint, outgoing.port);
        if self.live.settings.destinations == Destinations::All {
            for other in &routed.alternates {
                destination.push(',');
                destination.push_str(&address(other, outgoing.port));
            }
        }
        let scores = std::mem::take(&mut routed.scores).into_iter().map(|(one, score)| (address(&one, None), score)).collect();
        // What is sent is in the proxy's hands from here on; the router's copy would only keep memory.
        let sent = std::mem::take(&mut routed.body);
        // Bytes that lie elsewhere are others.
        let same = (sent.as_ptr(), sent.len()) == (body.as_ptr(), body.len());
        let body = (!same).then(|| vec![sent]);
        Decision { destination, scores, headers: list(outgoing.headers), remove: outgoing.remove, body }
    }

    /// The headers of the response are here. Returns what the client gets besides.
    pub(crate) fn response_headers(
        &mut self,
        headers: &Headers,
        end_of_stream: bool,
        metadata: Option<&Metadata>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        self.status = headers.status;
        let mut set = vec![(WENT_THROUGH, HeaderValue::from_static("true"))];
        let Some(sent) = &mut self.sent else { return set };
        sent.routed.proxy = match metadata.map(|all| (all.served.as_ref(), all.balanced)) {
            Some((Some(served), _)) => Proxy::Named(served.clone()),
            Some((None, true)) => Proxy::NotNamed,
            _ => Proxy::Silent,
        };
        if let Some(served) = metadata.and_then(|all| all.served.as_deref()) {
            let chosen = Arc::clone(&sent.routed.endpoint);
            if sent.routed.served_at(served) {
                self.metrics.moved.inc();
                chosen.health.breaker.abandoned(self.live.router.now());
            }
        }
        let status = StatusCode::from_u16(headers.status).unwrap_or(StatusCode::OK);
        judge(&self.live, sent, !status.is_server_error());
        self.restore = restore(&sent.routed, &headers.fields).filter(|_| self.full_duplex);
        sent.routed.response_form(status, &headers.fields);
        let mut added = HeaderMap::new();
        sent.routed.response_head(status, &mut added);
        set.extend(list(added));
        if end_of_stream {
            sent.routed.first_byte(self.live.router.now());
        }
        set
    }

    /// A piece of the response's body is here. Returns what the client gets of it; `last`: nothing follows.
    pub(crate) fn response_body(&mut self, piece: Bytes, last: bool) -> Bytes {
        if let Some(sent) = &mut self.sent {
            sent.routed.observe(&piece, self.live.router.now());
        }
        let Some(restore) = &mut self.restore else { return piece };
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut push = |piece| pieces.push(piece);
        restore.feed(&piece, &mut push);
        if last {
            restore.finish(&mut push);
        }
        match pieces.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            several => several.concat().into(),
        }
    }

    /// The response has ended. Returns what is reported of it.
    pub(crate) fn response_ended(&mut self) -> Vec<Number> {
        let Some(sent) = &mut self.sent else { return Vec::new() };
        sent.routed.body_ended();
        sent.routed.reports().map(|one| Number { namespace: one.namespace, name: one.name, value: one.value }).collect()
    }

    /// The request is over.
    pub(crate) fn finish(&mut self, completion: Completion) {
        self.metrics.ended(completion);
        if let Some(sent) = self.sent.take() {
            let end = match completion {
                Completion::Complete => End::Complete,
                Completion::ClientGone | Completion::Refused => End::ClientGone,
                Completion::Broken => End::Failed(Reason::Internal),
                Completion::Evicted => End::Failed(Reason::Evicted),
            };
            self.settle(sent, end);
        }
        self.log(completion);
    }

    /// The proxy sent what it may not send.
    pub(crate) fn violated(&mut self) {
        self.metrics.violated();
        if let Some(sent) = self.sent.take() {
            self.settle(sent, End::Failed(Reason::Internal));
        }
    }

    fn settle(&self, sent: Sent, end: End) {
        if !sent.judged {
            // A request that was the probe of an open circuit proved nothing.
            sent.routed.endpoint.health.breaker.abandoned(self.live.router.now());
        }
        sent.routed.finish(end);
    }

    fn log(&mut self, completion: Completion) {
        if completion == Completion::ClientGone {
            self.status = Reason::ClientDisconnected.status();
            self.reason = Some(Reason::ClientDisconnected);
        }
        if let Some(mut span) = self.span.take() {
            span.answered(self.status, self.reason.map(Reason::as_str));
        }
        let Some(entry) = self.entry.take() else { return };
        self.log.write(&Answered {
            id: entry.id.to_str().unwrap_or("-"),
            client: None,
            method: entry.method.as_str(),
            path: &entry.path,
            status: self.status,
            endpoint: entry.endpoint.as_ref().map(|endpoint| endpoint.authority()),
            bytes: None,
            took: entry.started.elapsed(),
            reason: self.reason.map(Reason::as_str),
        });
    }
}

fn path_of(headers: &Headers) -> &str {
    headers.path().split(['?', '#']).next().unwrap_or_default()
}

/// What gives a response the model's name back that the client asked for.
fn restore(routed: &Routed, headers: &HeaderMap) -> Option<Box<ModelRestore>> {
    let (served, asked) = routed.rewritten()?;
    if headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is = |prefix: &[u8]| kind.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    let form = match () {
        () if is(b"text/event-stream") => RestoreForm::Events,
        () if is(b"application/json") => RestoreForm::Document,
        () => return None,
    };
    ModelRestore::new(form, served, asked).map(Box::new)
}

/// Tells the endpoint's circuit breaker how a request went.
fn judge(live: &Live, sent: &mut Sent, good: bool) {
    if std::mem::replace(&mut sent.judged, true) {
        return;
    }
    let breaker = &sent.routed.endpoint.health.breaker;
    match live.breakers.get(sent.routed.pool_index) {
        Some(config) if !good => breaker.failure(config, live.router.now()),
        _ => breaker.success(),
    }
}

/// Where a proxy finds an endpoint: `ip:port`, an IPv6 address in brackets. `port` takes the place of the endpoint's own.
fn address(endpoint: &Endpoint, port: Option<u16>) -> String {
    let url = &endpoint.spec().url;
    let port = port.unwrap_or(url.port);
    match endpoint.addresses().first() {
        Some(address) => SocketAddr::new(address.ip(), port).to_string(),
        None => format!("{}:{port}", url.host),
    }
}

/// A map of headers in its order, one entry per value.
fn list(map: HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let mut list = Vec::with_capacity(map.len());
    let mut last = None;
    for (name, value) in map {
        last = name.or(last);
        list.extend(last.clone().map(|name| (name, value)));
    }
    list
}
