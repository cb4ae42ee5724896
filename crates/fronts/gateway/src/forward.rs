//! Sends a routed request to its endpoint, and to another one if that fails before the first byte.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};
use hyper::body::Incoming;
use tokio::time::Instant;
use weir_api::{Reason, Retry};
use weir_pool::Scheme;
use weir_protocol::{ModelRestore, RestoreForm, Scanner};
use weir_router::{End, Refusal, RequestHead, Routed};

use crate::{
    answer::{Reply, refusal, refuse},
    head::{Added, Survey, X_WEIR_ENDPOINT, X_WEIR_REASON, clean_response, for_endpoint, target},
    relay::{Place, Relay, Session, restored},
    service::Shared,
    settings::Live,
    ticket::Ticket,
    upstream::{Conn, Exchange, Failure, Limits, Outgoing, Rest, Transport, Upload, UploadWatch, dial},
};

/// A request whose body is here, or begins to be.
pub(crate) struct Forward<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) live: Arc<Live>,
    pub(crate) head: RequestHead<'a>,
    pub(crate) uri: &'a Uri,
    pub(crate) survey: &'a Survey,
    pub(crate) id: &'a HeaderValue,
    pub(crate) client: &'a HeaderValue,
    pub(crate) https: bool,
    pub(crate) h2: bool,
    /// When it came.
    pub(crate) began: Instant,
    pub(crate) deadline: Instant,
}

/// A body to be sent on.
pub(crate) enum Payload {
    /// All of it: it can be sent again. With what was read of it while it came.
    Whole(Bytes, Option<Box<Scanner>>),
    /// The beginning; the rest is passed on while it arrives, up to so many bytes.
    Stream(Bytes, Incoming, u64),
}

/// What a try came to.
type Try = Result<Exchange, Failure>;

