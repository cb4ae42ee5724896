//! Prefix-aware routing against random routing, on a simulated fleet with the same arrivals.
//!
//! The distinct prefixes fill 70 % of the fleet's KV cache, so one worker holds about a fifth of them: who routes
//! by prefix finds nearly all of them cached somewhere, who does not recomputes most. Arrivals are Poisson and
//! open-loop; a time to first token counts from when its request was due, not from when it could be sent.

mod fleet;
mod requests;
mod traffic;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Serialize;

use self::{fleet::Fleet, requests::Workload, traffic::Outcome};
use crate::{
    Result,
    bodies::{Shape, bodies},
    facts::{self, Facts},
    process::{PROXY_CORE, free_port},
    router_config::{RANDOM, RouterConfig},
    stats::Interval,
};

const READY_LIMIT: Duration = Duration::from_secs(30);
/// Name and the pool's `scheduling`; the default plan is the prefix-aware one.
const POLICIES: [(&str, &str); 2] = [("prefix-aware", ""), ("random", RANDOM)];

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=20))]
    seeds: u64,
    #[command(flatten)]
    fleet: fleet::Shape,
    #[command(flatten)]
    workload: requests::Shape,
    /// The weir to measure.
    #[arg(long, env = "WEIR_BIN", default_value = "target/release/weir")]
    weir: PathBuf,
    /// Where the JSON goes.
    #[arg(long, default_value = "bench/results/prefix.json")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Results<'a> {
    machine: Facts,
    fleet: &'a fleet::Shape,
    workload: &'a requests::Shape,
    prefixes: usize,
    prefix_share_of_fleet_cache: f64,
    policies: Vec<Policy>,
}

/// One policy over all seeds.
#[derive(Serialize)]
struct Policy {
    name: &'static str,
    ttft_mean_ms: Interval,
    ttft_p99_ms: Interval,
    hit_ratio: Interval,
    runs: Vec<Outcome>,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    if !args.weir.exists() {
        return Err(format!("there is no {}", args.weir.display()).into());
    }
    let mut runs: Vec<Vec<Outcome>> = POLICIES.iter().map(|_| Vec::new()).collect();
    let mut sizes = None;
    for seed in 1..=args.seeds {
        for ((name, scheduling), runs) in POLICIES.iter().zip(&mut runs) {
            let fleet = Fleet::start(&args.weir, &args.fleet, READY_LIMIT).await?;
            let workload = Workload::new(&args.workload, fleet.cache_tokens(), fleet.tokens_per_byte().await?, seed);
            let outcome = one(args, &fleet, &workload, name, scheduling).await?;
            println!(
                "seed {seed} {name:<13} {:>5} requests  TTFT mean {:>6.1} ms  p99 {:>6.1} ms  hits {:>5.1} %  errors {}",
                outcome.requests,
                outcome.ttft_mean_ms,
                outcome.ttft_p99_ms,
                outcome.hit_ratio * 100.0,
                outcome.errors
            );
            sizes = Some((workload.prefixes(), workload.share_of_cache()));
            runs.push(outcome);
        }
    }
    let (prefixes, share) = sizes.unwrap_or_default();
    let policies: Vec<_> = POLICIES.iter().zip(runs).map(|((name, _), runs)| Policy::new(name, runs)).collect();
    print(&policies, prefixes, share, args);
    let errors: u64 = policies.iter().flat_map(|policy| &policy.runs).map(|run| run.errors).sum();
    let machine = Facts::gather();
    let results =
        Results { machine, fleet: &args.fleet, workload: &args.workload, prefixes, prefix_share_of_fleet_cache: share, policies };
    facts::store(&args.out, &results)?;
    if errors > 0 { Err(format!("{errors} errors").into()) } else { Ok(()) }
}

async fn one(args: &Args, fleet: &Fleet, workload: &Workload, name: &str, scheduling: &str) -> Result<Outcome> {
    let (http, admin) = (free_port()?, free_port()?);
    let config = RouterConfig { http, admin, endpoints: fleet.endpoints(), scheduling, adaptive: None };
    let (mut weir, addr) = config.start(&args.weir, name, PROXY_CORE)?;
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    weir.wait_ready(admin, "/readyz", "", READY_LIMIT).await?;
    let probe = bodies(Shape::Chat, false).swap_remove(0);
    weir.wait_ready(addr, "/v1/chat/completions", &probe, READY_LIMIT).await?;
    traffic::run(addr, fleet, workload).await
}

impl Policy {
    fn new(name: &'static str, runs: Vec<Outcome>) -> Self {
        let over = |value: fn(&Outcome) -> f64| Interval::of(&runs.iter().map(value).collect::<Vec<_>>());
        Self {
            name,
            ttft_mean_ms: over(|run| run.ttft_mean_ms),
            ttft_p99_ms: over(|run| run.ttft_p99_ms),
            hit_ratio: over(|run| run.hit_ratio),
            runs,
        }
    }
}

fn print(policies: &[Policy], prefixes: usize, share: f64, args: &Args) {
    println!(
        "\n{} workers, {} prefixes of {} tokens = {:.0} % of the fleet's KV cache, {} requests/s, {} seeds, 95 % intervals\n",
        args.fleet.workers,
        prefixes,
        args.workload.prefix_tokens,
        share * 100.0,
        args.workload.rate,
        args.seeds
    );
    println!("| routing | mean TTFT, ms | p99 TTFT, ms | cache hits, % of prompt tokens |");
    println!("|---|--:|--:|--:|");
    let cell = |value: Interval, scale: f64| format!("{:.1} ± {:.1}", value.mean * scale, value.half_width * scale);
    for policy in policies {
        println!(
            "| {} | {} | {} | {} |",
            policy.name,
            cell(policy.ttft_mean_ms, 1.0),
            cell(policy.ttft_p99_ms, 1.0),
            cell(policy.hit_ratio, 100.0)
        );
    }
}
