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
