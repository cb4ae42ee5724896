//! The metrics page in Prometheus' text format.

use std::fmt::{Display, Write as _};

use weir_engine::Stats;

use super::{Histogram, Metrics, Padding};

/// What is read, not counted, at the time of a scrape.
pub(crate) struct Gauges<'a> {
    pub(crate) stats: Stats,
    pub(crate) model: &'a str,
    pub(crate) engine: u32,
    pub(crate) block_size: u32,
    pub(crate) kv_blocks: u32,
    pub(crate) prefix_caching: bool,
    /// `None` while no adapter is known.
    pub(crate) lora: Option<LoraGauge>,
    pub(crate) unix_seconds: f64,
}

pub(crate) struct LoraGauge {
    pub(crate) max: u32,
    pub(crate) running: Vec<String>,
    pub(crate) waiting: Vec<String>,
}

/// Writes the page.
pub(crate) fn page(metrics: &Metrics, gauges: &Gauges<'_>, padding: &Padding) -> String {
    let mut page = Page {
        text: String::with_capacity(24 * 1024 + padding.len()),
        labels: format!("engine=\"{}\",model_name=\"{}\"", gauges.engine, escape(gauges.model)),
    };
    page.text.push_str(padding.before());
    page.engine_state(gauges);
    page.counters(metrics, &gauges.stats);
    page.histograms(metrics);
    page.infos(gauges);
    page.text.push_str(padding.after());
    page.text
}

struct Page {
    text: String,
    labels: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        let _ = writeln!(self.text, "{name}{{{}}} {value}", self.labels);
    }

    fn engine_state(&mut self, gauges: &Gauges<'_>) {
        let stats = &gauges.stats;
        let usage = if stats.kv_blocks == 0 { 0.0 } else { f64::from(stats.kv_pinned_blocks) / f64::from(stats.kv_blocks) };
        self.single("vllm:num_requests_running", "gauge", "Number of requests in model execution batches.", stats.running);
        self.single("vllm:num_requests_waiting", "gauge", "Number of requests waiting to be processed.", stats.waiting);
        self.single("vllm:kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.", usage);
        self.single("vllm:gpu_cache_usage_perc", "gauge", "Deprecated name of vllm:kv_cache_usage_perc.", usage);
    }

    fn counters(&mut self, metrics: &Metrics, stats: &Stats) {
        for (name, help, value) in [
            ("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.", stats.prefix_query_tokens),
            ("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", stats.prefix_hit_tokens),
            ("vllm:num_preemptions_total", "Cumulative number of preemptions from the engine.", stats.preemptions),
            ("vllm:prompt_tokens_total", "Number of prefill tokens processed.", metrics.prompt_tokens_total),
            ("vllm:generation_tokens_total", "Number of generation tokens processed.", metrics.generation_tokens_total),
        ] {
            self.single(name, "counter", help, value);
        }
        self.family("vllm:request_success_total", "counter", "Count of successfully processed requests.");
        for (reason, count) in
            [("stop", metrics.finished_stop), ("length", metrics.finished_length), ("abort", metrics.aborted), ("error", 0)]
        {
            let _ = writeln!(self.text, "vllm:request_success_total{{{},finished_reason=\"{reason}\"}} {count}", self.labels);
        }
    }

    fn histograms(&mut self, metrics: &Metrics) {
        for (name, help, histogram) in [
            ("vllm:request_prompt_tokens", "Number of prefill tokens processed.", &metrics.prompt_tokens),
            ("vllm:request_generation_tokens", "Number of generation tokens processed.", &metrics.generation_tokens),
            (
                "vllm:request_max_num_generation_tokens",
                "Maximum number of requested generation tokens.",
                &metrics.max_generation_tokens,
            ),
            ("vllm:request_params_n", "The n request parameter.", &metrics.choices),
            ("vllm:request_params_max_tokens", "The max_tokens request parameter.", &metrics.max_tokens),
            ("vllm:time_to_first_token_seconds", "Time to first token in seconds.", &metrics.ttft),
            ("vllm:time_per_output_token_seconds", "Deprecated name of vllm:inter_token_latency_seconds.", &metrics.token),
            ("vllm:inter_token_latency_seconds", "Inter-token latency in seconds.", &metrics.token),
            (
                "vllm:request_time_per_output_token_seconds",
                "Time per output token of a request in seconds.",
                &metrics.request_token,
            ),
            ("vllm:e2e_request_latency_seconds", "End to end request latency in seconds.", &metrics.e2e),
            ("vllm:request_queue_time_seconds", "Time spent in WAITING phase.", &metrics.queue),
            ("vllm:request_inference_time_seconds", "Time spent in RUNNING phase.", &metrics.inference),
            ("vllm:request_prefill_time_seconds", "Time spent in PREFILL phase.", &metrics.prefill),
            ("vllm:request_decode_time_seconds", "Time spent in DECODE phase.", &metrics.decode),
        ] {
            self.histogram(name, help, histogram);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let mut total = 0;
        for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
            total += count;
            let _ = writeln!(self.text, "{name}_bucket{{{},le=\"{bound:?}\"}} {total}", self.labels);
        }
        total += histogram.counts.last().copied().unwrap_or_default();
        let labels = &self.labels;
        let _ = write!(
            self.text,
            "{name}_bucket{{{labels},le=\"+Inf\"}} {total}\n{name}_count{{{labels}}} {total}\n{name}_sum{{{labels}}} {}\n",
            histogram.sum
        );
    }

    fn infos(&mut self, gauges: &Gauges<'_>) {
        self.family("vllm:cache_config_info", "gauge", "Information of the LLMEngine CacheConfig.");
        let _ = writeln!(
            self.text,
            "vllm:cache_config_info{{block_size=\"{}\",cache_dtype=\"auto\",enable_prefix_caching=\"{}\",engine=\"{}\",\
             num_gpu_blocks=\"{}\"}} 1",
            gauges.block_size,
            if gauges.prefix_caching { "True" } else { "False" },
            gauges.engine,
            gauges.kv_blocks
        );
        if let Some(lora) = &gauges.lora {
            self.family("vllm:lora_requests_info", "gauge", "Running stats on lora requests.");
            let _ = writeln!(
                self.text,
                "vllm:lora_requests_info{{max_lora=\"{}\",running_lora_adapters=\"{}\",waiting_lora_adapters=\"{}\"}} {:?}",
                lora.max,
                escape(&lora.running.join(",")),
                escape(&lora.waiting.join(",")),
                gauges.unix_seconds
            );
        }
    }
}

/// A label value between quotes.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
