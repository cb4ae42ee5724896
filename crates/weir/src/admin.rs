//! The admin server: metrics, health, and what the router thinks.

use std::sync::Arc;

use axum::{
    Json, Router as Routes,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_kubernetes::{Access, Reviewer, WatchStatus};
use weir_router::{Explained, Router};

use crate::{reload::ReloadStatus, state, system::LeaderView};

/// What the admin server shows.
pub(crate) struct Admin {
    pub(crate) registry: Registry,
    /// The router of the configuration in force.
    pub(crate) router: Box<dyn Fn() -> Arc<Router> + Send + Sync>,
    pub(crate) reloads: Arc<ReloadStatus>,
    /// Cancelled when the process begins to drain.
    pub(crate) draining: CancellationToken,
    /// What the Kubernetes cluster says, if pools are in one.
    pub(crate) cluster: ClusterView,
}

/// Looks at the Kubernetes cluster.
pub(crate) struct ClusterView {
    /// What pools wait for.
    pub(crate) waits_for: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Whether one pool with a ready endpoint is enough.
    pub(crate) any_pool_suffices: Box<dyn Fn() -> bool + Send + Sync>,
    /// Every watch; `None` without a cluster.
    pub(crate) watches: Box<dyn Fn() -> Option<Vec<WatchStatus>> + Send + Sync>,
    /// Which replica leads, if one does.
    pub(crate) leader: Option<LeaderView>,
    /// Says who may read what is not about health; `None`: everybody.
    pub(crate) reviewer: Option<Arc<Reviewer>>,
}

const RECENT: usize = 100;

/// Serves until `stop` is cancelled.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>, stop: CancellationToken) -> std::io::Result<()> {
    let routes = Routes::new()
        .route("/metrics", get(metrics))
        .route("/debug/state", get(debug_state))
        .route("/debug/plan", get(debug_plan))
        .route("/debug/plugins/state", get(plugin_state))
        .route("/debug/explain", get(recent))
        .route("/debug/explain/{id}", get(explain))
        .layer(middleware::from_fn_with_state(Arc::clone(&admin), guard))
        // Whoever asks for health has no token.
        .route("/", get(index))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(admin);
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Lets only those pass whom the cluster allows, if it is asked.
async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let Some(reviewer) = &admin.cluster.reviewer else { return next.run(request).await };
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = header.and_then(|text| text.strip_prefix("Bearer ")).map(str::trim) else {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "a token is needed\n").into_response();
    };
    match reviewer.may_get(token, request.uri().path()).await {
        Access::Allowed => next.run(request).await,
        Access::Unknown => {
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "the cluster does not know this token\n")
                .into_response()
        }
        Access::Forbidden => (StatusCode::FORBIDDEN, "the cluster does not allow you to get this path\n").into_response(),
        Access::NoAnswer => (StatusCode::SERVICE_UNAVAILABLE, "the cluster does not say who you are\n").into_response(),
    }
}

async fn index() -> &'static str {
    "weir admin\n\
     /metrics             Prometheus metrics\n\
     /livez               200 while the process runs\n\
     /readyz              200 while every pool has a ready endpoint and the process does not drain\n\
     /debug/state         pools, endpoints and their numbers\n\
     /debug/plan          the effective configuration of each pool\n\
     /debug/plugins/state what plugins hold, as llm-d shows it\n\
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

/// OpenMetrics as Prometheus's text format 0.0.4: no `# EOF`, counters are named in HELP and TYPE as in their samples, and
/// bounds of buckets are written as Go writes them, since servers and dashboards compare them as texts.
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
            Some(_) => out.push_str(line),
            None => sample(line, &mut out),
        }
        out.push('\n');
    }
    out
}

/// One series; the bound of a bucket is the last label.
fn sample(line: &str, out: &mut String) {
    const LABEL: &str = "le=\"";
    let bound = line.find('{').and_then(|open| {
        let at = open + line[open..].rfind(LABEL)? + LABEL.len();
        let end = at + line[at..].find('"')?;
        Some((at, end, line[at..end].parse::<f64>().ok().filter(|bound| bound.is_finite())?))
    });
    match bound.filter(|_| line.split(['{', ' ']).next().is_some_and(|name| name.ends_with("_bucket"))) {
        Some((at, end, bound)) => {
            out.push_str(&line[..at]);
            out.push_str(&go_float(bound));
            out.push_str(&line[end..]);
        }
        None => out.push_str(line),
    }
}

/// A number as Go's `strconv.FormatFloat(value, 'g', -1, 64)` writes it: the shortest digits that mean it, with an exponent below
/// 0.0001 and from a million on.
fn go_float(value: f64) -> String {
    let digits = format!("{value:e}");
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    } else {
        format!("{value}")
    }
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let pools = (admin.router)().status();
    let draining = admin.draining.is_cancelled();
    let waits_for = (admin.cluster.waits_for)();
    let leads = admin.cluster.leader.as_ref().is_none_or(LeaderView::leads);
    let mut served = pools.iter().map(|pool| pool.ready > 0);
    let served =
        !pools.is_empty() && if (admin.cluster.any_pool_suffices)() { served.any(|one| one) } else { served.all(|one| one) };
    let ready = !draining && served && waits_for.is_empty() && leads;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!({"ready": ready, "draining": draining, "pools": pools});
    if let Some(watches) = (admin.cluster.watches)() {
        // What fails does not make this process less ready: it goes on with what it knows.
        let failing: Vec<&WatchStatus> = watches.iter().filter(|one| one.error.is_some()).collect();
        body["kubernetes"] = json!({"waitsFor": waits_for, "failing": failing});
    }
    if let Some(leader) = &admin.cluster.leader {
        body["leader"] = leader.describe();
    }
    (status, Json(body)).into_response()
}

async fn debug_state(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let mut described = state::describe(&(admin.router)(), &admin.reloads);
    if let Some(watches) = (admin.cluster.watches)() {
        described["kubernetes"] = json!({"waitsFor": (admin.cluster.waits_for)(), "watches": watches});
    }
    Json(described)
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

async fn plugin_state(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(state::plugins(&(admin.router)(), std::time::SystemTime::now()))
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

    #[test]
    fn bounds_are_written_as_go_writes_them() {
        let bucket = |bound: &str| format!("h_bucket{{a=\"le=\\\"1.0\\\"\",le=\"{bound}\"}} 2\n");
        for (open, plain) in [
            ("32778.0", "32778"),
            ("0.00205", "0.00205"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.0", "1"),
            ("262144.0", "262144"),
            ("1048576.0", "1.048576e+06"),
            ("1073741824.0", "1.073741824e+09"),
            ("+Inf", "+Inf"),
        ] {
            assert_eq!(plain_text(&bucket(open)), bucket(plain));
        }
        assert_eq!(plain_text("g{le=\"1.0\"} 1.0\n"), "g{le=\"1.0\"} 1.0\n");
    }
}
