//! The endpoints that a configuration lists, directly or in a file.

use std::path::Path;

use weir_api::{EndpointsFile, PoolSpec, Sources};
use weir_discovery::endpoint_spec;
use weir_plan::{CompileOptions, Plan, Registry, compile};
use weir_pool::EndpointSpec;

use crate::{commands::document::Document, doctor::Finding};

const CHECK: &str = "config.valid";

/// A pool with its endpoints.
pub(super) struct Listed {
    /// For people.
    pub(super) name: String,
    pub(super) plan: Plan,
    pub(super) endpoints: Vec<EndpointSpec>,
}

/// Reads a configuration.
///
/// # Errors
/// What is wrong with it.
pub(super) fn pools(path: &Path, registry: &Registry) -> Result<Vec<Listed>, Finding> {
    let shown = path.display();
    let wrong = |why: String| {
        let fix = format!("`weir check --config {shown}` tells all that is wrong with it");
        Finding::wrong(CHECK, why.trim_start_matches("error: ").trim().to_owned(), fix)
    };
    let document = Document::read(path).map_err(|failure| wrong(failure.to_string()))?;
    let mut pools = Vec::new();
    for (place, (name, scheduling)) in document.schedulings().into_iter().enumerate() {
        let plan =
            compile(scheduling, registry, CompileOptions::default()).map_err(|notes| wrong(notes.render(document.sources())))?;
        let name = if name.is_empty() { shown.to_string() } else { format!("pool {name}") };
        let spec = match &document {
            Document::Router(loaded) => loaded.config.pools.get(place),
            Document::Picker { .. } => None,
        };
        let endpoints = endpoints(spec, &plan)?;
        pools.push(Listed { name, plan, endpoints });
    }
    Ok(pools)
}

fn endpoints(pool: Option<&PoolSpec>, plan: &Plan) -> Result<Vec<EndpointSpec>, Finding> {
    if let Some(listed) = pool.and_then(PoolSpec::static_entries) {
        return Ok(listed.into_iter().map(endpoint_spec).collect());
    }
    let file = pool.and_then(|pool| pool.endpoints.file.as_ref()).map(|file| &file.path.value);
    let Some(file) = file.or(plan.discovery.as_ref().map(|file| &file.path)) else {
        return Err(Finding::skipped(CHECK, "the configuration lists no endpoints, so none are looked at"));
    };
    let fix =
        "correct the list of endpoints; `path` of the plugin file-discovery begins in the folder where the picker was started";
    let text = std::fs::read_to_string(file)
        .map_err(|error| Finding::wrong(CHECK, format!("cannot read {}: {error}", file.display()), fix))?;
    match EndpointsFile::parse(&text) {
        Ok(checked) => Ok(checked.value.into_iter().map(endpoint_spec).collect()),
        Err(notes) => {
            let rendered = notes.render(&Sources::single(file.display().to_string(), text));
            Err(Finding::wrong(CHECK, rendered.trim_start_matches("error: ").trim().to_owned(), fix))
        }
    }
}
