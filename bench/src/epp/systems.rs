//! The systems under test: a picker, Envoy with and without it, and weir as its own gateway.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use crate::{
    Result,
    process::{PROXY_CORE, Process, ask, free_port},
    router_config::RouterConfig,
};

const READY_LIMIT: Duration = Duration::from_secs(30);
/// The bootstrap that users are given, relative to the repository.
const BOOTSTRAP: &str = "deploy/standalone/envoy.yaml";

/// Programs, and a folder for their files.
pub(super) struct Tools {
    pub(super) weir: PathBuf,
    pub(super) envoy: PathBuf,
    folder: PathBuf,
}

/// `weir epp`.
pub(super) struct Picker {
    pub(super) process: Process,
    pub(super) grpc: SocketAddr,
    pub(super) metrics: SocketAddr,
    health: SocketAddr,
}

/// What clients talk to.
pub(super) struct Front {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
}

impl Tools {
    pub(super) fn new(weir: &Path, envoy: &Path) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("weir-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        for program in [weir, envoy] {
            if !program.exists() {
                return Err(format!("there is no {}", program.display()).into());
            }
        }
        Ok(Self { weir: weir.to_owned(), envoy: envoy.to_owned(), folder })
    }

    /// Starts `weir epp` over these endpoints: with llm-d's baseline plugins, or `bare`, which picks at random.
    pub(super) async fn picker(&self, endpoints: &[SocketAddr], bare: bool) -> Result<Picker> {
        let list = self.folder.join("endpoints.yaml");
        let mut text = "endpoints:\n".to_owned();
        for (at, endpoint) in endpoints.iter().enumerate() {
            let _ = writeln!(text, "- {{name: e{at}, address: {}, port: \"{}\"}}", endpoint.ip(), endpoint.port());
        }
        std::fs::write(&list, text)?;
        let config = self.folder.join("epp.yaml");
        std::fs::write(&config, epp_config(&list, bare))?;

        let [grpc, health, metrics] =
            [free_port()?, free_port()?, free_port()?].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let arguments = [
            "epp".to_owned(),
            format!("--config-file={}", config.display()),
            format!("--grpc-port={}", grpc.port()),
            format!("--grpc-health-port={}", health.port()),
            format!("--metrics-port={}", metrics.port()),
            "--secure-serving=false".to_owned(),
            "--metrics-endpoint-auth=false".to_owned(),
        ];
        let log = self.folder.join("epp.log");
        let mut process = Process::start("weir epp", PROXY_CORE, self.weir.as_os_str(), &arguments, &log)?;
        process.wait_ready(metrics, "/readyz", "", READY_LIMIT).await?;
        Ok(Picker { process, grpc, metrics, health })
    }

    /// Envoy that asks a picker for each request.
    pub(super) async fn envoy_with(&self, picker: &Picker, echo: bool) -> Result<Front> {
        let [address, admin] = [free_port()?, free_port()?].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let text = std::fs::read_to_string(BOOTSTRAP).map_err(|error| format!("{BOOTSTRAP}: {error}"))?;
        let mut text = text
            .replace("port_value: 19000", &format!("port_value: {}", admin.port()))
            .replace("port_value: 8081", &format!("port_value: {}", address.port()))
            .replace("port_value: 9002", &format!("port_value: {}", picker.grpc.port()))
            .replace("port_value: 9003", &format!("port_value: {}", picker.health.port()));
        if echo {
            text = text
                .replace("response_body_mode: NONE", "response_body_mode: FULL_DUPLEX_STREAMED")
                .replace("response_trailer_mode: SKIP", "response_trailer_mode: SEND");
        }
        let config = self.folder.join("envoy.yaml");
        std::fs::write(&config, text)?;
        self.envoy(&config, address, admin).await
    }

    /// Envoy that takes its endpoints in turn.
    pub(super) async fn envoy_alone(&self, endpoints: &[SocketAddr]) -> Result<Front> {
        let [address, admin] = [free_port()?, free_port()?].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let config = self.folder.join("envoy.json");
        std::fs::write(&config, round_robin(address, admin, endpoints).to_string())?;
        self.envoy(&config, address, admin).await
    }

    async fn envoy(&self, config: &Path, address: SocketAddr, admin: SocketAddr) -> Result<Front> {
        let arguments =
            ["-c", &config.display().to_string(), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warn"].map(str::to_owned);
        let log = self.folder.join("envoy.log");
        let mut process = Process::start("envoy", PROXY_CORE, self.envoy.as_os_str(), &arguments, &log)?;
        process.wait_ready(admin, "/ready", "", READY_LIMIT).await?;
        Ok(Front { process, address })
    }

    /// `weir serve` as its own gateway.
    pub(super) async fn gateway(&self, endpoints: &[SocketAddr]) -> Result<Front> {
        let config = RouterConfig { http: free_port()?, admin: free_port()?, endpoints, scheduling: "", adaptive: None };
        let admin = SocketAddr::from(([127, 0, 0, 1], config.admin));
        let (mut process, address) = config.start(&self.weir, "epp", PROXY_CORE)?;
        process.wait_ready(admin, "/readyz", "", READY_LIMIT).await?;
        Ok(Front { process, address })
    }
}

impl Front {
    /// Waits until a request gets through.
    pub(super) async fn wait(&mut self, body: &str) -> Result<()> {
        self.process.wait_ready(self.address, "/v1/chat/completions", body, READY_LIMIT).await
    }
}

impl Picker {
    /// Its counters, cumulated: how many decisions took at most so many seconds.
    pub(super) async fn decisions(&self) -> Result<Vec<(f64, u64)>> {
        let (status, page) = ask(self.metrics, "/metrics", "").await?;
        if status != 200 {
            return Err(format!("/metrics answers {status}").into());
        }
        Ok(buckets(&String::from_utf8_lossy(&page), "weir_decision_seconds_bucket"))
    }
}

