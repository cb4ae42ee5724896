//! Samples become rows, rows become a table, ratios and verdicts.

use serde::Serialize;

use super::{Case, Sample, Target};
use crate::{Result, stats::median};

/// One case on one target: medians over the repeats.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) case: String,
    kind: &'static str,
    connections: u16,
    pub(super) target: String,
    requests: u64,
    pub(super) errors: u64,
    first_error: Option<String>,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    first_byte_p50_us: f64,
    first_byte_p99_us: f64,
    cpu_us: Option<f64>,
    /// Least and most of the repeats.
    cpu_us_spread: Option<[f64; 2]>,
    /// Resident memory: idle after start, now, and at most while this case ran.
    idle_kib: Option<u64>,
    resident_kib: Option<u64>,
    peak_kib: Option<u64>,
    cpu_to_floor: Option<f64>,
    added_p50_us: Option<f64>,
    added_p99_us: Option<f64>,
}

impl Row {
    pub(super) fn new(case: &Case, target: &Target, samples: &[Sample]) -> Result<Self> {
        let of = |value: fn(&Sample) -> f64| median(samples.iter().map(value));
        let cpu: Vec<f64> = samples.iter().filter_map(|sample| sample.cpu_us).collect();
        let spread = [cpu.iter().copied().fold(f64::INFINITY, f64::min), cpu.iter().copied().fold(0.0, f64::max)];
        let memory = target.process.as_ref().map(|process| process.memory()).transpose()?;
        Ok(Self {
            case: case.name(),
            kind: case.kind(),
            connections: case.connections,
            target: target.name.clone(),
            requests: samples.iter().map(|sample| sample.load.requests).sum(),
            errors: samples.iter().map(|sample| sample.load.errors).sum(),
            first_error: samples.iter().find_map(|sample| sample.load.first_error.clone()),
            per_second: of(|sample| sample.load.per_second),
            p50_us: of(|sample| sample.load.p50_us),
            p99_us: of(|sample| sample.load.p99_us),
            first_byte_p50_us: of(|sample| sample.load.first_byte_p50_us),
            first_byte_p99_us: of(|sample| sample.load.first_byte_p99_us),
            cpu_us: (!cpu.is_empty()).then(|| median(cpu.iter().copied())),
            cpu_us_spread: (!cpu.is_empty()).then_some(spread),
            idle_kib: target.idle_kib,
            resident_kib: memory.map(|memory| memory.resident_kib),
            peak_kib: samples.iter().filter_map(|sample| sample.peak_kib).max(),
            cpu_to_floor: None,
            added_p50_us: None,
            added_p99_us: None,
        })
    }

    /// Fills the comparisons within the rows of one case.
    pub(super) fn compare(rows: &mut [Self]) {
        let direct = rows.iter().find(|row| row.target == "direct").map(|row| (row.p50_us, row.p99_us));
        let floor = rows.iter().find(|row| row.target == "floor").and_then(|row| row.cpu_us);
        for row in rows.iter_mut().filter(|row| row.target != "direct") {
            row.added_p50_us = direct.map(|(p50, _)| row.p50_us - p50);
            row.added_p99_us = direct.map(|(_, p99)| row.p99_us - p99);
            row.cpu_to_floor = row.cpu_us.zip(floor).map(|(cpu, floor)| cpu / floor);
        }
    }
}

pub(super) fn print_case(rows: &[Row], with_head: bool) {
    if with_head {
        println!(
            "\n{:<20} {:<8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>12} {:>6}",
            "case", "target", "req/s", "p50 us", "p99 us", "+p50", "+p99", "CPU us", "/floor", "RSS/peak MB", "errors"
        );
    }
    let optional = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    for row in rows {
        let memory = row.resident_kib.zip(row.peak_kib);
        println!(
            "{:<20} {:<8} {:>8.0} {:>9.0} {:>9.0} {:>9} {:>9} {:>9} {:>7} {:>12} {:>6}",
            row.case,
            row.target,
            row.per_second,
            row.p50_us,
            row.p99_us,
            optional(row.added_p50_us, 0),
            optional(row.added_p99_us, 0),
            optional(row.cpu_us, 1),
            optional(row.cpu_to_floor, 2),
            memory.map_or("-".to_owned(), |(now, peak)| format!("{:.1}/{:.1}", now as f64 / 1024.0, peak as f64 / 1024.0)),
            row.errors,
        );
        if let Some(error) = &row.first_error {
            println!("{:<20} {:<8} first error: {error}", "", "");
        }
    }
}

/// Weir's numbers against what it is meant to reach.
pub(super) fn print_verdicts(rows: &[Row]) {
    let verdict = |row: &Row, what: &str, value: Option<f64>, limit: f64| {
        if let Some(value) = value {
            let word = if value <= limit { "ok" } else { "MISSED" };
            println!("{word:>8}  {}: {what} {value:.2}, target at most {limit}", row.case);
        }
    };
    println!();
    for row in rows.iter().filter(|row| row.target == "weir") {
        match row.kind {
            "json" | "json 10k/s" => verdict(row, "CPU to floor", row.cpu_to_floor, 1.3),
            "400 KB prompt" => verdict(row, "CPU ms", row.cpu_us.map(|us| us / 1e3), 1.0),
            _ => verdict(row, "CPU to floor", row.cpu_to_floor, 1.1),
        }
        if row.kind != "400 KB prompt" {
            verdict(row, "peak MiB", row.peak_kib.map(|kib| kib as f64 / 1024.0), 40.0);
        }
    }
}
