//! gRPC calls: HTTP/2 to the endpoint as well, frames passed on as they come, trailers included.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body::{Body, Frame};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use tokio::time::{Instant, timeout_at};
use weir_api::{Reason, Retry};
use weir_pool::Scheme;
use weir_router::{End, Routed};

use crate::{
    answer::{BrokenOff, Reply, refusal},
    forward::{Forward, Payload, Verdict, is_unavailable, refused},
    head::{X_WEIR_ENDPOINT, clean_response},
    late::Late,
    relay::{Place, Session},
    ticket::Ticket,
    upstream::{Failure, Outgoing, Transport, Upload, UploadWatch, dial_h2},
};

/// `grpc-status` of a server that cannot serve now.
const UNAVAILABLE: &[u8] = b"14";

/// A response on its way to the client.
pub(crate) struct Call {
    session: Session,
    body: Incoming,
    late: Late,
    over: bool,
}

impl Call {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.late.moved();
                if let Some(piece) = frame.data_ref() {
                    self.session.note(piece);
                }
                if self.body.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(self.fail(Reason::UpstreamReset)))),
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending => self.late.poll(cx).map(|reason| Some(Err(self.fail(reason)))),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            self.session.complete();
        }
    }

    /// Breaking the stream off tells the client; the call's status would stand in trailers that never came.
    fn fail(&mut self, reason: Reason) -> BrokenOff {
        self.over = true;
        self.session.fail(reason);
        BrokenOff(reason)
    }
}

