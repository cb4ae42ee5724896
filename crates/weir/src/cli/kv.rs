//! The command line of `weir kv`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct Kv {
    #[command(subcommand)]
    pub(crate) command: KvCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    /// Show what an engine says of its KV cache, as it says it.
    Tail(KvTail),
    /// Compare routing policies on a trace of prompts, by how much of them is cached and how evenly servers work.
    ReplayTrace(ReplayTrace),
}

#[derive(Debug, Args)]
#[command(after_help = "A trace has one JSON object a line, whose hash_ids name the blocks of a prompt: equal ids mean equal \
prefixes (the format of Mooncake's traces). Files ending in .gz are decompressed. Timestamps do not count: a server's load are \
the blocks that it had to compute.

Policies: round-robin; least-load; prefix (the longest cached prefix); prefix3-load2 and prefix3-load1 (weighted sums of the \
cached part and of how little load there is); weir (blocks saved less blocks waited for, by the exact index).

Example:  weir kv replay-trace testdata/traces/conversation_trace.jsonl.gz --servers 8 --blocks 3000")]
pub(crate) struct ReplayTrace {
    /// The trace.
    #[arg(value_name = "FILE")]
    pub(crate) trace: PathBuf,
    /// How many servers there are.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) servers: u32,
    /// How many blocks each of them keeps; those used least recently go first.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) blocks: u32,
    /// Only this policy. Repeat it for more.
    #[arg(long = "policy", value_name = "NAME")]
    pub(crate) policies: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Engines publish these events over ZeroMQ: vLLM with --kv-events-config, SGLang with the same. Every layout \
is read; an event that cannot be is named with the reason, and the others are shown. Ends with Ctrl-C, or after --count batches.

Example:  weir kv tail 10.0.0.1:5557 --json"
)]
pub(crate) struct KvTail {
    /// The engine's address for events: HOST:PORT, or tcp://HOST:PORT.
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: String,
    /// Only topics that begin with this.
    #[arg(long, default_value = "")]
    pub(crate) topic: String,
    /// End after so many batches.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// How long to wait for the engine, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) timeout_seconds: u32,
    /// Print one JSON object for each batch.
    #[arg(long)]
    pub(crate) json: bool,
}
