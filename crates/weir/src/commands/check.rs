//! `weir check`: what is wrong with a configuration, or what it comes to.

use std::fmt::Write as _;

use weir_api::{EndpointsFile, RouterConfig, Sources};
use weir_plan::{CompileOptions, Plan, Registry, compile};

use crate::{
    cli::Check,
    commands::{document::Document, plugins},
    failure::Failure,
};

pub(crate) fn run(arguments: &Check, registry: &Registry) -> Result<String, Failure> {
    let mut out = if arguments.plugins { plugins::as_text(registry) } else { String::new() };
    let Some(path) = &arguments.config else { return Ok(out) };
    let document = Document::read(path)?;
    let sources = document.sources();
    out.push_str(&document.warnings().render(sources));
    if let Document::Router(loaded) = &document {
        files(&loaded.config, &mut out)?;
    }
    for (pool, plan) in plans(&document, registry)? {
        describe(pool, &plan, sources, arguments.quiet, &mut out);
    }
    if !arguments.quiet {
        let _ = writeln!(out, "{}: ok", path.display());
    }
    Ok(out)
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
fn plans<'d>(document: &'d Document, registry: &Registry) -> Result<Vec<(&'d str, Plan)>, Failure> {
    let mut plans = Vec::new();
    let mut wrong = String::new();
    for (pool, scheduling) in document.schedulings() {
        match compile(scheduling, registry, CompileOptions::default()) {
            Ok(plan) => plans.push((pool, plan)),
            Err(notes) => wrong.push_str(&notes.render(document.sources())),
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
