use super::{
    ParserKind::{Anthropic, OpenAi, Passthrough, SglangHttp, VertexAi, VllmGrpc, VllmHttp},
    Reading::{As, Refused, Unread},
    *,
};

fn readings(kinds: &[ParserKind], cases: &[(&str, Reading)]) {
    let parsers = Parsers::new(kinds.iter().copied());
    for (path, want) in cases {
        assert_eq!(parsers.reading(path), *want, "{path} of {kinds:?}");
    }
}

#[test]
fn claims_match_at_segment_borders_and_the_longest_wins() {
    readings(
        &[OpenAi],
        &[
            ("/v1/chat/completions", As(Api::ChatCompletions)),
            ("/openai/v1/chat/completions?a=b/completions", As(Api::ChatCompletions)),
            ("/v1/completions", As(Api::Completions)),
            ("/completions", As(Api::Completions)),
            ("completions", As(Api::Completions)),
            ("/v1/embeddings", As(Api::Embeddings)),
            ("/v1/responses", As(Api::Responses)),
            ("/v1/conversations", As(Api::Conversations)),
            ("/v1/chat/completions/render", As(Api::ChatCompletionsRender)),
            ("/v1/completions/render", As(Api::CompletionsRender)),
            ("/v1/images/generations", As(Api::ImageGenerations)),
            ("/v1/xchat/completions", As(Api::Completions)),
            ("/v1/xcompletions", Refused),
            ("/v1/x.completions", Refused),
            ("/v1/chat/completions/x", Refused),
            ("/v1/messages", Refused),
            ("/rerank?x=/v1/completions", Refused),
            ("", Refused),
        ],
    );
}

#[test]
fn every_parser_reads_its_own_paths() {
    readings(
        &[Anthropic],
        &[
            ("/v1/messages", As(Api::Messages)),
            ("/anthropic/v1/messages?beta=true", As(Api::Messages)),
            ("/v1/messages/count_tokens", As(Api::CountTokens)),
            ("/v1/messages/batches", Refused),
        ],
    );
    readings(&[VllmHttp], &[("/inference/v1/generate", As(Api::VllmGenerate)), ("/generate", Refused)]);
    readings(&[SglangHttp], &[("/generate", As(Api::SglangGenerate)), ("/x/generate", Refused), ("generate", Refused)]);
    readings(&[SglangHttp, VllmHttp], &[("/inference/v1/generate", As(Api::VllmGenerate))]);
    readings(
        &[VllmGrpc],
        &[
            ("/vllm.grpc.engine.VllmEngine/Generate", As(Api::VllmGrpcGenerate)),
            ("/vllm.grpc.engine.VllmEngine/Embed", As(Api::VllmGrpcEmbed)),
            ("/vllm.grpc.engine.VllmEngine/HealthCheck", Unread),
            ("/xvllm.grpc.engine.VllmEngine/Embed", Refused),
        ],
    );
    readings(
        &[VertexAi],
        &[
            ("/google.cloud.aiplatform.v1.PredictionService/ChatCompletions", As(Api::VertexChatCompletions)),
            ("/PredictionService/RawPredict", As(Api::VertexRawPredict)),
            ("/google.cloud.aiplatform.v1beta1.PredictionService/StreamRawPredict", As(Api::VertexRawPredict)),
            ("/google.cloud.aiplatform.v1.MyPredictionService/RawPredict", Refused),
            ("/google.cloud.aiplatform.v1.PredictionService/Predict", Refused),
        ],
    );
    readings(&[Passthrough], &[("/v1/chat/completions", Unread), ("/anything", Unread)]);
}

#[test]
fn the_default_reads_http_and_takes_everything() {
    let parsers = Parsers::default();
    assert_eq!(parsers.reading("/v1/chat/completions"), As(Api::ChatCompletions));
    assert_eq!(parsers.reading("/v1/messages"), As(Api::Messages));
    assert_eq!(parsers.reading("/inference/v1/generate"), As(Api::VllmGenerate));
    for path in ["/generate", "/v1/audio/transcriptions", "/vllm.grpc.engine.VllmEngine/Generate"] {
        assert_eq!(parsers.reading(path), Unread, "{path}");
    }
}

#[test]
fn what_follows_the_fallback_or_repeats_does_not_count() {
    let parsers = Parsers::new([OpenAi, OpenAi, Passthrough, Anthropic]);
    assert_eq!(parsers.kinds(), [OpenAi, Passthrough]);
    assert_eq!(parsers.reading("/v1/messages"), Unread);
    let union = parsers.union(&Parsers::new([Anthropic]));
    assert_eq!(union.kinds(), [OpenAi, Anthropic, Passthrough]);
}

#[test]
fn protocols_need_one_parser_that_claims_them() {
    for (kinds, http, h2c) in [
        (&[OpenAi][..], true, true),
        (&[VllmGrpc], false, true),
        (&[VllmGrpc, OpenAi], true, true),
        (&[VertexAi], false, true),
        (&[VertexAi, Passthrough], true, true),
    ] {
        let parsers = Parsers::new(kinds.iter().copied());
        assert_eq!(
            (parsers.claims_protocol("http"), parsers.claims_protocol("kubernetes.io/h2c"), parsers.claims_protocol("")),
            (http, h2c, true),
            "{kinds:?}"
        );
    }
    assert!(!Parsers::new([OpenAi]).claims_protocol("kubernetes.io/ws"));
}

#[test]
fn plugin_types_are_llm_ds() {
    let names = ParserKind::ALL.map(ParserKind::plugin_type);
    assert!(names.iter().all(|name| name.ends_with("-parser")));
    assert_eq!(
        ParserKind::DEFAULT.map(ParserKind::plugin_type),
        ["openai-parser", "anthropic-parser", "vllmhttp-parser", "passthrough-parser"]
    );
}
