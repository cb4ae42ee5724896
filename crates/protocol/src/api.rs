//! The APIs whose requests are read.

/// An API whose request bodies are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Api {
    /// OpenAI, `POST …/chat/completions`
    #[default]
    ChatCompletions,
    /// OpenAI, `POST …/completions`
    Completions,
    /// OpenAI, `POST …/embeddings`
    Embeddings,
    /// OpenAI, `POST …/responses`
    Responses,
    /// OpenAI, `POST …/conversations`
    Conversations,
    /// vLLM, `POST …/chat/completions/render`: only tokenizes a chat.
    ChatCompletionsRender,
    /// vLLM, `POST …/completions/render`: only tokenizes prompts.
    CompletionsRender,
    /// OpenAI, `POST …/images/generations`
    ImageGenerations,
    /// Anthropic, `POST …/messages`
    Messages,
    /// Anthropic, `POST …/messages/count_tokens`: only tokenizes a chat.
    CountTokens,
    /// vLLM, `POST …/inference/v1/generate`: tokens in, tokens out.
    VllmGenerate,
    /// SGLang, `POST /generate`
    SglangGenerate,
    /// vLLM over gRPC, `vllm.grpc.engine.VllmEngine/Generate`
    VllmGrpcGenerate,
    /// vLLM over gRPC, `vllm.grpc.engine.VllmEngine/Embed`
    VllmGrpcEmbed,
    /// Vertex AI over gRPC, `PredictionService/ChatCompletions`: an OpenAI chat inside.
    VertexChatCompletions,
    /// Vertex AI over gRPC, `PredictionService/RawPredict` and `StreamRawPredict`: an OpenAI response request inside.
    VertexRawPredict,
}

/// How an API tells its clients about errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ErrorStyle {
    /// `{"error":{"message","type","param","code"}}`
    #[default]
    OpenAi,
    /// `{"type":"error","error":{"type","message"}}`
    Anthropic,
    /// A gRPC status in the headers.
    Grpc,
}

/// What the body of a request looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Chat,
    Completions,
    Embeddings,
    Responses,
    Conversations,
    Images,
    Messages,
    VllmGenerate,
    SglangGenerate,
    VllmGrpc,
}

impl Api {
    /// Every API.
    pub const ALL: [Self; 16] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Responses,
        Self::Conversations,
        Self::ChatCompletionsRender,
        Self::CompletionsRender,
        Self::ImageGenerations,
        Self::Messages,
        Self::CountTokens,
        Self::VllmGenerate,
        Self::SglangGenerate,
        Self::VllmGrpcGenerate,
        Self::VllmGrpcEmbed,
        Self::VertexChatCompletions,
        Self::VertexRawPredict,
    ];

    /// The name used in error messages, for example `chat completions`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::VertexChatCompletions => "chat completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses | Self::VertexRawPredict => "responses",
            Self::Conversations => "conversations",
            Self::ChatCompletionsRender => "chat completions render",
            Self::CompletionsRender => "completions render",
            Self::ImageGenerations => "images generations",
            Self::Messages => "messages",
            Self::CountTokens => "count tokens",
            Self::VllmGenerate | Self::SglangGenerate | Self::VllmGrpcGenerate => "generate",
            Self::VllmGrpcEmbed => "embed",
        }
    }

    /// The field that carries the prompt.
    pub const fn prompt_field(self) -> &'static str {
        match self.shape() {
            Shape::Chat | Shape::Messages => "messages",
            Shape::Completions | Shape::Images => "prompt",
            Shape::Embeddings | Shape::Responses => "input",
            Shape::Conversations => "items",
            Shape::VllmGenerate => "token_ids",
            Shape::SglangGenerate => "input_ids",
            Shape::VllmGrpc => "input",
        }
    }

    /// Whether request and answer are gRPC messages.
    pub const fn is_grpc(self) -> bool {
        matches!(self, Self::VllmGrpcGenerate | Self::VllmGrpcEmbed | Self::VertexChatCompletions | Self::VertexRawPredict)
    }

    /// Whether the engine computes the prompt, so that its cache holds it afterwards. Requests that only count or show tokens
    /// have no prompt to be hashed.
    pub const fn computes(self) -> bool {
        !matches!(self, Self::ChatCompletionsRender | Self::CompletionsRender | Self::CountTokens)
    }

    /// Whether the body names a model in a place that can be rewritten.
    pub const fn rewrites_model(self) -> bool {
        !self.is_grpc() && !matches!(self, Self::SglangGenerate)
    }

    /// How its clients want to read errors.
    pub const fn error_style(self) -> ErrorStyle {
        match self {
            Self::Messages | Self::CountTokens => ErrorStyle::Anthropic,
            _ if self.is_grpc() => ErrorStyle::Grpc,
            _ => ErrorStyle::OpenAi,
        }
    }

    pub(crate) const fn shape(self) -> Shape {
        match self {
            Self::ChatCompletions | Self::ChatCompletionsRender | Self::VertexChatCompletions => Shape::Chat,
            Self::Completions | Self::CompletionsRender => Shape::Completions,
            Self::Embeddings => Shape::Embeddings,
            Self::Responses | Self::VertexRawPredict => Shape::Responses,
            Self::Conversations => Shape::Conversations,
            Self::ImageGenerations => Shape::Images,
            Self::Messages | Self::CountTokens => Shape::Messages,
            Self::VllmGenerate => Shape::VllmGenerate,
            Self::SglangGenerate => Shape::SglangGenerate,
            Self::VllmGrpcGenerate | Self::VllmGrpcEmbed => Shape::VllmGrpc,
        }
    }
}
