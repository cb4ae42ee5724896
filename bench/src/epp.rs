//! What picking costs behind Envoy, at the points of llm-d's published study: Envoy alone, Envoy with `weir epp`, `weir serve` as
//! its own gateway, and the picker by itself.
//!
//! Judge by CPU a request and process. The rates of the study need more than one core, so they are computed from that.

mod points;
pub(crate) mod streams;
mod systems;
mod table;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Serialize;

use self::{
    points::{ALONE, Alone, POINTS, Point, SOURCE},
    systems::{Front, Picker, Tools, quantile},
    table::{AloneRow, IdleRow, Row},
};
use crate::{
    Result,
    bodies::{Shape, bodies},
    facts::{self, Facts},
    load,
    process::{self, OTHER_CORE, Process},
};

/// Of the highest rate, for the time a decision takes.
const LOADED: f64 = 0.7;
const SETTLE: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds a point and system.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Only points whose name contains this.
    #[arg(long)]
    point: Option<String>,
    /// The weir to measure.
    #[arg(long, env = "WEIR_BIN", default_value = "target/release/weir")]
    weir: PathBuf,
    /// The Envoy to measure.
    #[arg(long, env = "ENVOY_BIN", default_value = "envoy")]
    envoy: PathBuf,
    /// Where the JSON goes.
    #[arg(long, default_value = "bench/results/epp.json")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Results {
    machine: Facts,
    seconds_each: f64,
    published_source: &'static str,
    rows: Vec<Row>,
    alone: Vec<AloneRow>,
    idle: Option<IdleRow>,
}

/// CPU seconds of processes at one moment.
struct Spent {
    envoy: Option<f64>,
    picker: Option<f64>,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let tools = Tools::new(&args.weir, &args.envoy)?;
    let wanted = |name: &str| args.point.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let (mut rows, mut alone) = (Vec::new(), Vec::new());
    for point in POINTS.iter().filter(|point| wanted(point.name)) {
        let measured = through_a_proxy(&tools, point, args.seconds).await?;
        table::print_rows(&measured, rows.is_empty());
        rows.extend(measured);
    }
    for case in ALONE.iter().filter(|case| wanted(case.name)) {
        let row = picker_alone(&tools, case, args.seconds, &alone).await?;
        table::print_alone(&row, alone.is_empty());
        alone.push(row);
    }
    let idle = if wanted("idle") { Some(idle(&tools, args.seconds.max(10.0)).await?) } else { None };
    if let Some(row) = &idle {
        table::print_idle(row);
    }
    let machine = Facts::gather();
    let failed = rows.iter().find(|row| row.errors > 0).map(|row| format!("{} errors at `{}`", row.errors, row.point));
    let results = Results { machine, seconds_each: args.seconds, published_source: SOURCE, rows, alone, idle };
    facts::store(&args.out, &results)?;
    failed.map_or(Ok(()), |failed| Err(failed.into()))
}

fn backends(count: u16) -> Result<(Process, Vec<SocketAddr>)> {
    let (process, line) = Process::start_self(OTHER_CORE, &["backend", "--count", &count.to_string()])?;
    Ok((process, line.split(' ').map(str::parse).collect::<std::result::Result<_, _>>()?))
}

async fn through_a_proxy(tools: &Tools, point: &Point, seconds: f64) -> Result<Vec<Row>> {
    let (_backend, endpoints) = backends(point.endpoints)?;
    let mut rows = Vec::new();
    // Pieces that are shown to the picker make no difference to the others.
    if !point.echo {
        let envoy = tools.envoy_alone(&endpoints).await?;
        rows.push(measure("Envoy alone", point, envoy, None, seconds).await?);
    }
    let picker = tools.picker(&endpoints, false).await?;
    let envoy = tools.envoy_with(&picker, point.echo).await?;
    rows.push(measure("Envoy + weir epp", point, envoy, Some(picker), seconds).await?);
    if !point.echo {
        let gateway = tools.gateway(&endpoints).await?;
        rows.push(measure("weir serve", point, gateway, None, seconds).await?);
    }
    Ok(rows)
}

