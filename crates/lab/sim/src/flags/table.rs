//! All flags: what they take, what they do, whether they do it yet.

use std::fmt::Write as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One value.
    Value,
    /// None, or `=true|false`.
    Bool,
    /// A boolean with a `--no-` form.
    Pair,
    /// All values up to the next flag.
    List,
}

#[derive(Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Placeholder and default, for the help.
    value: &'static str,
    help: &'static str,
    pub(super) standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Active,
    /// Says something about hardware or logging that a simulator does not have; ignored by llm-d's as well.
    Ignored,
    /// llm-d's simulator acts on it, this one does not yet.
    Inactive,
}

use Kind::{Bool, List, Pair, Value};
use Standing::{Active, Ignored, Inactive};

const fn flag(name: &'static str, kind: Kind, value: &'static str, help: &'static str, standing: Standing) -> Flag {
    Flag { name, kind, value, help, standing }
}

type Group = (&'static str, &'static [Flag]);

const GROUPS: &[Group] = &[
    (
        "Workers",
        &[
            flag("model", Value, "NAME", "the model; also the environment's SIM_MODEL, or the first plain argument", Active),
            flag("served-model-name", List, "NAME… [the model]", "aliases; answers and metrics show the first", Active),
            flag("host", Value, "ADDRESS [0.0.0.0]", "where to listen", Active),
            flag("port", Value, "N [8000]", "where to listen; 0 takes a free port and prints it", Active),
            flag("count", Value, "N [1]", "workers in this process, on consecutive ports", Active),
            flag(
                "data-parallel-size",
                Value,
                "N [1]",
                "as --count (1..8), the metrics label engine tells the ranks apart",
                Active,
            ),
            flag("data-parallel-rank", Value, "N [-1]", "the only rank to run, on --port", Active),
            flag("config", Value, "FILE", "YAML with flags as keys; the command line wins", Active),
            flag("profile", Value, "NAME", "a whole worker: h100-llama-8b (calibrated steps, its KV cache and limits)", Active),
            flag("seed", Value, "N [now]", "makes lengths, texts and latencies repeat", Active),
            flag("startup-duration", Value, "TIME [0s]", "/health/ready answers 503 for so long", Active),
        ],
    ),
    (
        "Limits",
        &[
            flag("max-num-seqs", Value, "N [5]", "sequences that run at once", Active),
            flag("max-waiting-queue-length", Value, "N [1000]", "requests that may wait; more are answered 429", Active),
            flag("max-model-len", Value, "TOKENS [1024]", "context window: prompt plus answer", Active),
            flag("max-request-body-size-mb", Value, "MIB [4]", "larger bodies are answered 413 (1..512)", Active),
            flag("max-loras", Value, "N [1]", "adapters that run at once", Active),
            flag("max-cpu-loras", Value, "N [max-loras]", "at least --max-loras; not enforced", Active),
            flag("lora-modules", List, "JSON…", "adapters: '{\"name\":\"a\",\"path\":\"/a\"}'", Active),
        ],
    ),
    (
        "Latency (TIME is a number with a unit: 0.1us, 20ms, 1.5s, 2m)",
        &[
            flag(
                "latency-calculator",
                Value,
                "NAME",
                "constant | per-token | step; unset: constant if a time to first token is set",
                Active,
            ),
            flag("time-to-first-token", Value, "TIME [0s]", "constant: until the first token", Active),
            flag("time-to-first-token-std-dev", Value, "TIME [0s]", "its spread, at most 30 %", Active),
            flag("inter-token-latency", Value, "TIME [0s]", "between tokens", Active),
            flag("inter-token-latency-std-dev", Value, "TIME [0s]", "its spread, at most 30 %", Active),
            flag("prefill-overhead", Value, "TIME [0s]", "per-token: fixed part of a prefill", Active),
            flag("prefill-time-per-token", Value, "TIME [0s]", "per-token: each prompt token that is not cached", Active),
            flag("prefill-time-std-dev", Value, "TIME [0s]", "spread of the sum", Active),
            flag("kv-cache-transfer-latency", Value, "TIME [0s]", "instead of a prefill that was done elsewhere", Active),
            flag("kv-cache-transfer-latency-std-dev", Value, "TIME [0s]", "its spread, at most 30 %", Active),
            flag("kv-cache-transfer-time-per-token", Value, "TIME [0s]", "per-token form of it", Active),
            flag("kv-cache-transfer-time-std-dev", Value, "TIME [0s]", "its spread", Active),
            flag("time-factor-under-load", Value, "F [1.0]", "slow-down when --max-num-seqs run", Active),
            flag("max-num-batched-tokens", Value, "N [8192]", "step: tokens that a step may compute", Active),
            flag("step-base", Value, "TIME [6.9ms]", "step: every step", Active),
            flag("step-per-sequence", Value, "TIME [40us]", "step: each decoding sequence", Active),
            flag("step-per-prompt-token", Value, "TIME [19us]", "step: each prompt token computed", Active),
            flag("step-per-context-token", Value, "TIME [0ns]", "step: each context token of a decoding sequence", Active),
            flag("step-front-end", Value, "TIME [18ms]", "step: HTTP and tokenizer, before the queue", Active),
        ],
    ),
    (
        "KV cache",
        &[
            flag("enable-kvcache", Bool, "", "model the cache: paged blocks, prefix reuse, eviction, preemption", Active),
            flag("kv-cache-size", Value, "BLOCKS [1024]", "its size", Active),
            flag("block-size", Value, "TOKENS [16]", "8, 16, 32, 64 or 128", Active),
            flag("enable-prefix-caching", Pair, "", "with --no-: blocks are not reused", Active),
            flag("hash-seed", Value, "TEXT", "seed of the block hashes; also PYTHONHASHSEED", Active),
            flag("global-cache-hit-threshold", Value, "F [0]", "finish early below this hit ratio", Inactive),
            flag("zmq-endpoint", Value, "URL", "where cache events go: tcp://*:PORT listens, tcp://HOST:PORT connects", Active),
            flag("kv-events-replay-endpoint", Value, "URL", "where past cache events can be asked for; listens", Active),
            flag("kv-events-replay-queue-size", Value, "N [1024]", "batches kept for that", Active),
            flag("event-batch-size", Value, "N [16]", "most cache events of a message", Active),
            flag("use-vllm-map-event-format", Bool, "", "cache events as maps instead of lists", Active),
        ],
    ),
    (
        "Answers",
        &[
            flag("mode", Value, "NAME [random]", "random: sentences; echo: the prompt or last message", Active),
            flag("default-embedding-dimensions", Value, "N [384]", "unless the request says", Active),
            flag("force-dummy-tokenizer", Bool, "", "the simulated tokenizer, which is the only one here", Active),
            flag("enable-request-id-headers", Bool, "", "take X-Request-Id over and send it back", Active),
            flag("failure-injection-rate", Value, "PERCENT [0]", "requests that fail", Active),
            flag(
                "failure-types",
                List,
                "NAME… [all]",
                "rate_limit invalid_api_key context_length server_error invalid_request model_not_found",
                Active,
            ),
            flag("metrics-padding-bytes", Value, "N [0]", "fill /metrics up to this size; a real page has about 40000", Active),
            flag("fake-metrics", List, "JSON", "metrics set by hand", Inactive),
            flag("fake-metrics-refresh-interval", Value, "TIME", "how often they change", Inactive),
            flag("dataset-path", Value, "FILE", "recorded answers", Inactive),
            flag("dataset-url", Value, "URL", "recorded answers", Inactive),
            flag("dataset-in-memory", Bool, "", "recorded answers", Inactive),
            flag("dataset-table-name", Value, "NAME", "recorded answers", Inactive),
            flag("render-url", Value, "URL", "a tokenizer service", Inactive),
            flag("render-timeout", Value, "TIME", "a tokenizer service", Inactive),
            flag("mm-render-timeout", Value, "TIME", "a tokenizer service", Inactive),
            flag("max-tool-call-integer-param", Value, "N", "tool calls", Inactive),
            flag("min-tool-call-integer-param", Value, "N", "tool calls", Inactive),
            flag("max-tool-call-number-param", Value, "N", "tool calls", Inactive),
            flag("min-tool-call-number-param", Value, "N", "tool calls", Inactive),
            flag("max-tool-call-array-param-length", Value, "N", "tool calls", Inactive),
            flag("min-tool-call-array-param-length", Value, "N", "tool calls", Inactive),
            flag("tool-call-not-required-param-probability", Value, "PERCENT", "tool calls", Inactive),
            flag("object-tool-call-not-required-field-probability", Value, "PERCENT", "tool calls", Inactive),
            flag("tool-call-extra-call-probability", Value, "PERCENT", "tool calls", Inactive),
            flag("skip-tool-validation", Bool, "", "tool calls", Inactive),
            flag("mm-encoder-only", Pair, "", "an encoder's role", Inactive),
            flag("omni", Pair, "", "images in answers", Inactive),
            flag("image-emission-rate", Value, "PERCENT", "images in answers", Inactive),
            flag("time-to-generate-image", Value, "TIME", "images in answers", Inactive),
            flag("time-to-generate-image-std-dev", Value, "TIME", "images in answers", Inactive),
        ],
    ),
    (
        "Server",
        &[
            flag("enable-sleep-mode", Pair, "", "/sleep and /wake_up", Inactive),
            flag("ssl-certfile", Value, "FILE", "TLS", Inactive),
            flag("ssl-keyfile", Value, "FILE", "TLS", Inactive),
            flag("self-signed-certs", Bool, "", "TLS", Inactive),
            flag("log-http", Bool, "", "log bodies", Inactive),
            flag("v", Value, "N", "verbosity; here RUST_LOG", Ignored),
            flag("mm-processor-kwargs", Value, "JSON", "", Ignored),
            flag("ec-transfer-config", Value, "JSON", "", Ignored),
            flag("enforce-eager", Pair, "", "", Ignored),
            flag("tensor-parallel-size", Value, "N", "", Ignored),
        ],
    ),
];

