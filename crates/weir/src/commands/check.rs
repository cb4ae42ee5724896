//! `weir check`: what is wrong with a configuration, or what it comes to.

use std::fmt::Write as _;

use weir_api::{Diagnostics, EPP_KIND, EndpointPickerConfig, EndpointsFile, RouterConfig, Sources};
use weir_plan::{CompileOptions, Plan, Registry, compile};

use crate::{cli::Check, commands::plugins, configuration, failure::Failure};

pub(crate) fn run(arguments: &Check, registry: &Registry) -> Result<String, Failure> {
    let mut out = if arguments.plugins { plugins::as_text(registry) } else { String::new() };
    let Some(path) = &arguments.config else { return Ok(out) };
    let text = std::fs::read_to_string(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let name = path.display().to_string();
    if is_picker_config(&text) {
        let sources = Sources::single(name.clone(), text.clone());
        let rendered = |notes: Diagnostics| Failure::new(notes.render(&sources));
        let checked = EndpointPickerConfig::parse(&text).map_err(rendered)?;
        out.push_str(&checked.warnings.render(&sources));
        let plan = compile(&checked.value, registry, CompileOptions::default()).map_err(rendered)?;
        describe("", &plan, &sources, arguments.quiet, &mut out);
    } else {
        let loaded = configuration::load(path)?;
        out.push_str(&loaded.warnings.render(&loaded.sources));
        files(&loaded.config, &mut out)?;
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

/// Endpoints files hold endpoints. Keys and certificates may be elsewhere than the configuration is checked: a warning.
fn files(config: &RouterConfig, out: &mut String) -> Result<(), Failure> {
    let mut wrong = String::new();
    for path in config.files() {
        let lists_endpoints =
            config.pools.iter().any(|pool| pool.endpoints.file.as_ref().is_some_and(|file| file.path.value == path));
        match std::fs::read_to_string(&path) {
            Err(error) if lists_endpoints => {
                let _ = writeln!(wrong, "error: cannot read {}: {error}", path.display());
            }
            Err(error) => {
                let _ = writeln!(out, "warning: cannot read {}: {error}", path.display());
            }
            Ok(text) if lists_endpoints => {
                if let Err(notes) = EndpointsFile::parse(&text) {
                    wrong.push_str(&notes.render(&Sources::single(path.display().to_string(), text)));
                }
            }
            Ok(_) => {}
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::new(wrong)) }
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