async fn measure(system: &'static str, point: &Point, mut front: Front, picker: Option<Picker>, seconds: f64) -> Result<Row> {
    let body = bodies(Shape::Chat, false).swap_remove(0);
    front.wait(&body).await?;
    let load = |seconds: f64, rate: Option<f64>| -> Result<load::Report> {
        let mut arguments = vec!["load".to_owned(), format!("--target={}", front.address), format!("--seconds={seconds}")];
        arguments.extend(point.arguments());
        arguments.extend(rate.map(|rate| format!("--per-second={}", (rate as u32).max(1))));
        Ok(serde_json::from_str(&process::output_of_self(OTHER_CORE, &arguments)?)?)
    };
    let is_gateway = system.starts_with("weir");
    let spent = || -> Result<Spent> {
        let front = front.process.cpu_seconds()?;
        let picker = picker.as_ref().map(|picker| picker.process.cpu_seconds()).transpose()?;
        Ok(if is_gateway { Spent { envoy: None, picker: Some(front) } } else { Spent { envoy: Some(front), picker } })
    };
    load(0.5, None)?;
    let router = picker.as_ref().map_or(&front.process, |picker| &picker.process);
    router.reset_peak()?;
    let before = spent()?;
    let report = load(seconds, None)?;
    let after = spent()?;
    let each = |before: Option<f64>, after: Option<f64>| {
        before.zip(after).map(|(before, after)| (after - before) * 1e6 / report.requests.max(1) as f64)
    };
    let peak_kib = router.memory()?.peak_kib;
    let mut decision_us = None;
    if let Some(picker) = &picker {
        let before = picker.decisions().await?;
        load(seconds, Some(report.per_second * LOADED))?;
        let after = picker.decisions().await?;
        decision_us = [0.5, 0.95, 0.99].map(|q| quantile(&before, &after, q)).map(|q| q.map(|seconds| seconds * 1e6)).into();
    }
    Ok(Row {
        point: point.name,
        system,
        requests: report.requests,
        errors: report.errors,
        first_error: report.first_error.clone(),
        per_second: report.per_second,
        envoy_cpu_us: each(before.envoy, after.envoy),
        router_cpu_us: each(before.picker, after.picker),
        router_peak_kib: (is_gateway || picker.is_some()).then_some(peak_kib),
        decision_us,
        published: point.published,
    })
}

async fn picker_alone(tools: &Tools, case: &Alone, seconds: f64, before: &[AloneRow]) -> Result<AloneRow> {
    let (_backend, endpoints) = backends(case.endpoints)?;
    let picker = tools.picker(&endpoints, case.bare).await?;
    let drive = |seconds: f64| -> Result<streams::Report> {
        let arguments = [
            "streams".to_owned(),
            format!("--target={}", picker.grpc),
            format!("--seconds={seconds}"),
            format!("--streams={}", case.streams),
            format!("--prompt-tokens={}", case.prompt_tokens),
            format!("--shared-tokens={}", case.shared_tokens),
            format!("--chunks={}", case.chunks),
        ];
        Ok(serde_json::from_str(&process::output_of_self(OTHER_CORE, &arguments)?)?)
    };
    drive(0.5)?;
    picker.process.reset_peak()?;
    let spent = picker.process.cpu_seconds()?;
    let report = drive(seconds)?;
    let spent = picker.process.cpu_seconds()? - spent;
    if let Some(error) = &report.first_error {
        return Err(format!("{} of `{}`: {error}", report.errors, case.name).into());
    }
    AloneRow::new(case, &report, spent, picker.process.memory()?.peak_kib, before)
}

/// 100 endpoints, no requests, llm-d's way to scrape: every 50 ms.
async fn idle(tools: &Tools, seconds: f64) -> Result<IdleRow> {
    let (_backend, endpoints) = backends(100)?;
    let picker = tools.picker(&endpoints, false).await?;
    tokio::time::sleep(SETTLE).await;
    let started = std::time::Instant::now();
    let before = picker.process.cpu_seconds()?;
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let cores = (picker.process.cpu_seconds()? - before) / started.elapsed().as_secs_f64();
    Ok(IdleRow {
        endpoints: 100,
        cores,
        target_cores: 0.15,
        resident_kib: picker.process.memory()?.resident_kib,
        published: "7.1 to 7.5 cores",
    })
}