impl Forward<'_> {
    /// Routes a gRPC call. It may go to another endpoint as long as none has answered it.
    pub(crate) async fn call(self, payload: Payload, ticket: Ticket) -> Response<Reply> {
        let live = Arc::clone(&self.live);
        let policy = &live.settings.retry;
        let (body, mut upload) = match payload {
            Payload::Whole(body, _) => (body, None),
            Payload::Stream(begin, rest, allowed) => {
                (Bytes::new(), Some(Box::new(Upload { begin, rest, allowed, watch: Arc::new(UploadWatch::default()) })))
            }
        };
        let mut ticket = ticket;
        let mut routed = match live.router.route(&self.head, &body) {
            Ok(routed) => routed,
            Err(refusal) => return refused(&refusal, ticket),
        };
        self.shared.budget.deposit(policy);
        let mut tries = 1;
        loop {
            let place = Place { pool_index: routed.pool_index, endpoint: Arc::clone(&routed.endpoint) };
            ticket.endpoint = Some(Arc::clone(&routed.endpoint));
            let again = upload.is_none() && tries < policy.max_attempts;
            let outgoing = upload.take().map_or_else(|| Outgoing::Whole(routed.body.clone()), Outgoing::Upload);
            let verdict = Verdict::new(&live, &routed);
            let outcome = self.send(&routed, outgoing).await;
            verdict.give(outcome.as_ref().map(Response::status));
            let (answer, reason) = match outcome {
                Ok(response) if is_refusal(&response) => (Some(response), Reason::UpstreamUnavailable),
                Ok(response) => return self.pass_on(response, routed, place, ticket),
                Err(failure) => (None, failure.reason),
            };
            tracing::debug!(endpoint = routed.endpoint.id(), reason = reason.as_str(), tries, "a gRPC call failed");
            let mut ended = reason;
            if again && reason.retry() == Retry::OtherEndpoint {
                if self.shared.budget.withdraw(policy, live.router.now()) {
                    match live.router.reroute(routed, reason, &self.head, &body) {
                        Ok(other) => {
                            routed = other;
                            tries += 1;
                            continue;
                        }
                        // There is no other endpoint: what this one did explains more than that.
                        Err(stuck) => routed = stuck.0,
                    }
                } else {
                    self.shared.metrics.budget_exhausted.inc();
                    ended = Reason::RetryBudgetExhausted;
                }
            }
            if let Some(response) = answer {
                // An engine that says itself why it cannot serve is quoted.
                ticket.reason = Some(ended);
                return self.pass_on(response, routed, place, ticket);
            }
            routed.finish(End::Failed(ended));
            return refused(&refusal(ended), ticket);
        }
    }

    /// The head of the endpoint's response.
    async fn send(&self, routed: &Routed, body: Outgoing) -> Result<Response<Incoming>, Failure> {
        let fail = |reason| Failure { reason, stale: false };
        let endpoint = &routed.endpoint;
        let transport = Transport::of(endpoint).ok_or(fail(Reason::Internal))?;
        let mut request = self.request(routed, transport, body);
        let scheme = if endpoint.spec().url.scheme == Scheme::Https { "https" } else { "http" };
        let uri = format!("{scheme}://{}{}", endpoint.authority(), request.uri());
        *request.uri_mut() = uri.parse::<Uri>().map_err(|_| fail(Reason::Internal))?;
        let headers = request.headers_mut();
        // The authority says it in HTTP/2. That trailers are understood must be said anew on each hop.
        headers.remove(header::HOST);
        headers.insert(header::TE, HeaderValue::from_static("trailers"));

        let patience = &self.live.settings.timeouts;
        let whole = matches!(request.body(), Outgoing::Whole(_));
        let first_byte = Instant::now() + patience.first_byte;
        // A client that still uploads is not the endpoint's fault.
        let deadline = if whole { self.deadline.min(first_byte) } else { self.deadline };
        let late = if deadline == self.deadline { Reason::TotalTimeout } else { Reason::FirstByteTimeout };
        let respond = self.exchange(routed, transport, request);
        timeout_at(deadline, respond).await.unwrap_or(Err(fail(late)))
    }

    async fn exchange(
        &self,
        routed: &Routed,
        transport: &Transport,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, Failure> {
        let tls = self.live.tls_for(routed.pool_index, &routed.endpoint).map(|tls| &tls.config);
        if let Some(mut sender) = transport.h2(tls)
            && sender.ready().await.is_ok()
        {
            self.shared.metrics.reused.inc();
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                // The connection was about to close, and the call never left.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => {
                        self.shared.metrics.stale.inc();
                        request = unsent;
                    }
                    None => return Err(reset(&error.into_error())),
                },
            }
        }
        let mut sender = self.dial_h2(routed, transport).await?;
        sender.send_request(request).await.map_err(|error| reset(&error))
    }

    async fn dial_h2(&self, routed: &Routed, transport: &Transport) -> Result<SendRequest<Outgoing>, Failure> {
        let endpoint = &routed.endpoint;
        let tls = self.live.tls_for(routed.pool_index, endpoint);
        if tls.is_none() && endpoint.spec().url.scheme == Scheme::Https {
            return Err(Failure { reason: Reason::UpstreamTlsFailed, stale: false });
        }
        let config = tls.map(|tls| &tls.config);
        let name = tls.and_then(|tls| tls.server_name.as_deref());
        match Box::pin(dial_h2(endpoint, transport, config, name, self.live.settings.timeouts.connect)).await {
            Ok(sender) => {
                self.shared.metrics.connects.inc();
                transport.keep_h2(sender.clone(), config);
                Ok(sender)
            }
            Err(error) => {
                self.shared.metrics.connect_failures.inc();
                tracing::debug!(endpoint = endpoint.id(), %error, "could not connect");
                Err(Failure { reason: error.reason(), stale: false })
            }
        }
    }

    fn pass_on(&self, response: Response<Incoming>, mut routed: Routed, place: Place, mut ticket: Ticket) -> Response<Reply> {
        let (head, body) = response.into_parts();
        let mut headers = head.headers;
        clean_response(&mut headers);
        routed.response_form(head.status, &headers);
        routed.response_head(head.status, &mut headers);
        if self.live.settings.endpoint_header {
            if let Some(transport) = Transport::of(&place.endpoint) {
                headers.insert(X_WEIR_ENDPOINT, transport.authority.clone());
            }
        } else {
            headers.remove(X_WEIR_ENDPOINT);
        }
        ticket.status = head.status.as_u16();
        let mut call = Call {
            session: Session::new(Arc::clone(&self.live), routed, place, ticket),
            late: Late::new(self.live.settings.timeouts.idle, self.deadline),
            over: false,
            body,
        };
        if call.body.is_end_stream() {
            call.end();
        }
        let mut response = Response::new(Reply::Call(Box::new(call)));
        *response.status_mut() = head.status;
        *response.headers_mut() = headers;
        response
    }
}

fn reset(error: &hyper::Error) -> Failure {
    tracing::debug!(%error, "a gRPC call broke off");
    Failure { reason: Reason::UpstreamReset, stale: false }
}

/// A response of headers only in which the endpoint says that it, and not the call, is the problem.
fn is_refusal(response: &Response<Incoming>) -> bool {
    let status = |headers: &HeaderMap| headers.get("grpc-status").is_some_and(|status| status.as_bytes() == UNAVAILABLE);
    is_unavailable(response.status()) || (response.body().is_end_stream() && status(response.headers()))
}
