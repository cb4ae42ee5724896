//! What weir costs while nothing happens: 100 endpoints whose metrics pages are as large as vLLM's.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Result,
    facts::{self, Facts},
    process::{OTHER_CORE, PROXY_CORE, Process, ask, free_port},
    router_config::RouterConfig,
};

/// Until connections are open and adaptive intervals have grown.
const SETTLE: Duration = Duration::from_secs(5);
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Cores, for fixed 50 ms and for adaptive.
const TARGETS: [(&str, bool, f64); 2] = [("fixed 50 ms", false, 0.15), ("adaptive", true, 0.02)];

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    endpoints: u16,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// The weir to measure.
    #[arg(long, env = "WEIR_BIN", default_value = "target/release/weir")]
    weir: PathBuf,
    /// Where the JSON goes.
    #[arg(long, default_value = "bench/results/idle.json")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Results {
    machine: Facts,
    endpoints: u16,
    seconds: f64,
    page_bytes: usize,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    mode: &'static str,
    cores: f64,
    target_cores: f64,
    /// Over all endpoints; a low CPU share counts only if the pages really were asked for.
    scrapes_per_second: f64,
    cpu_us_per_scrape: f64,
    resident_kib: u64,
}

#[derive(Deserialize)]
struct BackendStats {
    scrapes: u64,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    if !args.weir.exists() {
        return Err(format!("there is no {}", args.weir.display()).into());
    }
    let count = args.endpoints.to_string();
    let (_backend, line) = Process::start_self(OTHER_CORE, &["backend", "--count", &count])?;
    let endpoints = line.split(' ').map(str::parse).collect::<std::result::Result<Vec<SocketAddr>, _>>()?;
    let (_, page) = ask(endpoints[0], "/metrics", "").await?;
    let mut rows = Vec::new();
    for (mode, adaptive, target_cores) in TARGETS {
        let config = RouterConfig {
            http: free_port()?,
            admin: free_port()?,
            endpoints: &endpoints,
            scheduling: "",
            adaptive: Some(adaptive),
        };
        let (mut weir, _) = config.start(&args.weir, mode.split(' ').next().unwrap_or(mode), PROXY_CORE)?;
        let admin = SocketAddr::from(([127, 0, 0, 1], config.admin));
        weir.wait_ready(admin, "/readyz", "", READY_LIMIT).await?;
        tokio::time::sleep(SETTLE).await;
        rows.push(measure(&weir, endpoints[0], mode, target_cores, args.seconds).await?);
    }
    print(&rows);
    let machine = Facts::gather();
    let results = Results { machine, endpoints: args.endpoints, seconds: args.seconds, page_bytes: page.len(), rows };
    facts::store(&args.out, &results)
}

async fn measure(weir: &Process, backend: SocketAddr, mode: &'static str, target_cores: f64, seconds: f64) -> Result<Row> {
    let started = std::time::Instant::now();
    let (cpu, scrapes) = (weir.cpu_seconds()?, scrapes(backend).await?);
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let (cpu, scrapes) = (weir.cpu_seconds()? - cpu, self::scrapes(backend).await? - scrapes);
    let elapsed = started.elapsed().as_secs_f64();
    Ok(Row {
        mode,
        cores: cpu / elapsed,
        target_cores,
        scrapes_per_second: scrapes as f64 / elapsed,
        cpu_us_per_scrape: cpu * 1e6 / scrapes.max(1) as f64,
        resident_kib: weir.memory()?.resident_kib,
    })
}

async fn scrapes(backend: SocketAddr) -> Result<u64> {
    let (_, body) = ask(backend, "/bench/stats", "").await?;
    Ok(serde_json::from_slice::<BackendStats>(&body)?.scrapes)
}

fn print(rows: &[Row]) {
    println!("\n{:<12} {:>8} {:>8} {:>10} {:>12} {:>8}", "mode", "cores", "target", "scrapes/s", "us a scrape", "RSS MB");
    for row in rows {
        println!(
            "{:<12} {:>8.4} {:>8} {:>10.0} {:>12.1} {:>8.1}  {}",
            row.mode,
            row.cores,
            row.target_cores,
            row.scrapes_per_second,
            row.cpu_us_per_scrape,
            row.resident_kib as f64 / 1024.0,
            if row.cores <= row.target_cores { "ok" } else { "MISSED" },
        );
    }
}