impl Forward<'_> {
    pub(crate) async fn run(self, payload: Payload, mut ticket: Ticket) -> Response<Reply> {
        let live = Arc::clone(&self.live);
        let policy = &live.settings.retry;
        let (body, scanner, mut stream) = match payload {
            Payload::Whole(body, scanner) => (body, scanner, None),
            Payload::Stream(begin, rest, allowed) => (Bytes::new(), None, Some((begin, rest, allowed))),
        };
        let first = match scanner {
            Some(scanner) => live.router.route_read(&self.head, &body, *scanner),
            None => live.router.route(&self.head, &body),
        };
        let mut routed = match first {
            Ok(routed) => routed,
            Err(refusal) => return refused(&refusal, ticket),
        };
        self.shared.budget.deposit(policy);
        let mut tries = 1;
        let mut now = self.began;
        loop {
            let place = Place { pool_index: routed.pool_index, endpoint: Arc::clone(&routed.endpoint) };
            ticket.endpoint = Some(Arc::clone(&routed.endpoint));
            let again = stream.is_none() && tries < policy.max_attempts;
            let (outcome, reason) = match self.attempt(&routed, stream.take(), now).await {
                Ok(exchange) if !is_unavailable(exchange.head.status) => {
                    return self.respond(exchange, routed, place, ticket);
                }
                Ok(exchange) => (Ok(exchange), Reason::UpstreamUnavailable),
                Err(failure) => {
                    let reason = failure.reason;
                    (Err(failure), reason)
                }
            };
            tracing::debug!(endpoint = routed.endpoint.id(), reason = reason.as_str(), tries, "a try failed");
            if !again || reason.retry() != Retry::OtherEndpoint {
                return self.give_up(outcome, routed, place, reason, ticket);
            }
            if !self.shared.budget.withdraw(policy, live.router.now()) {
                self.shared.metrics.budget_exhausted.inc();
                return self.give_up(outcome, routed, place, Reason::RetryBudgetExhausted, ticket);
            }
            routed = match live.router.reroute(routed, reason, &self.head, &body) {
                Ok(other) => other,
                Err(stuck) => {
                    // There is no other endpoint: what this one did explains more than that.
                    let (routed, _) = *stuck;
                    return self.give_up(outcome, routed, place, reason, ticket);
                }
            };
            tries += 1;
            now = Instant::now();
        }
    }

    /// One endpoint, one try; a second one only if the first was made on a connection that was dead already.
    async fn attempt(&self, routed: &Routed, stream: Option<(Bytes, Incoming, u64)>, now: Instant) -> Try {
        let verdict = Verdict::new(&self.live, routed);
        let outcome = self.try_endpoint(routed, stream, now).await;
        verdict.give(outcome.as_ref().map(|exchange| exchange.head.status));
        outcome
    }

    async fn try_endpoint(&self, routed: &Routed, stream: Option<(Bytes, Incoming, u64)>, now: Instant) -> Try {
        let endpoint = &routed.endpoint;
        let settings = &self.live.settings;
        let transport = Transport::of(endpoint).ok_or(Failure { reason: Reason::Internal, stale: false })?;
        let mut limits = Limits { first_byte: settings.timeouts.first_byte, total: self.deadline, now };

        if let Some((begin, rest, allowed)) = stream {
            // It cannot be sent twice, so it gets a connection that cannot be stale.
            let conn = self.dial(routed, transport).await?;
            limits.now = Instant::now();
            let watch = Arc::new(UploadWatch::default());
            let upload = Upload { begin, rest, allowed, watch: Arc::clone(&watch) };
            let request = self.request(routed, transport, Outgoing::Upload(Box::new(upload)));
            return Exchange::run(conn, request, limits, Some(&watch)).await;
        }

        let tls = self.live.tls_for(routed.pool_index, endpoint).map(|tls| &tls.config);
        if let Some(conn) = transport.checkout(tls, self.live.router.now(), settings.timeouts.upstream_idle) {
            self.shared.metrics.reused.inc();
            let request = self.request(routed, transport, Outgoing::Whole(routed.body.clone()));
            match Exchange::run(conn, request, limits, None).await {
                Err(Failure { stale: true, .. }) => {
                    self.shared.metrics.stale.inc();
                    transport.clear();
                }
                outcome => return outcome,
            }
        }
        let conn = self.dial(routed, transport).await?;
        limits.now = Instant::now();
        let request = self.request(routed, transport, Outgoing::Whole(routed.body.clone()));
        Exchange::run(conn, request, limits, None).await
    }

    async fn dial(&self, routed: &Routed, transport: &Transport) -> Result<Box<Conn>, Failure> {
        let endpoint = &routed.endpoint;
        let tls = self.live.tls_for(routed.pool_index, endpoint);
        if tls.is_none() && endpoint.spec().url.scheme == Scheme::Https {
            return Err(Failure { reason: Reason::UpstreamTlsFailed, stale: false });
        }
        let limit = self.live.settings.timeouts.connect.min(self.deadline.saturating_duration_since(Instant::now()));
        let name = tls.and_then(|tls| tls.server_name.as_deref());
        // A dial is rare and its future is large.
        let dialled = Box::pin(dial(endpoint, transport, tls.map(|tls| &tls.config), name, limit)).await;
        match dialled {
            Ok(conn) => {
                self.shared.metrics.connects.inc();
                Ok(conn)
            }
            Err(error) => {
                self.shared.metrics.connect_failures.inc();
                tracing::debug!(endpoint = endpoint.id(), %error, "could not connect");
                Err(Failure { reason: error.reason(), stale: false })
            }
        }
    }

    pub(crate) fn request(&self, routed: &Routed, transport: &Transport, body: Outgoing) -> Request<Outgoing> {
        let upstream = self.live.upstream(routed.pool_index);
        let added = Added {
            host: &transport.authority,
            id: self.id,
            client: self.client,
            https: self.https,
            h2: self.h2,
            authorization: upstream.and_then(|upstream| upstream.authorization.as_ref()),
            drop_authorization: self.live.settings.keys.is_some(),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = target(self.uri, &routed.endpoint.spec().url.base_path);
        let mut headers = for_endpoint(self.head.headers, self.survey, &added);
        for name in &routed.outgoing.remove {
            headers.remove(name);
        }
        for (name, value) in &routed.outgoing.headers {
            headers.insert(name.clone(), value.clone());
        }
        if routed.rewritten().is_some() {
            // The model's name can be found only in what is not compressed.
            headers.remove(ACCEPT_ENCODING);
        }
        *request.headers_mut() = headers;
        request
    }

    /// Passes an endpoint's answer on.
    fn respond(&self, exchange: Exchange, mut routed: Routed, place: Place, mut ticket: Ticket) -> Response<Reply> {
        let Exchange { head, first, length, state } = exchange;
        let (status, mut headers) = (head.status, head.headers);
        clean_response(&mut headers);
        let now = self.live.router.now();
        routed.response_form(status, &headers);
        routed.response_head(status, &mut headers);
        routed.first_byte(now);
        if self.live.settings.endpoint_header {
            if let Some(transport) = Transport::of(&place.endpoint) {
                headers.insert(X_WEIR_ENDPOINT, transport.authority.clone());
            }
        } else {
            headers.remove(X_WEIR_ENDPOINT);
        }
        ticket.status = status.as_u16();
        let mut restore = restore(&routed, &headers);
        let mut session = Session::new(Arc::clone(&self.live), routed, place, ticket);
        let reply = match state {
            Rest::Nothing(conn) => {
                session.release(conn, now);
                let first = match &mut restore {
                    None => first,
                    Some(restore) => {
                        headers.remove(CONTENT_LENGTH);
                        restored(restore, &first, true)
                    }
                };
                session.note(&first);
                session.complete();
                Reply::Whole(first)
            }
            Rest::Body(conn, body) => {
                let events = length.is_none() && is_event_stream(&headers);
                if restore.is_some() {
                    headers.remove(CONTENT_LENGTH);
                }
                let relay = Relay::new(session, first, (conn, body), length, events, self.deadline);
                Reply::Stream(Box::new(relay.restoring(restore)))
            }
        };
        let mut response = Response::new(reply);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// The last try failed.
    fn give_up(&self, outcome: Try, routed: Routed, place: Place, reason: Reason, mut ticket: Ticket) -> Response<Reply> {
        if let Ok(exchange) = outcome {
            // An engine that says itself why it cannot serve is quoted.
            ticket.reason = Some(reason);
            let mut response = self.respond(exchange, routed, place, ticket);
            response.headers_mut().insert(X_WEIR_REASON, HeaderValue::from_static(reason.as_str()));
            return response;
        }
        routed.finish(End::Failed(reason));
        refused(&refusal(reason), ticket)
    }
}

/// Settles a request that no endpoint answers.
pub(crate) fn refused(refusal: &Refusal, mut ticket: Ticket) -> Response<Reply> {
    ticket.status = refusal.outcome.status;
    ticket.reason = Some(refusal.outcome.reason);
    let response = refuse(refusal, ticket.style);
    if let Reply::Whole(body) = response.body() {
        ticket.bytes_out = body.len() as u64;
    }
    ticket.settle();
    response
}

/// The endpoint says that it, and not the request, is the problem.
pub(crate) fn is_unavailable(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// What gives a response the model's name back that the client asked for.
fn restore(routed: &Routed, headers: &HeaderMap) -> Option<Box<ModelRestore>> {
    let (served, asked) = routed.rewritten()?;
    if headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let form = if has_prefix(kind, EVENT_STREAM) {
        RestoreForm::Events
    } else if has_prefix(kind, b"application/json") {
        RestoreForm::Document
    } else {
        return None;
    };
    ModelRestore::new(form, served, asked).map(Box::new)
}

/// A body to which an event can be added.
fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    has_prefix(kind, EVENT_STREAM) && !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(CONTENT_ENCODING)
}

fn has_prefix(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
}

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// Tells the breaker what a try says about the endpoint, also if the try is dropped because the client left.
pub(crate) struct Verdict<'a> {
    live: &'a Live,
    routed: &'a Routed,
    given: bool,
}

