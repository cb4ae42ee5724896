//! What a proxy costs: direct, the floor and weir, interleaved in one run on the same core.
//!
//! Judge by CPU a request: the core of load and backend saturates first, and latency at one
//! connection mostly measures wake-ups.

mod cases;
mod table;
mod targets;

use std::path::PathBuf;

use serde::Serialize;

use self::{
    cases::{Case, cases},
    table::Row,
    targets::{Kind, Target},
};
use crate::{
    Result,
    facts::{self, Facts},
    load::Report,
    process::{self, OTHER_CORE, Process},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure; without it everything that is there.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Kind>,
    /// A few cases, once, for one second each: does it work, and is it about right.
    #[arg(long)]
    quick: bool,
    /// Only cases whose name contains this, such as `json` or `c=32`.
    #[arg(long)]
    case: Option<String>,
    /// Seconds a case, target and repeat.
    #[arg(long)]
    seconds: Option<f64>,
    /// How often each case is measured; the median counts.
    #[arg(long)]
    repeats: Option<usize>,
    /// The weir to measure.
    #[arg(long, env = "WEIR_BIN", default_value = "target/release/weir")]
    weir: PathBuf,
    /// The `scheduling` of weir's pool from this file instead of three scorers, indented by four spaces.
    #[arg(long)]
    scheduling: Option<PathBuf>,
    /// Another proxy: `NAME=COMMAND LINE`, in which {port}, {b0} and {b1} become its port and the backends' addresses.
    #[arg(long)]
    peer: Vec<String>,
    /// Where the JSON goes.
    #[arg(long, default_value = "bench/results/overhead.json")]
    out: PathBuf,
}

/// Everything that one run found.
#[derive(Serialize)]
struct Results {
    machine: Facts,
    seconds_each: f64,
    repeats: usize,
    rows: Vec<Row>,
}

/// One case on one target, once.
struct Sample {
    load: Report,
    cpu_us: Option<f64>,
    peak_kib: Option<u64>,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let (seconds, repeats) = if args.quick { (1.0, 1) } else { (3.0, 3) };
    let (seconds, repeats) = (args.seconds.unwrap_or(seconds), args.repeats.unwrap_or(repeats).clamp(1, 20));
    let (_backend, line) = Process::start_self(OTHER_CORE, &["backend", "--count", "2"])?;
    let backends = line.split(' ').map(str::parse).collect::<std::result::Result<Vec<_>, _>>()?;
    let targets = targets::start(args, &backends).await?;
    let mut rows: Vec<Row> = Vec::new();
    for case in cases(args.quick).into_iter().filter(|case| args.case.as_ref().is_none_or(|part| case.name().contains(part))) {
        let mut samples: Vec<Vec<Sample>> = targets.iter().map(|_| Vec::new()).collect();
        for repeat in 0..repeats {
            for (target, samples) in targets.iter().zip(&mut samples) {
                samples.push(measure(&case, target, seconds, repeat == 0)?);
            }
        }
        let first = rows.len();
        for (target, samples) in targets.iter().zip(&samples) {
            rows.push(Row::new(&case, target, samples)?);
        }
        Row::compare(&mut rows[first..]);
        table::print_case(&rows[first..], first == 0);
    }
    table::print_verdicts(&rows);
    facts::store(&args.out, &Results { machine: Facts::gather(), seconds_each: seconds, repeats, rows: rows.clone() })?;
    match rows.iter().find(|row| row.errors > 0) {
        Some(row) => Err(format!("{} errors in `{}` of {}", row.errors, row.case, row.target).into()),
        None => Ok(()),
    }
}

fn measure(case: &Case, target: &Target, seconds: f64, first: bool) -> Result<Sample> {
    load(case, target, if first { 0.5 } else { 0.2 })?;
    let Some(process) = &target.process else {
        return Ok(Sample { load: load(case, target, seconds)?, cpu_us: None, peak_kib: None });
    };
    process.reset_peak()?;
    let before = process.cpu_seconds()?;
    let load = load(case, target, seconds)?;
    let spent = process.cpu_seconds()? - before;
    let cpu_us = Some(spent * 1e6 / (load.requests + load.errors).max(1) as f64);
    Ok(Sample { load, cpu_us, peak_kib: Some(process.memory()?.peak_kib) })
}

fn load(case: &Case, target: &Target, seconds: f64) -> Result<Report> {
    let args = case.load_arguments(target.addr, seconds);
    Ok(serde_json::from_str(&process::output_of_self(OTHER_CORE, &args)?)?)
}
