//! The admin server: metrics, health, and what the router thinks.

use std::sync::Arc;

use axum::{
    Json, Router as Routes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_router::{Explained, Router};

use crate::{reload::ReloadStatus, state};

/// What the admin server shows.
pub(crate) struct Admin {
    pub(crate) registry: Registry,
    /// The router of the configuration in force.
    pub(crate) router: Box<dyn Fn() -> Arc<Router> + Send + Sync>,
    pub(crate) reloads: Arc<ReloadStatus>,
    /// Cancelled when the process begins to drain.
    pub(crate) draining: CancellationToken,
}

const RECENT: usize = 100;

/// Serves until `stop` is cancelled.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>, stop: CancellationToken) -> std::io::Result<()> {
    let routes = Routes::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/debug/state", get(debug_state))
        .route("/debug/plan", get(debug_plan))
        .route("/debug/explain", get(recent))
        .route("/debug/explain/{id}", get(explain))
        .with_state(admin);
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn index() -> &'static str {
    "weir admin\n\
     /metrics             Prometheus metrics\n\
     /livez               200 while the process runs\n\
     /readyz              200 while every pool has a ready endpoint and the process does not drain\n\
     /debug/state         pools, endpoints and their numbers\n\
     /debug/plan          the effective configuration of each pool\n\
     /debug/explain       ids of the last decisions\n\
     /debug/explain/{id}  why a request went where it went\n"
}

async fn metrics(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let mut text = String::with_capacity(16 << 10);
    if prometheus_client::encoding::text::encode(&mut text, &admin.registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("application/openmetrics-text") {
        return ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response();
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], plain_text(&text)).into_response()
}

/// OpenMetrics as Prometheus's text format 0.0.4: no `# EOF`, counters are named in HELP and TYPE as in their samples.
fn plain_text(open: &str) -> String {
    let mut out = String::with_capacity(open.len() + 1024);
    let counters: Vec<&str> = open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for line in open.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let comment = line.strip_prefix("# ").and_then(|rest| rest.split_once(' '));
        match comment.and_then(|(kind, rest)| Some((kind, rest.split_once(' ')?))) {
            Some((kind, (name, rest))) if counters.contains(&name) => {
                out.push_str("# ");
                out.push_str(kind);
                out.push(' ');
                out.push_str(name);
                out.push_str("_total ");
                out.push_str(rest);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let pools = (admin.router)().status();
    let draining = admin.draining.is_cancelled();
    let ready = !draining && pools.iter().all(|pool| pool.ready > 0);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": ready, "draining": draining, "pools": pools}))).into_response()
}

async fn debug_state(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(state::describe(&(admin.router)(), &admin.reloads))
}

async fn debug_plan(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let router = (admin.router)();
    let pools: Vec<Value> = router
        .pools()
        .iter()
        .map(|runtime| {
            json!({
                "pool": runtime.pool.name(),
                "models": runtime.models,
                "plan": runtime.plan.effective,
                "warnings": runtime.plan.warnings.iter().map(|one| one.message.clone()).collect::<Vec<_>>(),
                "seed": runtime.plan.seed,
            })
        })
        .collect();
    Json(Value::Array(pools))
}

async fn recent(State(admin): State<Arc<Admin>>) -> Json<Vec<String>> {
    Json((admin.router)().shared().decisions.recent(RECENT))
}

async fn explain(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Response {
    let found: Vec<Explained> = (admin.router)().shared().decisions.explain(&id);
    let status = if found.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    (status, Json(found)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_declared_under_the_name_of_their_samples() {
        let open = "# HELP a_b Help.\n# TYPE a_b counter\na_b_total{x=\"# EOF\"} 1\n# HELP g G.\n# TYPE g gauge\ng 2\n# EOF\n";
        let plain =
            "# HELP a_b_total Help.\n# TYPE a_b_total counter\na_b_total{x=\"# EOF\"} 1\n# HELP g G.\n# TYPE g gauge\ng 2\n";
        assert_eq!(plain_text(open), plain);
    }
}
