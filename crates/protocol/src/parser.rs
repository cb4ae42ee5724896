//! Which requests are read, and as what: llm-d's parser plugins.

use crate::api::Api;

/// A parser that a configuration may list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParserKind {
    /// `openai-parser`
    OpenAi,
    /// `anthropic-parser`
    Anthropic,
    /// `vllmhttp-parser`
    VllmHttp,
    /// `sglanghttp-parser`
    SglangHttp,
    /// `vllmgrpc-parser`
    VllmGrpc,
    /// `vertexai-parser`
    VertexAi,
    /// `passthrough-parser`: takes what no other parser takes, without reading it.
    Passthrough,
}

/// What a path claims to be: its last segments.
type Claim = (&'static str, Api);

const OPENAI: &[Claim] = &[
    ("chat/completions", Api::ChatCompletions),
    ("completions", Api::Completions),
    ("embeddings", Api::Embeddings),
    ("responses", Api::Responses),
    ("conversations", Api::Conversations),
    ("chat/completions/render", Api::ChatCompletionsRender),
    ("completions/render", Api::CompletionsRender),
    ("images/generations", Api::ImageGenerations),
];
const ANTHROPIC: &[Claim] = &[("messages", Api::Messages), ("messages/count_tokens", Api::CountTokens)];
const VLLM_HTTP: &[Claim] = &[("inference/v1/generate", Api::VllmGenerate)];
/// SGLang's own path; a router's prefix may not stand before it, for many APIs end in this word.
const SGLANG_HTTP: &[Claim] = &[("/generate", Api::SglangGenerate)];
const VLLM_GRPC: &[Claim] =
    &[("vllm.grpc.engine.VllmEngine/Generate", Api::VllmGrpcGenerate), ("vllm.grpc.engine.VllmEngine/Embed", Api::VllmGrpcEmbed)];
/// The service's name has a package before it: `google.cloud.aiplatform.v1.PredictionService`.
const VERTEX_AI: &[Claim] = &[
    ("PredictionService/ChatCompletions", Api::VertexChatCompletions),
    ("PredictionService/StreamRawPredict", Api::VertexRawPredict),
    ("PredictionService/RawPredict", Api::VertexRawPredict),
];

/// Other methods of this service are forwarded unread.
const VLLM_SERVICE: &str = "/vllm.grpc.engine.VllmEngine/";

impl ParserKind {
    /// Every parser.
    pub const ALL: [Self; 7] =
        [Self::OpenAi, Self::Anthropic, Self::VllmHttp, Self::SglangHttp, Self::VllmGrpc, Self::VertexAi, Self::Passthrough];

    /// The parsers in force when a configuration lists none.
    pub const DEFAULT: [Self; 4] = [Self::OpenAi, Self::Anthropic, Self::VllmHttp, Self::Passthrough];

    /// The plugin type's name in an `EndpointPickerConfig`.
    pub const fn plugin_type(self) -> &'static str {
        match self {
            Self::OpenAi => "openai-parser",
            Self::Anthropic => "anthropic-parser",
            Self::VllmHttp => "vllmhttp-parser",
            Self::SglangHttp => "sglanghttp-parser",
            Self::VllmGrpc => "vllmgrpc-parser",
            Self::VertexAi => "vertexai-parser",
            Self::Passthrough => "passthrough-parser",
        }
    }

    /// Whether it reads requests of this `appProtocol` of a pool (`http`, `kubernetes.io/h2c`).
    pub fn claims_protocol(self, protocol: &str) -> bool {
        match self {
            Self::Passthrough => true,
            Self::VllmGrpc | Self::VertexAi => protocol == "kubernetes.io/h2c",
            _ => matches!(protocol, "http" | "kubernetes.io/h2c"),
        }
    }

    const fn claims(self) -> &'static [Claim] {
        match self {
            Self::OpenAi => OPENAI,
            Self::Anthropic => ANTHROPIC,
            Self::VllmHttp => VLLM_HTTP,
            Self::SglangHttp => SGLANG_HTTP,
            Self::VllmGrpc => VLLM_GRPC,
            Self::VertexAi => VERTEX_AI,
            Self::Passthrough => &[],
        }
    }
}

/// What becomes of a request's body, judged by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reading {
    /// It is read.
    As(Api),
    /// It is forwarded unread, and nobody looks at its answer.
    Unread,
    /// No parser takes it, so it is refused.
    Refused,
}

/// The parsers of a configuration, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsers {
    list: Vec<ParserKind>,
    /// Longest first; of equal length the one that was listed first.
    claims: Vec<Claim>,
}

impl Default for Parsers {
    /// [`ParserKind::DEFAULT`]
    fn default() -> Self {
        Self::new(ParserKind::DEFAULT)
    }
}

impl Parsers {
    /// Parsers in the order of their precedence. One that is listed twice counts once, and whatever follows
    /// [`ParserKind::Passthrough`] does not count: it would never see a request.
    pub fn new(kinds: impl IntoIterator<Item = ParserKind>) -> Self {
        let mut list: Vec<ParserKind> = Vec::new();
        for kind in kinds {
            if !list.contains(&kind) && !list.contains(&ParserKind::Passthrough) {
                list.push(kind);
            }
        }
        let mut claims: Vec<Claim> = list.iter().flat_map(|kind| kind.claims()).copied().collect();
        claims.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        Self { list, claims }
    }

    /// The parsers that count, in order.
    pub fn kinds(&self) -> &[ParserKind] {
        &self.list
    }

    /// Whether some parser reads requests of a pool's `appProtocol`. None given: every protocol will do.
    pub fn claims_protocol(&self, protocol: &str) -> bool {
        protocol.is_empty() || self.list.iter().any(|kind| kind.claims_protocol(protocol))
    }

    /// How a body that is sent to `path` is read. `path` may carry a query.
    ///
    /// The longest claim that `path` ends in wins. Claims match at segment borders only, so a prefix such as `/openai` is fine and
    /// `/v1/xcompletions` is not a completion. A gRPC service may have its package before it.
    pub fn reading(&self, path: &str) -> Reading {
        let path = path.split_once(['?', '#']).map_or(path, |(path, _)| path);
        let ends_in = |claim: &str| {
            path.strip_suffix(claim).is_some_and(|rest| {
                let inside = rest.ends_with('/') || (rest.ends_with('.') && is_service(claim));
                rest.is_empty() || (inside && !claim.starts_with('/'))
            })
        };
        if let Some((_, api)) = self.claims.iter().find(|(claim, _)| ends_in(claim)) {
            return Reading::As(*api);
        }
        let other_method = self.list.contains(&ParserKind::VllmGrpc) && path.contains(VLLM_SERVICE);
        if other_method || self.list.contains(&ParserKind::Passthrough) { Reading::Unread } else { Reading::Refused }
    }

    /// The parsers of both, those of `self` first.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let is_fallback = |kind: &&ParserKind| **kind == ParserKind::Passthrough;
        let all = || self.list.iter().chain(&other.list);
        Self::new(all().filter(|kind| !is_fallback(kind)).chain(all().find(is_fallback)).copied())
    }
}

/// A claim that begins with a gRPC service: the only names with capitals.
fn is_service(claim: &str) -> bool {
    claim.starts_with(|first: char| first.is_ascii_uppercase())
}

#[cfg(test)]
mod tests;
