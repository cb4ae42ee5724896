use weir_pool::ListedModel;

use crate::testing::{Fixture, compile, refused};

fn score(fixture: &Fixture, expression: &str) -> Vec<f64> {
    fixture.score("cel-scorer", &format!("{{expression: '{expression}'}}"))
}

fn kept(fixture: &Fixture, parameters: &str) -> Vec<u32> {
    fixture.filter("cel-filter", parameters)
}

fn fixture() -> Fixture {
    let mut fixture = Fixture::labelled(&[&[("tier", "gold")], &[("tier", "lead")], &[]]);
    for (i, state) in fixture.states.iter_mut().enumerate() {
        (state.waiting, state.kv_usage, state.inflight_requests) = ([0, 4, 9][i], [0.25, 0.5, 0.75][i], [1, 2, 3][i]);
        state.age = Some(std::time::Duration::ZERO);
    }
    fixture.endpoints[1].numbers.set("Rate/core-metrics-extractor", Some(0.5));
    fixture.headers.insert("x-tier", "gold".parse().unwrap());
    fixture
}

#[test]
fn numbers_of_endpoints() {
    let fixture = fixture();
    assert_eq!(score(&fixture, "1.0 - m.kv * 0.5"), [0.875, 0.75, 0.625]);
    assert_eq!(score(&fixture, "metrics.waiting == 0.0 ? 1.0 : 1.0 / (1.0 + metrics.waiting)"), [1.0, 0.2, 0.1]);
    assert_eq!(score(&fixture, "m.inflight_requests > 1.0"), [0.0, 1.0, 1.0]);
    assert_eq!(
        score(&fixture, r#""Rate/core-metrics-extractor" in m.custom ? m.custom["Rate/core-metrics-extractor"] : 0.1"#),
        [0.1, 0.5, 0.1]
    );
    assert_eq!(score(&fixture, "m.waiting * 100.0"), [0.0, 1.0, 1.0], "clamped");
    assert_eq!(score(&fixture, "m.stale || !m.known ? 0.0 : 0.5"), [0.5; 3]);
}

#[test]
fn labels_headers_and_what_is_missing() {
    let fixture = fixture();
    assert_eq!(score(&fixture, r#"endpoint.labels["tier"] == request.headers["x-tier"]"#), [1.0, 0.0, 0.0]);
    assert_eq!(score(&fixture, r#"request.model == "m" && endpoint.name == "e2""#), [0.0, 0.0, 1.0]);
    let gold = r#"expression: 'endpoint.labels["tier"] == "gold"'"#;
    assert_eq!(kept(&fixture, &format!("{{{gold}}}")), [0]);
    assert_eq!(kept(&fixture, &format!("{{{gold}, onError: Pass}}")), [0, 2], "the third has no such label");
    let none = r#"expression: 'endpoint.labels["tier"] == "none"'"#;
    assert!(kept(&fixture, &format!("{{{none}}}")).is_empty());
    assert_eq!(kept(&fixture, &format!("{{{none}, fallbackOnEmpty: true}}")), [0, 1, 2]);
    assert_eq!(kept(&fixture, "{expression: 'm.waiting < 5.0'}"), [0, 1]);
}

#[test]
fn it_brings_what_it_names() {
    let plan = |expression: &str| {
        compile(&format!("plugins: [{{type: cel-scorer, parameters: {{expression: '{expression}'}}}}]")).unwrap()
    };
    assert!(plan("m.prefix").columns.prefix == ["approx-prefix-cache-producer"] && plan("m.kv").columns.prefix.is_empty());
    assert!(plan("m.kv").metrics.is_some() && plan("request.priority").metrics.is_none());
    assert!(plan("m.uncached_tokens / 100.0").in_flight.is_some());
    let mut fixture = fixture();
    fixture.prefix(&[4, 0, 8], 8, 64);
    assert_eq!(score(&fixture, "m.prefix"), [0.5, 0.0, 1.0]);
    assert_eq!(kept(&fixture, "{expression: 'm.prefix > 0.4'}"), [0, 2]);
    for kind in ["cel-scorer", "cel-filter"] {
        let named = "{expression: 'm.prefix > 0.4', prefixMatchInfoProducerName: mine}";
        assert!(refused(kind, named).contains("PrefixCacheMatchInfoDataKey/mine"));
    }
}

#[test]
fn mistakes_are_found_when_the_configuration_is_read() {
    for (expression, why) in [
        ("", "must not be empty"),
        ("m.kv +", "no CEL expression"),
        ("metric.kv", "did you mean `metrics`?"),
        ("frob(m.kv)", "frob"),
        ("m.kv + \"a\"", "floating-point"),
    ] {
        for kind in ["cel-scorer", "cel-filter"] {
            let found = refused(kind, &format!("{{expression: '{expression}'}}"));
            assert!(found.contains(why) || (why == "floating-point" && found.contains("m.kv")), "{kind} {expression}: {found}");
        }
    }
}

#[test]
fn what_endpoints_list_of_their_models() {
    let fixture = Fixture::new(2);
    let adapter = ListedModel { id: "a".to_owned(), parent: Some("base".to_owned()), ..ListedModel::default() };
    fixture.endpoints[1].set_listing(vec![adapter]);
    let parameters = r#"{expression: 'endpoint.models.exists(m, m.parent == "base")'}"#;
    assert_eq!(fixture.filter("cel-filter", parameters), [1]);
    let named = r#"{expression: 'endpoint.models.exists( one , one.parent == "base")'}"#;
    assert_eq!(fixture.filter("cel-filter", named), [1]);
    assert!(refused("cel-filter", r#"{expression: 'one.parent == "base"'}"#).contains("no variable `one`"));
}
