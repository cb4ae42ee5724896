//! What was measured, as tables, with verdicts.

use serde::Serialize;

use super::{
    points::{Alone, Target},
    streams::Report,
};
use crate::{Result, bodies::sized_bodies};

/// One point on one system.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) point: &'static str,
    pub(super) system: &'static str,
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    pub(super) per_second: f64,
    pub(super) envoy_cpu_us: Option<f64>,
    /// Of the picker, or of weir as a gateway.
    pub(super) router_cpu_us: Option<f64>,
    pub(super) router_peak_kib: Option<u64>,
    /// p50, p95 and p99 at 70 % of the highest rate, from the last byte of the body, as the picker says.
    pub(super) decision_us: Option<[Option<f64>; 3]>,
    pub(super) published: &'static str,
}

/// The picker by itself.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AloneRow {
    case: &'static str,
    requests: u64,
    chunks: u64,
    per_second: f64,
    chunks_per_second: f64,
    cpu_us: f64,
    cpu_us_per_chunk: Option<f64>,
    prompt_mb_per_core_second: f64,
    peak_kib: u64,
    /// As the driver sees it, at the highest rate.
    answer_us: [f64; 3],
    published: &'static str,
    verdict: String,
    met: bool,
}

/// No requests at all.
#[derive(Clone, Debug, Serialize)]
pub(super) struct IdleRow {
    pub(super) endpoints: u16,
    pub(super) cores: f64,
    pub(super) target_cores: f64,
    pub(super) resident_kib: u64,
    pub(super) published: &'static str,
}

impl AloneRow {
    /// `before` are the rows of the cases before: a chunk is judged by what it adds to the same request without chunks.
    pub(super) fn new(case: &Alone, report: &Report, spent: f64, peak_kib: u64, before: &[Self]) -> Result<Self> {
        let requests = report.requests.max(1) as f64;
        let cpu_us = spent * 1e6 / requests;
        let plain = before.iter().find(|row| row.chunks == 0 && row.case == "all baseline plugins").map_or(0.0, |row| row.cpu_us);
        let per_chunk = (report.chunks > 0).then(|| (cpu_us - plain) * requests / report.chunks as f64);
        let bodies = sized_bodies(case.prompt_tokens, case.shared_tokens, case.chunks > 0);
        let bytes = bodies.first().map_or(0, String::len) as f64;
        let throughput = bytes / cpu_us;
        let (verdict, met) = match case.target {
            Target::Request(most) => (format!("{cpu_us:.1} us a request, target at most {most}"), cpu_us <= most),
            Target::Chunk(most) => {
                let value = per_chunk.ok_or("no chunks were echoed")?;
                (format!("{value:.2} us a chunk, target at most {most}"), value <= most)
            }
            Target::Cores { per_second, most } => {
                let cores = cpu_us * per_second / 1e6;
                (format!("{cores:.2} cores at {per_second}/s (computed), target at most {most}"), cores <= most)
            }
            Target::Throughput(least) => {
                (format!("{throughput:.0} MB/s of prompt a core, target at least {least}"), throughput >= least)
            }
        };
        Ok(Self {
            case: case.name,
            requests: report.requests,
            chunks: report.chunks,
            per_second: report.requests as f64 / report.seconds,
            chunks_per_second: report.chunks as f64 / report.seconds,
            cpu_us,
            cpu_us_per_chunk: per_chunk,
            prompt_mb_per_core_second: throughput,
            peak_kib,
            answer_us: [report.answer_p50_us, report.answer_p95_us, report.answer_p99_us],
            published: case.published,
            verdict,
            met,
        })
    }
}

pub(super) fn print_rows(rows: &[Row], with_head: bool) {
    if with_head {
        println!(
            "\n{:<40} {:<18} {:>8} {:>10} {:>10} {:>9} {:>22} {:>6}  llm-d, published",
            "point", "system", "req/s", "Envoy us", "weir us", "peak MB", "decision p50/95/99 us", "errors"
        );
    }
    let optional = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
    for row in rows {
        println!(
            "{:<40} {:<18} {:>8.0} {:>10} {:>10} {:>9} {:>22} {:>6}  {}",
            row.point,
            row.system,
            row.per_second,
            optional(row.envoy_cpu_us),
            optional(row.router_cpu_us),
            optional(row.router_peak_kib.map(|kib| kib as f64 / 1024.0)),
            row.decision_us.map_or("-".to_owned(), |all| all.map(optional).join("/")),
            row.errors,
            row.published,
        );
        if let Some(error) = &row.first_error {
            println!("    first error: {error}");
        }
    }
}

pub(super) fn print_alone(row: &AloneRow, with_head: bool) {
    if with_head {
        println!(
            "\n{:<26} {:>8} {:>10} {:>9} {:>9} {:>8}",
            "the picker alone", "req/s", "chunks/s", "CPU us", "us/chunk", "peak MB"
        );
    }
    println!(
        "{:<26} {:>8.0} {:>10.0} {:>9.1} {:>9} {:>8.1}  {:>6} {} (llm-d: {})",
        row.case,
        row.per_second,
        row.chunks_per_second,
        row.cpu_us,
        row.cpu_us_per_chunk.map_or("-".to_owned(), |us| format!("{us:.2}")),
        row.peak_kib as f64 / 1024.0,
        if row.met { "ok" } else { "MISSED" },
        row.verdict,
        row.published,
    );
}

pub(super) fn print_idle(row: &IdleRow) {
    println!(
        "\nidle, {} endpoints: {:.3} cores, target at most {} {} (llm-d: {}); {:.1} MB",
        row.endpoints,
        row.cores,
        row.target_cores,
        if row.cores <= row.target_cores { "ok" } else { "MISSED" },
        row.published,
        row.resident_kib as f64 / 1024.0,
    );
}
