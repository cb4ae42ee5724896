//! Plays Envoy towards a picker: the messages that Envoy 1.40 sends for a request, on many streams at once, and nothing around
//! them. So the picker saturates first, and its cost can be told from its CPU time alone.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};
use tonic::{Streaming, body::Body, codegen::Service};
use weir_extproc::proto::envoy::{
    config::core::v3::{HeaderMap, HeaderValue},
    service::ext_proc::v3::{
        HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse, ProtocolConfiguration,
        external_processor_client::ExternalProcessorClient, processing_request::Request, processing_response::Response,
    },
};

use crate::{Result, bodies::sized_bodies};

/// How Envoy cuts a request's body if its buffer holds 32 KiB.
const BODY_PIECE: usize = 32 * 1024;
/// `FULL_DUPLEX_STREAMED` of Envoy's `BodySendMode`.
const FULL_DUPLEX: i32 = 4;
const WINDOW: u32 = 16 << 20;
/// Messages of a stream that may wait to be sent.
const AHEAD: usize = 64;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[arg(long)]
    pub(crate) target: SocketAddr,
    /// Streams at once.
    #[arg(long, default_value_t = 32)]
    pub(crate) streams: u16,
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    #[arg(long, default_value_t = 200)]
    pub(crate) prompt_tokens: usize,
    #[arg(long, default_value_t = 0)]
    pub(crate) shared_tokens: usize,
    /// Pieces of the response that the picker is shown and must echo; 0: `response_body_mode: NONE`.
    #[arg(long, default_value_t = 0)]
    pub(crate) chunks: usize,
}

/// What one run came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) chunks: u64,
    pub(crate) seconds: f64,
    /// From the last piece of the request to its echo, as the driver sees it.
    pub(crate) answer_p50_us: f64,
    pub(crate) answer_p95_us: f64,
    pub(crate) answer_p99_us: f64,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let script = Arc::new(Script::new(args));
    let tally = Arc::new(Mutex::new(Tally::new()?));
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(args.seconds.clamp(0.05, 600.0));
    // Envoy has a connection for each of its threads.
    let connection = Connection::open(args.target).await?;
    let mut streams = JoinSet::new();
    for _ in 0..args.streams {
        let (script, tally, next, connection) = (Arc::clone(&script), Arc::clone(&tally), Arc::clone(&next), connection.clone());
        streams.spawn(async move {
            while Instant::now() < until {
                let played = script.play(&connection, next.fetch_add(1, Relaxed)).await;
                tally.lock().count(played, script.chunks.len());
            }
        });
    }
    while let Some(ended) = streams.join_next().await {
        ended?;
    }
    println!("{}", serde_json::to_string(&tally.lock().report(started.elapsed().as_secs_f64()))?);
    Ok(())
}

