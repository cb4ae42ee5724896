//! vLLM's endpoints.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{error::ApiError, worker::Worker};

mod body;
mod embeddings;
mod failures;
mod frames;
mod generate;
mod models;
mod others;
mod request;
mod sse;
mod tokenize;

pub(crate) use self::body::Body;

/// vLLM's version, as far as the interface goes.
const VERSION: &str = concat!("0.11.0+weir.", env!("CARGO_PKG_VERSION"));

/// Answers one request.
pub(crate) async fn handle(worker: Arc<Worker>, request: Request<Incoming>) -> Response<Body> {
    let anthropic = request.uri().path().starts_with("/v1/messages");
    let mut response = match route(&worker, request).await {
        Ok(response) => response,
        Err(error) => text(error.status, "application/json", if anthropic { error.anthropic_body() } else { error.body() }),
    };
    let pod = &worker.config.pod;
    let headers = response.headers_mut();
    if let Some(name) = &pod.name {
        set(headers, "x-inference-pod", name);
        set(headers, "x-inference-port", &worker.port.to_string());
    }
    if let Some(namespace) = &pod.namespace {
        set(headers, "x-inference-namespace", namespace);
    }
    response
}

async fn route(worker: &Arc<Worker>, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let (get, post) = (parts.method == Method::GET, parts.method == Method::POST);
    match path {
        "/v1/messages/count_tokens" if post => others::count_tokens(worker, &read(worker, body).await?),
        _ if post && let Some(api) = generate::Api::of(path) => {
            Box::pin(generate::generate(worker, api, &parts.headers, read(worker, body).await?)).await
        }
        "/v1/embeddings" if post => embeddings::embeddings(worker, &parts.headers, &read(worker, body).await?),
        "/tokenize" if post => tokenize::tokenize(worker, &read(worker, body).await?),
        "/detokenize" if post => tokenize::detokenize(worker, &read(worker, body).await?),
        "/v1/models" if get => Ok(models::list(worker)),
        "/v1/load_lora_adapter" if post => models::load_lora(worker, &read(worker, body).await?),
        "/v1/unload_lora_adapter" if post => models::unload_lora(worker, &read(worker, body).await?),
        "/metrics" if get => Ok(text(200, "text/plain; version=0.0.4; charset=utf-8", worker.metrics_page())),
        "/health" if get => Ok(empty(200)),
        "/health/ready" if get => Ok(empty(if worker.is_ready() { 200 } else { 503 })),
        "/ping" if get || post => Ok(empty(200)),
        "/version" if get => Ok(json_response(&json!({"version": VERSION}))),
        "/load" if get => {
            let stats = worker.stats();
            Ok(json_response(&json!({"server_load": stats.running + stats.waiting + stats.arriving})))
        }
        "/reset_prefix_cache" if post => {
            worker.reset_prefix_cache();
            Ok(empty(200))
        }
        _ if KNOWN.contains(&path) => Ok(text(405, "application/json", r#"{"detail":"Method Not Allowed"}"#)),
        _ => Ok(text(404, "application/json", r#"{"detail":"Not Found"}"#)),
    }
}

/// Paths that exist, for the difference between 404 and 405.
const KNOWN: [&str; 19] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/inference/v1/generate",
    "/v1/embeddings",
    "/tokenize",
    "/detokenize",
    "/v1/models",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/metrics",
    "/health",
    "/health/ready",
    "/ping",
    "/version",
    "/load",
    "/reset_prefix_cache",
];

async fn read(worker: &Worker, body: Incoming) -> Result<Bytes, ApiError> {
    match Limited::new(body, worker.config.max_body_bytes).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::new(413, "Request body is too large")),
        Err(error) => Err(unreadable(&error)),
    }
}

fn unreadable(detail: &impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("Failed to read and parse request body, {detail}"))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| unreadable(&error))
}

fn set(headers: &mut http::HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn text(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json_response(value: &Value) -> Response<Body> {
    text(200, "application/json", value.to_string())
}

fn empty(status: u16) -> Response<Body> {
    let mut response = Response::new(Body::full(Bytes::new()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}
