//! `weir check`: what is wrong with a configuration, or what it comes to.

use std::{fmt::Write as _, path::Path};

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
        if let (Document::Picker { .. }, Some(file)) = (&document, &plan.discovery) {
            endpoints(&file.path, &mut out)?;
        }
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

/// The list of endpoints that a picker's configuration names. Its path means something where the picker runs, and perhaps not here.
fn endpoints(path: &Path, out: &mut String) -> Result<(), Failure> {
    match std::fs::read_to_string(path) {
        Err(error) => {
            let _ = writeln!(out, "warning: cannot read {}: {error}", path.display());
            Ok(())
        }
        Ok(text) => match EndpointsFile::parse(&text) {
            Ok(_) => Ok(()),
            Err(notes) => Err(Failure::new(notes.render(&Sources::single(path.display().to_string(), text)))),
        },
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_to_what_they_print() {
        let mut registry = Registry::default();
        weir_schedule::register(&mut registry);
        let compiled = |document: &Document| {
            let (_, scheduling) = document.schedulings()[0];
            compile(scheduling, &registry, CompileOptions::default()).map(|plan| plan.effective)
        };
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/config");
        let temporary = std::env::temp_dir().join(format!("weir-samples-{}", std::process::id()));
        for number in 1..=9 {
            let document = Document::read(&folder.join(format!("sample-12-{number}.yaml"))).unwrap();
            let first = compiled(&document).unwrap_or_else(|notes| panic!("sample {number}: {notes}"));
            std::fs::write(&temporary, first.to_string()).unwrap();
            let again = compiled(&Document::read(&temporary).unwrap()).unwrap();
            let names = |one: &weir_plan::Effective| one.plugins.iter().map(|plugin| plugin.name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&again), names(&first), "sample {number}");
            assert_eq!(
                (again.handler, again.flow_control, again.parsers),
                (first.handler, first.flow_control, first.parsers),
                "sample {number}"
            );
            // A detector that was added makes do with what others read. Printed, it is one that was asked for.
            assert!(first.reads.iter().all(|one| again.reads.contains(one)), "sample {number}");
        }
        std::fs::remove_file(&temporary).unwrap();
    }
}
