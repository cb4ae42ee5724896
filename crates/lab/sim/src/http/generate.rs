//! Requests that generate: chat and text completions, Anthropic's messages, responses, token ids.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, HeaderValue, Response, header};
use serde_json::{Value, json};
use uuid::Uuid;
use weir_engine::{BlockHasher, Request};

use super::{
    Body, failures,
    frames::{Head, document},
    json_response, others, parse,
    request::{Generation, Prompt},
    set,
    sse::Events,
};
use crate::{
    answer::{self, Answer},
    config::Mode,
    error::ApiError,
    tokenizer,
    worker::{Ticket, Worker},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Chat,
    Text,
    Messages,
    Responses,
    /// `/inference/v1/generate`
    Tokens,
}

impl Api {
    pub(super) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/chat/completions" => Self::Chat,
            "/v1/completions" => Self::Text,
            "/v1/messages" => Self::Messages,
            "/v1/responses" => Self::Responses,
            "/inference/v1/generate" => Self::Tokens,
            _ => return None,
        })
    }
}

/// What an answer used.
pub(super) struct Counts {
    pub(super) prompt: u64,
    pub(super) completion: u64,
    /// `None` without a cache.
    pub(super) cached: Option<u64>,
}

/// One choice on its way.
pub(super) struct Choice {
    pub(super) ticket: Ticket,
    pub(super) answer: Answer,
}

/// All choices of a request, with what its usage will say.
pub(super) struct Choices {
    pub(super) list: Vec<Choice>,
    /// Choices of each prompt.
    per_prompt: usize,
    prompt_tokens: u64,
    /// Whether cached tokens are known.
    cache: bool,
}

