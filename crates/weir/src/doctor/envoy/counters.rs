//! What has gone wrong already, by Envoy's counters.

use super::{
    Finding,
    dump::{ExtProc, text},
};

/// A counter that should be zero, what it counts, and what to do.
type Counter = (&'static str, &'static str, &'static str);

const OF_THE_FILTER: [Counter; 6] = [
    (
        "streams_failed",
        "requests whose stream to the picker failed",
        "read the picker's log; was it restarted, or refused by a circuit breaker?",
    ),
    ("message_timeouts", "answers of the picker that came too late", "set message_timeout: 1000s and max_message_timeout: 1000s"),
    (
        "failure_mode_allowed",
        "requests that passed without the picker",
        "set failure_mode_allow: false, and keep a picker running",
    ),
    (
        "spurious_msgs_received",
        "answers that Envoy did not expect",
        "set the body modes of deploy/standalone/envoy.yaml; if they are, report it",
    ),
    (
        "rejected_header_mutations",
        "headers that Envoy did not let the picker set",
        "leave mutation_rules out, or allow what the picker sets",
    ),
    (
        "http_not_ok_resp_received",
        "streams that something else than a picker answered",
        "check the address of the picker's cluster",
    ),
];

const OF_A_CLUSTER: [Counter; 3] = [
    (
        "upstream_rq_pending_overflow",
        "requests that a circuit breaker refused",
        "raise max_pending_requests and max_requests of its circuit_breakers",
    ),
    ("upstream_rq_active_overflow", "requests that a circuit breaker refused", "raise max_requests of its circuit_breakers"),
    ("upstream_cx_overflow", "connections that a circuit breaker refused", "raise max_connections of its circuit_breakers"),
];

pub(super) fn judge<'n>(filter: &ExtProc<'_>, clusters: impl Iterator<Item = &'n str>, stats: &str) -> Vec<Finding> {
    const CHECK: &str = "envoy.counters";
    let mut found = Vec::new();
    let own = match text(&filter.config["stat_prefix"]) {
        "" => String::new(),
        own => format!("{own}."),
    };
    let prefix = format!("http.{}.ext_proc.{own}", text(&filter.manager["stat_prefix"]));
    let mut look = |prefix: &str, whose: &str, counters: &[Counter]| {
        for (name, what, fix) in counters {
            let count = value(stats, prefix, name);
            if count > 0 {
                found.push(Finding::warning(CHECK, format!("{whose}: {count} {what} ({prefix}{name})"), *fix));
            }
        }
    };
    look(&prefix, &filter.place, &OF_THE_FILTER);
    for name in clusters {
        look(&format!("cluster.{name}."), &format!("cluster `{name}`"), &OF_A_CLUSTER);
    }
    if found.is_empty() {
        let streams = value(stats, &prefix, "streams_started");
        found.push(Finding::ok(CHECK, format!("{streams} requests asked the picker, and none of them failed")));
    }
    found
}

fn value(stats: &str, prefix: &str, name: &str) -> u64 {
    let line = stats.lines().find_map(|line| line.strip_prefix(prefix)?.strip_prefix(name)?.strip_prefix(": "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}
