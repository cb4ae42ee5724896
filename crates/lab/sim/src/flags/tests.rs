//! The command lines in use, precedence, and what must be refused.

use std::{io, time::Duration};

use weir_engine::LatencyModel;

use super::*;
use crate::config::{FailureKind, Mode};

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn with(args: &[OsString], env: &[(&str, &str)], file: &str) -> Result<Command, ConfigError> {
    let env = |name: &str| env.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned());
    let read = |path: &str| if path == "sim.yaml" { Ok(file.to_owned()) } else { Err(io::ErrorKind::NotFound.into()) };
    parse(args, &env, &read)
}

fn line(line: &str) -> Result<Command, ConfigError> {
    with(&words(line), &[], "")
}

fn delays(command: &Command) -> weir_engine::Delays {
    match command.config.latency {
        LatencyModel::Delays(delays) => delays,
        LatencyModel::Step(_) => unreachable!("a delay model was expected"),
    }
}

#[test]
fn defaults_are_those_of_llm_d() {
    let command = line("--model m --seed 0").unwrap();
    assert_eq!(command.config, SimConfig::new("m"));
    assert_eq!((command.port, command.count, command.host.to_string().as_str()), (8000, 1, "0.0.0.0"));
    assert!(command.notes.is_empty());
    assert_eq!(line("").unwrap_err(), ConfigError::NoModel);
}

#[test]
fn the_router_suite_starts_its_simulators() {
    let command = line(
        "--model m --max-model-len 131072 --max-num-seqs 256 --max-waiting-queue-length 2048 --inter-token-latency 1ms \
         --prefill-time-per-token 4us --prefill-overhead 5ms --enable-kvcache --kv-cache-size 10000000 --block-size 16 \
         --render-timeout 120s --mm-render-timeout 120s",
    )
    .unwrap();
    let config = &command.config;
    assert_eq!((config.max_model_len, config.max_num_seqs, config.max_waiting), (131_072, 256, 2048));
    assert_eq!((config.enable_kv_cache, config.kv_blocks, config.block_size), (true, 10_000_000, 16));
    let model = delays(&command);
    assert_eq!((model.itl.mean_ns, model.prefill_per_token_ns, model.prefill_overhead_ns), (1_000_000, 4000, 5_000_000));
    assert_eq!(command.notes.len(), 2);
    assert!(command.notes.iter().all(|note| note.contains("render-timeout is accepted but not active yet")));

    let command = line(
        "--model m --inter-token-latency 0.1ms --prefill-time-per-token 0.1us --kv-cache-size 1000000 \
         --force-dummy-tokenizer --max-request-body-size-mb 10",
    )
    .unwrap();
    let model = delays(&command);
    assert_eq!((model.itl.mean_ns, model.prefill_per_token_ns), (100_000, 100));
    assert_eq!(command.config.max_body_bytes, 10 << 20);
    assert!(command.notes.is_empty());
}

