//! Exact times, order, limits, and random lives of the engine.

use std::collections::HashMap;

use super::*;
use crate::{
    config::KvConfig,
    latency::{Delays, Spread, StepModel},
};

const MS: u64 = 1000; // microseconds

fn delays(ttft_ms: u64, itl_ms: u64) -> EngineConfig {
    EngineConfig {
        max_num_seqs: 2,
        max_waiting: 10,
        max_model_len: 1024,
        max_loras: 1,
        kv: None,
        latency: LatencyModel::Delays(Delays {
            ttft: Spread::exactly(ttft_ms * 1_000_000),
            itl: Spread::exactly(itl_ms * 1_000_000),
            ..Delays::default()
        }),
    }
}

/// 1 ms a step, 1 ms a decoding sequence, 1 ms a prompt token.
fn steps(max_batched_tokens: u32, blocks: u32) -> EngineConfig {
    EngineConfig {
        max_num_seqs: 8,
        max_waiting: 100,
        max_model_len: 1024,
        max_loras: 1,
        kv: Some(KvConfig { blocks, block_size: 4, prefix_caching: true }),
        latency: LatencyModel::Step(StepModel {
            base_ns: 1_000_000,
            per_sequence_ns: 1_000_000,
            per_prompt_token_ns: 1_000_000,
            per_context_token_ns: 0,
            front_end_ns: 0,
            max_batched_tokens,
        }),
    }
}

fn request(prompt_tokens: u32, output_tokens: u32) -> Request {
    Request { prompt_tokens, output_tokens, ..Request::default() }
}

/// A request all of whose blocks have hashes; equal families share all of them.
fn hashed(prompt_tokens: u32, output_tokens: u32, family: u64) -> Request {
    let blocks = (0..u64::from(prompt_tokens + output_tokens) / 4).map(|i| family * 1000 + i).collect();
    Request { blocks, ..request(prompt_tokens, output_tokens) }
}

fn collect(engine: &mut Engine, now: Micros) -> Vec<Event> {
    let mut events = Vec::new();
    engine.advance(now, |event| events.push(event));
    events
}

fn run(engine: &mut Engine) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(at) = engine.next_event_at() {
        engine.advance(at, |event| events.push(event));
    }
    events
}

