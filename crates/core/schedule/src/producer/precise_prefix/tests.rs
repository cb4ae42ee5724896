use weir_plan::{KvEventSink, Plan};
use weir_prefix::{BatchWriter, EventLayout, StoredBlocks};
use weir_protocol::Api;

use crate::testing::{Fixture, compile, refused};

const PRODUCER: &str = "precise-prefix-cache-producer";

fn plan(parameters: &str) -> Plan {
    let scorer = format!("{{type: prefix-cache-scorer, parameters: {{prefixMatchInfoProducerName: {PRODUCER}}}}}");
    compile(&format!("plugins: [{{type: {PRODUCER}, parameters: {parameters}}}, {scorer}]")).unwrap()
}

/// A completion of the tokens 1, 2, 3, ….
fn tokens(fixture: &mut Fixture, count: u32) {
    let list: Vec<String> = (1..=count).map(|token| token.to_string()).collect();
    fixture.body(Api::Completions, &format!(r#"{{"prompt":[{}]}}"#, list.join(",")));
}

fn sink(plan: &Plan) -> &dyn KvEventSink {
    &*plan.kv_events[0].plugin.sink
}

/// The engine of an endpoint says that it has the first blocks of 16 of the tokens 1, 2, 3, ….
fn stored(plan: &Plan, endpoint: u32, blocks: u32, medium: &str) {
    let tokens: Vec<u32> = (1..=blocks * 16).collect();
    // Names of the engine's own.
    let hashes: Vec<u64> = (1..=u64::from(blocks)).map(|block| block * 0x1111).collect();
    let mut batch = BatchWriter::new(EventLayout::Lists);
    batch.stored(&StoredBlocks { hashes: &hashes, tokens: &tokens, block_tokens: 16, medium, ..StoredBlocks::default() });
    sink(plan).batch(endpoint, "m", &batch.finish(0.0, 0));
}

#[test]
fn what_engines_say_is_what_is_scored() {
    let plan = plan("{}");
    assert!(!plan.inactive().any(|one| one.contains(PRODUCER)));
    let mut fixture = Fixture::new(3);
    // Endpoints' serial numbers begin at 10.
    stored(&plan, 10, 2, "GPU");
    stored(&plan, 11, 4, "GPU");
    tokens(&mut fixture, 70);
    fixture.produce(&plan);
    assert_eq!(fixture.score_with(&plan), [0.5, 1.0, 0.0]);
    // The end of a prompt that fills no block has no name.
    let found = &fixture.attributes.prefixes()[0];
    assert_eq!((found.total_blocks, found.block_size_tokens, found.exact_tokens), (4, 16, true));

    let mut batch = BatchWriter::new(EventLayout::Maps);
    batch.removed(&[4 * 0x1111], "GPU", None);
    sink(&plan).batch(11, "m", &batch.finish(0.0, 0));
    sink(&plan).clear(10);
    fixture.produce(&plan);
    assert_eq!(fixture.score_with(&plan), [0.0, 0.75, 0.0]);
    sink(&plan).gone(11);
    fixture.produce(&plan);
    assert_eq!(fixture.score_with(&plan), [0.0; 3]);
}

#[test]
fn tiers_are_worth_less_and_not_nothing() {
    let plan = plan("{indexerConfig: {kvCacheBackendConfigs: [{name: gpu, weight: 1.0}, {name: cpu, weight: 0.5}]}}");
    let mut fixture = Fixture::new(2);
    stored(&plan, 10, 4, "CPU");
    stored(&plan, 11, 2, "GPU");
    stored(&plan, 11, 4, "CPU");
    tokens(&mut fixture, 64);
    fixture.produce(&plan);
    let found = &fixture.attributes.prefixes()[0];
    // 4 · 0.5, and 2 + 2 · 0.5; all four blocks are cached either way.
    assert_eq!((found.matched_blocks.as_slice(), found.cached_blocks.as_slice()), (&[2, 3][..], &[4, 4][..]));
}

#[test]
fn where_no_events_come_what_was_sent_counts() {
    let plan = plan("{}");
    let mut fixture = Fixture::new(2);
    tokens(&mut fixture, 64);
    fixture.produce(&plan);
    fixture.picked(&plan, 1);
    fixture.produce(&plan);
    assert_eq!(fixture.score_with(&plan), [0.0, 1.0]);
    // From its first event on, what its engine says counts.
    stored(&plan, 11, 1, "GPU");
    fixture.produce(&plan);
    assert_eq!(fixture.score_with(&plan), [0.0, 0.25]);
    // Of a text only an estimate is known, which no engine has.
    fixture.chat(&"word ".repeat(100));
    fixture.produce(&plan);
    assert!(!fixture.attributes.prefixes()[0].exact_tokens);
    fixture.picked(&plan, 1);
    fixture.produce(&plan);
    assert_eq!(fixture.score_with(&plan), [0.0, 1.0]);
}

#[test]
fn a_decision_counts_as_an_event_until_its_time_is_over() {
    for (parameters, want) in [("{}", 1.0), ("{mode: precise}", 0.25), ("{mode: precise, speculativeIndexing: true}", 1.0)] {
        let plan = plan(parameters);
        let mut fixture = Fixture::new(1);
        stored(&plan, 10, 1, "GPU");
        tokens(&mut fixture, 64);
        fixture.produce(&plan);
        fixture.picked(&plan, 0);
        fixture.produce(&plan);
        assert_eq!(fixture.score_with(&plan), [want], "{parameters}");
        fixture.now = fixture.now + std::time::Duration::from_millis(2_001);
        fixture.produce(&plan);
        assert_eq!(fixture.score_with(&plan), [0.25], "{parameters}");
    }
}

#[test]
fn blocks_are_named_as_configured() {
    let seed = "{tokenProcessorConfig: {hashSeed: any, hashAlgorithm: xxhash, blockSize: 8}}";
    let (one, other) = (plan(seed), plan("{tokenProcessorConfig: {hashAlgorithm: xxh64, blockSizeTokens: 8}}"));
    let mut fixture = Fixture::new(1);
    tokens(&mut fixture, 64);
    let mut names = Vec::new();
    for plan in [&one, &other] {
        stored(plan, 10, 2, "GPU");
        fixture.produce(plan);
        // The engine's blocks of 16 are two each of the router's.
        assert_eq!(fixture.score_with(plan), [0.5]);
        assert_eq!(fixture.attributes.prefixes()[0].total_blocks, 8);
        names.push(fixture.attributes.prefixes()[0].hashes.clone());
    }
    assert_ne!(names[0], names[1]);
}

#[test]
fn memory_is_bounded_as_configured() {
    let limit = |parameters: &str| {
        let plan = plan(parameters);
        let one = plan.producers.iter().find(|one| one.name == PRODUCER).unwrap();
        one.plugin.memory().unwrap().1
    };
    let index = |config: &str| format!("{{indexerConfig: {{kvBlockIndexConfig: {{{config}}}}}}}");
    let in_memory = |size: u64| limit(&index(&format!("inMemoryConfig: {{size: {size}}}")));
    assert_eq!(in_memory(2_000) - in_memory(1_000), 96_000);
    let by_size = |size: &str| limit(&index(&format!("costAwareMemoryConfig: {{size: {size}}}, inMemoryConfig: {{size: 1}}")));
    assert_eq!(by_size("3MiB") - by_size("1MiB"), 2 << 20);
    assert_eq!(by_size("2GiB"), limit("{}"));
}

#[test]
fn only_events_count_if_that_is_wanted() {
    let plan = plan("{mode: precise}");
    let mut fixture = Fixture::new(1);
    tokens(&mut fixture, 64);
    fixture.produce(&plan);
    fixture.picked(&plan, 0);
    fixture.produce(&plan);
    assert_eq!(fixture.score_with(&plan), [0.0]);
}

#[test]
fn one_event_that_cannot_be_read_costs_only_itself() {
    let plan = plan("{mode: precise}");
    let mut fixture = Fixture::new(1);
    sink(&plan).batch(10, "m", b"nothing of the kind");
    stored(&plan, 10, 4, "GPU");
    tokens(&mut fixture, 64);
    fixture.produce(&plan);
    assert_eq!(fixture.score_with(&plan), [1.0]);
}

#[test]
fn the_old_scorer_is_its_own_producer() {
    let old = "{type: precise-prefix-cache-scorer, parameters: {indexerConfig: {tokenizersPoolConfig: {a: 1}}}}";
    let plan = compile(&format!("plugins: [{old}]")).unwrap();
    assert!(plan.warnings.iter().any(|one| one.message.contains("superseded")));
    let mut fixture = Fixture::new(2);
    stored(&plan, 11, 2, "GPU");
    tokens(&mut fixture, 64);
    fixture.produce(&plan);
    assert_eq!(fixture.score_with(&plan), [0.0, 0.5]);
}

#[test]
fn where_events_come_from_is_as_configured() {
    let plan = plan(
        "{kvEventsConfig: {zmqEndpoint: 'tcp://*:5557', topicFilter: x, discoverPods: false, podDiscoveryConfig: {socketPort: \
         5556, replaySocketPort: 5560}}}",
    );
    let source = &plan.kv_events[0].plugin;
    assert_eq!((source.zmq_endpoint.as_str(), source.topic_filter.as_str()), ("tcp://*:5557", "x"));
    assert_eq!((source.discover, source.socket_port, source.replay_port), (false, 5_556, Some(5_560)));
}

#[test]
fn parameters_that_are_refused() {
    for (parameters, why) in [
        ("{tokenProcessorConfig: {blockSizeTokens: 0}}", "above 0"),
        ("{tokenProcessorConfig: {hashAlgorithm: md5}}", "md5"),
        ("{indexerConfig: {tokenizersPoolConfig: {}}}", "token-producer"),
        ("{indexerConfig: {kvBlockIndexConfig: {redisConfig: {}}}}", "must not be empty"),
        ("{indexerConfig: {kvBlockIndexConfig: {inMemoryConfig: {size: 0}}}}", "above 0"),
        ("{indexerConfig: {kvBlockIndexConfig: {costAwareMemoryConfig: {size: much}}}}", "no size"),
        ("{indexerConfig: {kvCacheBackendConfigs: [{name: gpu, weight: -1}]}}", "0 or more"),
        ("{kvEventsConfig: {engineType: vlm}}", "did you mean `vllm`"),
        ("{kvEventsConfig: {concurrency: 0}}", "above 0"),
        ("{speculativeTTL: soon}", "soon"),
        ("{mode: maybe}", "maybe"),
    ] {
        assert!(refused(PRODUCER, parameters).contains(why), "{parameters}: {}", refused(PRODUCER, parameters));
    }
}
