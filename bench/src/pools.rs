//! What pools cost that nobody uses: memory and CPU with many pools of two endpoints, against one.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf, time::Duration};

use serde::Serialize;

use crate::{
    Result,
    facts::{self, Facts},
    process::{OTHER_CORE, PROXY_CORE, Process, ask, free_port},
    router_config::THREE_SCORERS,
};

/// Until connections are open, intervals have grown, and memory of the start was given back.
const SETTLE: Duration = Duration::from_secs(10);
const READY_LIMIT: Duration = Duration::from_secs(60);
const ENDPOINTS: usize = 2;
const LIMIT_MIB: f64 = 128.0;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(2..=5_000))]
    pools: u16,
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// The weir to measure.
    #[arg(long, env = "WEIR_BIN", default_value = "target/release/weir")]
    weir: PathBuf,
    /// Where the JSON goes.
    #[arg(long, default_value = "bench/results/pools.json")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Results {
    machine: Facts,
    pools: u16,
    endpoints_per_pool: usize,
    seconds: f64,
    one: Row,
    many: Row,
    difference_mib: f64,
    limit_mib: f64,
}

#[derive(Serialize)]
struct Row {
    pools: u16,
    resident_mib: f64,
    cores: f64,
    /// Memory after the page of metrics was asked for.
    resident_mib_after_scrape: f64,
    metrics_page_bytes: usize,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    if !args.weir.exists() {
        return Err(format!("there is no {}", args.weir.display()).into());
    }
    let count = ENDPOINTS.to_string();
    let (_backend, line) = Process::start_self(OTHER_CORE, &["backend", "--count", &count])?;
    let endpoints = line.split(' ').map(str::parse).collect::<std::result::Result<Vec<SocketAddr>, _>>()?;
    let one = measure(args, 1, &endpoints).await?;
    let many = measure(args, args.pools, &endpoints).await?;
    let difference_mib = many.resident_mib_after_scrape - one.resident_mib_after_scrape;
    println!("\n{:>6} {:>10} {:>14} {:>8} {:>12}", "pools", "RSS MiB", "after a scrape", "cores", "page KiB");
    for row in [&one, &many] {
        println!(
            "{:>6} {:>10.1} {:>14.1} {:>8.4} {:>12}",
            row.pools,
            row.resident_mib,
            row.resident_mib_after_scrape,
            row.cores,
            row.metrics_page_bytes / 1024
        );
    }
    let verdict = if difference_mib <= LIMIT_MIB { "ok" } else { "MISSED" };
    println!("difference {difference_mib:.1} MiB, at most {LIMIT_MIB} MiB: {verdict}");
    let machine = Facts::gather();
    let (pools, seconds) = (args.pools, args.seconds);
    let results =
        Results { machine, pools, endpoints_per_pool: ENDPOINTS, seconds, one, many, difference_mib, limit_mib: LIMIT_MIB };
    facts::store(&args.out, &results)
}

async fn measure(args: &Args, pools: u16, endpoints: &[SocketAddr]) -> Result<Row> {
    let (http, admin) = (free_port()?, free_port()?);
    let folder = std::env::temp_dir().join(format!("weir-bench-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("config"))?;
    let (file, log) = (folder.join(format!("config/pools-{pools}.yaml")), folder.join(format!("pools-{pools}.log")));
    std::fs::write(&file, yaml(http, admin, pools, endpoints))?;
    println!("weir: {} serve --config {} (log: {})", args.weir.display(), file.display(), log.display());
    let arguments = ["serve".to_owned(), "--config".to_owned(), file.display().to_string()];
    let mut weir = Process::start("weir", PROXY_CORE, args.weir.as_os_str(), &arguments, &log)?;
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    weir.wait_ready(admin, "/readyz", "", READY_LIMIT).await?;
    tokio::time::sleep(SETTLE).await;
    let started = std::time::Instant::now();
    let cpu = weir.cpu_seconds()?;
    tokio::time::sleep(Duration::from_secs_f64(args.seconds)).await;
    let cores = (weir.cpu_seconds()? - cpu) / started.elapsed().as_secs_f64();
    let resident_mib = mib(&weir)?;
    let (_, page) = ask(admin, "/metrics", "").await?;
    Ok(Row { pools, resident_mib, cores, resident_mib_after_scrape: mib(&weir)?, metrics_page_bytes: page.len() })
}

fn mib(weir: &Process) -> Result<f64> {
    Ok(weir.memory()?.resident_kib as f64 / 1024.0)
}

fn yaml(http: u16, admin: u16, pools: u16, endpoints: &[SocketAddr]) -> String {
    let mut yaml = format!(
        "apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\nlisten:\n  http: 127.0.0.1:{http}\n  admin: 127.0.0.1:{admin}\npools:\n"
    );
    for pool in 0..pools {
        let _ = write!(yaml, "  - name: pool-{pool}\n    models: [model-{pool}]\n    endpoints:\n      static:\n");
        for (place, address) in endpoints.iter().enumerate() {
            let _ = writeln!(yaml, "        - {{name: pool-{pool}-{place}, url: \"http://{address}\"}}");
        }
        yaml.push_str(THREE_SCORERS.trim_start_matches('\n'));
    }
    yaml
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn weir_takes_the_file_without_a_word() {
        let endpoints = [SocketAddr::from(([127, 0, 0, 1], 8001)), SocketAddr::from(([127, 0, 0, 1], 8002))];
        let mut no_file = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
        let loaded = weir_api::RouterConfig::parse("bench", &yaml(1, 2, 3, &endpoints), Path::new(""), &mut no_file).unwrap();
        assert!(loaded.warnings.is_empty());
        assert_eq!((loaded.config.pools.len(), loaded.config.pools[2].models[0].as_str()), (3, "model-2"));
    }
}
