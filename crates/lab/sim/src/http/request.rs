//! Bodies of generation requests.

use serde::Deserialize;
use serde_json::Value;

use crate::{error::ApiError, tokenizer};

/// Chat and text completions; what is not named here is ignored.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Generation {
    pub(super) model: Option<String>,
    pub(super) messages: Option<Vec<Message>>,
    pub(super) prompt: Option<Prompts>,
    pub(super) max_tokens: Option<i64>,
    pub(super) max_completion_tokens: Option<i64>,
    pub(super) n: Option<i64>,
    pub(super) stream: Option<bool>,
    pub(super) stream_options: Option<StreamOptions>,
    pub(super) ignore_eos: Option<bool>,
    pub(super) stop: Option<Stop>,
    pub(super) include_stop_str_in_output: Option<bool>,
    pub(super) seed: Option<i64>,
    pub(super) kv_transfer_params: Option<Value>,
    /// The prompt of a request in another form.
    #[serde(skip)]
    pub(super) ready: Option<Prompt>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    #[serde(default)]
    role: String,
    content: Option<Content>,
    tool_calls: Option<Vec<ToolCall>>,
    tool_call_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a message; only text counts, also that inside what a tool answered.
#[derive(Debug, Deserialize)]
pub(super) struct Part {
    text: Option<String>,
    content: Option<Box<Content>>,
}

#[derive(Debug, Deserialize)]
struct ToolCall {
    function: Option<Function>,
}

#[derive(Debug, Deserialize)]
struct Function {
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: String,
}

/// `prompt` and `input` come in four shapes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Prompts {
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    IdLists(Vec<Vec<u32>>),
}

/// One prompt, and what an echo of it says.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    pub(super) ids: Vec<u32>,
    pub(super) echo: String,
}

/// Prompts a request may have, and choices of each.
const MOST: usize = 128;

impl Generation {
    pub(super) fn choices(&self) -> Result<u32, ApiError> {
        match self.n.unwrap_or(1) {
            ..1 => Err(ApiError::bad_request("n must be at least 1")),
            n if n > MOST as i64 => Err(ApiError::bad_request(format!("n must be at most {MOST}"))),
            n => Ok(n as u32),
        }
    }

    /// `max_completion_tokens` wins.
    pub(super) fn max_tokens(&self) -> Result<Option<u32>, ApiError> {
        if [self.max_tokens, self.max_completion_tokens].into_iter().flatten().any(|max| max <= 0) {
            return Err(ApiError::bad_request("Max completion tokens and max tokens should be positive"));
        }
        let max = self.max_completion_tokens.or(self.max_tokens);
        if max.is_none() && self.ignore_eos == Some(true) {
            return Err(ApiError::bad_request("Ignore_eos is true but max_completion_tokens (or max_tokens) is not set"));
        }
        Ok(max.map(|max| u32::try_from(max).unwrap_or(u32::MAX)))
    }

    pub(super) fn stops(&mut self) -> Vec<String> {
        match self.stop.take() {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Many(stops)) => stops,
        }
    }

    pub(super) fn include_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage == Some(true))
    }

    /// The prompt's cache comes from another worker.
    pub(super) fn remote_prefill(&self) -> bool {
        self.kv_transfer_params.as_ref().is_some_and(|params| params.get("do_remote_prefill") == Some(&Value::Bool(true)))
    }

    pub(super) fn chat_prompt(&mut self) -> Result<Vec<Prompt>, ApiError> {
        let messages = self.messages.take().unwrap_or_default();
        let Some(last) = messages.last() else {
            return Err(ApiError::bad_request("messages must contain at least one message"));
        };
        Ok(vec![Prompt { ids: tokenizer::ids(&flatten(&messages)), echo: last.text() }])
    }

    pub(super) fn ready_prompt(&mut self) -> Result<Prompt, ApiError> {
        let prompt = self.ready.take().unwrap_or_default();
        if prompt.ids.is_empty() { Err(ApiError::bad_request("The prompt has no tokens")) } else { Ok(prompt) }
    }

    pub(super) fn text_prompts(&mut self) -> Result<Vec<Prompt>, ApiError> {
        let prompts = self.prompt.take().ok_or_else(|| ApiError::bad_request("prompt is missing"))?;
        prompts.read("prompt")
    }
}

impl Prompts {
    /// At least one, none of them empty.
    pub(super) fn read(self, name: &'static str) -> Result<Vec<Prompt>, ApiError> {
        let text = |text: String| Prompt { ids: tokenizer::ids(&text), echo: text };
        let ids = |ids: Vec<u32>| {
            let mut echo = String::with_capacity(ids.len() * 7);
            for id in &ids {
                if !echo.is_empty() {
                    echo.push(',');
                }
                echo.push_str(itoa::Buffer::new().format(*id));
            }
            Prompt { ids, echo }
        };
        let prompts: Vec<Prompt> = match self {
            Self::Text(one) => vec![text(one)],
            // An empty list reads as texts.
            Self::Texts(many) if many.is_empty() => {
                return Err(ApiError::bad_request(format!("{name} array must contain at least one {name}")));
            }
            Self::Texts(many) => many.into_iter().map(text).collect(),
            Self::Ids(one) => vec![ids(one)],
            Self::IdLists(many) => many.into_iter().map(ids).collect(),
        };
        if prompts.iter().any(|prompt| prompt.echo.is_empty()) {
            return Err(ApiError::bad_request(format!("{name} must not contain an empty string or an empty token-id array")));
        }
        if prompts.len() > 16 * MOST {
            return Err(ApiError::bad_request(format!("at most {} {name}s", 16 * MOST)));
        }
        Ok(prompts)
    }
}

impl Message {
    pub(super) fn text(&self) -> String {
        self.content.as_ref().map(Content::text).unwrap_or_default()
    }

    pub(super) fn new(role: &str, content: Content) -> Self {
        Self { role: role.to_owned(), content: Some(content), tool_calls: None, tool_call_id: None }
    }
}

impl Content {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => {
                let texts = parts.iter().filter_map(|part| part.text.clone().or(part.content.as_ref().map(|inner| inner.text())));
                texts.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

/// One text for a whole chat, as llm-d's simulator has it: `### role: text`, a line a message.
pub(super) fn flatten(messages: &[Message]) -> String {
    let mut out = String::new();
    for message in messages {
        out.push_str("### ");
        out.push_str(&message.role);
        if let Some(id) = &message.tool_call_id {
            out.push('(');
            out.push_str(id);
            out.push(')');
        }
        out.push_str(": ");
        out.push_str(&message.text());
        for call in message.tool_calls.iter().flatten().filter_map(|call| call.function.as_ref()) {
            out.push_str(" [");
            out.push_str(&call.name);
            out.push('(');
            out.push_str(&call.arguments);
            out.push_str(")]");
        }
        out.push('\n');
    }
    out
}
