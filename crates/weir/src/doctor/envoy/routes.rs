//! How long answers may take.

use super::{
    Finding,
    dump::{Dump, ExtProc, seconds},
};

/// Envoy's own timeouts, if nothing is said.
const DEFAULT_TIMEOUT_S: f64 = 15.0;
const DEFAULT_IDLE_S: f64 = 300.0;
/// Answers of models take minutes; what is below cuts them.
const ENOUGH_S: f64 = 600.0;

pub(super) fn judge(dump: &Dump, filter: &ExtProc<'_>) -> Vec<Finding> {
    vec![timeout(dump, filter), idle_timeout(dump, filter)]
}

fn timeout(dump: &Dump, filter: &ExtProc<'_>) -> Finding {
    const CHECK: &str = "envoy.route-timeout";
    let routes = dump.routes(filter);
    let forwards = routes.iter().filter(|(_, route)| route["route"].is_object());
    let short = forwards.clone().find_map(|(host, route)| {
        let timeout = seconds(&route["route"]["timeout"]).unwrap_or(DEFAULT_TIMEOUT_S);
        (timeout != 0.0 && timeout < ENOUGH_S).then_some((*host, *route, timeout))
    });
    match short {
        None => {
            Finding::ok(CHECK, format!("{} gives answers all the time they need, on {} routes", filter.place, forwards.count()))
        }
        Some((host, route, timeout)) => Finding::wrong(
            CHECK,
            format!("route {} of `{host}` cuts answers off after {timeout} s", route["match"]),
            "set `timeout: 0s` in the route",
        ),
    }
}

fn idle_timeout(dump: &Dump, filter: &ExtProc<'_>) -> Finding {
    const CHECK: &str = "envoy.idle-timeout";
    let stream = seconds(&filter.manager["stream_idle_timeout"]).unwrap_or(DEFAULT_IDLE_S);
    let shortest = dump
        .routes(filter)
        .iter()
        .filter(|(_, route)| route["route"].is_object())
        .map(|(_, route)| seconds(&route["route"]["idle_timeout"]).unwrap_or(stream))
        .filter(|idle| *idle != 0.0)
        .min_by(f64::total_cmp);
    match shortest.filter(|idle| *idle < ENOUGH_S) {
        None => Finding::ok(CHECK, format!("{} lets streams be silent", filter.place)),
        Some(idle) => Finding::warning(
            CHECK,
            format!(
                "{} ends streams that are silent for {idle} s; a long prompt may take that before its first token",
                filter.place
            ),
            "set stream_idle_timeout: 0s in the connection manager, and no shorter idle_timeout in the route",
        ),
    }
}
