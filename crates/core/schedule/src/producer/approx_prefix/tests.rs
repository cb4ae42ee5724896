use weir_plan::{PrefixMatch, Targets};
use weir_pool::Scrape;
use weir_protocol::Api;

use super::*;
use crate::testing::{Fixture, compile, refused};

const KIND: &str = "approx-prefix-cache-producer";

fn plan(parameters: &str) -> weir_plan::Plan {
    compile(&format!("plugins: [{{type: {KIND}, parameters: {parameters}}}, {{type: prefix-cache-scorer}}]")).unwrap()
}

fn found(fixture: &mut Fixture, plan: &weir_plan::Plan) -> PrefixMatch {
    fixture.produce(plan);
    fixture.attributes.prefixes()[0].clone()
}

/// A chat whose prompt has so many tokens.
fn chat(fixture: &mut Fixture, tokens: usize) {
    fixture.chat(&"x".repeat((tokens - 1) * 4));
}

#[test]
fn it_learns_from_decisions() {
    let plan = plan("{}");
    assert!(plan.reads_prompt() && plan.reads.intersects(DataSet::CACHE_CONFIG));
    let mut fixture = Fixture::new(3);
    chat(&mut fixture, 640);
    let first = found(&mut fixture, &plan);
    assert_eq!((first.total_blocks, first.block_size_tokens, first.matched_blocks), (10, 64, vec![0, 0, 0]));
    fixture.picked(&plan, 1);
    assert_eq!(found(&mut fixture, &plan).matched_blocks, [0, 10, 0]);
    assert!(plan.producers[0].plugin.memory().is_some_and(|(used, limit)| 0 < used && used < limit));

    chat(&mut fixture, 700);
    let longer = found(&mut fixture, &plan);
    assert_eq!((longer.total_blocks, longer.matched_blocks.as_slice()), (11, [0, 10, 0].as_slice()));
    assert_eq!(fixture.attributes.prompt_tokens, Some(700));
    assert_eq!(fixture.score_with(&plan), [0.0, 10.0 / 11.0, 0.0]);

    fixture.model = "other".to_owned();
    assert_eq!(found(&mut fixture, &plan).matched_blocks, [0, 0, 0]);
}

#[test]
fn prefill_and_decode_workers_both_learn() {
    let plan = plan("{}");
    let mut fixture = Fixture::new(3);
    chat(&mut fixture, 128);
    fixture.produce(&plan);
    let targets = Targets { endpoints: &fixture.endpoints, primary: &[2, 0], prefill: &[1], results: &[] };
    plan.pre_request[0].plugin.picked(&fixture.request(), &targets, &fixture.attributes, &mut Outgoing::default());
    assert_eq!(found(&mut fixture, &plan).matched_blocks, [0, 2, 2]);
}

