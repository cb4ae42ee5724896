//! What types alone cannot say about a router's configuration.

use std::collections::HashMap;

use super::{Endpoints, ExtProc, Gateway, Listen, MetricsSpec, PoolSpec, PoolTls, ROUTER_API_VERSION, ROUTER_KIND, RouterConfig};
use crate::{
    Diagnostic, Diagnostics, GoDuration, ListenAddr, Span, Spanned,
    endpoints::{DEFAULT_NAMESPACE, Names},
    yaml::Node,
};

impl RouterConfig {
    /// Checks everything but the scheduling sections.
    pub(super) fn check(&self, doc: &Node, found: &mut Diagnostics) {
        let place = |key: &str| doc.entry(key).map_or(doc.at, |e| e.key_at);
        self.check_version(doc, found);
        check_listen(&self.listen, place("listen"), found);
        if self.pools.is_empty() {
            let error = Diagnostic::error(place("pools"), "pools", "there are no pools");
            found.push(error.with_help("list at least one pool with a name and endpoints"));
        }
        let mut names: HashMap<&str, Span> = HashMap::new();
        let mut models: HashMap<&str, (&str, Span)> = HashMap::new();
        for (index, pool) in self.pools.iter().enumerate() {
            check_name(pool, found);
            if let Some(first) = names.insert(&pool.name, pool.name.at) {
                let message = format!("two pools are called `{}`; the first is on line {}", pool.name, first.line);
                found.push(pool.name.error(message));
            }
            for model in &pool.models {
                if model.is_empty() {
                    found.push(model.error("a model's name cannot be empty"));
                } else if let Some((other, first)) = models.insert(model, (&pool.name, model.at)) {
                    let message = if other == pool.name.as_str() {
                        format!("the model `{model}` is listed twice")
                    } else {
                        format!("the model `{model}` is claimed by the pool `{other}` on line {}", first.line)
                    };
                    found.push(model.error(message));
                }
            }
            let node = doc.get("pools").and_then(|pools| pools.items().get(index)).unwrap_or(doc);
            check_endpoints(pool, node, &format!("pools[{index}]"), found);
            check_tls(&pool.tls, found);
            check_metrics(&pool.metrics, found);
        }
        check_gateway(&self.gateway, found);
        check_ext_proc(&self.ext_proc, found);
        if let Some(election) = &self.leader_election {
            election.check(found);
        }
        self.tracing.check(found);
        if *self.explain.candidates == 0 {
            found.push(self.explain.candidates.error("the number of candidates must be above zero"));
        }
    }

    /// Objects name pools of this configuration: what names none would never be in force.
    pub(super) fn check_objects(&self, found: &mut Diagnostics) {
        let mut named: HashMap<(&str, &str), &Spanned<std::path::PathBuf>> = HashMap::new();
        for file in &self.objects {
            let ids = file.objects.objectives.iter().map(|one| ("objective", &one.id, &one.pool));
            for (kind, id, pool) in ids.chain(file.objects.rewrites.iter().map(|one| ("rewrite", &one.id, &one.pool))) {
                if !self.pools.iter().any(|one| one.name.value == pool.name || one.is_template()) {
                    let message = format!("the {kind} `{}` is of the pool `{}`, which does not exist", id.name, pool.name);
                    let names = self.pools.iter().map(|one| one.name.as_str());
                    found.push(file.path.error(message).with_nearest(&pool.name, names));
                }
                let other = named.insert((kind, &id.name), &file.path);
                if let Some(other) = other.filter(|other| other.value != file.path.value) {
                    let message = format!("the {kind} `{}` is also in {}", id.name, other.value.display());
                    found.push(file.path.error(message));
                }
            }
        }
    }

