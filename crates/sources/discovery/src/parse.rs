//! Endpoints as configurations list them, as the pool wants them.

use std::path::Path;

use tracing::warn;
use weir_api::{EndpointEntry, EndpointsFile, Sources};
use weir_pool::EndpointSpec;

/// What a configuration says of an endpoint, as the pool wants it.
pub fn endpoint_spec(entry: EndpointEntry) -> EndpointSpec {
    EndpointSpec { name: entry.name, namespace: entry.namespace, url: entry.url, labels: entry.labels }
}

/// Reads an endpoints file's text. Warnings go to the log.
///
/// # Errors
/// Everything that is wrong with it, with the lines in question.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<EndpointSpec>, String> {
    let sources = || Sources::single(path.display().to_string(), text);
    let checked = EndpointsFile::parse(text).map_err(|found| found.render(&sources()))?;
    if !checked.warnings.is_empty() {
        warn!("{}", checked.warnings.render(&sources()));
    }
    Ok(checked.value.into_iter().map(endpoint_spec).collect())
}
