//! Where a value stands in a request: which fields are looked at, API by API.

use crate::{
    api::{Api, Shape},
    segment::MediaKind,
};

/// A place of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// Of no interest.
    Ignored,
    /// The document.
    Top,
    Model,
    Stream,
    MaxTokens,
    MaxCompletionTokens,
    Choices,
    IgnoreEos,
    CacheSalt,
    User,
    StreamOptions,
    IncludeUsage,
    /// `sampling_params`
    Sampling,
    Metadata,
    Tools,
    Tool,
    /// Counts as the JSON it is, before the prompt.
    Instructions,
    /// Anthropic's instructions: text, or a list of parts.
    System,
    Messages,
    Message,
    Role,
    Content,
    Part,
    PartType,
    PartText,
    /// A media part's own value: the reference itself, or an object that holds it.
    Media(MediaKind),
    MediaReference,
    /// Anthropic's object around a media part's data.
    Source,
    SourceData,
    ToolName,
    ToolInput,
    /// Text, token ids, or a list of either.
    Prompts,
    Prompt,
    Ids,
    Id,
    /// A prompt that counts as the JSON it is.
    Whole,
}

/// The place of the value of `key` in an object that stands in `container`.
pub(super) fn of_key(container: Slot, key: &[u8], api: Api) -> Slot {
    match container {
        Slot::Top => of_field(key, api),
        Slot::StreamOptions if key == b"include_usage" => Slot::IncludeUsage,
        Slot::Sampling => match key {
            b"max_tokens" | b"max_new_tokens" => Slot::MaxTokens,
            b"n" => Slot::Choices,
            b"ignore_eos" => Slot::IgnoreEos,
            _ => Slot::Ignored,
        },
        Slot::Metadata if key == b"user_id" => Slot::User,
        Slot::Message => match key {
            b"role" => Slot::Role,
            b"content" => Slot::Content,
            _ => Slot::Ignored,
        },
        Slot::Part if api.shape() == Shape::Messages => match key {
            b"type" => Slot::PartType,
            b"text" | b"thinking" => Slot::PartText,
            b"source" => Slot::Source,
            b"name" => Slot::ToolName,
            b"input" => Slot::ToolInput,
            b"content" => Slot::Content,
            _ => Slot::Ignored,
        },
        Slot::Part => match key {
            b"type" => Slot::PartType,
            b"text" => Slot::PartText,
            b"image_url" => Slot::Media(MediaKind::Image),
            b"video_url" => Slot::Media(MediaKind::Video),
            b"audio_url" | b"input_audio" => Slot::Media(MediaKind::Audio),
            _ => Slot::Ignored,
        },
        Slot::Media(_) if matches!(key, b"url" | b"data") => Slot::MediaReference,
        Slot::Source if matches!(key, b"url" | b"data") => Slot::SourceData,
        _ => Slot::Ignored,
    }
}

/// The place of an element of an array that stands in `container`.
pub(super) const fn of_element(container: Slot) -> Slot {
    match container {
        Slot::Tools => Slot::Tool,
        Slot::Messages => Slot::Message,
        Slot::Content | Slot::System => Slot::Part,
        Slot::Prompts => Slot::Prompt,
        Slot::Ids => Slot::Id,
        _ => Slot::Ignored,
    }
}

/// The place of a field of the request.
fn of_field(key: &[u8], api: Api) -> Slot {
    use Shape::{Chat, Completions, Conversations, Embeddings, Images, Messages, Responses, SglangGenerate, VllmGenerate};
    match (key, api.shape()) {
        (b"model", _) => Slot::Model,
        (b"stream", _) => Slot::Stream,
        (b"max_tokens", Chat | Completions | Messages) | (b"max_output_tokens", Responses) => Slot::MaxTokens,
        (b"max_completion_tokens", Chat) => Slot::MaxCompletionTokens,
        (b"n", _) => Slot::Choices,
        (b"ignore_eos", _) => Slot::IgnoreEos,
        (b"extra_key", SglangGenerate) | (b"cache_salt", _) => Slot::CacheSalt,
        (b"user", _) => Slot::User,
        (b"metadata", Messages) => Slot::Metadata,
        (b"stream_options", _) => Slot::StreamOptions,
        (b"sampling_params", VllmGenerate | SglangGenerate) => Slot::Sampling,
        (b"tools", Chat | Responses | Messages) => Slot::Tools,
        (b"instructions", Responses) => Slot::Instructions,
        (b"system", Messages) => Slot::System,
        (b"messages", Chat | Embeddings | Messages) => Slot::Messages,
        (b"prompt", Completions | Images)
        | (b"input", Embeddings)
        | (b"token_ids", VllmGenerate)
        | (b"input_ids" | b"text", SglangGenerate) => Slot::Prompts,
        (b"input", Responses) | (b"items", Conversations) => Slot::Whole,
        _ => Slot::Ignored,
    }
}
