//! What is measured: nothing in between, the floor, weir, and any peer given on the command line.

use std::{ffi::OsStr, net::SocketAddr, time::Duration};

use clap::ValueEnum;

use super::Args;
use crate::{
    Result,
    bodies::{Shape, bodies},
    process::{PROXY_CORE, Process, free_port},
    router_config::{RouterConfig, THREE_SCORERS},
};

const READY_LIMIT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Direct,
    Floor,
    Weir,
    Peers,
}

pub(super) struct Target {
    pub(super) name: String,
    pub(super) addr: SocketAddr,
    /// None for the direct path.
    pub(super) process: Option<Process>,
    /// After start, before any load.
    pub(super) idle_kib: Option<u64>,
}

/// Starts everything that `args` wants; all of it stays up, idle, while another is measured.
pub(super) async fn start(args: &Args, backends: &[SocketAddr]) -> Result<Vec<Target>> {
    let wanted = |kind| args.only.is_empty() || args.only.contains(&kind);
    let mut targets = Vec::new();
    if wanted(Kind::Direct) {
        targets.push(Target { name: "direct".to_owned(), addr: backends[0], process: None, idle_kib: None });
    }
    if wanted(Kind::Floor) {
        let upstream = backends[0].to_string();
        let (process, line) = Process::start_self(PROXY_CORE, &["floor", "--upstream", &upstream])?;
        targets.push(ready("floor", line.parse()?, process).await?);
    }
    if wanted(Kind::Weir) {
        if args.weir.exists() {
            targets.push(weir(args, backends).await?);
        } else if args.only.is_empty() {
            eprintln!("\n*** WEIR IS NOT MEASURED: there is no {} ***\n", args.weir.display());
        } else {
            return Err(format!("there is no {}", args.weir.display()).into());
        }
    }
    if wanted(Kind::Peers) {
        for peer in &args.peer {
            targets.push(start_peer(peer, backends).await?);
        }
    }
    if targets.is_empty() {
        return Err("nothing to measure".into());
    }
    Ok(targets)
}

async fn weir(args: &Args, backends: &[SocketAddr]) -> Result<Target> {
    let scheduling = args.scheduling.as_ref().map(std::fs::read_to_string).transpose()?;
    let (http, admin) = (free_port()?, free_port()?);
    let config = RouterConfig {
        http,
        admin,
        endpoints: backends,
        scheduling: scheduling.as_deref().unwrap_or(THREE_SCORERS),
        adaptive: None,
    };
    let (process, addr) = config.start(&args.weir, "overhead", PROXY_CORE)?;
    ready("weir", addr, process).await
}

async fn start_peer(peer: &str, backends: &[SocketAddr]) -> Result<Target> {
    let (name, line) = peer.split_once('=').ok_or("--peer wants NAME=COMMAND LINE")?;
    let port = free_port()?;
    let fill = |word: &str| {
        word.replace("{port}", &port.to_string())
            .replace("{b0}", &backends[0].to_string())
            .replace("{b1}", &backends[1].to_string())
    };
    let mut words = line.split_ascii_whitespace().map(fill);
    let program = words.next().ok_or("--peer without a command")?;
    let log = std::env::temp_dir().join(format!("weir-bench-peer-{port}.log"));
    let process = Process::start(name, PROXY_CORE, OsStr::new(&program), &words.collect::<Vec<_>>(), &log)?;
    ready(name, SocketAddr::from(([127, 0, 0, 1], port)), process).await
}

/// Ready is who answers a real request.
async fn ready(name: &str, addr: SocketAddr, mut process: Process) -> Result<Target> {
    let body = bodies(Shape::Chat, false).swap_remove(0);
    process.wait_ready(addr, "/v1/chat/completions", &body, READY_LIMIT).await?;
    let idle_kib = Some(process.memory()?.resident_kib);
    Ok(Target { name: name.to_owned(), addr, process: Some(process), idle_kib })
}
