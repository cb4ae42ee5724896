//! Buckets and the page as a parser sees it.

use std::collections::{HashMap, HashSet};

use weir_engine::Stats;

use super::*;

#[test]
fn token_count_buckets() {
    let counts = |max| token_counts(max).into_iter().map(|bound| bound as u32).collect::<Vec<_>>();
    assert!(counts(0).is_empty());
    assert_eq!(counts(1), [1]);
    assert_eq!(counts(5), [1, 2, 5]);
    assert_eq!(counts(999), [1, 2, 5, 10, 20, 50, 100, 200, 500]);
    assert_eq!(counts(1024).last(), Some(&1000));
    assert_eq!(counts(4096).last(), Some(&2000));
    assert_eq!(counts(32_768).last(), Some(&20_000));
    assert_eq!(token_counts(u32::MAX).len(), 29);
}

fn gauges(lora: Option<LoraGauge>) -> Gauges<'static> {
    Gauges {
        stats: Stats { running: 3, waiting: 2, kv_pinned_blocks: 25, kv_blocks: 100, ..Stats::default() },
        model: "a \"quoted\" \\ name",
        engine: 0,
        block_size: 16,
        kv_blocks: 100,
        prefix_caching: true,
        lora,
        unix_seconds: 1_760_000_000.5,
    }
}

/// Every sample by name and labels; checks the format on the way.
fn read(page: &str) -> HashMap<String, f64> {
    let mut samples = HashMap::new();
    let mut types: HashMap<&str, &str> = HashMap::new();
    let mut current = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(types.insert(name, kind).is_none(), "{name} twice");
            assert_eq!(name, current, "HELP before TYPE");
            assert!(kind != "counter" || name.ends_with("_total"), "{name}");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            current = rest.split_once(' ').unwrap().0;
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let family = ["_bucket", "_count", "_sum"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|family| types.get(family) == Some(&"histogram"))
                .unwrap_or(name);
            assert_eq!(family, current, "samples follow their family");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} twice");
        }
    }
    samples
}

#[test]
fn the_page_says_what_was_counted() {
    let mut metrics = Metrics::new(4096);
    metrics.request(2);
    metrics.started(300);
    metrics.token(0, 30_000);
    metrics.token(1, 10_000);
    metrics.token(2, 90_000_000);
    let timings = Timings {
        submitted: 0,
        scheduled: 10_000,
        first_token: 30_000,
        finished: 90_040_000,
        prompt_tokens: 300,
        output_tokens: 3,
        ..Timings::default()
    };
    metrics.finished(&timings, Finish::Length, Some(3));
    metrics.aborted();
    let lora = LoraGauge { max: 2, running: vec!["a".to_owned(), "b".to_owned()], waiting: vec![] };
    let samples = read(&page(&metrics, &gauges(Some(lora)), &Padding::default()));

    let labels = r#"engine="0",model_name="a \"quoted\" \\ name""#;
    let value = |name: &str| samples[&format!("{name}{{{labels}}}")];
    assert_eq!(value("vllm:num_requests_running"), 3.0);
    assert_eq!(value("vllm:num_requests_waiting"), 2.0);
    assert_eq!(value("vllm:kv_cache_usage_perc"), 0.25);
    assert_eq!(value("vllm:prompt_tokens_total"), 300.0);
    assert_eq!(value("vllm:generation_tokens_total"), 3.0);
    let bucket = |name: &str, le: &str| samples[&format!("{name}_bucket{{{labels},le=\"{le}\"}}")];
    assert_eq!(bucket("vllm:time_to_first_token_seconds", "0.02"), 0.0);
    assert_eq!(bucket("vllm:time_to_first_token_seconds", "0.04"), 1.0);
    assert_eq!(bucket("vllm:inter_token_latency_seconds", "0.01"), 1.0, "an upper bound is inclusive");
    assert_eq!(bucket("vllm:inter_token_latency_seconds", "80.0"), 1.0);
    assert_eq!(bucket("vllm:inter_token_latency_seconds", "+Inf"), 2.0);
    assert_eq!(bucket("vllm:request_prompt_tokens", "200.0"), 0.0);
    assert_eq!(bucket("vllm:request_prompt_tokens", "500.0"), 1.0);
    assert_eq!(value("vllm:request_params_n_sum"), 2.0);
    assert_eq!(samples[&format!("vllm:request_success_total{{{labels},finished_reason=\"length\"}}")], 1.0);
    assert_eq!(samples[&format!("vllm:request_success_total{{{labels},finished_reason=\"abort\"}}")], 1.0);
    let lora = r#"vllm:lora_requests_info{max_lora="2",running_lora_adapters="a,b",waiting_lora_adapters=""}"#;
    assert_eq!(samples[lora], 1_760_000_000.5);
    assert!(samples.keys().any(|key| key.contains("block_size=\"16\"") && key.contains("num_gpu_blocks=\"100\"")));
    assert!(!read(&page(&metrics, &gauges(None), &Padding::default())).keys().any(|key| key.contains("lora")));
}

#[test]
fn padding_makes_the_page_as_long_as_asked() {
    let metrics = Metrics::new(4096);
    let plain = page(&metrics, &gauges(None), &Padding::default());
    for bytes in [1, 20_000, 40_000, 100_000] {
        let padding = Padding::new(bytes.max(plain.len()) - plain.len() + 1);
        let padded = page(&metrics, &gauges(None), &padding);
        assert!(padded.len() >= bytes && padded.len() < bytes.max(plain.len()) + 8000, "{bytes}: {}", padded.len());
        let names: HashSet<String> = read(&padded).into_keys().collect();
        assert!(read(&plain).into_keys().all(|name| names.contains(&name)));
        assert!(bytes < 40_000 || (padded.find("vllm:").unwrap() > 1000 && padded.rfind("vllm:").unwrap() < padded.len() - 1000));
    }
}
