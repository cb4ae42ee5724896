//! Envoy, by what its admin port tells: the configuration in force, its clusters, its counters.

mod clusters;
mod counters;
mod dump;
mod filter;
mod routes;
#[cfg(test)]
mod tests;

use serde_json::Value;
use weir_pool::EndpointUrl;

use self::dump::Dump;
use super::{Finding, PATIENCE, Report};
use crate::http_client;

/// Looks at an Envoy.
pub(super) async fn check(admin: &EndpointUrl, report: &mut Report) {
    let mut pages = Vec::new();
    for path in ["/config_dump", "/clusters?format=json", "/stats"] {
        let page = http_client::get(admin, path, PATIENCE).await.map_err(|error| error.to_string());
        match page {
            Ok(answer) if answer.status.is_success() => pages.push(answer.body),
            other => {
                let why = other.map_or_else(|error| error, |answer| format!("answered {}", answer.status));
                report.add(Finding::wrong(
                    "envoy.reachable",
                    format!("{admin}{path}: {why}"),
                    "start Envoy, or give --envoy the address of its bootstrap's `admin` section",
                ));
                return;
            }
        }
    }
    let [dump, clusters, stats] = pages.as_slice() else { return };
    let json = |page: &[u8]| serde_json::from_slice::<Value>(page).unwrap_or_default();
    report.add(Finding::ok("envoy.reachable", format!("{admin} answers")));
    report.extend(judge(json(dump), json(clusters), &String::from_utf8_lossy(stats)));
}

/// Everything that can be said about an Envoy.
fn judge(dump: Value, clusters: Value, stats: &str) -> Vec<Finding> {
    let dump = Dump::new(dump);
    let mut found = Vec::new();
    let filters = dump.ext_proc_filters();
    if filters.is_empty() {
        found.push(Finding::wrong(
            "envoy.ext-proc",
            "no listener asks a picker: there is no filter envoy.filters.http.ext_proc",
            "take the filter from deploy/standalone/envoy.yaml, and put it before envoy.filters.http.router",
        ));
        return found;
    }
    for filter in &filters {
        let picker = filter.cluster();
        found.push(Finding::ok("envoy.ext-proc", format!("{} asks the cluster `{picker}`", filter.place)));
        let destinations = dump.destinations(filter);
        found.extend(filter::judge(filter, &destinations));
        found.extend(routes::judge(&dump, filter));
        found.extend(clusters::judge_destinations(&destinations));
        found.extend(clusters::judge_picker(&dump, picker, &clusters));
        let names = destinations.iter().map(|one| one.name).chain([picker]);
        found.extend(clusters::judge_limits(names.clone(), &clusters));
        found.extend(counters::judge(filter, names, stats));
    }
    found
}
