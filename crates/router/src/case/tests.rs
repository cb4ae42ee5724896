//! Cases that are right, and everything that can be wrong with one.

use std::path::Path;

use weir_plan::{CompileOptions, Registry, compile};

use super::*;

fn decide(text: &str) -> Result<Verdict, String> {
    let mut registry = Registry::default();
    weir_schedule::register(&mut registry);
    let shown = |notes: Diagnostics| notes.to_string();
    let case = Case::parse(text).map_err(shown)?;
    let config = case.config.clone().unwrap_or_else(EndpointPickerConfig::builtin);
    let plan = compile(&config, &registry, CompileOptions::default()).map_err(shown)?;
    case.run(&plan).map_err(shown)
}

/// Every file of `testdata/state` expects something, and that comes out.
#[test]
fn the_files_come_out_as_they_expect() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/state");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(Case::parse(&text).unwrap().expect.is_some(), "{} expects nothing", file.display());
        let verdict = decide(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(verdict.unmet, Vec::<String>::new(), "{}", file.display());
    }
}

#[test]
fn what_is_not_as_expected_is_said() {
    let verdict = decide(
        "{config: {plugins: [{type: queue-scorer}, {type: decode-filter}]}, endpoints: [{name: a, metrics: {waiting: 1}}, {name: b, metrics: {waiting: 3}}], request: {}, \
         expect: {picked: b, refused: no_endpoints, kept: {decode-filter: [b], nobody: []}, scores: {queue-scorer: {a: 0.5, c: 1}}, \
         targets: {default: [b]}, responseHeaders: {x: y}}}",
    )
    .unwrap();
    assert_eq!(
        verdict.unmet,
        [
            "picked: expected \"b\", is Some(\"default/a\")",
            "refused: expected \"no_endpoints\", is None",
            "kept.decode-filter: expected [\"b\"], is Some([\"default/a\", \"default/b\"])",
            "kept.nobody: expected [], is None",
            "scores.queue-scorer.a: expected 0.5, is Some(1.0)",
            "scores.queue-scorer.c: expected 1.0, is None",
            "targets.default: expected [\"b\"], is Some([\"default/a\"])",
            "responseHeaders.x: expected \"y\", is None",
        ]
    );
}

#[test]
fn what_cannot_be_is_refused_at_its_place() {
    for (text, wanted) in [
        ("endpoint: []", "1:1: error: endpoint: unknown field `endpoint` (did you mean `endpoints`?)"),
        ("config: {plugins: [{type: a, name: ''}, {type: a}]}", "two plugins are called `a`"),
        ("endpoints: [{name: a}, {name: a}]", "1:31: error: endpoints[1].name: two endpoints are named `default/a`"),
        ("endpoints: [{name: a, url: ftp://x}]", "endpoints[0].url"),
        ("endpoints: [{name: a, inFlight: {tokens: 1}}]", "inFlight.requests must be between 1 and 100000"),
        ("{endpoints: [{name: a}], request: {headers: {'a b': x}}}", "is not a header"),
        ("endpoints: [{name: a, attributes: {Nothing/x: {}}}]", "no attribute is named `Nothing/x`"),
        (
            "endpoints: [{name: a, attributes: {PrefixCacheMatchInfoDataKey/x: {}}}]",
            "no producer of the configuration is named `x`, so nobody reads `PrefixCacheMatchInfoDataKey/x` (such data come from: approx-prefix-cache-producer)",
        ),
        (
            "endpoints: [{name: a, attributes: {PrefixCacheMatchInfoDataKey/approx-prefix-cache-producer: {matched: 1}}}]",
            "unknown field `matched`",
        ),
        (
            "endpoints: [{name: a, attributes: {PrefixCacheMatchInfoDataKey/approx-prefix-cache-producer: {totalBlocks: 1}}}, \
             {name: b, attributes: {PrefixCacheMatchInfoDataKey/approx-prefix-cache-producer: {totalBlocks: 2}}}]",
            "the same at every endpoint",
        ),
        ("{endpoints: [{name: abc}], before: [{to: abd}]}", "no endpoint is named `abd` (did you mean `abc`?)"),
        ("{endpoints: [{name: a}], before: [{toByProfile: {x: a}}]}", "no profile is named `x`"),
        ("{before: [{}]}", "a request in `before` was refused"),
    ] {
        let found = decide(text).expect_err(text);
        assert!(found.contains(wanted), "{text}\n{found}");
    }
}

#[test]
fn ties_come_from_the_seed() {
    let picked = |seed: u32| {
        decide(&format!("{{seed: {seed}, endpoints: [{{name: a}}, {{name: b}}, {{name: c}}], request: {{}}}}")).unwrap().picked
    };
    assert!((0..20).all(|seed| picked(seed) == picked(seed)));
    let all: std::collections::BTreeSet<_> = (0..20).map(picked).collect();
    assert_eq!(all.len(), 3);
}

#[test]
fn without_endpoints_the_refusal_is_shown() {
    let verdict = decide("request: {}").unwrap();
    let refused = verdict.refused.unwrap();
    assert_eq!((refused.status, refused.reason), (503, "no_endpoints"));
    assert!(!verdict.profiles[0].ran);
}

#[test]
fn earlier_requests_leave_nothing_in_flight() {
    let verdict = decide(
        "{config: {plugins: [{type: active-request-scorer}]}, endpoints: [{name: a}, {name: b}], \
         before: [{to: a}, {to: a}], request: {}, expect: {scores: {active-request-scorer: {a: 1, b: 1}}}}",
    )
    .unwrap();
    assert_eq!(verdict.unmet, Vec::<String>::new());
}
