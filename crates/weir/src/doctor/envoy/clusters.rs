//! The clusters: where requests go, and where the picker is.

use serde_json::Value;

use super::{
    Finding,
    dump::{Cluster, Dump, list, text},
};

const HEADER: &str = "x-gateway-destination-endpoint";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Envoy's own limit of everything, if nothing is said.
const DEFAULT_LIMIT: u64 = 1024;

/// Whether requests go where the picker says.
pub(super) fn judge_destinations(destinations: &[Cluster<'_>]) -> Vec<Finding> {
    const CHECK: &str = "envoy.destination";
    destinations
        .iter()
        .map(|one| {
            let name = one.name;
            let original = &one.config["original_dst_lb_config"];
            if text(&one.config["type"]) == "ORIGINAL_DST" {
                return if original["use_http_header"] == true && text(&original["http_header_name"]) == HEADER {
                    Finding::ok(CHECK, format!("cluster `{name}` goes where the picker says"))
                } else {
                    Finding::wrong(
                        CHECK,
                        format!("cluster `{name}` does not go by the picker's header"),
                        format!("set original_dst_lb_config: {{use_http_header: true, http_header_name: {HEADER}}}"),
                    )
                };
            }
            let policies = one.config["load_balancing_policy"].to_string();
            if policies.contains("override_host") && policies.contains(HEADER) {
                return Finding::ok(CHECK, format!("cluster `{name}` goes where the picker says, among its own endpoints"));
            }
            Finding::wrong(
                CHECK,
                format!("cluster `{name}` balances by itself: what the picker says has no effect"),
                format!(
                    "make it `type: ORIGINAL_DST` with original_dst_lb_config: {{use_http_header: true, http_header_name: {HEADER}}}, \
                     or give it the policy envoy.load_balancing_policies.override_host with that header"
                ),
            )
        })
        .collect()
}

/// Whether the picker can be asked.
pub(super) fn judge_picker(dump: &Dump, name: &str, clusters: &Value) -> Vec<Finding> {
    let Some(cluster) = dump.cluster(name) else {
        let fix = "define the cluster that grpc_service.envoy_grpc.cluster_name names";
        return vec![Finding::wrong("envoy.picker-cluster", format!("there is no cluster `{name}`"), fix)];
    };
    let options = &cluster.config["typed_extension_protocol_options"][HTTP_OPTIONS];
    let http2 = options["explicit_http_config"]["http2_protocol_options"].is_object()
        || options["auto_config"].is_object()
        || cluster.config["http2_protocol_options"].is_object();
    let protocol = if http2 {
        Finding::ok("envoy.picker-cluster", format!("cluster `{name}` speaks HTTP/2"))
    } else {
        Finding::wrong(
            "envoy.picker-cluster",
            format!("cluster `{name}` speaks HTTP/1.1, and gRPC needs HTTP/2"),
            format!(
                "set typed_extension_protocol_options: {{{HTTP_OPTIONS}: {{\"@type\": type.googleapis.com/{HTTP_OPTIONS}, \
                 explicit_http_config: {{http2_protocol_options: {{}}}}}}}}"
            ),
        )
    };
    vec![protocol, picker_health(name, &cluster, clusters)]
}

fn picker_health(name: &str, cluster: &Cluster<'_>, clusters: &Value) -> Finding {
    const CHECK: &str = "envoy.picker-health";
    let hosts: Vec<&Value> = status(clusters, name).map(|one| list(&one["host_statuses"]).collect()).unwrap_or_default();
    if hosts.is_empty() {
        let fix = "check the address in its load_assignment, or the service that its EDS names";
        return Finding::wrong(CHECK, format!("cluster `{name}` has no endpoint"), fix);
    }
    let address = |host: &Value| {
        let socket = &host["address"]["socket_address"];
        format!("{}:{}", text(&socket["address"]), socket["port_value"])
    };
    let failing = |host: &Value, what: &str| host["health_status"][what] == true;
    let Some(bad) = hosts.iter().find(|host| failing(host, "failed_active_health_check")) else {
        let counted = |host: &&&Value, counter: &str| {
            list(&host["stats"])
                .any(|one| text(&one["name"]) == counter && text(&one["value"]).parse::<u64>().is_ok_and(|n| n > 0))
        };
        let dead = hosts.iter().find(|host| counted(host, "cx_connect_fail") && !counted(host, "cx_active"));
        return match dead {
            Some(host) => Finding::wrong(
                CHECK,
                format!("cluster `{name}`: connections to {} fail", address(host)),
                "start the picker (`weir epp`), or correct the address; with `weir epp --secure-serving=false` the cluster has no \
                 transport_socket, else it needs one",
            ),
            None => Finding::ok(CHECK, format!("cluster `{name}`: {} endpoints, none failing", hosts.len())),
        };
    };
    let checks = list(&cluster.config["health_checks"]).any(|check| check["grpc_health_check"].is_object());
    let fix = if checks {
        "start the picker (`weir epp`); health is answered on its --grpc-port, by TLS as all else there, and in cleartext on its \
         --grpc-health-port: with `transport_socket` in the cluster, leave health_check_config.port_value out"
    } else {
        "let health_checks use grpc_health_check: {service_name: envoy.service.ext_proc.v3.ExternalProcessor}"
    };
    Finding::wrong(CHECK, format!("cluster `{name}`: {} fails its health checks", address(bad)), fix)
}

/// Whether the clusters take as many requests as a router has at a time.
pub(super) fn judge_limits<'n>(names: impl Iterator<Item = &'n str>, clusters: &Value) -> Vec<Finding> {
    const CHECK: &str = "envoy.circuit-breaker";
    names
        .filter_map(|name| {
            let status = status(clusters, name)?;
            let thresholds = list(&status["circuit_breakers"]["thresholds"]);
            // The priority that requests have is the default, and left out.
            let normal = thresholds.into_iter().find(|one| one.get("priority").is_none());
            let limit = |what: &str| normal.map_or(DEFAULT_LIMIT, |one| one[what].as_u64().unwrap_or(DEFAULT_LIMIT));
            let limits = ["max_connections", "max_pending_requests", "max_requests"].map(|what| (what, limit(what)));
            Some(match limits.into_iter().find(|(_, limit)| *limit <= DEFAULT_LIMIT) {
                None => Finding::ok(CHECK, format!("cluster `{name}` takes {} requests at a time", limit("max_requests"))),
                Some((what, limit)) => Finding::wrong(
                    CHECK,
                    format!("cluster `{name}` refuses what exceeds {what} {limit}"),
                    "set circuit_breakers: {thresholds: [{max_connections: 40000, max_pending_requests: 40000, max_requests: 40000}]}",
                ),
            })
        })
        .collect()
}

fn status<'c>(clusters: &'c Value, name: &str) -> Option<&'c Value> {
    list(&clusters["cluster_statuses"]).find(|one| text(&one["name"]) == name)
}
