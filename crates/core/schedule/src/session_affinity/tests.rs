use weir_plan::Told;
use weir_pool::Time;

use super::*;
use crate::testing::{Fixture, compile, refused};

const KIND: &str = "session-affinity-scorer";

fn by_session_id(config: &str) -> weir_plan::Plan {
    let parameters = format!("{{strategy: session_id, sessionIdConfig: {config}}}");
    compile(&format!("plugins: [{{type: {KIND}, parameters: {parameters}}}]")).unwrap()
}

#[test]
fn the_client_brings_back_what_the_answer_named() {
    let plan = compile(&format!("plugins: [{{type: {KIND}}}]")).unwrap();
    let mut fixture = Fixture::new(3);
    assert_eq!(fixture.score_with(&plan), [0.0, 0.0, 0.0]);
    let mut answer = HeaderMap::new();
    plan.response_headers[0].plugin.respond(&Served { endpoint: &fixture.endpoints[1], told: Told::Directly }, &mut answer);
    assert_eq!(answer["x-session-token"], "ZGVmYXVsdC9lMQ==");
    fixture.headers = answer;
    assert_eq!(fixture.score_with(&plan), [0.0, 1.0, 0.0]);
    fixture.candidates = vec![0, 2];
    assert_eq!(fixture.score_with(&plan), [0.0, 0.0]);
}

#[test]
fn tokens_that_mean_nothing_have_no_effect() {
    let mut fixture = Fixture::new(2);
    let long = "QUFB".repeat(1_000);
    for token in ["", "%%%", "ZGVmYXVsdC9lOQ==", "ZGVm", long.as_str()] {
        fixture.headers.insert("x-other", token.parse().unwrap());
        assert_eq!(fixture.score(KIND, "{encodedEndpointHeaderConfig: {header: X-Other}}"), [0.0, 0.0], "{token}");
    }
}

#[test]
fn a_session_stays_where_it_is_until_its_endpoint_is_gone() {
    let plan = by_session_id("{}");
    let mut fixture = Fixture::new(3);
    fixture.headers.insert("x-session-id", "s1".parse().unwrap());
    assert_eq!(fixture.score_with(&plan), [0.0, 0.0, 0.0]);
    fixture.picked(&plan, 2);
    assert_eq!(fixture.score_with(&plan), [0.0, 0.0, 1.0]);
    fixture.picked(&plan, 0);
    assert_eq!(fixture.score_with(&plan), [0.0, 0.0, 1.0], "another choice does not move it");
    fixture.candidates = vec![0, 1];
    assert_eq!(fixture.score_with(&plan), [0.0, 0.0]);
    fixture.picked(&plan, 1);
    fixture.candidates = vec![0, 1, 2];
    assert_eq!(fixture.score_with(&plan), [0.0, 1.0, 0.0]);

    fixture.headers.insert("x-session-id", "s2".parse().unwrap());
    assert_eq!(fixture.score_with(&plan), [0.0, 0.0, 0.0]);
    fixture.headers.clear();
    fixture.picked(&plan, 0);
}

#[test]
fn the_first_source_that_has_a_value_counts() {
    let plan = by_session_id("{sources: [{header: X-A}, {header: x-b}, {attribute: agent-identity, producer: ''}]}");
    let mut fixture = Fixture::new(2);
    fixture.headers.insert("x-b", "s1".parse().unwrap());
    fixture.picked(&plan, 1);
    fixture.headers.insert("x-a", "".parse().unwrap());
    assert_eq!(fixture.score_with(&plan), [0.0, 1.0]);
    fixture.headers.insert("x-a", "s2".parse().unwrap());
    assert_eq!(fixture.score_with(&plan), [0.0, 0.0]);
    fixture.headers.clear();
    fixture.attributes.request.set(&"agent-identity/".into(), "s1");
    assert_eq!(fixture.score_with(&plan), [0.0, 1.0]);
}

#[test]
fn a_filter_keeps_the_bound_endpoint_or_all() {
    for kind in ["session-affinity-filter", "multicluster-session-affinity-filter"] {
        let plan = compile(&format!("plugins: [{{type: {kind}, parameters: {{strategy: session_id}}}}]")).unwrap();
        let mut fixture = Fixture::new(3);
        fixture.headers.insert("x-session-id", "s1".parse().unwrap());
        assert_eq!(fixture.filter_with(&plan), [0, 1, 2]);
        fixture.picked(&plan, 1);
        assert_eq!(fixture.filter_with(&plan), [1]);
        fixture.candidates = vec![0, 2];
        assert_eq!(fixture.filter_with(&plan), [0, 2], "it is gone");
        let plan = compile(&format!("plugins: [{{type: {kind}}}]")).unwrap();
        fixture.candidates = vec![0, 1, 2];
        fixture.headers.insert("x-session-token", "ZGVmYXVsdC9lMQ==".parse().unwrap());
        assert_eq!(fixture.filter_with(&plan), [1]);
    }
}

#[test]
fn sessions_expire_and_their_number_is_bounded() {
    let bindings = Bindings::new(Duration::from_secs(5), Duration::from_secs(1));
    let at = Time::from_millis;
    bindings.bind(b"a", 1, at(0));
    bindings.bind(b"b", 2, at(0));
    assert_eq!(bindings.find(b"a", at(4_999)), Some(1));
    assert_eq!(bindings.find(b"b", at(5_000)), None);
    assert_eq!(bindings.find(b"a", at(9_000)), Some(1), "use keeps it");
    bindings.bind(b"c", 3, at(9_000));
    assert_eq!(bindings.len(), 2);
    for i in 0..bindings::MAX_SESSIONS as u32 + 100 {
        bindings.bind(&i.to_le_bytes(), i, at(9_000));
    }
    assert_eq!(bindings.len(), bindings::MAX_SESSIONS);
    bindings.bind(b"d", 4, at(20_000));
    assert_eq!(bindings.len(), 1);
}

#[test]
fn parameters_that_are_refused() {
    assert!(refused(KIND, "{strategy: cookie}").contains("cookie"));
    assert!(refused(KIND, "{encodedEndpointHeaderConfig: {header: 'a b'}}").contains("not a header name"));
    assert!(refused(KIND, "{strategy: session_id, sessionIdConfig: {evictionTtlSeconds: -1}}").contains("above 0"));
    assert!(refused(KIND, "{strategy: session_id, sessionIdConfig: {evictionSweepSeconds: 0}}").contains("above 0"));
    assert!(refused(KIND, "{strategy: session_id, sessionIdConfig: {sources: [{}]}}").contains("either"));
    assert!(refused(KIND, "{strategy: session_id, profileName: nope}").contains("nope"));
}

#[test]
fn a_session_may_be_bound_to_another_profiles_target() {
    let scorer = "{type: session-affinity-scorer, parameters: {strategy: session_id, profileName: prefill}}";
    let profiles = "schedulingProfiles:\n- name: prefill\n  plugins: [{pluginRef: session-affinity-scorer}]\n- {name: decode, plugins: []}\n";
    let plan = compile(&format!("plugins: [{scorer}, {{type: header-profile-handler}}]\n{profiles}")).unwrap();
    let mut fixture = Fixture::new(3);
    fixture.headers.insert("x-session-id", "s1".parse().unwrap());
    fixture.headers.insert("epp-profile", "prefill".parse().unwrap());
    fixture.picked_by_profile(&plan, &[0], &[&[2], &[0]]);
    assert_eq!(fixture.score_with(&plan), [0.0, 0.0, 1.0]);
}