pub(super) fn all() -> impl Iterator<Item = &'static Flag> {
    GROUPS.iter().flat_map(|group| group.1)
}

pub(super) fn lookup(name: &str) -> Option<&'static Flag> {
    all().find(|flag| flag.name == name)
}

/// The text of `weir sim --help`.
pub fn help() -> String {
    let mut out = String::from(
        "Simulated vLLM servers: no GPU, no weights; vLLM's HTTP API and metrics.\n\n\
         Usage: weir sim --model NAME [FLAGS]\n\n\
         Flags and defaults are those of llm-d's simulator, so latency is 0 and the KV cache is off unless asked for.\n\
         Flags of vLLM itself are accepted and ignored.\n\n\
         Examples:\n\
         \x20 weir sim --model m                            answers at once on port 8000\n\
         \x20 weir sim --model m --profile h100-llama-8b    behaves like Llama-3.1-8B on an H100\n\
         \x20 weir sim --model m --count 8 --port 9000 --latency-calculator step --enable-kvcache --kv-cache-size 4096\n\
         \x20 curl localhost:8000/v1/completions -d '{\"model\":\"m\",\"prompt\":\"Hello\",\"max_tokens\":16}'\n",
    );
    for (title, flags) in GROUPS {
        let _ = write!(out, "\n{title}:\n");
        for flag in flags.iter().filter(|flag| flag.standing == Active) {
            let name = if flag.kind == Pair { format!("[no-]{}", flag.name) } else { flag.name.to_owned() };
            let _ = writeln!(out, "  {:<52} {}", format!("--{name} {}", flag.value), flag.help);
        }
    }
    out.push_str("\nAccepted, not active yet:\n ");
    let mut column = 1;
    for flag in all().filter(|flag| flag.standing == Inactive) {
        if column + flag.name.len() > 110 {
            out.push_str("\n ");
            column = 1;
        }
        column += flag.name.len() + 3;
        let _ = write!(out, " --{}", flag.name);
    }
    out.push('\n');
    out
}
