//! A metrics page as large as a busy vLLM server's: its families, labels and buckets.

use std::fmt::Write as _;

use crate::bodies::MODEL;

const SECONDS: &[&str] = &[
    "0.001", "0.005", "0.01", "0.02", "0.04", "0.06", "0.08", "0.1", "0.25", "0.5", "0.75", "1.0", "2.5", "5.0", "7.5", "10.0",
    "20.0", "40.0", "80.0", "160.0", "640.0", "2560.0",
];
const TOKENS: &[&str] = &[
    "1.0", "2.0", "5.0", "10.0", "20.0", "50.0", "100.0", "200.0", "500.0", "1000.0", "2000.0", "5000.0", "10000.0", "20000.0",
    "50000.0", "100000.0",
];
const HISTOGRAMS: &[(&str, &[&str])] = &[
    ("vllm:time_to_first_token_seconds", SECONDS),
    ("vllm:inter_token_latency_seconds", SECONDS),
    ("vllm:request_time_per_output_token_seconds", SECONDS),
    ("vllm:e2e_request_latency_seconds", SECONDS),
    ("vllm:request_queue_time_seconds", SECONDS),
    ("vllm:request_inference_time_seconds", SECONDS),
    ("vllm:request_prefill_time_seconds", SECONDS),
    ("vllm:request_decode_time_seconds", SECONDS),
    ("vllm:request_prompt_tokens", TOKENS),
    ("vllm:request_generation_tokens", TOKENS),
    ("vllm:iteration_tokens_total", TOKENS),
    ("vllm:request_max_num_generation_tokens", TOKENS),
    ("vllm:request_params_n", TOKENS),
    ("vllm:request_params_max_tokens", TOKENS),
    ("vllm:request_prefill_kv_computed_tokens", TOKENS),
    ("vllm:kv_block_reuse_gap_seconds", SECONDS),
];
const COUNTERS: &[&str] = &[
    "vllm:num_preemptions_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:external_prefix_cache_queries_total",
    "vllm:external_prefix_cache_hits_total",
    "vllm:mm_cache_queries_total",
    "vllm:mm_cache_hits_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
];
const HANDLERS: &[&str] = &["/v1/chat/completions", "/v1/completions", "/v1/models", "/metrics", "/health", "/version"];

/// The page of an engine with nothing to do; about 40 KB.
pub(crate) fn vllm_page() -> String {
    let mut page = String::with_capacity(48 * 1024);
    let labels = format!("engine=\"0\",model_name=\"{MODEL}\"");
    process(&mut page);
    for (name, value) in
        [("vllm:num_requests_running", "0.0"), ("vllm:num_requests_waiting", "0.0"), ("vllm:kv_cache_usage_perc", "0.125")]
    {
        head(&mut page, name, "gauge");
        let _ = writeln!(page, "{name}{{{labels}}} {value}");
    }
    for name in COUNTERS {
        head(&mut page, name, "counter");
        let _ = writeln!(page, "{name}{{{labels}}} 1.8446744e+07");
    }
    head(&mut page, "vllm:request_success_total", "counter");
    for reason in ["stop", "length", "abort", "error"] {
        let _ = writeln!(page, "vllm:request_success_total{{{labels},finished_reason=\"{reason}\"}} 4211.0");
    }
    for (name, buckets) in HISTOGRAMS {
        histogram(&mut page, name, &labels, buckets);
    }
    head(&mut page, "vllm:cache_config_info", "gauge");
    let _ = writeln!(
        page,
        "vllm:cache_config_info{{block_size=\"16\",cache_dtype=\"auto\",calculate_kv_scales=\"False\",cpu_offload_gb=\"0\",\
         enable_prefix_caching=\"True\",engine=\"0\",gpu_memory_utilization=\"0.9\",is_attention_free=\"False\",\
         num_cpu_blocks=\"None\",num_gpu_blocks=\"27508\",num_gpu_blocks_override=\"None\",\
         prefix_caching_hash_algo=\"sha256\",sliding_window=\"None\",swap_space=\"4\"}} 1.0"
    );
    for handler in HANDLERS {
        let labels = format!("handler=\"{handler}\",method=\"POST\"");
        histogram(&mut page, "http_request_duration_seconds", &labels, &["0.1", "0.5", "1.0"]);
    }
    page
}

fn process(page: &mut String) {
    for generation in 0..3 {
        for name in ["python_gc_objects_collected_total", "python_gc_collections_total"] {
            head(page, name, "counter");
            let _ = writeln!(page, "{name}{{generation=\"{generation}\"}} 12345.0");
        }
    }
    for name in
        ["process_virtual_memory_bytes", "process_resident_memory_bytes", "process_start_time_seconds", "process_open_fds"]
    {
        head(page, name, "gauge");
        let _ = writeln!(page, "{name} 1.70000000042e+09");
    }
}

fn histogram(page: &mut String, name: &str, labels: &str, buckets: &[&str]) {
    head(page, name, "histogram");
    for (at, bound) in buckets.iter().chain(&["+Inf"]).enumerate() {
        let _ = writeln!(page, "{name}_bucket{{{labels},le=\"{bound}\"}} {}.0", 37 * at * at);
    }
    let _ = writeln!(page, "{name}_count{{{labels}}} 17908.0\n{name}_sum{{{labels}}} 91234.56789012345");
}

fn head(page: &mut String, name: &str, kind: &str) {
    let about = name.trim_start_matches("vllm:").replace('_', " ");
    let _ = writeln!(page, "# HELP {name} Measured {about} of this server.\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_as_large_as_a_real_one() {
        let page = super::vllm_page();
        assert!((36_000..46_000).contains(&page.len()), "{} bytes", page.len());
        assert!(page.contains("\nvllm:num_requests_waiting{engine=\"0\",model_name=\"bench-model\"} 0.0\n"));
        assert!(page.lines().all(|line| line.starts_with('#') || line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok()));
    }
}
