//! Requests in other forms than chat and text completions: they are brought into the same.

use http::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Body, json_response, parse,
    request::{Content, Generation, Message, Prompt, Stop, flatten},
};
use crate::{error::ApiError, tokenizer, worker::Worker};

/// Anthropic's messages; what is not named here is ignored.
#[derive(Deserialize)]
struct Messages {
    model: Option<String>,
    system: Option<Content>,
    #[serde(default)]
    messages: Vec<Message>,
    max_tokens: Option<i64>,
    #[serde(default)]
    stop_sequences: Vec<String>,
    stream: Option<bool>,
    tools: Option<Value>,
    kv_transfer_params: Option<Value>,
}

impl Messages {
    /// The chat as one text, in the form of all chats, with the tools before it.
    fn prompt(&mut self) -> Result<Prompt, ApiError> {
        let Some(last) = self.messages.last() else {
            return Err(ApiError::bad_request("messages must contain at least one message"));
        };
        let echo = last.text();
        let system = self.system.take().map(|system| Message::new("system", system));
        let chat: Vec<Message> = system.into_iter().chain(std::mem::take(&mut self.messages)).collect();
        let tools = self.tools.take().filter(|tools| !tools.is_null()).map(|tools| tools.to_string()).unwrap_or_default();
        Ok(Prompt { ids: tokenizer::ids(&(tools + &flatten(&chat))), echo })
    }
}

pub(super) fn messages(body: &[u8]) -> Result<Generation, ApiError> {
    let mut request: Messages = parse(body)?;
    let max_tokens = Some(request.max_tokens.ok_or_else(|| ApiError::bad_request("max_tokens is required"))?);
    let ready = Some(request.prompt()?);
    let Messages { model, stop_sequences, stream, kv_transfer_params, .. } = request;
    let stop = Some(Stop::Many(stop_sequences));
    Ok(Generation { model, max_tokens, stop, stream, kv_transfer_params, ready, ..Generation::default() })
}

/// `/v1/messages/count_tokens`
pub(super) fn count_tokens(worker: &Worker, body: &[u8]) -> Result<Response<Body>, ApiError> {
    let mut request: Messages = parse(body)?;
    worker.resolve(request.model.as_deref())?;
    Ok(json_response(&json!({"input_tokens": request.prompt()?.ids.len()})))
}

/// OpenAI's responses.
#[derive(Deserialize)]
struct Responses {
    model: Option<String>,
    input: Option<Input>,
    instructions: Option<String>,
    max_output_tokens: Option<i64>,
    stream: Option<bool>,
    ignore_eos: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Items(Vec<Message>),
}

pub(super) fn responses(body: &[u8]) -> Result<Generation, ApiError> {
    let request: Responses = parse(body)?;
    let items = match request.input {
        None => return Err(ApiError::bad_request("input is missing")),
        Some(Input::Text(text)) => vec![Message::new("user", Content::Text(text))],
        Some(Input::Items(items)) => items,
    };
    let echo = items.last().map(Message::text).unwrap_or_default();
    let system = request.instructions.map(|text| Message::new("system", Content::Text(text)));
    let chat: Vec<Message> = system.into_iter().chain(items).collect();
    Ok(Generation {
        model: request.model,
        max_tokens: request.max_output_tokens,
        stream: request.stream,
        ignore_eos: request.ignore_eos,
        ready: Some(Prompt { ids: tokenizer::ids(&flatten(&chat)), echo }),
        ..Generation::default()
    })
}

/// vLLM's `/inference/v1/generate`.
#[derive(Deserialize)]
struct Tokens {
    model: Option<String>,
    token_ids: Option<Vec<u32>>,
    sampling_params: Option<Sampling>,
    stream: Option<bool>,
    kv_transfer_params: Option<Value>,
}

#[derive(Deserialize)]
struct Sampling {
    max_tokens: Option<i64>,
    ignore_eos: Option<bool>,
    seed: Option<i64>,
    extra_args: Option<ExtraArgs>,
}

#[derive(Deserialize)]
struct ExtraArgs {
    kv_transfer_params: Option<Value>,
}

pub(super) fn tokens(body: &[u8]) -> Result<Generation, ApiError> {
    let request: Tokens = parse(body)?;
    let ids = request.token_ids.ok_or_else(|| ApiError::bad_request("Missing input token_ids"))?;
    let sampling = request.sampling_params.ok_or_else(|| ApiError::bad_request("Missing sampling_params field"))?;
    let echo = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let inner = sampling.extra_args.and_then(|extra| extra.kv_transfer_params);
    Ok(Generation {
        model: request.model,
        max_tokens: sampling.max_tokens,
        ignore_eos: sampling.ignore_eos,
        seed: sampling.seed,
        stream: request.stream,
        kv_transfer_params: request.kv_transfer_params.or(inner),
        ready: Some(Prompt { ids, echo }),
        ..Generation::default()
    })
}
