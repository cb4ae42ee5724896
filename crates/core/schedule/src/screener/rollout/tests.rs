use fastrand::Rng;
use http::HeaderMap;
use weir_plan::{Plan, PoolView, Served, Told};

use crate::testing::{Fixture, compile, refused};

const KIND: &str = "disaggregatedset-rollout-screener";
const REVISION: &str = "disaggregatedset.x-k8s.io/revision";
const ROLE: &str = "disaggregatedset.x-k8s.io/role";
const SCOPE: &str = "scope: {labelSelector: {matchLabels: {set: s}}}";
const ROLES: &str = "requireRoles: {values: [prefill, decode]}";

fn plan(gating: &str, more: &str) -> Plan {
    compile(&format!(
        "plugins: [{{type: {KIND}, parameters: {{{SCOPE}, revisionGating: {{{gating}}}{more}}}}}, {{type: queue-scorer}}]"
    ))
    .unwrap()
}

/// Revision a: 2 prefill, 9 decode; revision b: one each; one worker outside the set.
fn fixture() -> Fixture {
    let mut labels: Vec<Vec<(&str, &str)>> = Vec::new();
    for (revision, role, count) in [("a", "prefill", 2), ("a", "decode", 9), ("b", "prefill", 1), ("b", "decode", 1)] {
        labels.extend((0..count).map(|_| vec![("set", "s"), (REVISION, revision), (ROLE, role), ("slice", revision)]));
    }
    labels.push(vec![(REVISION, "c")]);
    Fixture::labelled(&labels.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn screened(fixture: &Fixture, plan: &Plan, random: &mut Rng) -> Vec<u32> {
    let view = PoolView::new(&fixture.endpoints, &fixture.states, &fixture.candidates, &fixture.attributes);
    let mut keep = Vec::new();
    plan.screeners[0].plugin.screen(&fixture.request(), &view, random, &mut keep);
    keep
}

/// Share of draws that choose revision b.
fn share_of_b(fixture: &Fixture, plan: &Plan) -> f64 {
    let mut random = Rng::with_seed(5);
    let mut b = 0.0;
    for _ in 0..10_000 {
        match screened(fixture, plan, &mut random).as_slice() {
            [11, 12] => b += 1.0 / 10_000.0,
            kept => assert_eq!(*kept, (0..11).collect::<Vec<u32>>()),
        }
    }
    b
}

#[test]
fn golden_vectors() {
    let fixture = fixture();
    let sum = share_of_b(&fixture, &plan(&format!("mode: sum, {ROLES}"), ""));
    assert!((sum - 2.0 / 13.0).abs() < 0.012, "{sum}");
    let dominant = share_of_b(&fixture, &plan(&format!("mode: max-role, {ROLES}"), ""));
    assert!((dominant - 0.1).abs() < 0.012, "{dominant}");
}

#[test]
fn a_revision_without_all_roles_gets_nothing() {
    let mut fixture = fixture();
    fixture.candidates.retain(|index| *index != 12);
    let plan = plan(&format!("mode: sum, {ROLES}"), "");
    let mut random = Rng::with_seed(1);
    assert!((0..100).all(|_| screened(&fixture, &plan, &mut random).len() == 11));
    fixture.candidates = vec![0, 13];
    assert!(screened(&fixture, &plan, &mut random).is_empty());
}

#[test]
fn headers_choose() {
    let mut fixture = fixture();
    let selector = |mode: &str| {
        let gating = format!("mode: sum, {ROLES}");
        plan(&gating, &format!(", headerSelectors: [{{name: slice, headerName: X-Slice, labelKey: slice, mode: {mode}}}]"))
    };
    let (strict, prefer) = (selector("strict"), selector("prefer"));
    let mut random = Rng::with_seed(2);
    fixture.headers.insert("x-slice", "b".parse().unwrap());
    assert_eq!(screened(&fixture, &strict, &mut random), [11, 12]);
    assert_eq!(screened(&fixture, &prefer, &mut random), [11, 12]);
    fixture.headers.insert("x-slice", "z".parse().unwrap());
    assert!(screened(&fixture, &strict, &mut random).is_empty());
    assert!(screened(&fixture, &prefer, &mut random).len() >= 2);

    let mut answer = HeaderMap::new();
    strict.response_headers[0].plugin.respond(&Served { endpoint: &fixture.endpoints[0], told: Told::Directly }, &mut answer);
    assert_eq!(answer["x-slice"], "a");
}

#[test]
fn labels_of_other_names_and_no_drawing() {
    let labels = [("set", "s"), ("r", "a"), ("k", "prefill")];
    let fixture = Fixture::labelled(&[&labels, &[("set", "s"), ("r", "b"), ("k", "other")], &[("set", "s")]]);
    let mut random = Rng::with_seed(3);
    let named = "mode: sum, revisionLabelKey: r, roleLabelKey: k, requireRoles: {values: [prefill]}";
    assert_eq!(screened(&fixture, &plan(named, ""), &mut random), [0]);
    assert_eq!(screened(&fixture, &plan("mode: disabled", ""), &mut random), [0, 1, 2]);
}

#[test]
fn the_scope_may_be_any_label_selector() {
    let scope = "scope: {labelSelector: {matchExpressions: [{key: set, operator: In, values: [s, t]}]}}";
    let text = format!(
        "plugins: [{{type: {KIND}, parameters: {{{scope}, revisionGating: {{mode: disabled}}}}}}, {{type: queue-scorer}}]"
    );
    let fixture = Fixture::labelled(&[&[("set", "t")], &[("set", "u")], &[]]);
    assert_eq!(screened(&fixture, &compile(&text).unwrap(), &mut Rng::with_seed(1)), [0]);
    let wrong = text.replace("values: [s, t]", "values: []");
    assert!(compile(&wrong).unwrap_err().errors().any(|one| one.message.contains("at least one of")));
}

#[test]
fn parameters_that_are_refused() {
    let gating = "revisionGating: {mode: disabled}";
    for (parameters, why) in [
        ("{}".to_owned(), "scope"),
        (format!("{{{SCOPE}}}"), "revisionGating"),
        (format!("{{{SCOPE}, revisionGating: {{mode: sum}}}}"), "at least one role"),
        (
            format!("{{{SCOPE}, {gating}, headerSelectors: [{{name: a, headerName: 'a b', labelKey: l, mode: strict}}]}}"),
            "not a header name",
        ),
        (
            format!("{{{SCOPE}, {gating}, headerSelectors: [{{name: '', headerName: a, labelKey: l, mode: strict}}]}}"),
            "must not be empty",
        ),
        (
            format!(
                "{{{SCOPE}, {gating}, headerSelectors: [{{name: a, headerName: a, labelKey: l, mode: strict}}, {{name: b, headerName: A, labelKey: m, mode: prefer}}]}}"
            ),
            "two selectors",
        ),
    ] {
        let found = refused(KIND, &parameters);
        assert!(found.contains(why), "{parameters}: {found}");
    }
}

#[test]
fn what_it_counts() {
    let mut fixture = fixture();
    let selector = ", headerSelectors: [{name: s, headerName: x-slice, labelKey: slice, mode: strict}]";
    let plan = plan(&format!("mode: sum, {ROLES}"), selector);
    let figures = || {
        let figures = plan.screeners[0].plugin.figures();
        figures.into_iter().map(|one| (one.family, one.labels.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), one.value))
    };
    screened(&fixture, &plan, &mut Rng::with_seed(1));
    fixture.headers.insert("x-slice", "none".parse().unwrap());
    screened(&fixture, &plan, &mut Rng::with_seed(1));
    let found: Vec<_> = figures().collect();
    assert_eq!(found[0], ("disaggregatedset_strict_header_no_match", vec!["s".to_owned()], 1.0));
    let share = ("disaggregatedset_revision_gating_share", vec!["sum".to_owned(), "a".to_owned()], 11.0 / 13.0);
    assert_eq!((found.len(), &found[1]), (3, &share));
}
