//! Everything that a configuration is refused for, each error at its line and column.
#![allow(clippy::unwrap_used, clippy::panic)]

use weir_api::{Diagnostic, EndpointPickerConfig};
use weir_plan::{CompileOptions, Registry, compile};

/// What is wrong, the document without its head, the message, line and column (the head has two lines).
const WRONG: &[(&str, &str, &str, (usize, usize))] = &[
    ("an unknown field", "plugin: []\n", "unknown field `plugin`", (3, 1)),
    ("a duplicate field", "plugins: []\nplugins: []\n", "the key `plugins` is already set on line 3", (4, 1)),
    (
        "an unknown field of parameters",
        "plugins:\n- type: load-aware-scorer\n  parameters: {treshold: 3}\n",
        "unknown field `treshold`",
        (5, 16),
    ),
    ("a plugin without a type", "plugins:\n- name: a\n", "the field `type` is missing", (4, 3)),
    (
        "two plugins of one name",
        "plugins:\n- type: queue-scorer\n- type: queue-scorer\n",
        "two plugins are called `queue-scorer`; the first is on line 4",
        (5, 9),
    ),
    ("an unknown type", "plugins:\n- type: queue-scorrer\n", "no plugin type is named `queue-scorrer`", (4, 9)),
    (
        "an unknown gate",
        "featureGates: [flowControll]\nplugins: [{type: queue-scorer}]\n",
        "unknown feature gate `flowControll`",
        (3, 16),
    ),
    (
        "a gate that is neither true nor false",
        "featureGates: [flowControl=maybe]\nplugins: [{type: queue-scorer}]\n",
        "the feature gate `flowControl` cannot be \"maybe\"",
        (3, 16),
    ),
    (
        "a reference between plugins that leads nowhere",
        "plugins:\n- type: disagg-profile-handler\n  parameters: {deciders: {prefill: nobody}}\nschedulingProfiles: [{name: decode, plugins: []}, {name: prefill, plugins: []}]\n",
        "`disagg-profile-handler` depends on `nobody`, and no plugin is named so",
        (5, 36),
    ),
    (
        "a producer that nobody is",
        "plugins:\n- type: prefix-cache-scorer\n  parameters: {prefixMatchInfoProducerName: nobody}\n",
        "`prefix-cache-scorer` reads PrefixCacheMatchInfoDataKey/nobody, which no plugin produces",
        (5, 15),
    ),
    (
        "a profile without a name",
        "plugins: [{type: queue-scorer}]\nschedulingProfiles:\n- name: ''\n  plugins: [{pluginRef: queue-scorer}]\n",
        "a profile's name cannot be empty",
        (5, 9),
    ),
    (
        "two profiles of one name",
        "plugins: [{type: queue-scorer}]\nschedulingProfiles:\n- {name: a, plugins: []}\n- {name: a, plugins: []}\n",
        "two profiles are called `a`; the first is on line 5",
        (6, 10),
    ),
    (
        "an empty reference in a profile",
        "plugins: [{type: queue-scorer}]\nschedulingProfiles:\n- name: a\n  plugins: [{pluginRef: ''}]\n",
        "the reference to a plugin cannot be empty",
        (6, 25),
    ),
    (
        "an unknown reference in a profile",
        "plugins: [{type: queue-scorer}]\nschedulingProfiles:\n- name: a\n  plugins: [{pluginRef: queue-scorrer}]\n",
        "no plugin is named `queue-scorrer`",
        (6, 25),
    ),
    (
        "two pickers in a profile",
        "plugins: [{type: random-picker}, {type: max-score-picker}]\nschedulingProfiles:\n- name: a\n  plugins: [{pluginRef: random-picker}, {pluginRef: max-score-picker}]\n",
        "profile `a` has two pickers; `max-score-picker` is the second",
        (6, 53),
    ),
    (
        "two pickers in the profile of everything",
        "plugins:\n- type: random-picker\n- type: max-score-picker\n",
        "profile `default` has two pickers; `max-score-picker` is the second",
        (5, 3),
    ),
    (
        "two profile handlers",
        "plugins:\n- type: queue-scorer\n- type: single-profile-handler\n- type: header-profile-handler\n",
        "`header-profile-handler` is a second profile handler; there can be one",
        (6, 3),
    ),
    (
        "several profiles and no handler",
        "plugins: [{type: queue-scorer}]\nschedulingProfiles:\n- {name: a, plugins: []}\n- {name: b, plugins: []}\n",
        "there are several profiles and no profile handler, so nothing says which of them run",
        (6, 10),
    ),
    (
        "several profiles and the handler of one",
        "plugins: [{type: queue-scorer}, {type: single-profile-handler}]\nschedulingProfiles:\n- {name: a, plugins: []}\n- {name: b, plugins: []}\n",
        "single-profile-handler runs one profile, and there are 2",
        (6, 10),
    ),
    (
        "a source that is none",
        "plugins: [{type: queue-scorer}]\ndataLayer:\n  sources: [{pluginRef: queue-scorer}]\n",
        "`queue-scorer` brings no data: it is a `queue-scorer`",
        (5, 25),
    ),
    (
        "an unknown source",
        "plugins: [{type: queue-scorer}]\ndataLayer:\n  sources: [{pluginRef: nobody}]\n",
        "no plugin is named `nobody`",
        (5, 25),
    ),
    (
        "an unknown extractor",
        "plugins: [{type: queue-scorer}]\ndataLayer:\n  sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: nobody}]}]\n",
        "no plugin is named `nobody`",
        (5, 71),
    ),
    (
        "an extractor that is none",
        "plugins: [{type: queue-scorer}]\ndataLayer:\n  sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: queue-scorer}]}]\n",
        "`queue-scorer` reads nothing of what sources bring",
        (5, 71),
    ),
    (
        "an extractor of something else",
        "plugins: [{type: queue-scorer}]\ndataLayer:\n  sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: models-data-extractor}]}]\n",
        "`models-data-extractor` cannot read what `metrics-data-source` brings",
        (5, 71),
    ),
    (
        "two extractors of one type",
        "plugins: [{type: queue-scorer}, {type: core-metrics-extractor, name: other}]\ndataLayer:\n  sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: core-metrics-extractor}, {pluginRef: other}]}]\n",
        "a second extractor of type `core-metrics-extractor` at the source `metrics-data-source`",
        (5, 108),
    ),
    (
        "numbers that nobody brings",
        "plugins:\n- type: queue-scorer\ndataLayer: {injectDefaults: false}\n",
        "`queue-scorer` reads WaitingQueueSize/core-metrics-extractor, which no plugin produces",
        (4, 3),
    ),
    (
        "a number that nobody finds",
        "plugins:\n- type: endpoint-attribute-scorer\n  parameters: {attributeKey: Rate, algorithm: {type: linear_lower_is_better}}\n",
        "`endpoint-attribute-scorer` reads Rate/core-metrics-extractor, which no plugin produces",
        (5, 30),
    ),
    (
        "a discovery that finds nothing",
        "plugins: [{type: queue-scorer}]\ndataLayer:\n  discovery: {pluginRef: queue-scorer}\n",
        "`queue-scorer` finds no endpoints",
        (5, 26),
    ),
    (
        "a parser that is none",
        "plugins: [{type: queue-scorer}]\nrequestHandler:\n  parsers: [{pluginRef: queue-scorer}]\n",
        "`queue-scorer` reads no requests: it is a `queue-scorer`",
        (5, 25),
    ),
    (
        "an unknown parser",
        "plugins: [{type: queue-scorer}]\nrequestHandler:\n  parsers: [{pluginRef: nobody}]\n",
        "no plugin is named `nobody`",
        (5, 25),
    ),
    (
        "a saturation detector that is none",
        "plugins: [{type: queue-scorer}]\nflowControl:\n  saturationDetector: {pluginRef: queue-scorer}\n",
        "`queue-scorer` cannot tell how full a pool is: it is a `queue-scorer`",
        (5, 35),
    ),
    (
        "an empty saturation detector",
        "plugins: [{type: queue-scorer}]\nflowControl:\n  saturationDetector: {pluginRef: ''}\n",
        "the reference to a plugin cannot be empty",
        (5, 35),
    ),
    (
        "an unknown saturation detector",
        "plugins: [{type: queue-scorer}]\nflowControl:\n  saturationDetector: {pluginRef: nobody}\n",
        "no plugin is named `nobody`",
        (5, 35),
    ),
    (
        "a negative quantity",
        "featureGates: [flowControl]\nplugins: [{type: queue-scorer}]\nflowControl:\n  maxRequests: -5\n",
        "the quantity \"-5\" is negative",
        (6, 16),
    ),
    (
        "a policy that is none",
        "featureGates: [flowControl]\nplugins: [{type: queue-scorer}]\nflowControl:\n  priorityBands: [{priority: 1, fairnessPolicyRef: queue-scorer}]\n",
        "`queue-scorer` is no policy of flow control: it is a `queue-scorer`",
        (6, 52),
    ),
    (
        "two bands of one priority",
        "featureGates: [flowControl]\nplugins: [{type: queue-scorer}]\nflowControl:\n  priorityBands: [{priority: 1}, {priority: 1}]\n",
        "two bands have the priority 1; the first is on line 6",
        (6, 45),
    ),
    (
        "a weight that is no number",
        "plugins: [{type: queue-scorer}]\nschedulingProfiles:\n- name: a\n  plugins: [{pluginRef: queue-scorer, weight: heavy}]\n",
        "expected a number, found the string \"heavy\"",
        (6, 47),
    ),
    (
        "a duration without a unit",
        "plugins:\n- type: metrics-data-source\n  parameters: {interval: 100}\n- type: queue-scorer\n",
        "the duration \"100\" has no unit",
        (5, 26),
    ),
];