pub(super) async fn generate(
    worker: &Arc<Worker>,
    api: Api,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response<Body>, ApiError> {
    if worker.is_stopping() {
        return Err(ApiError::new(503, "server is shutting down"));
    }
    let mut request: Generation = match api {
        Api::Chat | Api::Text => parse(&body)?,
        Api::Messages => others::messages(&body)?,
        Api::Responses => others::responses(&body)?,
        Api::Tokens => others::tokens(&body)?,
    };
    drop(body);
    let number = worker.count_request();
    let request_id = request_id(worker, headers, number);
    failures::demanded(headers)?;
    // The content of an answer depends on the seed and the request alone, not on what else runs.
    let mut rng = Rng::with_seed(mix(worker.config.seed, request.seed.map_or(number, |seed| mix(seed as u64, 1 << 63))));
    failures::injected(&worker.config, &mut rng)?;

    let streamed = request.stream == Some(true);
    let usage_wanted = request.include_usage();
    let (model, choices) = submit(worker, api, &mut request, &mut rng)?;
    let head = Head { api, id: &request_id, created: unix_seconds(), model: &model };
    // Errors of the first result would still be real ones; streams begin with their first token.
    let first = &choices.list[0].ticket;
    poll_fn(|cx| first.poll_more(0, cx)).await;
    let mut response = if streamed {
        let mut response = Response::new(Body::Events(Box::new(Events::new(&head, choices, usage_wanted))));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    } else {
        for choice in &choices.list {
            poll_fn(|cx| choice.ticket.poll_more(choice.answer.tokens() - 1, cx)).await;
        }
        json_response(&document(&head, &choices))
    };
    if worker.config.request_id_headers {
        set(response.headers_mut(), "x-request-id", &request_id);
    }
    Ok(response)
}

/// Checks a request and hands all its choices to the engine, or none.
fn submit(worker: &Arc<Worker>, api: Api, request: &mut Generation, rng: &mut Rng) -> Result<(String, Choices), ApiError> {
    let config = &worker.config;
    let (model, adapter) = worker.resolve(request.model.as_deref())?;
    let per_prompt = request.choices()?;
    let max_tokens = request.max_tokens()?;
    let stops = request.stops();
    let prompts = match api {
        Api::Chat => request.chat_prompt()?,
        Api::Text => request.text_prompts()?,
        Api::Messages | Api::Responses | Api::Tokens => vec![request.ready_prompt()?],
    };
    let remote_prefill = request.remote_prefill();
    worker.count_choices(per_prompt);
    let mut list = Vec::with_capacity(prompts.len() * per_prompt as usize);
    let mut prompt_tokens = 0;
    for Prompt { ids, echo } in prompts {
        let prompt = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        prompt_tokens += u64::from(prompt);
        let room = config.max_model_len.saturating_sub(prompt);
        let asked = max_tokens.unwrap_or(1);
        if asked > room {
            return Err(ApiError::context(config.max_model_len, prompt, asked));
        }
        for _ in 0..per_prompt {
            let mut answer = match config.mode {
                Mode::Echo => Answer::echo(&echo, max_tokens),
                Mode::Random => {
                    let (tokens, finish) = answer::length(max_tokens, request.ignore_eos == Some(true), room, rng);
                    Answer::sentences(tokens, finish, rng)
                }
            };
            answer.cut(&stops, request.include_stop_str_in_output == Some(true));
            let sequence = Request {
                prompt_tokens: prompt,
                output_tokens: answer.tokens(),
                blocks: blocks(worker, &ids, &answer),
                tokens: tokens(worker, &ids, &answer),
                adapter,
                remote_prefill,
            };
            let ticket = worker
                .submit(sequence, answer.finish, max_tokens)
                .map_err(|refused| ApiError::refused(refused, prompt, answer.tokens()))?;
            list.push(Choice { ticket, answer });
        }
    }
    Ok((model, Choices { list, per_prompt: per_prompt as usize, prompt_tokens, cache: config.enable_kv_cache }))
}

/// Chain hashes of prompt and answer, so that a request that repeats both finds both.
fn blocks(worker: &Worker, prompt: &[u32], answer: &Answer) -> Vec<u64> {
    let config = &worker.config;
    if !config.enable_kv_cache || !config.prefix_caching {
        return Vec::new();
    }
    let mut hasher = BlockHasher::new(&config.hash_seed, config.display_name(), config.block_size);
    hasher.update(prompt);
    for index in 0..answer.tokens() {
        hasher.update(&[tokenizer::id(answer.piece(index))]);
    }
    hasher.finish()
}

/// The tokens of these blocks, if somebody is told of them.
fn tokens(worker: &Worker, prompt: &[u32], answer: &Answer) -> Arc<[u32]> {
    if worker.config.kv_events.is_none() {
        return Arc::default();
    }
    prompt.iter().copied().chain((0..answer.tokens()).map(|index| tokenizer::id(answer.piece(index)))).collect()
}

impl Choices {
    /// As of now; prompt tokens count once for each prompt.
    pub(super) fn counts(&self) -> Counts {
        let cached = || self.list.iter().step_by(self.per_prompt).map(|choice| u64::from(choice.ticket.cached())).sum();
        Counts {
            prompt: self.prompt_tokens,
            completion: self.list.iter().map(|choice| u64::from(choice.answer.tokens())).sum(),
            cached: self.cache.then(cached),
        }
    }

    /// In OpenAI's form.
    pub(super) fn usage(&self) -> Value {
        let Counts { prompt, completion, cached } = self.counts();
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": cached.map(|cached| json!({"cached_tokens": cached})),
        })
    }
}

/// The client's where that is wanted, otherwise a version 5 UUID that depends on seed, port and number only.
fn request_id(worker: &Worker, headers: &HeaderMap, number: u64) -> String {
    if worker.config.request_id_headers
        && let Some(id) = headers.get("x-request-id").and_then(|value| value.to_str().ok())
        && !id.is_empty()
    {
        return id.to_owned();
    }
    numbered_id(worker.config.seed, worker.port, number)
}

fn numbered_id(seed: u64, port: u16, number: u64) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{}-{port}-{number}", seed as i64).as_bytes()).to_string()
}

/// SplitMix64 of both.
fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_id_vectors() {
        assert_eq!(numbered_id(100, 8000, 0), "7c91303d-1d54-590b-a704-c0f61ad4c4f7");
        assert_eq!(numbered_id(100, 8000, 1), "f0a61a0c-93d0-5a2f-b504-e83856ca5343");
        assert_eq!(numbered_id(42, 8000, 0), "cda04074-6efd-5c7c-a13c-725a8b68df45");
    }
}
