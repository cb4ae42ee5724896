//! The whole engine under Poisson arrivals against 14 points measured on Llama-3.1-8B, one H100, vLLM 0.11.
//!
//! Ten virtual minutes a point, prompts of about 200 tokens, answers of about 62, open loop. Inter-token latency is
//! (last token − first token) / (tokens − 1), averaged over requests, as in the measurement.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use weir_engine::{Engine, EngineConfig, Event, KvConfig, LatencyModel, Micros, Request, StepModel};

const MINUTE: Micros = 60_000_000;

struct Outcome {
    itl_ms: f64,
    ttft_ms: f64,
    running: f64,
}

fn simulate(max_num_seqs: u32, prefix_caching: bool, per_second: f64) -> Outcome {
    let config = EngineConfig {
        max_num_seqs,
        max_waiting: 100_000,
        max_model_len: 4096,
        max_loras: 1,
        kv: Some(KvConfig { blocks: 27_000, block_size: 16, prefix_caching }),
        latency: LatencyModel::Step(StepModel::H100_LLAMA_8B),
    };
    let mut engine = Engine::new(config, 1);
    let mut rng = fastrand::Rng::with_seed(per_second as u64);
    let (mut finished, mut itl, mut ttft, mut busy) = (0u64, 0.0, 0.0, 0.0);
    let mut arrival = 0.0;
    while arrival < (10 * MINUTE) as f64 {
        arrival += -(1.0 - rng.f64()).ln() * 1e6 / per_second;
        engine.advance(arrival as Micros, |event| {
            if let Event::Finished { at, timings, .. } = event
                && at > MINUTE
            {
                let decode = (timings.finished - timings.first_token) as f64;
                finished += 1;
                itl += decode / f64::from(timings.output_tokens - 1) / 1e3;
                ttft += (timings.first_token - timings.submitted) as f64 / 1e3;
                busy += (timings.finished - timings.scheduled) as f64;
            }
        });
        // A few questions that everybody asks: cached after the first time, if the cache is on.
        let question = rng.u64(0..20);
        let prompt_tokens = 190 + question as u32;
        let blocks = (0..u64::from(prompt_tokens) / 16).map(|block| question << 32 | block).collect();
        let request = Request { prompt_tokens, output_tokens: rng.u32(52..=72), blocks, ..Request::default() };
        engine.submit(arrival as Micros, request).unwrap();
    }
    let count = finished as f64;
    Outcome { itl_ms: itl / count, ttft_ms: ttft / count, running: busy / (9 * MINUTE) as f64 }
}

fn check(max_num_seqs: u32, prefix_caching: bool, points: &[(f64, f64)]) {
    let mut wrong = Vec::new();
    for &(per_second, measured_ms) in points {
        let outcome = simulate(max_num_seqs, prefix_caching, per_second);
        let error = outcome.itl_ms / measured_ms - 1.0;
        let line = format!(
            "{max_num_seqs} {prefix_caching} {per_second}/s: ITL {:.2} ms, measured {measured_ms}, {:+.1} %, TTFT {:.0} ms, {:.0} running",
            outcome.itl_ms,
            error * 100.0,
            outcome.ttft_ms,
            outcome.running
        );
        println!("{line}");
        if error.abs() > 0.12 {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn itl_of_128_sequences_without_prefix_cache() {
    check(128, false, &[(1.0, 7.23), (31.0, 8.42), (61.0, 10.5), (91.0, 15.8), (102.0, 20.0)]);
}

#[test]
fn itl_of_192_sequences_without_prefix_cache() {
    check(192, false, &[(38.0, 8.6), (74.0, 11.75), (111.0, 25.1), (114.0, 26.3)]);
}

#[test]
fn itl_of_128_sequences_with_prefix_cache() {
    check(128, true, &[(43.0, 8.1), (85.0, 8.95), (127.0, 10.3), (168.0, 11.6), (172.0, 11.9)]);
}
