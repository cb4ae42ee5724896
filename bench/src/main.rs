//! Benchmarks: overhead against a floor, idle cost, picking behind Envoy, and routing policies side by side.
//!
//! One binary plays every part (mock backend, floor proxy, load generator, orchestrator), so
//! that a run needs nothing but this and the router under test. The orchestrators spawn the
//! other parts as processes, pinned with `taskset`: one core for the proxy, one for the rest.
//!
//! Not here: TLS, HTTP/2, accuracy of the simulated model servers.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program: its tables and progress are its output")]

mod backend;
mod bodies;
mod cluster;
mod epp;
mod facts;
mod floor;
mod idle;
mod load;
mod overhead;
mod page;
mod pools;
mod prefix;
mod process;
mod router_config;
mod stats;
mod wire;

use clap::{Parser, Subcommand};

/// Any failure ends the program with a message; nothing here is retried or matched on.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(name = "weir-bench", about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Requests/s, latency and CPU a request: direct, the floor and weir in one run.
    Overhead(overhead::Args),
    /// CPU of an idle weir over 100 endpoints that serve large metrics pages.
    Idle(idle::Args),
    /// Memory and CPU of many pools that nobody uses.
    Pools(pools::Args),
    /// Prefix-aware routing against random routing on a simulated fleet.
    Prefix(prefix::Args),
    /// Time and memory to know a cluster of 10,000 pods in 100 pools.
    Cluster(cluster::Args),
    /// Picking behind Envoy, at the points of llm-d's published study.
    Epp(epp::Args),
    /// Plays Envoy towards a picker; prints one line of JSON (a part of the above).
    Streams(epp::streams::Args),
    /// The mock model server (a part of the above).
    Backend(backend::Args),
    /// The bare hyper pass-through proxy (a part of the above).
    Floor {
        /// Where requests go.
        #[arg(long)]
        upstream: std::net::SocketAddr,
    },
    /// The closed-loop load generator; prints one line of JSON (a part of the above).
    Load(load::Args),
}

fn main() -> Result<()> {
    let command = Cli::parse().command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Overhead(args) => runtime.block_on(overhead::run(&args)),
        Command::Idle(args) => runtime.block_on(idle::run(&args)),
        Command::Pools(args) => runtime.block_on(pools::run(&args)),
        Command::Prefix(args) => runtime.block_on(prefix::run(&args)),
        Command::Cluster(args) => runtime.block_on(cluster::run(&args)),
        Command::Epp(args) => runtime.block_on(epp::run(&args)),
        Command::Streams(args) => runtime.block_on(epp::streams::run(&args)),
        Command::Backend(args) => runtime.block_on(backend::run(&args)),
        Command::Floor { upstream } => runtime.block_on(floor::run(upstream)),
        Command::Load(args) => runtime.block_on(load::run(&args)),
    }
}