struct Tally {
    answers: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
    chunks: u64,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self { answers: Histogram::new_with_bounds(100, 120_000_000_000, 3)?, errors: 0, first_error: None, chunks: 0 })
    }

    fn count(&mut self, played: Result<Duration>, chunks: usize) {
        match played {
            Ok(answer) => {
                self.answers.saturating_record(u64::try_from(answer.as_nanos()).unwrap_or(u64::MAX));
                self.chunks += chunks as u64;
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }

    fn report(&self, seconds: f64) -> Report {
        let us = |quantile| self.answers.value_at_quantile(quantile) as f64 / 1e3;
        Report {
            requests: self.answers.len(),
            errors: self.errors,
            first_error: self.first_error.clone(),
            chunks: self.chunks,
            seconds,
            answer_p50_us: us(0.5),
            answer_p95_us: us(0.95),
            answer_p99_us: us(0.99),
        }
    }
}

/// Everything that is sent, made once.
struct Script {
    bodies: Vec<Bytes>,
    chunks: Vec<Bytes>,
    response_mode: i32,
}

impl Script {
    fn new(args: &Args) -> Self {
        let streams = args.chunks > 0;
        let chunk = Bytes::from_static(
            b"data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\
              \"bench-model\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"token \"},\"finish_reason\":null}]}\n\n",
        );
        Self {
            bodies: sized_bodies(args.prompt_tokens, args.shared_tokens, streams).into_iter().map(Bytes::from).collect(),
            chunks: vec![chunk; args.chunks],
            response_mode: if streams { FULL_DUPLEX } else { 0 },
        }
    }

    /// One request, from its headers to the end of its response; returns how long its answer took after its last byte.
    async fn play(&self, connection: &Connection, at: usize) -> Result<Duration> {
        let body = &self.bodies[at % self.bodies.len()];
        let (sender, receiver) = mpsc::channel(AHEAD);
        sender.send(self.request_headers(at, body.len())).await?;
        let mut client = ExternalProcessorClient::with_origin(connection.clone(), http::Uri::from_static("http://epp"));
        let mut answers = client.process(Outbound(receiver)).await?.into_inner();

        for from in (0..body.len()).step_by(BODY_PIECE) {
            let piece = body.slice(from..body.len().min(from + BODY_PIECE));
            sender.send(message(Request::RequestBody(HttpBody { body: piece, ..HttpBody::default() }))).await?;
        }
        sender.send(message(Request::RequestBody(end()))).await?;
        let asked = Instant::now();
        loop {
            match next(&mut answers).await? {
                Response::RequestHeaders(_) => {}
                Response::RequestBody(body) if ends(body.response.as_ref()) => break,
                Response::RequestBody(_) => {}
                other => return Err(format!("unexpected answer to a request: {other:?}").into()),
            }
        }
        let took = asked.elapsed();

        sender.send(response_headers(self.chunks.is_empty())).await?;
        let Response::ResponseHeaders(_) = next(&mut answers).await? else { return Err("no answer to response headers".into()) };
        if !self.chunks.is_empty() {
            let send = async {
                for chunk in &self.chunks {
                    sender.send(message(Request::ResponseBody(HttpBody { body: chunk.clone(), ..HttpBody::default() }))).await?;
                }
                sender.send(message(Request::ResponseBody(end()))).await?;
                Result::Ok(())
            };
            let echo = async {
                loop {
                    match next(&mut answers).await? {
                        Response::ResponseBody(body) if ends(body.response.as_ref()) => return Result::Ok(()),
                        Response::ResponseBody(_) => {}
                        other => return Err(format!("unexpected answer to a response: {other:?}").into()),
                    }
                }
            };
            tokio::try_join!(send, echo)?;
        }
        drop(sender);
        match answers.message().await? {
            None => Ok(took),
            Some(other) => Err(format!("a message after the end: {other:?}").into()),
        }
    }

    fn request_headers(&self, at: usize, length: usize) -> ProcessingRequest {
        let id = format!("00000000-0000-4000-8000-{at:012x}");
        let length = length.to_string();
        let headers = [
            (":authority", "bench.local"),
            (":path", "/v1/chat/completions"),
            (":method", "POST"),
            (":scheme", "http"),
            ("user-agent", "bench"),
            ("accept", "*/*"),
            ("content-length", &length),
            ("content-type", "application/json"),
            ("x-forwarded-proto", "http"),
            ("x-request-id", &id),
        ];
        ProcessingRequest {
            protocol_config: Some(ProtocolConfiguration {
                request_body_mode: FULL_DUPLEX,
                response_body_mode: self.response_mode,
                ..ProtocolConfiguration::default()
            }),
            ..message(Request::RequestHeaders(header_message(&headers, false)))
        }
    }
}

fn response_headers(last: bool) -> ProcessingRequest {
    let headers = [(":status", "200"), ("content-type", "text/event-stream; charset=utf-8"), ("server", "uvicorn")];
    message(Request::ResponseHeaders(header_message(&headers, last)))
}

fn header_message(headers: &[(&str, &str)], last: bool) -> HttpHeaders {
    let headers = headers
        .iter()
        .map(|(key, value)| HeaderValue {
            key: (*key).to_owned(),
            raw_value: Bytes::copy_from_slice(value.as_bytes()),
            ..HeaderValue::default()
        })
        .collect();
    HttpHeaders { headers: Some(HeaderMap { headers }), end_of_stream: last, ..HttpHeaders::default() }
}

fn message(request: Request) -> ProcessingRequest {
    ProcessingRequest { request: Some(request), ..ProcessingRequest::default() }
}

/// Envoy ends a body with an empty message.
fn end() -> HttpBody {
    HttpBody { end_of_stream: true, ..HttpBody::default() }
}

async fn next(answers: &mut Streaming<ProcessingResponse>) -> Result<Response> {
    let answer = answers.message().await?.ok_or("the picker ended the stream")?;
    answer.response.ok_or_else(|| "an empty answer".into())
}

/// Whether an echoed piece is the last one.
fn ends(response: Option<&weir_extproc::proto::envoy::service::ext_proc::v3::CommonResponse>) -> bool {
    use weir_extproc::proto::envoy::service::ext_proc::v3::body_mutation::Mutation;
    let mutation = response.and_then(|response| response.body_mutation.as_ref()).and_then(|body| body.mutation.as_ref());
    matches!(mutation, Some(Mutation::StreamedResponse(piece)) if piece.end_of_stream)
}

/// One HTTP/2 connection as tonic's clients want it.
#[derive(Clone)]
struct Connection(http2::SendRequest<Body>);

impl Connection {
    async fn open(target: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(stream))
            .await?;
        // Ends with the last sender.
        tokio::spawn(connection);
        Ok(Self(sender))
    }
}

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

struct Outbound(mpsc::Receiver<ProcessingRequest>);

impl futures_util::Stream for Outbound {
    type Item = ProcessingRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}
