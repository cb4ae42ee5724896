//! Plugin types that llm-d's documents name or that are added to every one of them, and that do nothing here.
//!
//! The OpenAI parser does its work outside the plan: requests are read before a plan is chosen.

mod predicted_latency;

use serde_json::{Map, Value};
use weir_plan::{Draft, ExtensionPoint, Parts, PluginType};

use crate::declare::{NoParameters, beta};

/// Parameters that are taken as they are.
type Anything = Map<String, Value>;

pub(crate) fn plugins() -> Vec<PluginType> {
    let parser: &[ExtensionPoint] = &[ExtensionPoint::Parser];
    let flow: &[ExtensionPoint] = &[ExtensionPoint::FlowControl];
    let mut all = vec![beta::<NoParameters>(
        "openai-parser",
        parser,
        "Reads OpenAI requests: chat completions, completions, embeddings, responses.",
        |context| {
            let NoParameters {} = context.params()?;
            Ok(Draft::ready(Parts::default()))
        },
    )];
    all.extend(
        [
            ("anthropic-parser", parser, "Reads Anthropic requests."),
            ("vllmhttp-parser", parser, "Reads vLLM's token-in, token-out requests."),
            ("passthrough-parser", parser, "Takes every request that no other parser takes."),
            ("fcfs-ordering-policy", flow, "First come, first served."),
            ("global-strict-fairness-policy", flow, "The best request of all flows goes first."),
            ("static-usage-limit-policy", flow, "One limit for all priorities."),
        ]
        .map(|(name, points, summary)| PluginType {
            active: false,
            ..beta::<Anything>(name, points, summary, |_| Ok(Draft::ready(Parts::default())))
        }),
    );
    all.push(predicted_latency::plugin());
    all
}

#[cfg(test)]
mod tests {
    use weir_plan::Registry;

    #[test]
    fn these_do_nothing_yet() {
        let mut registry = Registry::default();
        crate::register(&mut registry);
        let inactive: Vec<&str> = registry.types().filter(|one| !one.active).map(|one| one.name).collect();
        assert_eq!(
            inactive,
            [
                "anthropic-parser",
                "fcfs-ordering-policy",
                "global-strict-fairness-policy",
                "passthrough-parser",
                "predicted-latency-producer",
                "static-usage-limit-policy",
                "vllmhttp-parser",
            ]
        );
    }

    #[test]
    fn they_take_any_parameters() {
        let plan =
            crate::testing::compile("plugins:\n- {type: fcfs-ordering-policy, parameters: {other: [1]}}\n- type: queue-scorer\n")
                .unwrap();
        assert!(plan.inactive().any(|one| one == "fcfs-ordering-policy/fcfs-ordering-policy"));
    }
}
