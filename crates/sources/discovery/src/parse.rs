//! Endpoints as configurations list them, as the pool wants them.

use std::path::Path;

use tracing::warn;
use weir_api::{EndpointEntry, EndpointsFile, Host, Scheme, Sources};
use weir_pool::{EndpointSpec, EndpointUrl};

/// What a configuration says of an endpoint, as the pool wants it.
pub fn endpoint_spec(entry: EndpointEntry) -> EndpointSpec {
    let scheme = match entry.url.scheme {
        Scheme::Http => weir_pool::Scheme::Http,
        Scheme::Https => weir_pool::Scheme::Https,
    };
    let host = match entry.url.host {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => name,
    };
    let url = EndpointUrl { scheme, host, port: entry.url.port, base_path: entry.url.base_path };
    EndpointSpec { name: entry.name, namespace: entry.namespace, url, labels: entry.labels }
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
