use weir_plan::{Plan, PoolView};

use crate::{
    Scratch,
    testing::{Fixture, compile},
};

const PROFILES: &str = "schedulingProfiles:
- {name: encode, plugins: [{pluginRef: encode-filter}]}
- {name: prefill, plugins: [{pluginRef: prefill-filter}]}
- {name: decode, plugins: [{pluginRef: decode-filter}]}
";

fn plan(handler: &str, more: &str) -> Plan {
    compile(&text(handler, more)).unwrap()
}

fn text(handler: &str, more: &str) -> String {
    format!(
        "plugins:\n- {{type: encode-filter}}\n- {{type: prefill-filter}}\n- {{type: decode-filter}}\n- {{type: \
         disagg-profile-handler, parameters: {handler}}}\n{more}{PROFILES}"
    )
}

fn refused(handler: &str, more: &str) -> String {
    let notes = compile(&text(handler, more)).unwrap_err();
    notes.errors().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Workers: 0 encodes, 1 prefills, 2 decodes.
fn workers() -> Fixture {
    let role = |role| [("llm-d.ai/role", role)];
    Fixture::labelled(&[&role("encode"), &role("prefill"), &role("decode")])
}

/// Which of encode, prefill and decode ran.
fn ran(fixture: &Fixture, plan: &Plan) -> [bool; 3] {
    let scratch: Scratch = fixture.run(plan);
    [0, 1, 2].map(|profile| scratch.has_run(profile))
}

fn image(fixture: &mut Fixture) {
    let part = r#"{"type":"image_url","image_url":{"url":"http://x/a.png"}}"#;
    fixture.body(weir_protocol::Api::ChatCompletions, &format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#));
}

const ALWAYS: &str = "- {type: always-disagg-pd-decider}\n- {type: always-disagg-multimodal-decider}\n";
const BOTH: &str = "{deciders: {prefill: always-disagg-pd-decider, encode: always-disagg-multimodal-decider}}";

#[test]
fn stages_run_where_their_deciders_say_so() {
    let mut fixture = workers();
    fixture.chat("hello");
    assert_eq!(ran(&fixture, &plan("{}", "")), [false, false, true], "no deciders: decode only");
    assert_eq!(ran(&fixture, &plan("{deciders: {prefill: always-disagg-pd-decider}}", ALWAYS)), [false, true, true]);
    let both = plan(BOTH, ALWAYS);
    assert_eq!(ran(&fixture, &both), [false, true, true], "nothing to encode");
    image(&mut fixture);
    assert_eq!(ran(&fixture, &both), [true, true, true]);
    fixture.candidates = vec![1, 2];
    assert_eq!(fixture.cycle(&both).unwrap().primary, 2, "a stage that fails is left out");
    assert_eq!(ran(&fixture, &both), [true, true, true]);
    fixture.candidates = vec![0, 1];
    let error = fixture.cycle(&both).unwrap_err();
    assert_eq!((error.outcome().status, ran(&fixture, &both)), (429, [false, false, true]), "without decode nothing goes");
}

#[test]
fn prefill_first() {
    let mut fixture = workers();
    image(&mut fixture);
    for order in ["prefill-first", "Prefill_First", "prefill"] {
        assert_eq!(ran(&fixture, &plan(&format!("{{stageOrder: {order}}}"), "")), [false, true, true], "{order}");
    }
    let with_encode = "{stageOrder: prefill-first, deciders: {encode: always-disagg-multimodal-decider}}";
    assert_eq!(ran(&fixture, &plan(with_encode, ALWAYS)), [true, true, true]);
}

#[test]
fn golden_vectors_of_the_prefix_decider() {
    let splits = |params: &str, tokens: u64, cached: u32, block: u32| {
        let decider = format!("- {{type: prefix-based-pd-decider, parameters: {params}}}\n");
        let plan = plan("{deciders: {prefill: prefix-based-pd-decider}}", &decider);
        let mut fixture = workers();
        fixture.attributes.prompt_tokens = Some(tokens);
        fixture.prefix(&[0, 0, cached], 100, block);
        ran(&fixture, &plan)[1]
    };
    assert!(splits("{nonCachedTokens: 16}", 100, 4, 16));
    assert!(!splits("{nonCachedTokens: 16}", 100, 6, 16));
    assert!(!splits("{nonCachedTokens: 16}", 10, 0, 16));
    for (uncached, prompt, tokens, cached, wanted) in [
        (0, 0, 10, 5, false),
        (5, 20, 10, 0, false),
        (20, 0, 10, 0, false),
        (5, 10, 10, 5, true),
        (5, 0, 10, 8, false),
        (5, 0, 10, 5, true),
        (3, 0, 10, 2, true),
        (1, 0, 10, 10, false),
        (4, 0, 6, 2, true),
        (4, 0, 6, 5, false),
    ] {
        let params = format!("{{nonCachedTokens: {uncached}, promptTokens: {prompt}}}");
        assert_eq!(splits(&params, tokens, cached, 1), wanted, "{params} {tokens} {cached}");
    }
    let unknown = plan(
        "{deciders: {prefill: prefix-based-pd-decider}}",
        "- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: 1}}\n",
    );
    assert!(!ran(&workers(), &unknown)[1], "nothing is known of the prompt");
}

#[test]
fn headers_name_the_workers_of_the_other_stages() {
    let fixture = workers();
    let plan = plan(BOTH, ALWAYS);
    let outgoing = fixture.picked_by_profile(&plan, &[2], &[&[0, 1], &[1], &[2]]);
    assert_eq!(outgoing.headers["x-prefiller-host-port"], "10.0.0.1:8001");
    assert_eq!(outgoing.headers["x-encoder-hosts-ports"], "10.0.0.1:8000,10.0.0.1:8001");
    let outgoing = fixture.picked_by_profile(&plan, &[2], &[&[], &[], &[2]]);
    assert!(outgoing.headers.is_empty() && outgoing.remove.len() == 2, "what a client sends is removed");
}

#[test]
fn the_second_worker_is_chosen_near_the_first() {
    let text = "plugins:\n- {type: prefill-filter}\n- {type: decode-filter}\n- {type: topology-affinity-scorer}\n- {type: \
                always-disagg-pd-decider}\n- {type: disagg-profile-handler, parameters: {deciders: {prefill: \
                always-disagg-pd-decider}}}\nschedulingProfiles:\n- {name: prefill, plugins: [{pluginRef: prefill-filter}, {pluginRef: \
                topology-affinity-scorer}]}\n- {name: decode, plugins: [{pluginRef: decode-filter}]}\n";
    let plan = compile(text).unwrap();
    let (role, host) = ("llm-d.ai/role", "kubernetes.io/hostname");
    let fixture = Fixture::labelled(&[
        &[(role, "prefill"), (host, "a")],
        &[(role, "prefill"), (host, "b")],
        &[(role, "decode"), (host, "b")],
    ]);
    let scratch = fixture.run(&plan);
    assert_eq!((scratch.targets(1), scratch.targets(0)), ([2].as_slice(), [1].as_slice()));
    assert_eq!(scratch.prefill_targets(), [1]);
    assert!(PoolView::new(&fixture.endpoints, &fixture.states, &fixture.candidates, &fixture.attributes).peer().is_none());
}

#[test]
fn old_ways_to_write_it() {
    let mut fixture = workers();
    image(&mut fixture);
    let flat = "{decodeProfile: decode, prefillProfile: prefill, encodeProfile: encode, deciderPluginName: always-disagg-pd-decider, \
                encodeDeciderPluginName: always-disagg-multimodal-decider}";
    let old = plan(flat, ALWAYS);
    assert_eq!(ran(&fixture, &old), [true, true, true]);
    assert!(old.warnings.iter().any(|one| one.message.contains("`decodeProfile` is deprecated")));
    let preferred = "{prefillDeciderPluginName: always-disagg-multimodal-decider, deciderPluginName: always-disagg-pd-decider}";
    fixture.chat("hello");
    assert_eq!(ran(&fixture, &plan(preferred, ALWAYS)), [false, false, true], "the nearer name counts");

    let pd = "plugins:\n- {type: prefill-filter}\n- {type: decode-filter}\n- {type: encode-filter}\n- {type: always-disagg-pd-decider}\n\
              - {type: pd-profile-handler, parameters: {deciderPluginName: always-disagg-pd-decider, primaryPort: 8000, \
              prefixPluginName: x}}\n- {type: disagg-headers-handler}\n";
    let pd = compile(&format!("{pd}{PROFILES}")).unwrap();
    assert_eq!(ran(&fixture, &pd), [false, true, true]);
    let warned = |what: &str| pd.warnings.iter().any(|one| one.message.contains(what));
    assert!(
        warned("pd-profile-handler")
            && warned("primaryPort")
            && warned("disagg-headers-handler")
            && warned("decider's parameters")
    );
    let outgoing = fixture.picked_by_profile(&pd, &[2], &[&[], &[1], &[2]]);
    assert_eq!(outgoing.headers["x-prefiller-host-port"], "10.0.0.1:8001");
}

#[test]
fn profiles_of_other_names() {
    let renamed = "{profiles: {decode: d, prefill: p, encode: e}, deciders: {prefill: always-disagg-pd-decider}}";
    let text = text(renamed, ALWAYS)
        .replace("name: encode", "name: e")
        .replace("name: prefill", "name: p")
        .replace("name: decode", "name: d");
    let mut fixture = workers();
    fixture.chat("hello");
    let plan = compile(&text).unwrap();
    let scratch = fixture.run(&plan);
    assert_eq!(
        (scratch.targets(2), scratch.prefill_targets()),
        ([2].as_slice(), [1].as_slice()),
        "who learns of prefill finds it"
    );
    let headers = plan_with_headers("{prefillProfile: p, encodeProfile: e}", &text);
    let outgoing = fixture.picked_by_profile(&headers, &[2], &[&[0], &[1], &[2]]);
    assert_eq!(outgoing.headers["x-encoder-hosts-ports"], "10.0.0.1:8000");
}

fn plan_with_headers(parameters: &str, text: &str) -> Plan {
    let handler = format!("- {{type: prefill-header-handler, parameters: {parameters}}}\nscheduling");
    compile(&text.replacen("scheduling", &handler, 1)).unwrap()
}

#[test]
fn what_is_refused() {
    for (handler, more, why) in [
        ("{stageOrder: sideways}", "", "neither decode-first nor prefill-first"),
        ("{stageOrder: prefill-first, deciders: {prefill: always-disagg-pd-decider}}", ALWAYS, "takes no decider"),
        ("{deciders: {prefill: nobody}}", "", "no plugin is named so"),
        ("{deciders: {prefill: decode-filter}}", "", "`decode-filter` is no decider"),
        ("{profiles: {decode: d}}", "", "no profile is named `d`"),
        ("{decodeProfile: decode, deciders: {prefill: always-disagg-pd-decider}}", ALWAYS, "not both"),
    ] {
        let found = refused(handler, more);
        assert!(found.contains(why), "{handler}: {found}");
    }
    let negative = "- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: -1}}\n";
    assert!(refused("{}", negative).contains("0 or more"));
}
