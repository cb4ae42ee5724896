//! A gRPC client over one connection.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
};
use tonic::{Status, Streaming, body::Body, codec::CompressionEncoding, codegen::Service};
use weir_extproc::{
    Metadata,
    proto::{
        envoy::{
            config::core::v3::{HeaderMap, HeaderValue},
            service::ext_proc::v3::{
                BodyResponse, CommonResponse, HeaderMutation, HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse,
                ProtocolConfiguration, body_mutation::Mutation, external_processor_client::ExternalProcessorClient,
                processing_request::Request, processing_response::Response,
            },
        },
        grpc::health::v1::{HealthCheckRequest, HealthListRequest, health_client::HealthClient},
    },
};

/// One HTTP/2 connection as tonic's clients want it.
#[derive(Clone)]
struct Connection(http2::SendRequest<Body>);

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A proxy's connection.
pub struct Proxy {
    connection: Connection,
    pub gzip: bool,
}

impl Proxy {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { connection: Connection(sender), gzip: false }
    }

    /// Opens a stream.
    pub async fn open(&self) -> Call {
        let (sender, receiver) = mpsc::channel(64);
        let mut client = ExternalProcessorClient::with_origin(self.connection.clone(), "http://epp".parse().unwrap());
        if self.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let answers = client.process(Outbound(receiver)).await.unwrap().into_inner();
        Call { sender: Some(sender), answers, told: false }
    }

    /// A request whose body is longer than it says: the server resets its stream.
    pub async fn longer_than_it_says(&self) {
        let path = "http://epp/envoy.service.ext_proc.v3.ExternalProcessor/Process";
        let request = http::Request::post(path).header("content-type", "application/grpc").header("content-length", "1");
        let request = request.body(Body::new(Full::new(Bytes::from_static(b"\0\0")))).unwrap();
        // Its response may have begun.
        let ended = match self.connection.clone().call(request).await {
            Ok(response) => response.into_body().collect().await.map(drop),
            Err(error) => Err(error),
        };
        ended.unwrap_err();
    }

    /// What is answered where nothing is processed.
    pub async fn process_status(&self) -> Status {
        let (_sender, receiver) = mpsc::channel(1);
        let mut client = ExternalProcessorClient::with_origin(self.connection.clone(), "http://epp".parse().unwrap());
        client.process(Outbound(receiver)).await.map(|_| ()).unwrap_err()
    }

    fn health(&self) -> HealthClient<Connection> {
        HealthClient::with_origin(self.connection.clone(), "http://epp".parse().unwrap())
    }

    /// The number of a service's status.
    pub async fn check(&self, service: &str) -> i32 {
        let request = HealthCheckRequest { service: service.to_owned() };
        self.health().check(request).await.unwrap().into_inner().status
    }

    pub async fn list(&self) -> BTreeMap<String, i32> {
        let statuses = self.health().list(HealthListRequest {}).await.unwrap().into_inner().statuses;
        statuses.into_iter().map(|(name, one)| (name, one.status)).collect()
    }

    pub async fn watch(&self) -> Status {
        self.health().watch(HealthCheckRequest::default()).await.map(|_| ()).unwrap_err()
    }
}

struct Outbound(mpsc::Receiver<ProcessingRequest>);

impl Stream for Outbound {
    type Item = ProcessingRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// One stream.
pub struct Call {
    sender: Option<mpsc::Sender<ProcessingRequest>>,
    answers: Streaming<ProcessingResponse>,
    told: bool,
}

impl Call {
    /// Sends a message; the first one says that bodies come in full duplex.
    pub async fn send(&mut self, request: Request) {
        self.send_with(request, Metadata::default()).await;
    }

    pub async fn send_with(&mut self, request: Request, metadata: Metadata) {
        let modes = ProtocolConfiguration { request_body_mode: 4, response_body_mode: 4, ..ProtocolConfiguration::default() };
        self.send_as(request, metadata, modes).await;
    }

    pub async fn send_as(&mut self, request: Request, metadata: Metadata, modes: ProtocolConfiguration) {
        let protocol_config = (!std::mem::replace(&mut self.told, true)).then_some(modes);
        let message = ProcessingRequest {
            request: Some(request),
            metadata_context: Some(metadata),
            protocol_config,
            ..ProcessingRequest::default()
        };
        self.raw(message).await;
    }

    pub async fn raw(&mut self, message: ProcessingRequest) {
        let _ = self.sender.as_ref().unwrap().send(message).await;
    }

    /// Nothing more is sent.
    pub fn close(&mut self) {
        self.sender = None;
    }

    /// The next answer; `None` at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<Response>, Status> {
        Ok(self.answers.message().await?.map(|message| message.response.unwrap()))
    }

    pub async fn next_message(&mut self) -> ProcessingResponse {
        self.answers.message().await.unwrap().unwrap()
    }

    /// Sends a small chat request and returns what is answered to its headers.
    pub async fn chat(&mut self, metadata: Metadata) -> Response {
        let head = [(":path", "/v1/chat/completions"), (":method", "POST"), ("content-type", "application/json")];
        self.send_with(Request::RequestHeaders(headers(&head, false)), metadata.clone()).await;
        let text = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
        self.send_with(Request::RequestBody(body(text, true)), metadata).await;
        self.next().await.unwrap().unwrap()
    }
}

pub fn headers(list: &[(&str, &str)], end_of_stream: bool) -> HttpHeaders {
    let one = |(key, value): &(&str, &str)| HeaderValue {
        key: (*key).to_owned(),
        raw_value: Bytes::copy_from_slice(value.as_bytes()),
        ..HeaderValue::default()
    };
    HttpHeaders { headers: Some(HeaderMap { headers: list.iter().map(one).collect() }), end_of_stream, ..HttpHeaders::default() }
}

pub fn body(text: impl Into<Bytes>, end_of_stream: bool) -> HttpBody {
    HttpBody { body: text.into(), end_of_stream, ..HttpBody::default() }
}

/// The headers that an answer sets, or the body that it streams, as text.
pub fn fields(response: &Response) -> Vec<(String, String)> {
    let set = |mutation: &HeaderMutation| {
        let options = mutation.set_headers.iter();
        let headers = options.map(|option| {
            assert!(option.append_action == 2 || option.append_action == 0);
            option.header.clone().unwrap()
        });
        headers.map(|header| (header.key, String::from_utf8(header.raw_value.to_vec()).unwrap())).collect::<Vec<_>>()
    };
    let common = |response: &Option<CommonResponse>| match response {
        None => Vec::new(),
        Some(CommonResponse { header_mutation, body_mutation, .. }) => {
            let mut found = header_mutation.as_ref().map(set).unwrap_or_default();
            if let Some(Mutation::StreamedResponse(piece)) = body_mutation.as_ref().and_then(|one| one.mutation.as_ref()) {
                let text = String::from_utf8(piece.body.to_vec()).unwrap();
                found.push((format!("body eos={}", piece.end_of_stream), text));
            }
            found
        }
    };
    match response {
        Response::RequestHeaders(one) | Response::ResponseHeaders(one) => common(&one.response),
        Response::RequestBody(BodyResponse { response }) | Response::ResponseBody(BodyResponse { response }) => common(response),
        Response::ImmediateResponse(one) => {
            let mut found = one.headers.as_ref().map(set).unwrap_or_default();
            found.push(("status".into(), one.status.as_ref().unwrap().code.to_string()));
            found.push(("body".into(), String::from_utf8(one.body.to_vec()).unwrap()));
            found
        }
        other => panic!("{other:?}"),
    }
}