    fn check_version(&self, doc: &Node, found: &mut Diagnostics) {
        for (field, value, wanted) in [("apiVersion", &self.api_version, ROUTER_API_VERSION), ("kind", &self.kind, ROUTER_KIND)] {
            let help = format!("write {field}: {wanted}");
            match value {
                Some(value) if value.as_str() == wanted => {}
                Some(value) => {
                    let message = format!("the {field} `{}` is not supported", value.as_str());
                    found.push(value.error(message).with_help(help));
                }
                None => {
                    let error = Diagnostic::error(doc.at, field, format!("the field `{field}` is missing"));
                    found.push(error.with_help(help));
                }
            }
        }
    }
}

fn check_listen(listen: &Listen, at: Span, found: &mut Diagnostics) {
    if listen.http.is_none() && listen.https.is_none() && listen.ext_proc.is_none() {
        let error = Diagnostic::error(at, "listen", "there is nothing to listen on");
        found.push(error.with_help("set at least one of http, https and extProc"));
    }
    let https = listen.https.as_ref().map(|h| &h.address);
    let ext_proc = [listen.ext_proc.as_ref(), listen.grpc_health.as_ref()];
    let all = [listen.http.as_ref(), https, ext_proc[0], ext_proc[1], listen.admin.as_ref()];
    let all: Vec<&Spanned<ListenAddr>> = all.into_iter().flatten().collect();
    for (index, listener) in all.iter().enumerate() {
        if let Some(other) = all[..index].iter().find(|o| o.clashes(listener.value)) {
            let message = format!("{listener} is taken by `{}` on line {}", other.path, other.at.line);
            found.push(listener.error(message));
        }
    }
}

fn check_name(pool: &PoolSpec, found: &mut Diagnostics) {
    let name = &pool.name;
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(1..=63).contains(&name.len()) || !name.bytes().all(allowed) || name.starts_with('-') || name.ends_with('-') {
        let message = "a pool's name has 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end";
        found.push(name.error(message));
    }
}

fn check_endpoints(pool: &PoolSpec, node: &Node, path: &str, found: &mut Diagnostics) {
    let at = node.entry("endpoints").map_or(node.at, |e| e.key_at);
    let error = |message: &str| Diagnostic::error(at, format!("{path}.endpoints"), message);
    let Endpoints { fixed, file, kubernetes } = &pool.endpoints;
    let sources = usize::from(fixed.is_some()) + usize::from(file.is_some()) + usize::from(kubernetes.is_some());
    match sources {
        0 => found.push(error("the pool has no source of endpoints").with_help("set one of static, file and kubernetes")),
        1 => {}
        n => {
            let message = format!("the pool has {n} sources of endpoints");
            found.push(error(&message).with_help("keep one of static, file and kubernetes"));
        }
    }
    if let Some(kubernetes) = kubernetes {
        let at = node.get("endpoints").and_then(|node| node.entry("kubernetes")).map_or(at, |entry| entry.key_at);
        kubernetes.check(pool, at, &format!("{path}.endpoints.kubernetes"), found);
    }
    if let Some(file) = file.as_ref().filter(|file| file.path.as_os_str().is_empty()) {
        found.push(file.path.error("the path cannot be empty"));
    }
    let Some(listed) = fixed else { return };
    if listed.is_empty() {
        found.push(listed.error("the list of endpoints is empty"));
    }
    let mut names = Names::default();
    for (index, endpoint) in listed.iter().enumerate() {
        let namespace = endpoint.namespace.as_ref().map_or(DEFAULT_NAMESPACE, |n| n.as_str());
        let default = || endpoint.url.clone().map(|_| format!("{}-{index}", pool.name));
        names.add(&endpoint.name.clone().unwrap_or_else(default), namespace, found);
        if let Some(shorter) = endpoint.url.without_v1() {
            let warning = endpoint.url.warning("requests' paths begin with /v1 already; the /v1 of the URL is left out");
            found.push(warning.with_help(format!("write {shorter}")));
        }
    }
}

fn check_tls(tls: &PoolTls, found: &mut Diagnostics) {
    match (&tls.cert_file, &tls.key_file) {
        (Some(cert), None) => found.push(cert.error("certFile needs keyFile")),
        (None, Some(key)) => found.push(key.error("keyFile needs certFile")),
        _ => {}
    }
    if let Some(name) = tls.server_name.as_ref().filter(|n| n.parse::<crate::Host>().is_err()) {
        found.push(name.error(format!("{:?} is neither an IP address nor a host name", name.as_str())));
    }
}

