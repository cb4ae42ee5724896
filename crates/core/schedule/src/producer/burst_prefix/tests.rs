use std::time::Duration;

use crate::testing::{Fixture, compile, refused};

const KIND: &str = "burst-prefix-cache-producer";

/// Where the prompts go that come 1 ms apart.
fn placed(parameters: &str, endpoints: usize, prompts: &[&str]) -> Vec<Option<usize>> {
    let scorer = format!("{{type: prefix-cache-scorer, parameters: {{prefixMatchInfoProducerName: {KIND}}}}}");
    let plan = compile(&format!("plugins: [{{type: {KIND}, parameters: {parameters}}}, {scorer}]")).unwrap();
    let mut fixture = Fixture::new(endpoints);
    prompts
        .iter()
        .map(|prompt| {
            fixture.chat(prompt);
            fixture.produce(&plan);
            fixture.now = fixture.now + Duration::from_millis(1);
            let scores = fixture.score_with(&plan);
            assert!(scores.iter().sum::<f64>() <= 1.0);
            scores.iter().position(|score| *score == 1.0)
        })
        .collect()
}

/// 64 tokens of 4 bytes are a block; the role comes first.
fn text(blocks: usize, tail: &str) -> String {
    format!("{}{tail}", "x".repeat(256 * blocks))
}

#[test]
fn equal_prompts_meet_and_others_spread() {
    let (a, b) = (text(4, "a"), text(4, "b"));
    assert_eq!(placed("{}", 3, &[&a, &b, &a, &a, &b]), [0, 1, 0, 0, 1].map(Some));
    assert_eq!(placed("{maxPerReplica: 1}", 3, &[&a, &a, &a, &a]), [0, 1, 2, 0].map(Some));
}

#[test]
fn a_window_ends() {
    let (a, b) = (text(1, "a"), text(1, "b"));
    assert_eq!(placed("{windowDurationMs: 1}", 2, &[&a, &b, &b]), [Some(0); 3]);
    assert_eq!(placed("{windowDurationMs: 10}", 2, &[&a, &b, &b]), [0, 1, 1].map(Some));
}

#[test]
fn a_shared_beginning_counts_if_it_is_long_enough() {
    let prompts = [text(4, "a"), text(4, "b"), text(4, "c")];
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    assert_eq!(placed("{minColocateBlocks: 4}", 3, &prompts)[..2], [Some(0), Some(1)], "each replica takes its fair share first");
    assert_eq!(placed("{minColocateBlocks: 5}", 3, &prompts), [0, 1, 2].map(Some));
    assert_eq!(placed("{minColocateBlocks: 2, balanceBy: tokens}", 1, &prompts), [Some(0); 3]);
}

#[test]
fn a_long_prompt_weighs_more_if_tokens_are_shared_out() {
    let (long, a, b) = (text(20, "l"), text(1, "a"), text(1, "b"));
    assert_eq!(placed("{balanceBy: tokens}", 2, &[&long, &a, &b]), [0, 1, 1].map(Some));
    assert_eq!(placed("{balanceBy: requests}", 2, &[&long, &a, &b]), [0, 1, 0].map(Some));
}

#[test]
fn requests_beyond_the_batch_are_routed_unaided() {
    let a = text(1, "a");
    assert_eq!(placed("{maxBatchSize: 2}", 2, &[&a, &a, &a]), [Some(0), Some(0), None]);
    assert_eq!(placed("{maxBatchSize: -1}", 2, &[&a, &a, &a]), [Some(0); 3]);
}

#[test]
fn what_is_looked_at() {
    let (a, b) = (text(4, "a"), text(4, "b"));
    assert_eq!(placed("{maxPrefixTokensToMatch: 128}", 2, &[&a, &b]), [Some(0), Some(0)], "they differ behind it");
    assert_eq!(placed("{maxPrefixTokensToMatch: 0, blockSizeTokens: 128}", 2, &[&a, &b]), [Some(0), Some(1)]);
}

#[test]
fn parameters_that_are_refused() {
    for (parameters, why) in [
        ("{windowDurationMs: 0}", "1..=10000"),
        ("{maxPerReplica: 0}", "-1 or at least 1"),
        ("{maxBatchSize: -2}", "-1 or at least 1"),
        ("{blockSizeTokens: 0}", "above 0"),
        ("{balanceBy: bytes}", "bytes"),
    ] {
        assert!(refused(KIND, parameters).contains(why), "{parameters}");
    }
}