impl<'a> Verdict<'a> {
    pub(crate) fn new(live: &'a Live, routed: &'a Routed) -> Self {
        Self { live, routed, given: false }
    }

    pub(crate) fn give(mut self, outcome: Result<StatusCode, &Failure>) {
        let failed = match outcome {
            Ok(status) => status.is_server_error(),
            Err(failure) if is_to_blame(failure.reason) => true,
            // Dropped without a verdict.
            Err(_) => return,
        };
        self.given = true;
        if failed {
            let place = Place { pool_index: self.routed.pool_index, endpoint: Arc::clone(&self.routed.endpoint) };
            blame(self.live, &place);
        } else {
            self.routed.endpoint.health.breaker.success();
        }
    }
}

impl Drop for Verdict<'_> {
    fn drop(&mut self) {
        if !self.given {
            self.routed.endpoint.health.breaker.abandoned(self.live.router.now());
        }
    }
}

/// Counts a failure of an endpoint.
pub(crate) fn blame(live: &Live, place: &Place) {
    if let Some(upstream) = live.upstream(place.pool_index) {
        place.endpoint.health.breaker.failure(&upstream.breaker, live.router.now());
    }
}

/// Whether a failure speaks against the endpoint.
pub(crate) fn is_to_blame(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UpstreamConnectFailed
            | Reason::UpstreamConnectTimeout
            | Reason::UpstreamTlsFailed
            | Reason::UpstreamReset
            | Reason::UpstreamProtocol
            | Reason::FirstByteTimeout
            | Reason::IdleTimeout
    )
}
