//! What a control plane configures is found as what a file does. Each single check is tried on a real Envoy, in `e2e/envoy`.

use serde_json::json;

use super::*;
use crate::doctor::report::Verdict;

const HEADER: &str = "x-gateway-destination-endpoint";

/// As an Envoy tells that gets its listeners, routes and clusters from a control plane.
fn dynamic() -> Value {
    json!({"configs": [
        {"dynamic_listeners": [{"active_state": {"listener": {
            "name": "gateway",
            "filter_chains": [{"filters": [{"typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "gateway",
                "rds": {"route_config_name": "inference"},
                "stream_idle_timeout": "0s",
                "early_header_mutation_extensions": [{"typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    "mutations": [{"remove": HEADER}],
                }}],
                "http_filters": [{"typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
                    "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}},
                    "processing_mode": {"request_body_mode": "FULL_DUPLEX_STREAMED", "request_trailer_mode": "SEND", "response_trailer_mode": "SEND"},
                    "message_timeout": "1000s",
                    "metadata_options": {
                        "forwarding_namespaces": {"untyped": ["envoy.lb", "envoy.lb.subset_hint"]},
                        "receiving_namespaces": {"untyped": ["envoy.lb"]},
                    },
                }}],
            }}]}],
        }}}]},
        {"dynamic_route_configs": [
            {"route_config": {"name": "other", "virtual_hosts": [{"name": "x", "routes": [{"route": {"cluster": "elsewhere"}}]}]}},
            {"route_config": {"name": "inference", "virtual_hosts": [{"name": "v", "routes": [
                {"match": {"prefix": "/"}, "route": {"timeout": "0s", "weighted_clusters": {"clusters": [{"name": "a"}, {"name": "b"}]}}},
                {"match": {"path": "/old"}, "redirect": {}},
            ]}]}},
        ]},
        {"dynamic_active_clusters": [
            {"cluster": {"name": "a", "type": "ORIGINAL_DST", "original_dst_lb_config": {"use_http_header": true, "http_header_name": HEADER}}},
            {"cluster": {"name": "b", "type": "EDS", "load_balancing_policy": {"policies": [{"typed_extension_config": {"typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
                "override_host_sources": [{"header": HEADER}],
            }}}]}}},
            {"cluster": {"name": "picker", "http2_protocol_options": {}}},
        ]},
    ]})
}

fn clusters() -> Value {
    let limits = |n: u64| json!([{"max_connections": n, "max_pending_requests": n, "max_requests": n}, {"priority": "HIGH"}]);
    let host = json!([{"address": {"socket_address": {"address": "10.0.0.9", "port_value": 9002}}, "health_status": {}}]);
    json!({"cluster_statuses": [
        {"name": "a", "circuit_breakers": {"thresholds": limits(9000)}},
        {"name": "b", "circuit_breakers": {"thresholds": limits(1024)}},
        {"name": "picker", "host_statuses": host, "circuit_breakers": {"thresholds": limits(9000)}},
    ]})
}

#[test]
fn a_control_plane_is_looked_through() {
    let found = judge(dynamic(), clusters(), "http.gateway.ext_proc.streams_started: 7\n");
    let bad: Vec<&Finding> = found.iter().filter(|one| one.verdict != Verdict::Ok).collect();
    let [one] = bad.as_slice() else { panic!("{bad:?}") };
    assert_eq!((one.check, one.verdict), ("envoy.circuit-breaker", Verdict::Wrong));
    assert!(one.message.contains("`b`") && one.message.contains("1024"), "{one:?}");
    assert_eq!(found.iter().filter(|one| one.check == "envoy.destination").count(), 2);
    assert!(found.iter().any(|one| one.message.contains("7 requests")));
}

#[test]
fn counters_tell_what_has_failed() {
    let stats = "http.gateway.ext_proc.streams_started: 7\nhttp.gateway.ext_proc.streams_failed: 2\n\
                 cluster.picker.upstream_rq_pending_overflow: 5\n";
    let found = judge(dynamic(), clusters(), stats);
    let counted: Vec<&str> = found.iter().filter(|one| one.check == "envoy.counters").map(|one| one.message.as_str()).collect();
    assert_eq!(counted.len(), 2);
    assert!(counted[0].contains("2 requests whose stream to the picker failed"), "{counted:?}");
    assert!(counted[1].contains("cluster `picker`: 5 requests that a circuit breaker refused"), "{counted:?}");
}

#[test]
fn an_answer_that_makes_no_sense_is_no_panic() {
    for nonsense in [Value::Null, json!([]), json!({"configs": [{"static_listeners": [{"listener": {"filter_chains": [7]}}]}]})] {
        let found = judge(nonsense, Value::Null, "");
        assert_eq!(found[0].check, "envoy.ext-proc");
    }
}