#[test]
fn lists_take_all_up_to_the_next_flag() {
    let command = line("--served-model-name a b c --model m --failure-types rate_limit server_error --port=0").unwrap();
    assert_eq!(command.config.served_names, ["a", "b", "c"]);
    assert_eq!(command.config.failure_kinds, [FailureKind::RateLimit, FailureKind::ServerError]);
    assert_eq!((command.port, command.config.display_name()), (0, "a"));
    let json = [r#"{"name":"l1","path":"/p"}"#, r#"{"name":"l2","base_model_name":"m"}"#];
    let args: Vec<OsString> = ["--model", "m", "--lora-modules", json[0], json[1]].map(OsString::from).into();
    let command = with(&args, &[], "").unwrap();
    assert_eq!(command.config.lora_modules.iter().map(|lora| lora.name.as_str()).collect::<Vec<_>>(), ["l1", "l2"]);
}

#[test]
fn booleans_have_pairs() {
    assert!(!line("--model m --no-enable-prefix-caching").unwrap().config.prefix_caching);
    assert!(line("--model m --enable-prefix-caching").unwrap().config.prefix_caching);
    assert!(!line("--model m --enable-kvcache=false").unwrap().config.enable_kv_cache);
    assert!(line("--model m --enable-kvcache --no-enforce-eager -v 4").unwrap().config.enable_kv_cache);
}

#[test]
fn flags_of_vllm_are_noted_and_ignored() {
    let command = line("serve some/model --gpu-memory-utilization 0.9 --trust-remote-code --max-num-seq 3 --port 81").unwrap();
    assert_eq!((command.config.model.as_str(), command.port, command.config.max_num_seqs), ("some/model", 81, 5));
    assert_eq!(command.notes.len(), 3);
    assert!(command.notes[2].contains("--max-num-seqs?"), "{}", command.notes[2]);
}

const FILE: &str = r#"
port: 8001
model: "from-file"
served-model-name: ["model1", "model2"]
max-loras: 2
max-num-seqs: 7
lora-modules: ['{"name":"lora1","path":"/path/to/lora1"}']
time-to-first-token: 2s
inter-token-latency: 1s
kv-cache-transfer-latency: 100ms
failure-injection-rate: 20
failure-types: [rate_limit, model_not_found]
"#;

#[test]
fn the_command_line_beats_the_environment_beats_the_file() {
    let args = words("--config sim.yaml --max-num-seqs 3");
    let command = with(&args, &[], FILE).unwrap();
    assert_eq!((command.config.model.as_str(), command.port, command.config.max_num_seqs), ("from-file", 8001, 3));
    assert_eq!(delays(&command).ttft.mean_ns, 2_000_000_000);
    assert_eq!((command.config.failure_percent, command.config.failure_kinds.len()), (20, 2));
    assert_eq!(command.config.lora_modules[0].path, "/path/to/lora1");

    let env = [("SIM_MODEL", "from-env"), ("POD_NAME", "pod-7"), ("PYTHONHASHSEED", "42")];
    let command = with(&args, &env, FILE).unwrap();
    assert_eq!((command.config.model.as_str(), command.config.hash_seed.as_str()), ("from-env", "42"));
    assert_eq!(command.config.pod.name.as_deref(), Some("pod-7"));
    let args = words("--config=sim.yaml --model line --served-model-name= --lora-modules=");
    let command = with(&args, &env, FILE).unwrap();
    assert_eq!((command.config.model.as_str(), command.config.display_name()), ("line", "line"));
    assert!(command.config.lora_modules.is_empty());
}

#[test]
fn a_profile_gives_way_to_flags_wherever_it_stands() {
    let command = line("--max-num-seqs 3 --model m --profile h100-llama-8b --seed 9 --step-base 7ms").unwrap();
    assert!(matches!(command.config.latency, LatencyModel::Step(step) if step.base_ns == 7_000_000));
    assert_eq!((command.config.max_num_seqs, command.config.kv_blocks, command.config.seed), (3, 27_000, 9));
    let step = line("--model m --latency-calculator step").unwrap();
    assert!(matches!(step.config.latency, LatencyModel::Step(_)));
    assert!(!step.config.enable_kv_cache, "other defaults stay");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (args, message) in [
        ("--model m --port 70000", "--port: invalid port"),
        ("--model m --mode loud", "invalid mode 'loud', valid values are 'random' and 'echo'"),
        ("--model m --max-num-seqs 0", "--max-num-seqs: needs a whole number between 1"),
        ("--model m --max-num-seqs -4", "--max-num-seqs: needs"),
        ("--model m --block-size 17", "block-size 17 must be one of"),
        ("--model m --time-to-first-token 100ms --time-to-first-token-std-dev 31ms", "must not be more than 30 %"),
        ("--model m --inter-token-latency 20", "--inter-token-latency: the duration \"20\" has no unit"),
        ("--model m --time-factor-under-load 0.5", "at least 1.0"),
        ("--model m --max-loras 3 --max-cpu-loras 2", "max-cpu-loras"),
        ("--model m --lora-modules {\"path\":\"x\"}", "missing field `name`"),
        ("--model m --failure-types sadness", "unknown type \"sadness\""),
        ("--model m --latency-calculator fast", "none of constant"),
        ("--model m --config none.yaml", "none.yaml: "),
        ("--model m --profile abacus", "not a profile"),
        ("--model m --port 65535 --count 2", "exceed 65535"),
        ("--model m --count", "--count: needs a value"),
    ] {
        let error = line(args).unwrap_err().to_string();
        assert!(error.contains(message), "{args}: {error}");
    }
    assert!(with(&words("--config sim.yaml"), &[], "model: [").unwrap_err().to_string().starts_with("sim.yaml"));
    assert!(with(&words("--config sim.yaml"), &[], "- a").unwrap_err().to_string().contains("must be a mapping"));
}

#[test]
fn ranks_are_workers_with_their_own_label() {
    let command = line("--model m --data-parallel-size 4").unwrap();
    assert_eq!((command.count, command.data_parallel), (4, true));
    let command = line("--model m --data-parallel-size 4 --data-parallel-rank 2").unwrap();
    assert_eq!((command.count, command.data_parallel, command.config.engine_index), (1, false, 2));
    assert_eq!(line("--model m --count 100 --port 0").unwrap().count, 100);
}

#[test]
fn every_active_flag_is_read_and_helped() {
    let text = help();
    for flag in table::all().filter(|flag| flag.standing == table::Standing::Active) {
        assert!(text.contains(&format!("{} ", flag.name)), "{}", flag.name);
        if flag.kind == Kind::Value && !["hash-seed", "model", "host", "latency-calculator"].contains(&flag.name) {
            let args = [format!("--{}", flag.name), "?".to_owned()].map(OsString::from);
            let mut line = words("--model m");
            line.extend(args);
            assert!(with(&line, &[], "").is_err(), "--{} takes anything", flag.name);
        }
    }
    assert!(line("--help").unwrap().help);
    assert!(text.lines().all(|line| line.len() < 160));
    assert_eq!(line("--model m --startup-duration 1.5s").unwrap().config.startup, Duration::from_millis(1500));
    assert_eq!(line("--model m --mode echo").unwrap().config.mode, Mode::Echo);
}