fn first_error(text: &str, options: CompileOptions) -> Option<Diagnostic> {
    let text = format!("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n{text}");
    let mut registry = Registry::default();
    weir_schedule::register(&mut registry);
    let compiled = EndpointPickerConfig::parse(&text).and_then(|checked| compile(&checked.value, &registry, options));
    compiled.err().and_then(|notes| notes.errors().next().cloned())
}

#[test]
fn every_error_stands_at_its_place() {
    let mut differ = Vec::new();
    for (what, text, message, (line, column)) in WRONG {
        match first_error(text, CompileOptions::default()) {
            Some(error) if error.message == *message && (error.at.line, error.at.column) == (*line as u32, *column as u32) => {}
            found => differ.push(format!("{what}: {found:?}")),
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn what_is_nearest_is_named() {
    for (text, nearest) in [
        ("plugin: []\n", "plugins"),
        ("plugins:\n- type: queue-scorrer\n", "queue-scorer"),
        ("featureGates: [flowControll]\nplugins: [{type: queue-scorer}]\n", "flowControl"),
        ("plugins:\n- type: load-aware-scorer\n  parameters: {treshold: 3}\n", "threshold"),
        (
            "plugins: [{type: queue-scorer}]\nschedulingProfiles:\n- {name: a, plugins: [{pluginRef: queue-scorrer}]}\n",
            "queue-scorer",
        ),
    ] {
        let help = first_error(text, CompileOptions::default()).unwrap().help;
        assert_eq!(help.as_deref(), Some(format!("did you mean `{nearest}`?").as_str()), "{text}");
    }
}

/// What is legal and does not do what it seems to: what, the document without its head, the message, line and column.
const ODD: &[(&str, &str, &str, (usize, usize))] = &[
    (
        "a producer in a profile",
        "plugins: [{type: queue-scorer}, {type: approx-prefix-cache-producer}]\nschedulingProfiles:\n- name: a\n  plugins: [{pluginRef: queue-scorer}, {pluginRef: approx-prefix-cache-producer}]\n",
        "`approx-prefix-cache-producer` is neither filter, scorer nor picker: listing it in a profile has no effect",
        (6, 52),
    ),
    (
        "a second parser of a type",
        "plugins: [{type: openai-parser, name: one}, {type: openai-parser, name: two}]\nrequestHandler:\n  parsers: [{pluginRef: one}, {pluginRef: two}]\n",
        "`two` has no effect: a parser of its type is listed before it",
        (5, 43),
    ),
    (
        "a parser after the one that takes everything",
        "plugins: [{type: queue-scorer}]\nrequestHandler:\n  parsers: [{pluginRef: passthrough-parser}, {pluginRef: openai-parser}]\n",
        "`openai-parser` has no effect: the parser before it takes every request that comes this far",
        (5, 58),
    ),
    (
        "a second tokenizer",
        "plugins:\n- {type: token-producer, name: mine}\n- {type: prefix-cache-scorer}\n",
        "`approx-prefix-cache-producer` reads TokenizedPrompt/token-producer, not `mine`: a second `token-producer` is added, which estimates tokens",
        (4, 3),
    ),
    (
        "exact prefixes without events",
        "plugins:\n- {type: precise-prefix-cache-producer}\n- {type: queue-scorer}\n",
        "`precise-prefix-cache-producer` never subscribes to KV-cache events in llm-d: it is no extractor of an `endpoint-notification-source`",
        (4, 3),
    ),
    (
        "a name of before",
        "plugins:\n- {type: tokenizer}\n- {type: prefix-cache-scorer}\n",
        "plugin type `tokenizer` is deprecated since llm-d 0.9 and gone in 0.11; write `token-producer`",
        (4, 10),
    ),
    (
        "a field that differs in case",
        "plugins:\n- type: load-aware-scorer\n  parameters: {Threshold: 3}\n",
        "the field `Threshold` is written `threshold`",
        (5, 16),
    ),
];

#[test]
fn what_is_odd_is_told_at_its_place() {
    let mut registry = Registry::default();
    weir_schedule::register(&mut registry);
    let mut differ = Vec::new();
    for (what, text, message, (line, column)) in ODD {
        let text = format!("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n{text}");
        let plan =
            EndpointPickerConfig::parse(&text).and_then(|checked| compile(&checked.value, &registry, CompileOptions::default()));
        let warnings = plan.map_or_else(|notes| notes.iter().cloned().collect(), |plan| plan.warnings);
        let is = |one: &Diagnostic| one.message == *message && (one.at.line, one.at.column) == (*line as u32, *column as u32);
        if !warnings.iter().any(is) {
            differ.push(format!("{what}: {warnings:?}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn experimental_types_need_leave() {
    let text = "plugins:\n- type: session-affinity-scorer\n";
    let strict = CompileOptions { allow_experimental: false, ..CompileOptions::default() };
    assert!(first_error(text, strict).unwrap().message.contains("experimental"));
    assert!(first_error(text, CompileOptions::default()).is_none());
}
