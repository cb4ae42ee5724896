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
    registry
}

fn with(text: &str, options: CompileOptions) -> Result<Plan, Vec<String>> {
    let head = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";
    let parsed = EndpointPickerConfig::parse(&format!("{head}{text}")).expect("well-formed");
    compile(&parsed.value, &registry(), options)
        .map_err(|notes| notes.iter().map(|one| format!("{}: {}", one.line(), one.message)).collect())
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