#[test]
fn salts_and_prompts_are_kept_apart() {
    let plan = plan("{}");
    let mut fixture = Fixture::new(1);
    let text = "x".repeat(256 * 3);
    fixture.body(Api::Completions, &format!(r#"{{"prompt":"{text}"}}"#));
    fixture.produce(&plan);
    fixture.picked(&plan, 0);
    fixture.body(Api::Completions, &format!(r#"{{"prompt":"{text}","cache_salt":"s"}}"#));
    assert_eq!(found(&mut fixture, &plan).matched_blocks, [0]);
    fixture.body(Api::Completions, &format!(r#"{{"prompt":["{text}","abc","{text}"]}}"#));
    let several = found(&mut fixture, &plan);
    assert_eq!((several.total_blocks, several.matched_blocks), (7, vec![6]));
    assert_eq!(fixture.attributes.prompt_tokens, Some(192 + 1 + 192));
}

#[test]
fn a_request_of_very_many_prompts_is_looked_at_in_part() {
    let plan = plan("{}");
    let mut fixture = Fixture::new(1);
    let prompts = vec!["\"abcd\""; 1_000].join(",");
    fixture.body(Api::Completions, &format!(r#"{{"prompt":[{prompts}]}}"#));
    assert_eq!(found(&mut fixture, &plan).total_blocks, 256);
    assert_eq!(fixture.attributes.prompt_tokens, Some(1_000));
}

#[test]
fn block_sizes_and_caps() {
    let cases = [
        ("{}", 0, (64, 2_048)),
        ("{}", 16, (64, 2_048)),
        ("{}", 128, (128, 1_024)),
        ("{autoTune: false}", 128, (64, 2_048)),
        ("{autoTune: false, blockSizeTokens: 256, maxPrefixTokensToMatch: 2560}", 0, (256, 10)),
        ("{autoTune: false, maxPrefixTokensToMatch: 0, maxPrefixBlocksToMatch: 7}", 0, (64, 7)),
        ("{autoTune: false, maxPrefixTokensToMatch: 0, maxPrefixBlocksToMatch: 0}", 0, (64, 3_125)),
    ];
    for (parameters, reported, want) in cases {
        let plan = plan(parameters);
        let mut fixture = Fixture::new(2);
        if reported > 0 {
            let scrape = Scrape { block_size_tokens: Some(reported), num_blocks: Some(100), ..Scrape::default() };
            fixture.endpoints[1].engine.record(&scrape, 0, Time::ZERO);
        }
        chat(&mut fixture, 200_000);
        let found = found(&mut fixture, &plan);
        assert_eq!((found.block_size_tokens, found.total_blocks), want, "{parameters} {reported}");
        assert_eq!(fixture.attributes.prompt_tokens, Some(200_000));
        assert_eq!(plan.reads.intersects(DataSet::CACHE_CONFIG), !parameters.contains("autoTune"));
    }
}

#[test]
fn an_endpoint_keeps_as_many_tokens_as_its_cache_holds() {
    let plan = plan("{lruCapacityPerServer: 40}");
    let mut fixture = Fixture::new(2);
    let scrape = Scrape { block_size_tokens: Some(16), num_blocks: Some(80), ..Scrape::default() };
    fixture.endpoints[1].engine.record(&scrape, 0, Time::ZERO);
    chat(&mut fixture, 64 * 30);
    fixture.produce(&plan);
    fixture.picked(&plan, 0);
    fixture.picked(&plan, 1);
    assert_eq!(found(&mut fixture, &plan).matched_blocks, [10, 20]);
}

#[test]
fn endpoints_that_are_gone_are_forgotten() {
    let plan = plan("{}");
    let mut fixture = Fixture::new(2);
    chat(&mut fixture, 128);
    fixture.produce(&plan);
    fixture.picked(&plan, 0);
    fixture.picked(&plan, 1);
    let gone = fixture.endpoints.pop().unwrap();
    fixture.now = Time::from_millis(200_000);
    fixture.picked(&plan, 0);
    fixture.endpoints.push(gone);
    assert_eq!(found(&mut fixture, &plan).matched_blocks, [2, 0]);
}

#[test]
fn an_endpoint_that_goes_takes_its_blocks_with_it() {
    let plan = plan("{}");
    let mut fixture = Fixture::new(2);
    chat(&mut fixture, 128);
    fixture.produce(&plan);
    fixture.picked(&plan, 0);
    fixture.picked(&plan, 1);
    let [events] = plan.endpoint_events.as_slice() else { panic!("it hears of endpoints") };
    events.plugin.endpoints_changed(&fixture.endpoints[..1], &[]);
    assert_eq!(found(&mut fixture, &plan).matched_blocks, [2, 2]);
    events.plugin.endpoints_changed(&[], &fixture.endpoints[1..]);
    assert_eq!(found(&mut fixture, &plan).matched_blocks, [2, 0]);
}

#[test]
fn requests_without_a_known_prompt_learn_nothing() {
    let plan = plan("{}");
    let mut fixture = Fixture::new(1);
    let nothing = found(&mut fixture, &plan);
    assert_eq!((nothing.total_blocks, nothing.matched_blocks.len()), (0, 0));
    fixture.picked(&plan, 0);
    assert_eq!(fixture.score_with(&plan), [0.0]);
}

#[test]
fn parameters() {
    assert!(refused(KIND, "{lruCapacityPerServer: 0}").contains("above 0"));
    assert!(refused(KIND, "{blockSizeToken: 64}").contains("blockSizeTokens"));
    assert!(plan("{blockSize: 64}").warnings.iter().any(|one| one.message.contains("blockSizeTokens")));
}
