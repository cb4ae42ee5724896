//! The model servers that a configuration lists, asked directly.

mod blocks;
mod list;

use std::sync::Arc;

use tokio::{net::TcpStream, task::JoinSet};
use weir_engine_metrics::EngineMappings;
use weir_plan::{MetricsSource, Registry};
use weir_pool::{EndpointSpec, EndpointUrl, Scheme, Scrape};

use self::list::Listed;
use super::{Finding, PATIENCE, Report};
use crate::{http_client, system::mappings};

/// Looks at every endpoint of a configuration.
pub(super) async fn check(path: &std::path::Path, registry: &Registry, report: &mut Report) {
    let pools = match list::pools(path, registry) {
        Ok(pools) => pools,
        Err(finding) => return report.add(finding),
    };
    for pool in pools {
        report.add(Finding::ok("config.valid", format!("{}: {} endpoints", pool.name, pool.endpoints.len())));
        let found = ask_all(&pool).await;
        report.extend(judge(&pool, &found));
    }
}

/// What an endpoint said.
struct Asked {
    endpoint: EndpointSpec,
    /// Why it cannot be connected to.
    unreachable: Option<String>,
    /// Its numbers, or why there are none. `None`: it was not asked.
    metrics: Option<Result<Scrape, String>>,
}

/// All endpoints at once: a fleet of dead ones must not take minutes.
async fn ask_all(pool: &Listed) -> Vec<Asked> {
    let source = pool.plan.metrics.clone();
    let mappings = source.as_ref().map(mappings).and_then(Result::ok).map(Arc::new);
    let mut running = JoinSet::new();
    for (place, endpoint) in pool.endpoints.iter().cloned().enumerate() {
        let page = source.clone().zip(mappings.clone());
        running.spawn(async move { (place, ask(endpoint, page).await) });
    }
    let mut found = running.join_all().await;
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, asked)| asked).collect()
}

async fn ask(endpoint: EndpointSpec, page: Option<(MetricsSource, Arc<EngineMappings>)>) -> Asked {
    let url = endpoint.url.clone();
    let host = url.host.bare().into_owned();
    let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect((host, url.port))).await;
    let unreachable = match connecting {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no connection within {} s", PATIENCE.as_secs())),
    };
    let metrics = match page {
        Some((source, mappings)) if unreachable.is_none() => metrics(&endpoint, &source, &mappings).await,
        _ => None,
    };
    Asked { endpoint, unreachable, metrics }
}

async fn metrics(endpoint: &EndpointSpec, source: &MetricsSource, mappings: &EngineMappings) -> Option<Result<Scrape, String>> {
    let mut url = EndpointUrl { port: source.port.unwrap_or(endpoint.url.port), ..endpoint.url.clone() };
    match source.scheme.as_deref() {
        Some("https") => url.scheme = Scheme::Https,
        Some(_) => url.scheme = Scheme::Http,
        None => {}
    }
    if url.scheme == Scheme::Https {
        return None;
    }
    let labelled = mappings.labelled(endpoint);
    let engine = labelled.unwrap_or_else(|| mappings.default_engine());
    let path = source.path.as_deref().or(engine.mapping().path.as_deref()).unwrap_or("/metrics");
    let answer = match http_client::get(&url, path, PATIENCE).await {
        Ok(answer) if answer.status.is_success() => answer,
        Ok(answer) => return Some(Err(format!("{path} answers {}", answer.status))),
        Err(error) => return Some(Err(format!("{path}: {error}"))),
    };
    let load = |scrape: &Scrape| scrape.waiting.is_some() || scrape.running.is_some() || scrape.kv_usage.is_some();
    let scrape = engine.decode(&answer.body);
    if load(&scrape) {
        return Some(Ok(scrape));
    }
    match mappings.detect(&answer.body).filter(|_| labelled.is_none()) {
        Some(engine) => Some(Ok(engine.decode(&answer.body))),
        None => Some(Err(format!("{path} has none of the metrics of the engine `{}`", engine.name()))),
    }
}

fn judge(pool: &Listed, asked: &[Asked]) -> Vec<Finding> {
    let mut found = Vec::new();
    let name = |one: &Asked| format!("{}/{} ({})", one.endpoint.namespace, one.endpoint.name, one.endpoint.url);
    let before = found.len();
    for one in asked {
        if let Some(why) = &one.unreachable {
            found.push(Finding::wrong(
                "endpoint.reachable",
                format!("{}: {why}", name(one)),
                "start the server, or correct its address and port in the list of endpoints",
            ));
        }
    }
    if found.len() == before {
        found
            .push(Finding::ok("endpoint.reachable", format!("{}: all {} endpoints can be connected to", pool.name, asked.len())));
    }
    let before = found.len();
    for one in asked {
        if let Some(Err(why)) = &one.metrics {
            found.push(Finding::wrong(
                "endpoint.metrics",
                format!("{}: {why}", name(one)),
                "set scheme, path and port of the plugin metrics-data-source to where the page is, and name the engine with the \
                 label llm-d.ai/engine-type, or defaultEngine of core-metrics-extractor",
            ));
        }
    }
    let read: Vec<(String, &Scrape)> =
        asked.iter().filter_map(|one| Some((name(one), one.metrics.as_ref()?.as_ref().ok()?))).collect();
    if found.len() == before {
        found.push(if read.is_empty() {
            Finding::skipped("endpoint.metrics", format!("{}: no metrics are read, or only by https", pool.name))
        } else {
            Finding::ok("endpoint.metrics", format!("{}: {} pages have the metrics that are needed", pool.name, read.len()))
        });
    }
    found.extend(blocks::judge(&pool.plan.effective, &read));
    found
}
