//! Plugin types that llm-d's documents name or that are added to every one of them, and that do nothing here.
//!
//! The OpenAI parser does its work outside the plan: requests are read before a plan is chosen.

mod flow;
mod precise_prefix;
mod predicted_latency;

use serde_json::{Map, Value};
use weir_plan::{Draft, ExtensionPoint, Parts, PluginType};

use crate::declare::{NoParameters, beta};

/// Parameters that are taken as they are.
type Anything = Map<String, Value>;

pub(crate) fn plugins() -> Vec<PluginType> {
    let parser: &[ExtensionPoint] = &[ExtensionPoint::Parser];
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
        ]
        .map(|(name, points, summary)| PluginType {
            active: false,
            ..beta::<Anything>(name, points, summary, |_| Ok(Draft::ready(Parts::default())))
        }),
    );
    all.push(predicted_latency::plugin());
    all.extend(precise_prefix::plugins());
    all.extend(flow::plugins());
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
                "dcgm-data-source",
                "dcgm-extractor",
                "edf-ordering-policy",
                "fcfs-ordering-policy",
                "global-strict-fairness-policy",
                "k8s-notification-source",
                "multicluster-file-discovery",
                "multicluster-metrics-data-source",
                "multicluster-metrics-extractor",
                "passthrough-parser",
                "precise-prefix-cache-producer",
                "precise-prefix-cache-scorer",
                "predicted-latency-producer",
                "priority-holdback-policy",
                "priority-then-time-eviction-order-policy",
                "program-aware-fairness",
                "round-robin-fairness-policy",
                "sheddable-eviction-filter",
                "slo-deadline-ordering-policy",
                "soft-reflective-ceiling-policy",
                "static-usage-limit-policy",
                "vllmhttp-parser",
            ]
        );
    }

    #[test]
    fn they_take_any_parameters() {
        let plan =
            crate::testing::compile("plugins:\n- {type: passthrough-parser, parameters: {other: [1]}}\n- type: queue-scorer\n")
                .unwrap();
        assert!(plan.inactive().any(|one| one == "passthrough-parser/passthrough-parser"));
    }
}
