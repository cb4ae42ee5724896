//! `weir check`: what is wrong with a configuration, or what it comes to.

use std::fmt::Write as _;

use weir_api::{Diagnostics, EPP_KIND, EndpointPickerConfig, RouterConfig, Sources};
use weir_plan::{CompileOptions, Plan, Registry, compile};

use crate::{cli::Check, commands::serve::load, failure::Failure};

pub(crate) fn run(arguments: &Check, registry: &Registry) -> Result<String, Failure> {
    let text = std::fs::read_to_string(&arguments.config)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", arguments.config.display())))?;
    let name = arguments.config.display().to_string();
    let mut out = String::new();
    if is_picker_config(&text) {
        let sources = Sources::single(name.clone(), text.clone());
        let rendered = |notes: Diagnostics| Failure::new(notes.render(&sources));
        let checked = EndpointPickerConfig::parse(&text).map_err(rendered)?;
        out.push_str(&checked.warnings.render(&sources));
        let plan = compile(&checked.value, registry, CompileOptions::default()).map_err(rendered)?;
        describe("", &plan, &sources, arguments.quiet, &mut out);
    } else {
        let loaded = load(&arguments.config)?;
        out.push_str(&loaded.warnings.render(&loaded.sources));
        for (pool, plan) in plans(&loaded.config, &loaded.sources, registry)? {
            describe(&pool, &plan, &loaded.sources, arguments.quiet, &mut out);
        }
    }
    if !arguments.quiet {
        let _ = writeln!(out, "{name}: ok");
    }
    Ok(out)
}

/// Judged by the text, so that a document with errors is reported as what it was meant to be.
fn is_picker_config(text: &str) -> bool {
    text.lines().any(|line| line.strip_prefix("kind:").is_some_and(|kind| kind.trim().trim_matches(['"', '\'']) == EPP_KIND))
}

/// The plan of each pool.
fn plans(config: &RouterConfig, sources: &Sources, registry: &Registry) -> Result<Vec<(String, Plan)>, Failure> {
    let mut plans = Vec::new();
    let mut wrong = String::new();
    for pool in &config.pools {
        match compile(pool.scheduling.config(), registry, CompileOptions::default()) {
            Ok(plan) => plans.push((pool.name.to_string(), plan)),
            Err(notes) => wrong.push_str(&notes.render(sources)),
        }
    }
    if wrong.is_empty() { Ok(plans) } else { Err(Failure::new(wrong)) }
}

fn describe(pool: &str, plan: &Plan, sources: &Sources, quiet: bool, out: &mut String) {
    for warning in &plan.warnings {
        out.push_str(&warning.render(sources));
        out.push('\n');
    }
    if quiet {
        return;
    }
    if !pool.is_empty() {
        let _ = writeln!(out, "# pool {pool}");
    }
    let _ = writeln!(out, "{}", plan.effective);
}
