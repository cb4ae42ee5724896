//! Usage in streams of gRPC messages.

use super::{Report, SseUsage, Usage, add};
use crate::{
    api::Api,
    grpc::{Field, Fields, Frames, Value, last_bytes},
    json::Span,
};

/// Watches a gRPC answer: counts its messages and merges the usages reported.
#[derive(Debug, Clone)]
pub(super) struct GrpcUsage {
    api: Api,
    frames: Frames,
    messages: u64,
    usage: Option<Usage>,
    /// Vertex AI's streams carry events of an OpenAI stream, cut anywhere.
    events: Option<SseUsage>,
}

impl GrpcUsage {
    pub(super) fn new(api: Api) -> Self {
        Self { api, frames: Frames::default(), messages: 0, usage: None, events: None }
    }

    pub(super) fn feed(&mut self, chunk: &[u8]) {
        let Self { api, frames, messages, usage, events } = self;
        frames.feed(chunk, &mut |message| {
            *messages += 1;
            let Some(message) = message else { return };
            match api {
                Api::VertexChatCompletions | Api::VertexRawPredict => vertex(message, usage, events),
                _ => {
                    if let Some(found) = vllm(*api, message) {
                        add(usage, found);
                    }
                }
            }
        });
    }

    pub(super) fn finish(&mut self) -> Option<Usage> {
        self.events.as_mut().and_then(SseUsage::finish).or(self.usage)
    }

    pub(super) fn events(&self) -> u64 {
        self.events.as_ref().map_or(self.messages, SseUsage::events)
    }
}

/// `GenerateResponse` and `EmbedResponse`. A message that is malformed reports nothing.
fn vllm(api: Api, message: &[u8]) -> Option<Usage> {
    let whole = Span::new(0, message.len());
    if api == Api::VllmGrpcEmbed {
        return counts(message, whole, [2, 0, 0]);
    }
    Fields::of(message, whole).map_while(Result::ok).find_map(|field| match field {
        Field { number: 1, value: Value::Bytes(chunk) } => counts(message, chunk, [2, 3, 4]),
        Field { number: 2, value: Value::Bytes(complete) } => counts(message, complete, [3, 4, 5]),
        _ => None,
    })
}

/// The numbers of prompt, completion and cached tokens, in these fields.
fn counts(body: &[u8], message: Span, [prompt, completion, cached]: [u32; 3]) -> Option<Usage> {
    let mut usage = Usage::default();
    for field in Fields::of(body, message) {
        let Field { number, value: Value::Varint(value, _) } = field.ok()? else { continue };
        if number == prompt {
            usage.prompt_tokens = value;
        } else if number == completion {
            usage.completion_tokens = value;
        } else if number == cached {
            usage.cached_tokens = Some(value);
        }
    }
    usage.total_tokens = usage.prompt_tokens.saturating_add(usage.completion_tokens);
    (usage != Usage::default()).then_some(usage)
}

/// A `google.api.HttpBody`.
fn vertex(message: &[u8], usage: &mut Option<Usage>, events: &mut Option<SseUsage>) {
    let Ok(Some(data)) = last_bytes(message, Span::new(0, message.len()), 2) else { return };
    let data = data.of(message);
    let is_stream = [&b"data:"[..], b"event:", b":"].iter().any(|start| data.starts_with(start));
    match events {
        Some(events) => events.feed(data),
        None if is_stream => events.insert(SseUsage::new()).feed(data),
        None => {
            if let Ok(Some(found)) = Report::Usage.read(data) {
                add(usage, found);
            }
        }
    }
}
