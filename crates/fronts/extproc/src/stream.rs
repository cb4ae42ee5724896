//! One stream: what comes in is answered by the task that reads it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::Stream;
use http::HeaderValue;
use tonic::{Code, Status, Streaming};
use weir_fronts::AccessLog;
use weir_protocol_extproc::{BodyMode, Closed, Exchange, Output};

use crate::{
    Live,
    metrics::Metrics,
    proto::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse, processing_request::Request},
    request::Session,
    service::Front,
    wire,
};

/// A stream, from the proxy's first message to the end.
pub(crate) struct Process {
    inbound: Streaming<ProcessingRequest>,
    live: Arc<ArcSwap<Live>>,
    metrics: Arc<Metrics>,
    log: AccessLog,
    /// There from the first message on.
    under_way: Option<UnderWay>,
    over: bool,
    began: Instant,
    /// What the proxy is told at the end.
    code: Code,
}

struct UnderWay {
    exchange: Exchange,
    session: Session,
    id: HeaderValue,
}

impl Process {
    pub(crate) fn new(inbound: Streaming<ProcessingRequest>, front: &Front) -> Self {
        front.metrics.stream_began();
        let (live, metrics, log) = (Arc::clone(&front.live), Arc::clone(&front.metrics), front.log.clone());
        Self { inbound, live, metrics, log, under_way: None, over: false, began: Instant::now(), code: Code::Ok }
    }

    /// Takes one message.
    fn take(&mut self, message: ProcessingRequest) -> Result<(), Status> {
        if self.under_way.is_none() {
            self.under_way = Some(self.begin(&message)?);
        }
        let Some(under_way) = &mut self.under_way else { return Ok(()) };
        under_way.take(message)
    }

    fn begin(&self, message: &ProcessingRequest) -> Result<UnderWay, Status> {
        if message.observability_mode {
            return Err(Status::failed_precondition("in observability mode nobody would do what is answered here"));
        }
        let modes =
            wire::modes(message.protocol_config.as_ref()).map_err(|error| Status::failed_precondition(error.to_string()))?;
        let (live, metrics, log) = (self.live.load_full(), Arc::clone(&self.metrics), self.log.clone());
        let session = Session::new(live, metrics, log, modes.response == BodyMode::FullDuplex);
        let exchange = Exchange::new(modes, session.max_body_bytes());
        Ok(UnderWay { exchange, session, id: HeaderValue::from_static("-") })
    }

    /// The next answer, if there is one.
    fn next(&mut self) -> Option<ProcessingResponse> {
        self.under_way.as_mut()?.next()
    }

    fn end(&mut self, how: Closed) {
        if let Some(under_way) = &mut self.under_way {
            under_way.exchange.close(how);
            while under_way.next().is_some() {}
        }
        self.over = true;
    }

    fn fail(&mut self, status: Status) -> Status {
        tracing::warn!(error = status.message(), "a proxy's stream was refused");
        self.over = true;
        self.code = status.code();
        match self.under_way.take() {
            Some(mut under_way) => under_way.session.violated(),
            None => self.metrics.violated(),
        }
        status
    }
}

impl UnderWay {
    fn take(&mut self, message: ProcessingRequest) -> Result<(), Status> {
        let Self { exchange, session, id } = self;
        let metadata = message.metadata_context.as_ref();
        let taken = match message.request {
            Some(Request::RequestHeaders(headers)) => {
                session.hint(metadata);
                let (headers, end_of_stream) = wire::headers(headers);
                *id = match headers.request_id() {
                    Some(id) => id.clone(),
                    None => {
                        let new = new_id();
                        exchange.set_request_id(new.clone());
                        new
                    }
                };
                let wanted = session.begin(&headers, id);
                exchange.request_headers(headers, end_of_stream, wanted)
            }
            Some(Request::RequestBody(body)) => {
                session.hint(metadata);
                let taken = exchange.request_body(body.body, body.end_of_stream);
                if let Some(so_far) = exchange.gathering() {
                    session.read(so_far);
                }
                taken
            }
            Some(Request::RequestTrailers(_)) => {
                session.hint(metadata);
                exchange.request_trailers()
            }
            Some(Request::ResponseHeaders(headers)) => {
                let (headers, end_of_stream) = wire::headers(headers);
                let set = session.response_headers(&headers, end_of_stream, metadata);
                exchange.response_headers(end_of_stream, set)
            }
            Some(Request::ResponseBody(body)) => {
                let piece = session.response_body(body.body, body.end_of_stream);
                if body.end_of_stream {
                    exchange.report(session.response_ended());
                }
                exchange.response_body(piece, body.end_of_stream)
            }
            Some(Request::ResponseTrailers(_)) => {
                // What was held back of the body goes before them.
                let rest = session.response_body(Bytes::new(), true);
                exchange.report(session.response_ended());
                let passed = if rest.is_empty() { Ok(()) } else { exchange.response_body(rest, false) };
                passed.and_then(|()| exchange.response_trailers())
            }
            // Messages of newer versions, such as window updates, need no answer.
            None => Ok(()),
        };
        taken.map_err(|error| Status::invalid_argument(error.to_string()))?;
        if exchange.is_too_large() {
            exchange.refuse(session.too_large());
        }
        Ok(())
    }

    fn next(&mut self) -> Option<ProcessingResponse> {
        loop {
            match self.exchange.poll()? {
                Output::Answer(answer) => return Some(wire::response(answer)),
                Output::Route => match self.session.route(&self.exchange.request(), &self.id) {
                    Ok(decision) => self.exchange.decided(decision),
                    Err(refused) => self.exchange.refuse(refused),
                },
                Output::Done(completion) => self.session.finish(completion),
            }
        }
    }
}

impl Stream for Process {
    type Item = Result<ProcessingResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.over {
                return Poll::Ready(None);
            }
            if let Some(answer) = this.next() {
                return Poll::Ready(Some(Ok(answer)));
            }
            if this.under_way.as_ref().is_some_and(|one| one.exchange.is_over()) {
                this.end(Closed::ByProxy);
                return Poll::Ready(None);
            }
            match std::task::ready!(Pin::new(&mut this.inbound).poll_next(cx)) {
                Some(Ok(message)) => {
                    if let Err(status) = this.take(message) {
                        return Poll::Ready(Some(Err(this.fail(status))));
                    }
                }
                Some(Err(status)) if matches!(status.code(), Code::Cancelled | Code::Unknown) => {
                    this.code = Code::Cancelled;
                    this.end(Closed::ByProxy);
                }
                Some(Err(status)) => {
                    // What the proxy sent could not be read, such as a message above the limit: it is told.
                    this.end(Closed::Broken);
                    this.code = status.code();
                    return Poll::Ready(Some(Err(status)));
                }
                None => this.end(Closed::ByProxy),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.over {
            self.code = Code::Cancelled;
            self.end(Closed::ByProxy);
        }
        self.metrics.stream_over(self.began.elapsed().as_secs_f64(), self.code);
    }
}

/// A new id for a request.
fn new_id() -> HeaderValue {
    let mut buffer = uuid::Uuid::encode_buffer();
    let id = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}