fn token_times(events: &[Event], id: RequestId) -> Vec<Micros> {
    let of = |event: &Event| match *event {
        Event::Token { id: of, at, .. } if of == id => Some(at),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn delays_are_exact() {
    let mut engine = Engine::new(delays(100, 50), 0);
    let id = engine.submit(7, request(3, 4)).unwrap();
    let events = run(&mut engine);
    let expected: Vec<Micros> = [100, 150, 200, 250].map(|ms| 7 + ms * MS).into();
    assert_eq!(token_times(&events, id), expected);
    let Some(Event::Finished { timings, .. }) = events.last() else { unreachable!() };
    assert_eq!((timings.submitted, timings.scheduled, timings.first_token), (7, 7, 7 + 100 * MS));
    assert_eq!((timings.finished, timings.output_tokens), (7 + 250 * MS, 4));
    assert_eq!(engine.next_event_at(), None);
}

#[test]
fn nanoseconds_do_not_add_up_to_an_error() {
    let mut config = delays(0, 0);
    config.latency = LatencyModel::Delays(Delays { itl: Spread::exactly(1_333), ..Delays::default() });
    let mut engine = Engine::new(config, 0);
    let id = engine.submit(0, request(1, 1001)).unwrap();
    assert_eq!(token_times(&run(&mut engine), id).last(), Some(&1_333));
}

#[test]
fn load_is_read_for_every_token() {
    let mut config = delays(10, 10);
    if let LatencyModel::Delays(delays) = &mut config.latency {
        delays.factor_under_load = 2.0;
    }
    let mut engine = Engine::new(config, 0);
    let long = engine.submit(0, request(1, 4)).unwrap();
    let short = engine.submit(10 * MS, request(1, 1)).unwrap();
    let events = run(&mut engine);
    // The second starts beside the first: its prefill doubles, and so does what the first samples before the second ends.
    assert_eq!(token_times(&events, short), [30 * MS]);
    assert_eq!(token_times(&events, long), [10, 30, 40, 50].map(|ms| ms * MS));
}

#[test]
fn waiting_is_first_come_first_served_and_bounded() {
    let mut config = delays(10, 10);
    config.max_waiting = 2;
    let mut engine = Engine::new(config, 0);
    let ids: Vec<RequestId> = (0..4).map(|_| engine.submit(0, request(1, 1)).unwrap()).collect();
    assert_eq!(engine.submit(0, request(1, 1)), Err(Refused::QueueFull));
    assert!(collect(&mut engine, 0).iter().all(|event| matches!(event, Event::Started { waited: 0, .. })));
    assert_eq!((engine.stats().running, engine.stats().waiting), (2, 2));
    let events = run(&mut engine);
    let at: Vec<Micros> = ids.iter().map(|&id| token_times(&events, id)[0]).collect();
    assert_eq!(at, [10, 10, 20, 20].map(|ms| ms * MS));
}

#[test]
fn refusals_name_their_reason() {
    let mut engine = Engine::new(steps(64, 3), 0);
    assert_eq!(engine.submit(0, request(0, 1)), Err(Refused::Empty));
    assert_eq!(engine.submit(0, request(1, 0)), Err(Refused::Empty));
    assert_eq!(engine.submit(0, request(1000, 25)), Err(Refused::ContextLength { requested: 1025, limit: 1024 }));
    assert_eq!(engine.submit(0, request(10, 4)), Err(Refused::CacheTooSmall { needed: 4, capacity: 3 }));
    assert!(engine.submit(0, request(10, 3)).is_ok());
}

#[test]
fn adapters_wait_for_a_place_and_let_others_pass() {
    let mut config = delays(10, 10);
    config.max_num_seqs = 4;
    let mut engine = Engine::new(config, 0);
    let with = |adapter| Request { adapter: AdapterId(adapter), ..request(1, 2) };
    let first = engine.submit(0, with(1)).unwrap();
    let other = engine.submit(0, with(2)).unwrap();
    let base = engine.submit(0, with(0)).unwrap();
    let same = engine.submit(0, with(1)).unwrap();
    collect(&mut engine, 0);
    assert_eq!(engine.adapters(), (vec![AdapterId(1)], vec![AdapterId(2)]));
    let events = run(&mut engine);
    for id in [first, base, same] {
        assert_eq!(token_times(&events, id), [10 * MS, 20 * MS]);
    }
    assert_eq!(token_times(&events, other), [30 * MS, 40 * MS]);
}

#[test]
fn a_cancelled_request_makes_room_at_once() {
    let mut engine = Engine::new(delays(10, 10), 0);
    let ids: Vec<RequestId> = (0..3).map(|_| engine.submit(0, request(1, 5)).unwrap()).collect();
    collect(&mut engine, 15 * MS);
    assert!(engine.cancel(15 * MS, ids[0]));
    assert!(!engine.cancel(15 * MS, ids[0]));
    assert_eq!(engine.stats().running, 1);
    let events = run(&mut engine);
    assert_eq!(token_times(&events, ids[0]), []);
    assert_eq!(token_times(&events, ids[2])[0], 25 * MS);

    let mut engine = Engine::new(steps(64, 100), 0);
    let id = engine.submit(0, request(8, 50)).unwrap();
    collect(&mut engine, 30 * MS);
    assert_eq!((engine.stats().running, engine.stats().kv_pinned_blocks), (1, 5));
    assert!(engine.cancel(30 * MS, id));
    assert_eq!((engine.stats().running, engine.stats().kv_pinned_blocks), (0, 0));
    assert_eq!(run(&mut engine), []);
}

#[test]
fn a_prompt_is_computed_in_chunks_beside_decoding() {
    let mut engine = Engine::new(steps(8, 100), 0);
    let decoding = engine.submit(0, request(2, 4)).unwrap();
    assert_eq!(token_times(&collect(&mut engine, 3 * MS), decoding), [3 * MS]);
    let long = engine.submit(3 * MS, request(10, 1)).unwrap();
    let events = run(&mut engine);
    // The step that began at 3 ms takes 2 ms. Then 1 decode + 7 prompt tokens: 9 ms; then 1 + 3: 5 ms.
    assert_eq!(token_times(&events, decoding), [5, 14, 19].map(|ms| ms * MS));
    assert_eq!(token_times(&events, long), [19 * MS]);
}

#[test]
fn cached_prompts_are_not_computed_again() {
    let mut engine = Engine::new(steps(64, 100), 0);
    engine.submit(0, hashed(16, 5, 1)).unwrap();
    run(&mut engine);
    let start = 100 * MS;
    let again = engine.submit(start, hashed(16, 5, 1)).unwrap();
    let events = run(&mut engine);
    // Three of four blocks: the last token of a prompt is always computed, hence its block.
    assert!(matches!(events[0], Event::Started { cached_tokens: 12, .. }));
    assert_eq!(token_times(&events, again)[0], start + 5 * MS);
    let stats = engine.stats();
    assert_eq!((stats.prefix_query_tokens, stats.prefix_hit_tokens), (32, 12));

    // A next turn that repeats prompt and answer finds the answer's blocks too.
    let next = Request { blocks: (1000..1005).collect(), ..request(24, 1) };
    engine.submit(2 * start, next).unwrap();
    assert!(matches!(run(&mut engine)[0], Event::Started { cached_tokens: 20, .. }));

    engine.reset_prefix_cache();
    engine.submit(3 * start, hashed(16, 5, 1)).unwrap();
    assert!(matches!(run(&mut engine)[0], Event::Started { cached_tokens: 0, .. }));
}

#[test]
fn growth_preempts_the_last_and_computes_it_again() {
    let mut engine = Engine::new(steps(64, 4), 0);
    let first = engine.submit(0, request(8, 8)).unwrap();
    let second = engine.submit(0, request(8, 4)).unwrap();
    let events = run(&mut engine);
    let preempted: Vec<RequestId> =
        events.iter().filter_map(|event| if let Event::Preempted { id, .. } = event { Some(*id) } else { None }).collect();
    assert_eq!(preempted, [second]);
    assert_eq!(engine.stats().preemptions, 1);
    assert_eq!(token_times(&events, first).len(), 8);
    assert_eq!(token_times(&events, second).len(), 4);
    // 16 prompt tokens: 17 ms. First alone: seven steps of 2 ms. Then the second computes 8 + 1 tokens: 10 ms.
    assert_eq!(token_times(&events, first), [17, 19, 21, 23, 25, 27, 29, 31].map(|ms| ms * MS));
    assert_eq!(token_times(&events, second), [17, 41, 43, 45].map(|ms| ms * MS));
}

#[test]
fn front_end_delays_only_the_first_token() {
    let mut config = steps(64, 100);
    if let LatencyModel::Step(model) = &mut config.latency {
        model.front_end_ns = 18_000_000;
    }
    let mut engine = Engine::new(config, 0);
    let id = engine.submit(0, request(1, 2)).unwrap();
    collect(&mut engine, MS);
    assert_eq!((engine.stats().arriving, engine.stats().waiting), (1, 0));
    assert_eq!(token_times(&run(&mut engine), id), [20 * MS, 22 * MS]);
}

/// Random submissions and cancellations against what must always hold.
fn random_life(config: &EngineConfig, seed: u64) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut engine = Engine::new(config.clone(), seed);
    let mut live: HashMap<RequestId, (u32, u32)> = HashMap::new();
    let (mut now, mut last, mut digest) = (0, 0, 0u64);
    let mut play = |engine: &mut Engine, now: Micros, live: &mut HashMap<RequestId, (u32, u32)>| {
        engine.advance(now, |event| {
            let at = match event {
                Event::Started { at, .. } | Event::Preempted { at, .. } => at,
                Event::Token { id, at, index, .. } => {
                    let entry = live.get_mut(&id).unwrap();
                    assert_eq!(index, entry.1);
                    entry.1 += 1;
                    at
                }
                Event::Finished { id, at, timings } => {
                    let (wanted, got) = live.remove(&id).unwrap();
                    assert_eq!((wanted, got), (timings.output_tokens, wanted));
                    assert!(timings.submitted <= timings.scheduled && timings.scheduled <= timings.first_token);
                    assert!(timings.first_token <= timings.finished);
                    at
                }
            };
            assert!(at >= last && at <= now, "{at} after {last}, now {now}");
            last = at;
            digest = digest.wrapping_mul(31).wrapping_add(at);
        });
        let stats = engine.stats();
        assert!(stats.running <= config.max_num_seqs);
        assert!(stats.kv_pinned_blocks + stats.kv_unused_blocks <= stats.kv_blocks);
        assert!(engine.adapters().0.len() <= config.max_loras as usize);
    };
    for _ in 0..2000 {
        now += rng.u64(0..10 * MS);
        play(&mut engine, now, &mut live);
        if rng.u8(0..4) > 0 {
            let (prompt, output, family) = (rng.u32(1..30), rng.u32(1..20), rng.u64(0..4));
            let adapter = AdapterId(rng.u32(0..4).saturating_sub(1));
            if let Ok(id) = engine.submit(now, Request { adapter, ..hashed(prompt, output, family) }) {
                live.insert(id, (output, 0));
            }
        } else if let Some(&id) = live.keys().min_by_key(|id| id.index) {
            assert!(engine.cancel(now, id));
            live.remove(&id);
        }
        if rng.u8(0..50) == 0 {
            engine.unload_adapter(AdapterId(1));
        }
    }
    while let Some(at) = engine.next_event_at() {
        play(&mut engine, at, &mut live);
    }
    assert!(live.is_empty(), "everything accepted finishes");
    let stats = engine.stats();
    assert_eq!((stats.running, stats.waiting, stats.arriving, stats.kv_pinned_blocks), (0, 0, 0, 0));
    digest
}

#[test]
fn random_lives_keep_the_invariants_and_repeat() {
    let tight_delays = EngineConfig { kv: Some(KvConfig { blocks: 13, block_size: 4, prefix_caching: true }), ..delays(5, 3) };
    let mut fast_steps = steps(16, 13);
    if let LatencyModel::Step(model) = &mut fast_steps.latency {
        (model.per_sequence_ns, model.per_prompt_token_ns, model.front_end_ns) = (100_000, 10_000, 1_500_500);
    }
    for config in [tight_delays, fast_steps] {
        for seed in 0..10 {
            assert_eq!(random_life(&config, seed), random_life(&config, seed));
        }
    }
}
