//! The loader's rules, with plugin types made for the purpose.

use std::sync::Arc;

use weir_api::EndpointPickerConfig;

use crate::*;

struct Fake;

impl Filter for Fake {
    fn reads(&self) -> DataSet {
        DataSet::LABELS
    }

    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, _: &mut fastrand::Rng, keep: &mut Candidates) {
        view.retain_all(keep);
    }
}

impl Scorer for Fake {
    fn reads(&self) -> DataSet {
        DataSet::QUEUE
    }

    fn score(&self, _: &RequestView<'_>, _: &PoolView<'_>, _: &mut [f64]) {}
}

impl Picker for Fake {
    fn pick(&self, _: Scores<'_>, _: &mut fastrand::Rng, out: &mut Vec<u32>) {
        out.push(0);
    }
}

impl ProfileHandler for Fake {
    fn next(&self, _: &RequestView<'_>, _: &PoolView<'_>, results: &[ProfileResult]) -> Option<usize> {
        results.iter().position(|one| !one.ran)
    }

    fn primary(&self, _: &RequestView<'_>, _: &[ProfileResult]) -> Result<usize, PickError> {
        Ok(0)
    }
}

impl Producer for Fake {
    fn reads(&self) -> DataSet {
        DataSet::PROMPT
    }

    fn produce(&self, _: &RequestView<'_>, _: &[Arc<weir_pool::Endpoint>], _: &mut Attributes) {}
}

fn plugin(
    name: &'static str,
    points: &'static [ExtensionPoint],
    draft: fn(&mut PluginContext<'_>) -> Result<Draft, weir_api::Diagnostic>,
) -> PluginType {
    PluginType {
        name,
        deprecated: &[],
        stability: Stability::Beta,
        points,
        summary: "for tests",
        active: true,
        draft,
        parameters: || schemars::schema_for!(()),
    }
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register(plugin("queue-scorer", &[ExtensionPoint::Scorer], |_| {
        Ok(Draft::ready(Parts { scorer: Some(Arc::new(Fake)), ..Parts::default() }))
    }));
    registry.register(PluginType {
        deprecated: &[Deprecation { alias: "old-filter", since: "0.9", removed_in: "0.11" }],
        stability: Stability::Alpha,
        ..plugin("some-filter", &[ExtensionPoint::Filter], |_| {
            Ok(Draft::ready(Parts { filter: Some(Arc::new(Fake)), ..Parts::default() }))
        })
    });
    for name in ["max-score-picker", "random-picker"] {
        registry.register(plugin(name, &[ExtensionPoint::Picker], |_| {
            Ok(Draft::ready(Parts { picker: Some(Arc::new(Fake)), ..Parts::default() }))
        }));
    }
    for name in ["single-profile-handler", "other-handler"] {
        registry.register(plugin(name, &[ExtensionPoint::ProfileHandler], |_| {
            Ok(Draft::ready(Parts { handler: Some(Arc::new(Fake)), ..Parts::default() }))
        }));
    }
    registry.register(plugin("prefix-cache-scorer", &[ExtensionPoint::Scorer], |context| {
        #[derive(Default, serde::Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
        struct Params {
            prefix_match_info_producer_name: Option<String>,
        }
        let params: Params = context.params()?;
        let need = Need::required(DataKey::PrefixCacheMatchInfo, params.prefix_match_info_producer_name.as_deref());
        let producer = need.producer.clone();
        Ok(Draft::wired(vec![need], vec![], move |wiring| {
            assert!(wiring.prefix_column(&producer).is_some());
            Ok(Parts { scorer: Some(Arc::new(Fake)), ..Parts::default() })
        }))
    }));
    registry.register(plugin("approx-prefix-cache-producer", &[ExtensionPoint::DataProducer], |_| {
        let needs = vec![Need::required(DataKey::TokenizedPrompt, None)];
        Ok(Draft::wired(needs, vec![DataKey::PrefixCacheMatchInfo], |wiring| {
            assert!(wiring.own_prefix_column().is_some());
            Ok(Parts { producer: Some(Arc::new(Fake)), ..Parts::default() })
        }))
    }));
    registry.register(plugin("token-producer", &[ExtensionPoint::DataProducer], |_| {
        Ok(Draft::wired(vec![], vec![DataKey::TokenizedPrompt], |_| {
            Ok(Parts { producer: Some(Arc::new(Fake)), ..Parts::default() })
        }))
    }));
    registry.register(plugin("openai-parser", &[ExtensionPoint::Parser], |_| Ok(Draft::ready(Parts::default()))));
    for name in ["utilization-detector", "concurrency-detector", "fcfs-ordering-policy", "round-robin-fairness-policy"] {
        registry.register(plugin(name, &[ExtensionPoint::FlowControl], |_| Ok(Draft::ready(Parts::default()))));
    }
    registry.register(plugin("metrics-data-source", &[ExtensionPoint::DataSource], |_| {
        let source =
            SourceConfig::Metrics { scheme: None, path: None, port: None, interval: None, tls: crate::SourceTls::default() };
        Ok(Draft::ready(Parts { source: Some(source), ..Parts::default() }).bringing(Payload::MetricsPage))
    }));
    registry.register(plugin("core-metrics-extractor", &[ExtensionPoint::Extractor], |_| {
        let source = SourceConfig::CoreMetrics {
            engine_label_key: "label".to_owned(),
            default_engine: "vllm".to_owned(),
            engines: vec![],
        };
        Ok(Draft::ready(Parts { source: Some(source), ..Parts::default() }).taking(&[Payload::MetricsPage]))
    }));
    registry.register(plugin("models-data-source", &[ExtensionPoint::DataSource], |_| {
        Ok(Draft::ready(Parts::default()).bringing(Payload::ModelList))
    }));
    registry.register(plugin("endpoint-notification-source", &[ExtensionPoint::DataSource], |_| {
        Ok(Draft::ready(Parts::default()).bringing(Payload::EndpointEvents))
    }));
    registry.register(plugin("precise-prefix-cache-producer", &[ExtensionPoint::DataProducer], |_| {
        Ok(Draft::wired(vec![], vec![DataKey::PrefixCacheMatchInfo], |_| Ok(Parts::default())).taking(&[Payload::EndpointEvents]))
    }));
    registry.register(plugin("works-with", &[ExtensionPoint::PreRequest], |context| {
        #[derive(Default, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Params {
            other: String,
        }
        let params: Params = context.params()?;
        let reference = context.reference("other", params.other);
        Ok(Draft::ready(Parts::default()).after(vec![reference]))
    }));
    registry
}

fn with(text: &str, options: CompileOptions) -> Result<Plan, Vec<String>> {
    let head = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";
    let parsed = EndpointPickerConfig::parse(&format!("{head}{text}")).expect("well-formed");
    compile(&parsed.value, &registry(), options)
        .map_err(|notes| notes.iter().map(|one| format!("{}: {}", one.line(), one.message)).collect())
}

/// What is found, as `line:column: severity: path: message (help)`.
fn found(text: &str) -> Vec<String> {
    let head = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";
    let parsed = EndpointPickerConfig::parse(&format!("{head}{text}")).expect("well-formed");
    match compile(&parsed.value, &registry(), CompileOptions::default()) {
        Ok(plan) => plan.warnings.iter().map(ToString::to_string).collect(),
        Err(notes) => notes.iter().map(ToString::to_string).collect(),
    }
}

fn plan(text: &str) -> Plan {
    with(text, CompileOptions::default()).expect("compiles")
}

fn errors(text: &str) -> String {
    with(text, CompileOptions::default()).expect_err("must not compile").join("\n")
}

fn names<T>(list: &[Named<T>]) -> Vec<&str> {
    list.iter().map(|one| one.name.as_str()).collect()
}

#[test]
fn producers_are_added_transitively_and_run_before_their_consumers() {
    let plan = plan("plugins: [{type: prefix-cache-scorer}]");
    assert_eq!(names(&plan.producers), ["token-producer", "approx-prefix-cache-producer"]);
    assert_eq!(plan.columns.prefix, ["approx-prefix-cache-producer"]);
    assert!(plan.reads_prompt());
    let added: Vec<_> = plan.effective.plugins.iter().filter_map(|one| one.added_because.as_deref()).collect();
    assert!(added.contains(&"`prefix-cache-scorer` reads PrefixCacheMatchInfoDataKey/approx-prefix-cache-producer"), "{added:?}");
}

#[test]
fn a_profile_of_everything_in_file_order_when_none_is_given() {
    let plan = plan("plugins: [{type: some-filter, name: b}, {type: some-filter, name: a}, {type: queue-scorer}]");
    assert_eq!(names(&plan.profiles[0].filters), ["b", "a"]);
    assert_eq!((plan.profiles[0].name.as_str(), plan.profiles[0].picker.name.as_str()), ("default", "max-score-picker"));
    assert_eq!(plan.profiles[0].scorers[0].weight, 1.0);
}

#[test]
fn the_first_listed_picker_serves_profiles_without_one() {
    let plan = plan(
        "plugins: [{type: random-picker}, {type: max-score-picker}, {type: queue-scorer}]\n\
         schedulingProfiles: [{name: p, plugins: [{pluginRef: queue-scorer}]}]",
    );
    assert_eq!(plan.profiles[0].picker.name, "random-picker");
}

#[test]
fn a_picker_may_stand_before_scorers() {
    let plan = plan(
        "plugins: [{type: random-picker}, {type: queue-scorer}]\n\
         schedulingProfiles: [{name: p, plugins: [{pluginRef: random-picker}, {pluginRef: queue-scorer, weight: -2}]}]",
    );
    assert_eq!(plan.profiles[0].scorers[0].weight, -2.0);
}

#[test]
fn a_producer_listed_in_a_profile_is_a_warning() {
    let plan = plan(
        "plugins: [{type: token-producer}, {type: queue-scorer}]\n\
         schedulingProfiles: [{name: p, plugins: [{pluginRef: token-producer}, {pluginRef: queue-scorer}]}]",
    );
    assert!(plan.warnings.iter().any(|one| one.message.contains("has no effect") && one.line() == 4), "{:?}", plan.warnings);
}

#[test]
fn errors_stand_at_their_place() {
    for (text, expected) in [
        ("plugins: [{type: queue-scroer}]", "3: no plugin type is named `queue-scroer`"),
        (
            "plugins: [{type: queue-scorer}]\nschedulingProfiles: [{name: p, plugins: [{pluginRef: queue-scorr}]}]",
            "4: no plugin is named `queue-scorr`",
        ),
        (
            "plugins: [{type: max-score-picker}, {type: random-picker}]\nschedulingProfiles: [{name: p, plugins: [{pluginRef: random-picker}, {pluginRef: max-score-picker}]}]",
            "two pickers",
        ),
        ("plugins: [{type: single-profile-handler}, {type: other-handler}]", "second profile handler"),
        (
            "plugins: [{type: single-profile-handler}]\nschedulingProfiles: [{name: a}, {name: b}]",
            "single-profile-handler runs one profile, and there are 2",
        ),
        ("schedulingProfiles: [{name: a}, {name: b}]", "no profile handler"),
        (
            "plugins: [{type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: mine}}]",
            "`prefix-cache-scorer` reads PrefixCacheMatchInfoDataKey/mine, which no plugin produces",
        ),
        ("plugins: [{type: prefix-cache-scorer, parameters: {prefixMatch: 1}}]", "3: unknown field `prefixMatch`"),
    ] {
        let found = errors(text);
        assert!(found.contains(expected), "{text}\n{found}");
    }
}

#[test]
fn all_errors_are_reported_at_once() {
    let found = errors("plugins:\n- {type: nonsense}\n- {type: rubbish}");
    assert!(found.contains("nonsense") && found.contains("rubbish"), "{found}");
}

#[test]
fn experimental_types_need_leave_and_deprecated_names_a_warning() {
    let strict = CompileOptions { allow_experimental: false, ..CompileOptions::default() };
    let found = with("plugins: [{type: some-filter}]", strict).expect_err("alpha").join("");
    assert!(found.contains("experimental"), "{found}");
    let plan = plan("plugins: [{type: old-filter}]");
    assert_eq!(plan.effective.plugins[0].kind, "some-filter");
    assert!(plan.warnings.iter().any(|one| one.message.contains("deprecated since llm-d 0.9")));
}

#[test]
fn nothing_is_scraped_if_nobody_reads_metrics() {
    assert!(plan("plugins: [{type: some-filter}]").metrics.is_none());
}

#[test]
fn findings_stand_at_their_place() {
    for (text, wanted) in [
        (
            "plugins:\n- {type: queue-scorer}\nschedulingProfiles:\n- {name: a}\n- {name: b}",
            "7:10: error: schedulingProfiles[1].name: there are several profiles and no profile handler, so nothing says which of them run (add a profile handler plugin, or keep one profile)",
        ),
        (
            "plugins:\n- {type: single-profile-handler}\nschedulingProfiles:\n- {name: a}\n- {name: b}",
            "7:10: error: schedulingProfiles[1].name: single-profile-handler runs one profile, and there are 2 (use a handler for several profiles, or keep one)",
        ),
        (
            "plugins:\n- {type: single-profile-handler}\n- {type: other-handler}",
            "5:3: error: plugins[1]: `other-handler` is a second profile handler; there can be one",
        ),
        (
            "plugins:\n- {type: max-score-picker}\n- {type: random-picker}",
            "5:3: error: plugins[1]: profile `default` has two pickers; `random-picker` is the second",
        ),
        (
            "plugins:\n- {type: max-score-picker}\n- {type: random-picker}\nschedulingProfiles:\n- name: p\n  plugins:\n  - {pluginRef: random-picker}\n  - {pluginRef: max-score-picker}",
            "10:17: error: schedulingProfiles[0].plugins[1].pluginRef: profile `p` has two pickers; `max-score-picker` is the second",
        ),
        (
            "plugins:\n- {type: queue-scorer}\nrequestHandler: {parsers: [{pluginRef: queue-scorer}]}",
            "5:40: error: requestHandler.parsers[0].pluginRef: `queue-scorer` reads no requests: it is a `queue-scorer`",
        ),
        (
            "plugins:\n- {type: queue-scorer}\nflowControl: {saturationDetector: {pluginRef: queue-scorer}}",
            "5:47: error: flowControl.saturationDetector.pluginRef: `queue-scorer` cannot tell how full a pool is: it is a `queue-scorer` (there are `fcfs-ordering-policy`)",
        ),
        (
            "plugins: [{type: queue-scorer}]\nfeatureGates: [flowControl]\nflowControl: {defaultPriorityBand: {orderingPolicyRef: fcfs-odering-policy}}",
            "5:56: error: flowControl.defaultPriorityBand.orderingPolicyRef: no plugin is named `fcfs-odering-policy`",
        ),
        (
            "plugins: [{type: queue-scorer}]\nfeatureGates: [flowControl]\nflowControl: {usageLimitPolicyPluginRef: queue-scorer}",
            "5:42: error: flowControl.usageLimitPolicyPluginRef: `queue-scorer` is no policy of flow control: it is a `queue-scorer` (there are `utilization-detector`, `fcfs-ordering-policy`)",
        ),
        (
            "plugins:\n- {type: queue-scorer}\ndataLayer:\n  sources:\n  - {pluginRef: queue-scorer}",
            "7:17: error: dataLayer.sources[0].pluginRef: `queue-scorer` brings no data: it is a `queue-scorer` (there are `metrics-data-source`)",
        ),
        (
            "plugins:\n- {type: queue-scorer}\ndataLayer:\n  sources:\n  - {pluginRef: metrics-data-source, extractors: [{pluginRef: queue-scorer}]}",
            "7:63: error: dataLayer.sources[0].extractors[0].pluginRef: `queue-scorer` reads nothing of what sources bring",
        ),
        (
            "plugins:\n- {type: queue-scorer}\ndataLayer:\n  sources:\n  - {pluginRef: models-data-source, extractors: [{pluginRef: core-metrics-extractor}]}",
            "7:62: error: dataLayer.sources[0].extractors[0].pluginRef: `core-metrics-extractor` cannot read what `models-data-source` brings",
        ),
        (
            "plugins:\n- {type: core-metrics-extractor, name: x}\n- {type: core-metrics-extractor, name: y}\ndataLayer:\n  sources:\n  - {pluginRef: metrics-data-source, extractors: [{pluginRef: x}, {pluginRef: y}]}",
            "8:79: error: dataLayer.sources[0].extractors[1].pluginRef: a second extractor of type `core-metrics-extractor` at the source `metrics-data-source`",
        ),
        (
            "plugins:\n- {type: queue-scorer}\ndataLayer: {injectDefaults: false}",
            "4:3: error: plugins[0]: `queue-scorer` reads WaitingQueueSize/core-metrics-extractor, which no plugin produces (list metrics-data-source with the extractor core-metrics-extractor in dataLayer.sources, or leave dataLayer.injectDefaults on)",
        ),
        (
            "plugins:\n- {type: works-with, parameters: {other: queue-scorr}}\n- {type: queue-scorer}",
            "4:42: error: plugins[0].parameters.other: `works-with` depends on `queue-scorr`, and no plugin is named so (did you mean `queue-scorer`?)",
        ),
        (
            "plugins:\n- {type: works-with, name: a, parameters: {other: b}}\n- {type: works-with, name: b, parameters: {other: a}}",
            "4:3: error: plugins[0]: these plugins depend on each other in a circle: a, b",
        ),
    ] {
        let found = found(text);
        assert!(found.iter().any(|one| one == wanted), "{text}\nwanted: {wanted}\nfound:  {}", found.join("\n        "));
    }
}

#[test]
fn traps_are_warned_of() {
    for (text, wanted) in [
        (
            "plugins:\n- {type: token-producer, name: mine}\n- {type: prefix-cache-scorer}",
            "4:3: warning: plugins[0]: `approx-prefix-cache-producer` reads TokenizedPrompt/token-producer, not `mine`: a second `token-producer` is added, which estimates tokens (name it `token-producer`, or name it in the parameters of those that should read it)",
        ),
        (
            "plugins:\n- {type: approx-prefix-cache-producer, name: mine}\n- {type: prefix-cache-scorer}",
            "4:3: warning: plugins[0]: `prefix-cache-scorer` reads PrefixCacheMatchInfoDataKey/approx-prefix-cache-producer, not `mine`: a second `approx-prefix-cache-producer` is added, with an index of its own (name it `approx-prefix-cache-producer`, or name it in the parameters of those that should read it)",
        ),
        (
            "plugins:\n- {type: metrics-data-source, name: mine}\n- {type: queue-scorer}\ndataLayer:\n  sources:\n  - {pluginRef: mine, extractors: [{pluginRef: core-metrics-extractor}]}",
            "8:17: warning: dataLayer.sources[0].pluginRef: llm-d would scrape twice: `mine`, and a default source that it adds; weir scrapes once (name it `metrics-data-source`, or write injectDefaults: false)",
        ),
        (
            "plugins:\n- {type: core-metrics-extractor, name: mine}\n- {type: queue-scorer}\ndataLayer: {sources: []}",
            "4:3: warning: plugins[0]: llm-d's scorers read what an extractor named `core-metrics-extractor` finds, not `mine` (name it `core-metrics-extractor`)",
        ),
        (
            "plugins:\n- {type: queue-scorer}\ndataLayer:\n  sources:\n  - {pluginRef: metrics-data-source}",
            "7:17: warning: dataLayer.sources[0].pluginRef: `metrics-data-source` brings what nobody reads: it has no extractors",
        ),
        (
            "plugins:\n- {type: precise-prefix-cache-producer}\n- {type: queue-scorer}",
            "4:3: warning: plugins[0]: `precise-prefix-cache-producer` never subscribes to KV-cache events in llm-d: it is no extractor of an `endpoint-notification-source` (write dataLayer: {sources: [{pluginRef: endpoint-notification-source, extractors: [{pluginRef: precise-prefix-cache-producer}]}]})",
        ),
        (
            "plugins:\n- {type: queue-scorer}\n- {type: some-filter}\nschedulingProfiles:\n- name: p\n  plugins: [{pluginRef: queue-scorer}]",
            "5:3: warning: plugins[1]: `some-filter` has no effect: no profile lists it",
        ),
        (
            "plugins:\n- {type: random-picker}\n- {type: max-score-picker}\n- {type: queue-scorer}\nschedulingProfiles:\n- name: p\n  plugins: [{pluginRef: queue-scorer}]",
            "8:9: warning: schedulingProfiles[0].name: profile `p` lists no picker, and there are several: it gets `random-picker`; llm-d would take any of them (list the picker in the profile)",
        ),
        (
            "plugins:\n- {type: some-filter}\nschedulingProfiles:\n- name: p\n  plugins: [{pluginRef: some-filter, weight: 2}]",
            "7:25: warning: schedulingProfiles[0].plugins[0].pluginRef: the weight of `some-filter` has no effect: it is no scorer",
        ),
        (
            "plugins:\n- {type: queue-scorer}\nschedulingProfiles:\n- name: p\n  plugins: [{pluginRef: queue-scorer}, {pluginRef: queue-scorer}]",
            "7:52: warning: schedulingProfiles[0].plugins[1].pluginRef: `queue-scorer` is listed twice in profile `p`: it counts twice",
        ),
        (
            "plugins: [{type: queue-scorer}]\ndataLayer: {peerDiscovery: {pluginRef: x}, crossReplicaSyncerPluginRef: y}",
            "4:40: warning: dataLayer.peerDiscovery.pluginRef: `peerDiscovery` is accepted and not yet active, as in llm-d",
        ),
    ] {
        let found = found(text);
        assert!(found.iter().any(|one| one == wanted), "{text}\nwanted: {wanted}\nfound:  {}", found.join("\n        "));
    }
}

#[test]
fn what_is_well_wired_is_not_warned_of() {
    for text in [
        "plugins: [{type: token-producer}, {type: approx-prefix-cache-producer}, {type: prefix-cache-scorer}]",
        "plugins: [{type: queue-scorer}]\ndataLayer: {sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: core-metrics-extractor}]}]}",
        "plugins: [{type: precise-prefix-cache-producer}]\ndataLayer: {sources: [{pluginRef: endpoint-notification-source, extractors: [{pluginRef: precise-prefix-cache-producer}]}]}",
        "plugins: [{type: metrics-data-source, name: mine}, {type: queue-scorer}]\ndataLayer: {injectDefaults: false, sources: [{pluginRef: mine, extractors: [{pluginRef: core-metrics-extractor}]}]}",
    ] {
        assert_eq!(found(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn policies_are_looked_at_only_behind_their_gate() {
    let refers = "flowControl: {defaultPriorityBand: {fairnessPolicyRef: nobody}}";
    assert!(found(&format!("plugins: [{{type: queue-scorer}}]\n{refers}")).iter().all(|one| !one.contains("error")));
    assert!(errors(&format!("plugins: [{{type: queue-scorer}}]\nfeatureGates: [flowControl]\n{refers}")).contains("nobody"));
    let plan = plan(
        "plugins: [{type: queue-scorer}]\nfeatureGates: [flowControl]\n\
         flowControl: {defaultPriorityBand: {fairnessPolicyRef: round-robin-fairness-policy}}",
    );
    let added = plan.effective.plugins.iter().find(|one| one.name == "round-robin-fairness-policy");
    assert_eq!(added.and_then(|one| one.added_because.as_deref()), Some("referenced by its type"));
}

#[test]
fn a_source_is_started_only_if_somebody_reads_it() {
    let sources = |text: &str| {
        let plan = plan(text);
        let line = |one: &EffectiveSource| (one.name.clone(), one.extractors.join(","), one.added, one.not_started.is_none());
        (plan.metrics.is_some(), plan.effective.sources.iter().map(line).collect::<Vec<_>>())
    };
    let one = |added, started| vec![("metrics-data-source".to_owned(), "core-metrics-extractor".to_owned(), added, started)];
    assert_eq!(sources("plugins: [{type: queue-scorer}]"), (true, one(true, true)));
    assert_eq!(sources("plugins: [{type: some-filter}]"), (false, one(true, false)));
    assert_eq!(sources("plugins: [{type: some-filter}]\ndataLayer: {injectDefaults: false}"), (false, vec![]));
    let listed = "dataLayer: {sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: core-metrics-extractor}]}]}";
    assert_eq!(sources(&format!("plugins: [{{type: queue-scorer}}]\n{listed}")), (true, one(false, true)));
    let twice = plan(
        "plugins: [{type: metrics-data-source, name: b}, {type: queue-scorer}]\ndataLayer: {injectDefaults: false, sources: [\
         {pluginRef: metrics-data-source, extractors: [{pluginRef: core-metrics-extractor}]}, {pluginRef: b, extractors: [{pluginRef: core-metrics-extractor}]}]}",
    );
    let [page] = twice.pages.as_slice() else { panic!("the second one is fetched, too: {:?}", twice.pages) };
    assert_eq!((page.name.as_str(), page.kind, page.readers.len()), ("b", "metrics-data-source", 1));
    assert!(twice.effective.sources.iter().all(|one| one.not_started.is_none()));
}

#[test]
fn the_effective_configuration_comes_to_the_same() {
    for text in [
        "plugins: [{type: prefix-cache-scorer}]",
        "plugins: [{type: some-filter, name: \"a b: c\"}, {type: queue-scorer, name: 'true'}, {type: random-picker}]",
        "featureGates: [flowControl, haPopulateNonLeaderDatastore=false]\nplugins: [{type: queue-scorer}]\n\
         flowControl: {maxBytes: 10Gi, defaultRequestTTL: 30s, priorityBands: [{priority: 5, maxRequests: 7}]}",
        "plugins: [{type: other-handler}, {type: queue-scorer}]\n\
         schedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer, weight: 2.5}]}, {name: b}]",
    ] {
        let first = plan(text).effective;
        let parsed = EndpointPickerConfig::parse(&first.to_string()).unwrap_or_else(|notes| panic!("{first}\n{notes}"));
        let again =
            compile(&parsed.value, &registry(), CompileOptions::default()).unwrap_or_else(|notes| panic!("{first}\n{notes}"));
        let bare = |mut one: Effective| {
            one.plugins.iter_mut().for_each(|plugin| plugin.added_because = None);
            one.sources.iter_mut().for_each(|source| source.added = false);
            serde_json::to_value(one).unwrap()
        };
        assert_eq!(bare(again.effective), bare(first), "{text}");
    }
}
