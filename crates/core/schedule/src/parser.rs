//! Parsers: which requests are read, and as what. What they do is in the protocol crate; here they get their names.

use weir_plan::{Draft, ExtensionPoint, Parts, PluginType};
use weir_protocol::ParserKind;

use crate::declare::{NoParameters, beta};

/// One type for each parser. The function that drafts an instance cannot know its type's name, so there is one for each.
macro_rules! parsers {
    ($($kind:ident: $summary:literal,)*) => {
        pub(crate) fn plugins() -> Vec<PluginType> {
            vec![$(beta::<NoParameters>(ParserKind::$kind.plugin_type(), &[ExtensionPoint::Parser], $summary, |context| {
                let NoParameters {} = context.params()?;
                Ok(Draft::ready(Parts { parser: Some(ParserKind::$kind), ..Parts::default() }))
            }),)*]
        }
    };
}

parsers! {
    OpenAi: "Reads OpenAI requests: chat completions, completions, embeddings, responses, conversations, images; and vLLM's render.",
    Anthropic: "Reads Anthropic requests: messages, and counting their tokens.",
    VllmHttp: "Reads vLLM's token-in, token-out requests.",
    SglangHttp: "Reads SGLang's own requests, `/generate`.",
    VllmGrpc: "Reads requests to vLLM's gRPC service.",
    VertexAi: "Reads OpenAI requests inside Vertex AI's gRPC messages.",
    Passthrough: "Takes every request that no other parser takes, without reading it.",
}

#[cfg(test)]
mod tests {
    use weir_protocol::{
        Api, ParserKind,
        Reading::{As, Refused, Unread},
    };

    use crate::testing::compile;

    #[test]
    fn the_configuration_decides_what_is_read() {
        let default = compile("plugins: [{type: queue-scorer}]").unwrap();
        assert_eq!(default.parsers.kinds(), ParserKind::DEFAULT);
        let plan = compile("plugins: [{type: vllmgrpc-parser, name: g}]\nrequestHandler: {parsers: [{pluginRef: g}, {pluginRef: anthropic-parser}]}").unwrap();
        assert_eq!(plan.parsers.kinds(), [ParserKind::VllmGrpc, ParserKind::Anthropic]);
        assert_eq!(plan.effective.parsers, ["g", "anthropic-parser"]);
        assert_eq!(plan.parsers.reading("/v1/messages"), As(Api::Messages));
        assert_eq!(plan.parsers.reading("/v1/chat/completions"), Refused);
        assert!(plan.parsers.claims_protocol("http") && plan.parsers.claims_protocol("kubernetes.io/h2c"));
        let deprecated = compile("plugins: [{type: passthrough-parser}]\nparser: {pluginRef: passthrough-parser}").unwrap();
        assert_eq!(deprecated.parsers.reading("/v1/chat/completions"), Unread);
        // A default parser under a name of one's own is not added again.
        let renamed = compile("plugins: [{type: openai-parser, name: mine}]").unwrap();
        assert_eq!(renamed.effective.parsers, ["mine", "anthropic-parser", "vllmhttp-parser", "passthrough-parser"]);
    }

    #[test]
    fn parsers_that_never_see_a_request_are_named() {
        let text = "plugins: [{type: openai-parser}, {type: openai-parser, name: again}, {type: passthrough-parser}]
requestHandler:
  parsers: [{pluginRef: openai-parser}, {pluginRef: again}, {pluginRef: passthrough-parser}, {pluginRef: anthropic-parser}]";
        let plan = compile(text).unwrap();
        assert_eq!(plan.parsers.kinds(), [ParserKind::OpenAi, ParserKind::Passthrough]);
        let warnings: Vec<&str> = plan.warnings.iter().map(|one| one.message.as_str()).collect();
        assert!(warnings.iter().any(|one| one.starts_with("`again` has no effect")), "{warnings:?}");
        assert!(warnings.iter().any(|one| one.starts_with("`anthropic-parser` has no effect")), "{warnings:?}");
    }
}