fn epp_config(list: &Path, bare: bool) -> String {
    let (plugins, profile) = if bare {
        ("- type: random-picker\n", "  - {pluginRef: random-picker}\n")
    } else {
        (
            "- type: queue-scorer\n- type: kv-cache-utilization-scorer\n- type: prefix-cache-scorer\n",
            "  - {pluginRef: queue-scorer, weight: 2}\n  - {pluginRef: kv-cache-utilization-scorer, weight: 2}\n  - {pluginRef: \
             prefix-cache-scorer, weight: 3}\n",
        )
    };
    format!(
        "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- {{type: file-discovery, parameters: {{path: {}}}}}\n\
         {plugins}schedulingProfiles:\n- name: default\n  plugins:\n{profile}dataLayer:\n  discovery: {{pluginRef: file-discovery}}\n",
        list.display()
    )
}

fn round_robin(address: SocketAddr, admin: SocketAddr, endpoints: &[SocketAddr]) -> serde_json::Value {
    let socket = |at: SocketAddr| json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}});
    let list: Vec<_> = endpoints.iter().map(|endpoint| json!({"endpoint": {"address": socket(*endpoint)}})).collect();
    let limits = json!({"max_connections": 40000, "max_pending_requests": 40000, "max_requests": 40000});
    json!({
        "admin": {"address": socket(admin)},
        "static_resources": {
            "listeners": [{
                "name": "inference",
                "address": socket(address),
                "per_connection_buffer_limit_bytes": 32768,
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "inference",
                        "stream_idle_timeout": "0s",
                        "route_config": {"virtual_hosts": [{
                            "name": "all", "domains": ["*"],
                            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "endpoints", "timeout": "0s"}}],
                        }]},
                        "http_filters": [{
                            "name": "envoy.filters.http.router",
                            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                        }],
                    },
                }]}],
            }],
            "clusters": [{
                "name": "endpoints",
                "type": "STATIC",
                "circuit_breakers": {"thresholds": [limits]},
                "load_assignment": {"cluster_name": "endpoints", "endpoints": [{"lb_endpoints": list}]},
            }],
        },
    })
}

/// Cumulated buckets of a histogram, added up over its series.
fn buckets(page: &str, name: &str) -> Vec<(f64, u64)> {
    let mut found: Vec<(f64, u64)> = Vec::new();
    for line in page.lines().filter(|line| line.starts_with(name)) {
        let Some((_, rest)) = line.split_once("le=\"") else { continue };
        let Some((le, rest)) = rest.split_once('"') else { continue };
        let le: f64 = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap_or(f64::NAN) };
        let Some((_, value)) = rest.split_once("} ") else { continue };
        let Some(count) = value.split_ascii_whitespace().next().and_then(|value| value.parse::<f64>().ok()) else { continue };
        match found.iter_mut().find(|(known, _)| *known == le) {
            Some((_, sum)) => *sum += count as u64,
            None => found.push((le, count as u64)),
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found
}

/// The quantile of what was counted between two states of a histogram, in its unit; interpolated within its bucket.
pub(super) fn quantile(before: &[(f64, u64)], after: &[(f64, u64)], q: f64) -> Option<f64> {
    let was = |le: f64| before.iter().find(|(known, _)| *known == le).map_or(0, |(_, count)| *count);
    let grown: Vec<(f64, u64)> = after.iter().map(|(le, count)| (*le, count.saturating_sub(was(*le)))).collect();
    let total = grown.last()?.1;
    let rank = q * total as f64;
    let at = grown.iter().position(|(_, count)| *count as f64 >= rank).filter(|_| total > 0)?;
    let (low, below) = if at == 0 { (0.0, 0) } else { grown[at - 1] };
    let (high, upto) = grown[at];
    if high.is_infinite() {
        return Some(low);
    }
    let share = (rank - below as f64) / (upto - below).max(1) as f64;
    Some(low + (high - low) * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# TYPE d histogram\nd_bucket{le=\"0.001\",pool=\"a\"} 5\nd_bucket{le=\"0.01\",pool=\"a\"} 9\n\
        d_bucket{le=\"+Inf\",pool=\"a\"} 10\nd_bucket{pool=\"b\",le=\"0.001\"} 5\nd_bucket{pool=\"b\",le=\"0.01\"} 11\n\
        d_bucket{pool=\"b\",le=\"+Inf\"} 11\nd_sum{pool=\"a\"} 1\n";

    #[test]
    fn quantiles_come_from_what_was_added() {
        let after = buckets(PAGE, "d_bucket");
        assert_eq!(after, [(0.001, 10), (0.01, 20), (f64::INFINITY, 21)]);
        let near = |value: Option<f64>, wanted: f64| (value.unwrap() - wanted).abs() < 1e-9;
        assert!(near(quantile(&[], &after, 10.0 / 21.0), 0.001));
        assert!(near(quantile(&[], &after, 15.0 / 21.0), 0.0055));
        assert!(near(quantile(&[], &after, 1.0), 0.01));
        assert_eq!(quantile(&after, &after, 0.5), None);
        let before = [(0.001, 10), (0.01, 10), (f64::INFINITY, 11)];
        assert!(near(quantile(&before, &after, 0.5), 0.0055));
    }

    #[test]
    fn the_pickers_configuration_is_one() {
        for bare in [false, true] {
            let text = epp_config(Path::new("/tmp/endpoints.yaml"), bare);
            weir_api::EndpointPickerConfig::parse(&text).unwrap();
        }
    }
}
