//! Every flag of llm-d's Endpoint Picker, and a few of weir's own.

use std::{path::PathBuf, time::Duration};

use crate::go_flags::Parsed;

mod check;
mod read;
mod table;
#[cfg(test)]
mod tests;

#[cfg(test)]
use self::check::Checked;
pub(super) use self::table::help;

/// What the command line says, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flags {
    pub(super) grpc_port: u16,
    pub(super) grpc_health_port: u16,
    pub(super) metrics_port: u16,
    pub(super) endpoints_file: Option<PathBuf>,
    pub(super) pool_name: Option<String>,
    pub(super) pool_namespace: Option<String>,
    pub(super) pool_group: String,
    pub(super) endpoint_selector: Option<String>,
    pub(super) endpoint_target_ports: Vec<u16>,
    pub(super) config_file: Option<PathBuf>,
    pub(super) config_text: Option<String>,
    pub(super) allow_experimental_plugins: bool,
    pub(super) disable_endpoint_subset_filter: bool,
    pub(super) emit_endpoint_scores: bool,
    pub(super) refresh_metrics_interval: Duration,
    pub(super) refresh_prometheus_metrics_interval: Duration,
    pub(super) metrics_staleness_threshold: Duration,
    pub(super) ha_enable_leader_election: bool,
    pub(super) drain_timeout: Duration,
    /// `None`: the default of gRPC, 4 MiB.
    pub(super) grpc_max_recv_msg_size: Option<u64>,
    /// `None`: no limit.
    pub(super) grpc_max_send_msg_size: Option<u64>,
    pub(super) health_checking: bool,
    pub(super) enable_grpc_stream_metrics: bool,
    pub(super) secure_serving: bool,
    pub(super) cert_path: Option<PathBuf>,
    pub(super) enable_cert_reload: bool,
    pub(super) tls_min_version: Option<TlsVersion>,
    /// Names as Go has them, each known there.
    pub(super) tls_cipher_suites: Vec<String>,
    pub(super) metrics_endpoint_auth: bool,
    pub(super) metrics_cert_dir: Option<PathBuf>,
    pub(super) metrics_client_ca_file: Option<PathBuf>,
    pub(super) enable_pprof: bool,
    pub(super) tracing: bool,
    pub(super) verbosity: i64,
    pub(super) zap: Zap,
    pub(super) model_server_metrics: ModelServerMetrics,
    /// Flags of metrics' names, which are gone.
    pub(super) removed: Vec<&'static str>,
    /// The Deployment that this pod belongs to, from its name; not a flag.
    pub(super) deployment: Option<String>,
}

/// Least version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TlsVersion {
    V10,
    V11,
    V12,
    V13,
}

/// How the log looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Zap {
    pub(super) encoder: Option<Encoder>,
    pub(super) devel: bool,
    /// As a verbosity: 0 is info, higher says more; below, it says less.
    pub(super) level: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoder {
    Json,
    Console,
}

/// Flags that are gone since llm-d 0.10 and that KServe still passes: parameters of the metrics source today.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ModelServerMetrics {
    pub(super) scheme: Option<String>,
    pub(super) path: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) insecure_skip_verify: Option<bool>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            grpc_port: 9002,
            grpc_health_port: 9003,
            metrics_port: 9090,
            endpoints_file: None,
            pool_name: None,
            pool_namespace: None,
            pool_group: "inference.networking.k8s.io".to_owned(),
            endpoint_selector: None,
            endpoint_target_ports: Vec::new(),
            config_file: None,
            config_text: None,
            allow_experimental_plugins: false,
            disable_endpoint_subset_filter: false,
            emit_endpoint_scores: false,
            refresh_metrics_interval: Duration::from_millis(50),
            refresh_prometheus_metrics_interval: Duration::from_secs(5),
            metrics_staleness_threshold: Duration::from_secs(2),
            ha_enable_leader_election: false,
            drain_timeout: Duration::from_secs(30),
            grpc_max_recv_msg_size: None,
            grpc_max_send_msg_size: None,
            health_checking: false,
            enable_grpc_stream_metrics: false,
            secure_serving: true,
            cert_path: None,
            enable_cert_reload: false,
            tls_min_version: None,
            tls_cipher_suites: Vec::new(),
            metrics_endpoint_auth: true,
            metrics_cert_dir: None,
            metrics_client_ca_file: None,
            enable_pprof: true,
            tracing: true,
            verbosity: 2,
            zap: Zap::default(),
            model_server_metrics: ModelServerMetrics::default(),
            removed: Vec::new(),
            deployment: None,
        }
    }
}

/// A command line that was read: what it says, and what stood in it.
pub(super) struct Read {
    pub(super) flags: Flags,
    pub(super) parsed: Parsed,
}

/// Reads a command line, without the program's name.
///
/// # Errors
/// Everything that is wrong with it, a line each.
pub(super) fn read(arguments: &[String]) -> Result<Read, Vec<String>> {
    let mut flags = Flags::default();
    match crate::go_flags::parse(table::GROUPS, arguments, &mut flags) {
        Ok(parsed) => Ok(Read { flags, parsed }),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}
