//! `weir kv replay-trace`: routing policies side by side on a trace.

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use serde::{Deserialize, Serialize};
use weir_engine::{Policy, Replayed, replay};

use crate::{cli::ReplayTrace, failure::Failure};

#[derive(Deserialize)]
struct Line {
    hash_ids: Vec<u32>,
}

#[derive(Serialize)]
struct Report {
    trace: String,
    servers: u32,
    blocks: u32,
    requests: usize,
    policies: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    policy: &'static str,
    hit_rate: f64,
    imbalance: f64,
}

pub(super) fn run(arguments: &ReplayTrace) -> Result<String, Failure> {
    let policies = policies(&arguments.policies)?;
    let prompts = read(&arguments.trace)?;
    let row = |(policy, kind)| {
        let prompts = prompts.iter().map(Vec::as_slice);
        let done: Replayed = replay(prompts, arguments.servers as usize, arguments.blocks as usize, kind);
        Row { policy, hit_rate: done.hit_rate(), imbalance: done.imbalance }
    };
    let report = Report {
        trace: arguments.trace.display().to_string(),
        servers: arguments.servers,
        blocks: arguments.blocks,
        requests: prompts.len(),
        policies: policies.into_iter().map(row).collect(),
    };
    if arguments.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
        return Ok(text + "\n");
    }
    let Report { trace, servers, blocks, requests, policies } = report;
    let mut out = format!("{trace}: {requests} requests over {servers} servers of {blocks} blocks\n\n");
    let _ = writeln!(out, "{:<16}{:>10}{:>12}", "policy", "hit rate", "imbalance");
    for Row { policy, hit_rate, imbalance } in policies {
        let _ = writeln!(out, "{policy:<16}{hit_rate:>10.4}{imbalance:>12.3}");
    }
    Ok(out)
}

fn policies(names: &[String]) -> Result<Vec<(&'static str, Policy)>, Failure> {
    if names.is_empty() {
        return Ok(Policy::ALL.to_vec());
    }
    let known = || Policy::ALL.map(|(name, _)| name).join(", ");
    let find = |name: &String| {
        let found = Policy::ALL.into_iter().find(|(one, _)| one == name);
        found.ok_or_else(|| Failure::usage(format!("no policy is named `{name}`; there are {}", known())))
    };
    names.iter().map(find).collect()
}

fn read(path: &Path) -> Result<Vec<Vec<u32>>, Failure> {
    let cannot = |error: std::io::Error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(cannot)?;
    let compressed = path.extension().is_some_and(|extension| extension == "gz");
    let bytes: Box<dyn Read> = if compressed { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    let mut prompts = Vec::new();
    for (number, line) in BufReader::new(bytes).lines().enumerate() {
        let line = line.map_err(cannot)?;
        if line.trim().is_empty() {
            continue;
        }
        let read: Line =
            serde_json::from_str(&line).map_err(|error| Failure::new(format!("{}:{}: {error}", path.display(), number + 1)))?;
        prompts.push(read.hash_ids);
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(trace: &str, blocks: u32) -> Vec<(String, f64, f64)> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/traces/");
        let trace = format!("{root}{trace}_trace.jsonl.gz").into();
        let arguments = ReplayTrace { trace, servers: 8, blocks, policies: Vec::new(), json: true };
        let report: serde_json::Value = serde_json::from_str(&run(&arguments).unwrap()).unwrap();
        let rows = report["policies"].as_array().unwrap().iter();
        rows.map(|row| {
            let number = |name: &str| row[name].as_f64().unwrap();
            (row["policy"].as_str().unwrap().to_owned(), number("hit_rate"), number("imbalance"))
        })
        .collect()
    }

    /// The published table, by policy: conversation and synthetic trace at 1,000, 3,000 and 10,000 blocks.
    const GOLDEN: [(&str, [f64; 6]); 5] = [
        ("round-robin", [0.0609, 0.0889, 0.1263, 0.0629, 0.1449, 0.2257]),
        ("least-load", [0.0592, 0.0904, 0.1266, 0.0610, 0.1401, 0.2365]),
        ("prefix", [0.0445, 0.0650, 0.2112, 0.3625, 0.6014, 0.6396]),
        ("prefix3-load2", [0.1691, 0.2953, 0.3511, 0.3664, 0.5987, 0.6396]),
        ("prefix3-load1", [0.1716, 0.3012, 0.3589, 0.3625, 0.5988, 0.6396]),
    ];

    #[test]
    fn the_published_table() {
        for (at, (trace, blocks)) in [
            ("conversation", 1_000),
            ("conversation", 3_000),
            ("conversation", 10_000),
            ("synthetic", 1_000),
            ("synthetic", 3_000),
            ("synthetic", 10_000),
        ]
        .into_iter()
        .enumerate()
        {
            let table = table(trace, blocks);
            for (policy, want) in GOLDEN {
                let (_, hit_rate, imbalance) = table.iter().find(|row| row.0 == policy).unwrap();
                assert!((hit_rate - want[at]).abs() < 0.001, "{trace} {blocks} {policy}: {hit_rate}, not {}", want[at]);
                match (trace, policy) {
                    ("conversation", "prefix") => assert!((imbalance - 8.0).abs() < 0.001, "{imbalance}"),
                    ("conversation", "prefix3-load2") if blocks == 3_000 => {
                        assert!((imbalance - 1.004).abs() < 0.001, "{imbalance}");
                    }
                    _ => {}
                }
            }
            let (_, hit_rate, imbalance) = table.iter().find(|row| row.0 == "weir").unwrap();
            if (trace, blocks) == ("conversation", 3_000) {
                assert!(*hit_rate >= 0.304 && *imbalance <= 1.3, "{hit_rate} at {imbalance}");
            }
        }
    }

    #[test]
    fn what_cannot_be_replayed() {
        let folder = std::env::temp_dir().join(format!("weir-trace-{}", std::process::id()));
        std::fs::write(&folder, "{\"hash_ids\": [1, 2]}\n\n{\"hash_ids\": 3}\n").unwrap();
        let mut arguments = ReplayTrace { trace: folder.clone(), servers: 2, blocks: 3, policies: Vec::new(), json: false };
        assert!(run(&arguments).unwrap_err().to_string().contains(":3: "));
        std::fs::write(&folder, "{\"hash_ids\": [1, 2]}\n").unwrap();
        assert!(run(&arguments).unwrap().contains("1 requests over 2 servers of 3 blocks"));
        arguments.policies = vec!["prefix".to_owned(), "best".to_owned()];
        assert!(run(&arguments).unwrap_err().to_string().contains("no policy is named `best`"));
        std::fs::remove_file(folder).unwrap();
        arguments.policies.clear();
        assert!(run(&arguments).unwrap_err().to_string().contains("cannot read"));
    }
}
