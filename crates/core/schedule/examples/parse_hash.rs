//! Prints how fast prompts are read and hashed: `cargo run --release -p weir-schedule --example parse_hash`. The best of many rounds.
#![allow(clippy::print_stdout)]

use std::{
    error::Error,
    time::{Duration, Instant},
};

use fastrand::Rng;
use http::HeaderMap;
use weir_api::EndpointPickerConfig;
use weir_plan::{Attributes, CompileOptions, Registry, RequestView};
use weir_pool::Time;
use weir_protocol::{Api, ScanError, Scanned, Scanner, scan};
use weir_schedule::{produce, register};

/// As large as Envoy's pieces of a body.
const PIECE_BYTES: usize = 32 * 1024;

const CONFIG: &str = "apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: prefix-cache-scorer}
- {type: approx-prefix-cache-producer, parameters: {maxPrefixTokensToMatch: 0, maxPrefixBlocksToMatch: 0}}
";

/// Words in lines, with quotes now and then, as prompts have them.
fn prose(bytes: usize) -> String {
    let mut random = Rng::with_seed(bytes as u64);
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.extend((0..random.usize(2..9)).map(|_| random.lowercase()));
        text.push_str(match random.u8(0..40) {
            0 => ".\n",
            1 => "\" ",
            _ => " ",
        });
    }
    text
}

fn chat(text: &str) -> String {
    format!(
        r#"{{"model":"m","stream":true,"max_tokens":64,"messages":[{{"role":"user","content":{}}}]}}"#,
        serde_json::Value::from(text)
    )
}

fn agent(bytes: usize) -> String {
    let turn = |i: usize| {
        let role = if i.is_multiple_of(2) { "user" } else { "assistant" };
        format!(r#"{{"role":"{role}","content":[{{"type":"text","text":{}}}]}}"#, serde_json::Value::from(prose(1_000 + i)))
    };
    let turns: Vec<String> = (0..bytes / 1_100).map(turn).collect();
    format!(r#"{{"max_tokens":64,"messages":[{}],"model":"m","system":"be brief","tools":[{{"name":"a"}}]}}"#, turns.join(","))
}

fn ids(count: u32) -> String {
    let ids: Vec<String> = (0..count).map(|i| (i * 7_919 % 128_256).to_string()).collect();
    format!(r#"{{"model":"m","token_ids":[{}],"sampling_params":{{"max_tokens":64}}}}"#, ids.join(","))
}

/// The bodies are valid, as the first look at each has shown.
fn read(result: Result<(), ScanError>) {
    debug_assert!(result.is_ok());
}

fn best(mut f: impl FnMut()) -> Duration {
    (0..60)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut registry = Registry::default();
    register(&mut registry);
    let config = EndpointPickerConfig::parse(CONFIG).map_err(|_| "configuration")?.value;
    let plan = weir_plan::compile(&config, &registry, CompileOptions::default()).map_err(|_| "plan")?;
    let cases = [
        ("chat, 2.5 KB", Api::ChatCompletions, chat(&prose(2_500))),
        ("chat, 400 KB", Api::ChatCompletions, chat(&prose(400_000))),
        ("chat, 400 KB, nothing escaped", Api::ChatCompletions, chat(&"word ".repeat(80_000))),
        ("chat, 4 MB", Api::ChatCompletions, chat(&prose(4_000_000))),
        ("messages, 400 KB in turns of 1 KB", Api::Messages, agent(400_000)),
        ("100,000 token ids", Api::VllmGenerate, ids(100_000)),
    ];
    println!("{:>34} {:>9} {:>12} {:>14} {:>14}", "", "bytes", "scan", "scan, pieces", "scan + hash");
    for (name, api, body) in &cases {
        let body = body.as_bytes();
        let mut scanned = Scanned::default();
        let repeat = (1_000_000 / body.len()).max(1) as u32;
        let rate = |time: Duration| format!("{:.0} MB/s", body.len() as f64 * f64::from(repeat) / time.as_secs_f64() / 1e6);
        scan(*api, body, &mut scanned)?;
        let whole = best(|| (0..repeat).for_each(|_| read(scan(*api, body, &mut scanned))));
        let pieces = best(|| {
            for _ in 0..repeat {
                let mut scanner = Scanner::reusing(*api, std::mem::take(&mut scanned));
                for end in (0..body.len()).step_by(PIECE_BYTES) {
                    read(scanner.feed(&body[..end]));
                }
                read(scanner.finish(body));
                scanned = scanner.into_scanned();
            }
        });
        let (headers, mut attributes) = (HeaderMap::new(), Attributes::default());
        let hashed = best(|| {
            for _ in 0..repeat {
                read(scan(*api, body, &mut scanned));
                let request = RequestView {
                    id: "r",
                    now: Time::ZERO,
                    priority: 0,
                    fairness_id: "default-flow",
                    api: Some(*api),
                    model: "m",
                    headers: &headers,
                    body,
                    scanned: Some(&scanned),
                };
                attributes.reset(&plan.columns);
                produce(&plan, &request, &[], &mut attributes);
            }
        });
        println!("{name:>34} {:>9} {:>12} {:>14} {:>14}", body.len(), rate(whole), rate(pieces), rate(hashed));
    }
    Ok(())
}
