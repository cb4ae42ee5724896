//! `/tokenize` and `/detokenize`.

use http::Response;
use serde::Deserialize;
use serde_json::json;

use super::{
    Body, json_response, parse,
    request::{Message, flatten},
};
use crate::{error::ApiError, tokenizer, worker::Worker};

#[derive(Deserialize)]
struct Tokenize {
    model: Option<String>,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    return_token_strs: Option<bool>,
}

pub(super) fn tokenize(worker: &Worker, body: &[u8]) -> Result<Response<Body>, ApiError> {
    let request: Tokenize = parse(body)?;
    worker.resolve(request.model.as_deref())?;
    let text = match (request.prompt, request.messages) {
        (Some(prompt), None) => prompt,
        (None, Some(messages)) => flatten(&messages),
        (Some(_), Some(_)) => return Err(ApiError::bad_request("Only one of prompt and messages may be given")),
        (None, None) => return Err(ApiError::bad_request("prompt or messages is missing")),
    };
    let pieces: Vec<&str> = tokenizer::pieces(&text).collect();
    let tokens: Vec<u32> = pieces.iter().map(|piece| tokenizer::id(piece)).collect();
    worker.learn(tokens.iter().copied().zip(pieces.iter().copied()));
    Ok(json_response(&json!({
        "count": tokens.len(),
        "max_model_len": worker.config.max_model_len,
        "tokens": tokens,
        "token_strs": (request.return_token_strs == Some(true)).then_some(pieces),
    })))
}

#[derive(Deserialize)]
struct Detokenize {
    model: Option<String>,
    tokens: Vec<u32>,
}

/// The ids are hashes, so only tokens that `/tokenize` has seen can be told.
pub(super) fn detokenize(worker: &Worker, body: &[u8]) -> Result<Response<Body>, ApiError> {
    let request: Detokenize = parse(body)?;
    worker.resolve(request.model.as_deref())?;
    Ok(json_response(&json!({"prompt": worker.recall(&request.tokens)})))
}