fn check_metrics(metrics: &MetricsSpec, found: &mut Diagnostics) {
    let times = [&metrics.interval, &metrics.idle_interval, &metrics.timeout, &metrics.staleness_threshold];
    let zero = times.iter().filter(|t| above_zero(t, found)).count() < times.len();
    if zero {
        return;
    }
    if *metrics.interval < GoDuration::from_millis(1) {
        found.push(metrics.interval.error("the interval must be at least 1ms"));
    }
    if metrics.adaptive && metrics.idle_interval.value < metrics.interval.value {
        let message = format!("idleInterval {} is shorter than interval {}", metrics.idle_interval, metrics.interval);
        found.push(metrics.idle_interval.error(message));
    }
    if metrics.staleness_threshold.value <= metrics.interval.value {
        let message = format!("every reading would be stale: the threshold is not above the interval {}", metrics.interval);
        found.push(metrics.staleness_threshold.error(message));
    }
    if let Some(path) = metrics.path.as_ref().filter(|p| !p.starts_with('/') || p.contains([' ', '#'])) {
        found.push(path.error(format!("{:?} is not a path; it begins with /", path.as_str())));
    }
}

fn check_gateway(gateway: &Gateway, found: &mut Diagnostics) {
    let t = &gateway.timeouts;
    let breaker = &gateway.circuit_breaker;
    for time in [&t.connect, &t.first_byte, &t.idle, &t.total, &breaker.open_for, &breaker.max_open_for] {
        above_zero(time, found);
    }
    if breaker.max_open_for.value < breaker.open_for.value {
        let message = format!("maxOpenFor {} is shorter than openFor {}", breaker.max_open_for, breaker.open_for);
        found.push(breaker.max_open_for.error(message));
    }
    let retry = &gateway.retry;
    if *retry.max_attempts == 0 {
        found.push(retry.max_attempts.error("maxAttempts counts the first try too and must be above zero"));
    }
    if !(0.0..=1.0).contains(&*retry.budget_ratio) {
        found.push(retry.budget_ratio.error("budgetRatio must be from 0 to 1"));
    }
    let limits = &gateway.limits;
    for size in [&limits.max_body_bytes, &limits.max_header_bytes] {
        if size.get() == 0 {
            found.push(size.error("the limit must be above zero"));
        }
    }
    for count in [&limits.max_headers, &limits.max_concurrent_streams, &limits.max_connections] {
        if **count == 0 {
            found.push(count.error("the limit must be above zero"));
        }
    }
    for origin in &gateway.cors.allowed_origins {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let good = host.is_some_and(|h| !h.is_empty() && !h.contains(['/', '?', '#', '*', ' ']));
        if origin.as_str() != "*" && !good {
            let error = origin.error(format!("{:?} is not an origin", origin.as_str()));
            found.push(error.with_help("write https://host, without a path, or \"*\""));
        }
    }
}

fn check_ext_proc(ext_proc: &ExtProc, found: &mut Diagnostics) {
    match (&ext_proc.cert_file, &ext_proc.key_file) {
        (Some(cert), None) => found.push(cert.error("certFile needs keyFile")),
        (None, Some(key)) => found.push(key.error("keyFile needs certFile")),
        (Some(cert), Some(_)) if !ext_proc.secure => found.push(cert.error("a certificate is of no use while secure is false")),
        _ => {}
    }
    for size in [&ext_proc.max_body_bytes, &ext_proc.max_receive_bytes, &ext_proc.max_send_bytes] {
        if size.get() == 0 {
            found.push(size.error("the limit must be above zero"));
        }
    }
}

fn above_zero(time: &Spanned<GoDuration>, found: &mut Diagnostics) -> bool {
    if time.is_zero() {
        found.push(time.error("the duration must be above zero"));
    }
    !time.is_zero()
}
