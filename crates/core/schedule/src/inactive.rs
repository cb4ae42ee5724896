//! Plugin types that llm-d's documents name or that are added to every one of them, and that do nothing here.

mod flow;
mod predicted_latency;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    let mut all = vec![predicted_latency::plugin()];
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
                "edf-ordering-policy",
                "fcfs-ordering-policy",
                "global-strict-fairness-policy",
                "k8s-notification-source",
                "predicted-latency-producer",
                "priority-holdback-policy",
                "priority-then-time-eviction-order-policy",
                "program-aware-fairness",
                "round-robin-fairness-policy",
                "sheddable-eviction-filter",
                "slo-deadline-ordering-policy",
                "soft-reflective-ceiling-policy",
                "static-usage-limit-policy",
            ]
        );
    }
}
