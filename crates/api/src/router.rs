//! `RouterConfig`: everything weir is told when it starts or reloads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{GoDuration, ListenAddr, Objects, Quantity, Spanned};

mod check;
mod ext_proc;
mod gateway;
mod kubernetes;
mod leader;
mod load;
mod pool;
#[cfg(test)]
mod tests;
mod tracing;

use std::path::PathBuf;

pub use self::{
    ext_proc::{Destinations, ErrorFormat, ExtProc, TlsVersion},
    gateway::{CircuitBreaker, Cors, Gateway, Limits, RetryPolicy, Timeouts},
    kubernetes::KubernetesEndpoints,
    leader::LeaderElection,
    load::{LoadError, Loaded, schema},
    pool::{AppProtocol, EndpointFile, Endpoints, MetricsSpec, PoolSpec, PoolTls, Scheduling, StaticEndpoint},
    tracing::{OtlpProtocol, TraceExporter, Tracing},
};

/// The `apiVersion`.
pub const ROUTER_API_VERSION: &str = "weir.dev/v1alpha1";
/// The `kind`.
pub const ROUTER_KIND: &str = "RouterConfig";

/// A router: what it listens on, the pools behind it, and how it treats traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RouterConfig {
    /// `weir.dev/v1alpha1`.
    pub api_version: Option<Spanned<String>>,
    /// `RouterConfig`.
    pub kind: Option<Spanned<String>>,
    /// Addresses to listen on; at least one of `http`, `https` and `extProc`.
    pub listen: Listen,
    /// Groups of endpoints that serve the same models; at least one.
    pub pools: Vec<PoolSpec>,
    /// Files of `InferenceObjective` and `InferenceModelRewrite` objects, which give requests their priority and replace the models
    /// that they name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectsFile>,
    /// How the gateway treats traffic.
    pub gateway: Gateway,
    /// How Envoy's external processing is answered.
    pub ext_proc: ExtProc,
    /// Who may use the gateway.
    pub auth: Auth,
    /// What is logged.
    pub log: Log,
    /// How many decisions are kept for `weir explain`.
    pub explain: Explain,
    /// How metrics are named.
    pub metrics: Exposition,
    /// Whether one of several replicas leads, and the others stand by: only the leader is ready. Without it all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader_election: Option<LeaderElection>,
    /// Traces of requests. Takes effect when the router starts.
    pub tracing: Tracing,
    /// How long running requests may take to end when the router stops. Default 30s.
    pub drain_timeout: GoDuration,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            api_version: None,
            kind: None,
            listen: Listen::default(),
            pools: Vec::new(),
            objects: Vec::new(),
            gateway: Gateway::default(),
            ext_proc: ExtProc::default(),
            auth: Auth::default(),
            log: Log::default(),
            explain: Explain::default(),
            metrics: Exposition::default(),
            leader_election: None,
            tracing: Tracing::default(),
            drain_timeout: GoDuration::from_secs(30),
        }
    }
}

/// A file of Kubernetes objects, used without Kubernetes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectsFile {
    /// The file. A relative path begins at this file's folder. It is read again with this file, and when it changes.
    pub path: Spanned<PathBuf>,
    /// What it holds; empty until the configuration has been loaded.
    #[serde(skip)]
    pub objects: Objects,
}

/// Addresses to listen on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Listen {
    /// OpenAI-compatible gateway in cleartext, HTTP/1.1 and HTTP/2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Spanned<ListenAddr>>,
    /// OpenAI-compatible gateway over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<Https>,
    /// Envoy external processing (gRPC), with health checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ext_proc: Option<Spanned<ListenAddr>>,
    /// Health checks of external processing alone (gRPC), always in cleartext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_health: Option<Spanned<ListenAddr>>,
    /// Metrics, health and debugging.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Spanned<ListenAddr>>,
}

/// The gateway over TLS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Https {
    /// Address to listen on.
    pub address: Spanned<ListenAddr>,
    /// Certificate chain, PEM. Read again when it changes. A relative path begins at this file's folder.
    pub cert_file: Spanned<PathBuf>,
    /// Private key, PEM. Read again when it changes.
    pub key_file: Spanned<PathBuf>,
}

/// Who may use the gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Auth {
    /// File of API keys, one a line. Without it anybody may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<Spanned<PathBuf>>,
}

/// What is logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Log {
    /// Least level that is written. Default info.
    pub level: LogLevel,
    /// How lines look. Default text.
    pub format: LogFormat,
}

/// Least level that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed and needs somebody.
    Error,
    /// What was wrong and was handled.
    Warn,
    /// What happened, no more than a line a request.
    #[default]
    Info,
    /// What was decided, and why.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How metrics are named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Exposition {
    /// Whether `/metrics` and `/debug` of the admin address are only for those whom the Kubernetes cluster allows to `get` that path: they
    /// send their token (`Authorization: Bearer`), and the cluster is asked by `TokenReview` and `SubjectAccessReview`. Default false.
    pub kubernetes_auth: bool,
    /// Whether metrics also have the names that llm-d gave them before (`inference_objective_`, `inference_pool_`,
    /// `inference_extension_`, `llm_d_inference_scheduler_`), for dashboards and autoscalers that still use them. Default true.
    pub legacy_names: bool,
}

impl Default for Exposition {
    fn default() -> Self {
        Self { kubernetes_auth: false, legacy_names: true }
    }
}

/// How many decisions are kept for `weir explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Explain {
    /// Memory for decisions; the oldest make room. 0 keeps none. Default 8Mi.
    pub max_bytes: Quantity,
    /// Best candidates kept of each decision. Default 16.
    pub candidates: Spanned<u16>,
}

impl Default for Explain {
    fn default() -> Self {
        Self { max_bytes: Quantity::mib(8), candidates: Spanned::nowhere(16) }
    }
}
