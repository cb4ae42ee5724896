//! A pool: endpoints that serve the same models, and how one of them is chosen.

use std::{borrow::Cow, collections::BTreeMap, fmt, path::PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};

use crate::{
    EndpointEntry, EndpointPickerConfig, EndpointUrl, GoDuration, Spanned,
    endpoints::DEFAULT_NAMESPACE,
    router::KubernetesEndpoints,
    yaml::{LOCATED, Meta},
};

/// Endpoints that serve the same models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Pool")]
pub struct PoolSpec {
    /// Name, unique; lower-case letters, digits and hyphens.
    pub name: Spanned<String>,
    /// Models that requests for this pool name. Default: what the endpoints' `/v1/models` say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Spanned<String>>,
    /// What the endpoints speak, as an InferencePool says it. Health checks of `listen.extProc` fail while no parser of the pool reads
    /// it. Default: nothing is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<AppProtocol>,
    /// Where the endpoints come from.
    pub endpoints: Endpoints,
    /// How one of them is chosen: the body of an `EndpointPickerConfig`, or `path` of a file that holds one. Default:
    /// prefix cache, queue length and use of the KV cache.
    #[serde(default)]
    pub scheduling: Scheduling,
    /// File with the API key that the endpoints want, for requests, `/v1/models` and metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<Spanned<PathBuf>>,
    /// TLS towards endpoints whose URL is `https`.
    #[serde(default)]
    pub tls: PoolTls,
    /// How the endpoints' metrics are read.
    #[serde(default)]
    pub metrics: MetricsSpec,
}

impl PoolSpec {
    /// A pool of these endpoints with every default.
    pub fn new(name: impl Into<String>, endpoints: Vec<StaticEndpoint>) -> Self {
        Self {
            name: Spanned::nowhere(name.into()),
            models: Vec::new(),
            app_protocol: None,
            endpoints: Endpoints { fixed: Some(Spanned::nowhere(endpoints)), ..Endpoints::default() },
            scheduling: Scheduling::default(),
            api_key_file: None,
            tls: PoolTls::default(),
            metrics: MetricsSpec::default(),
        }
    }

    /// The endpoints that are listed here, with every default filled in: an endpoint without a name is called after the
    /// pool and its place in the list, as in `chat-0`. `None` when they come from elsewhere.
    #[must_use]
    pub fn static_entries(&self) -> Option<Vec<EndpointEntry>> {
        let listed = self.endpoints.fixed.as_ref()?;
        let entry = |(index, endpoint): (usize, &StaticEndpoint)| EndpointEntry {
            name: endpoint.name.as_ref().map_or_else(|| format!("{}-{index}", self.name), |n| n.value.clone()),
            namespace: endpoint.namespace.as_ref().map_or(DEFAULT_NAMESPACE, |n| n.as_str()).to_owned(),
            url: endpoint.url.value.clone(),
            labels: endpoint.labels.clone(),
        };
        Some(listed.iter().enumerate().map(entry).collect())
    }
}

/// What a pool's endpoints speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AppProtocol {
    /// HTTP/1.1.
    #[serde(rename = "http")]
    Http,
    /// HTTP/2 in the clear, as gRPC does.
    #[serde(rename = "kubernetes.io/h2c")]
    H2c,
}

impl AppProtocol {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "kubernetes.io/h2c",
        }
    }
}

/// Where endpoints come from: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Endpoints {
    /// A list.
    #[serde(rename = "static", skip_serializing_if = "Option::is_none")]
    pub fixed: Option<Spanned<Vec<StaticEndpoint>>>,
    /// A file in llm-d's format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<EndpointFile>,
    /// Pods of a Kubernetes cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesEndpoints>,
}

/// A listed endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticEndpoint {
    /// Name, unique with the namespace. Default: the pool's name and its place in the list, as in `chat-0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Spanned<String>>,
    /// Where it serves. Requests' paths are appended, so it does not end in `/v1`.
    pub url: Spanned<EndpointUrl>,
    /// Namespace. Default `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Spanned<String>>,
    /// What filters may look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl StaticEndpoint {
    /// An endpoint with every default.
    #[must_use]
    pub fn new(url: EndpointUrl) -> Self {
        Self { name: None, url: Spanned::nowhere(url), namespace: None, labels: BTreeMap::new() }
    }
}

/// A file of endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointFile {
    /// The file. A relative path begins at this file's folder.
    pub path: Spanned<PathBuf>,
    /// Whether changes are followed. Default true.
    #[serde(default = "yes")]
    pub watch: bool,
}

fn yes() -> bool {
    true
}

/// TLS towards endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PoolTls {
    /// Certificates that are trusted, PEM. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Spanned<PathBuf>>,
    /// Name that certificates must bear. Default: the host of the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Spanned<String>>,
    /// Whether any certificate is taken. Anybody on the way can then read and change requests. Default false.
    pub insecure_skip_verify: bool,
    /// Client certificate chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<Spanned<PathBuf>>,
    /// Private key of the client certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<Spanned<PathBuf>>,
}

/// How endpoints' metrics are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Metrics")]
pub struct MetricsSpec {
    /// Whether they are read at all. Default true.
    pub enabled: bool,
    /// How often, while an endpoint has work. Default 50ms.
    pub interval: Spanned<GoDuration>,
    /// Whether idle endpoints are read less often. Default true.
    pub adaptive: bool,
    /// How often, while an endpoint is idle. Default 1s.
    pub idle_interval: Spanned<GoDuration>,
    /// How long one reading may take. Default 1s.
    pub timeout: Spanned<GoDuration>,
    /// Readings older than this are marked stale. Default 2s.
    pub staleness_threshold: Spanned<GoDuration>,
    /// Path of the metrics page. Default: what the metrics source of the plan says, else `/metrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Spanned<String>>,
}

impl Default for MetricsSpec {
    fn default() -> Self {
        let ms = |n| Spanned::nowhere(GoDuration::from_millis(n));
        Self {
            enabled: true,
            interval: ms(50),
            adaptive: true,
            idle_interval: ms(1_000),
            timeout: ms(1_000),
            staleness_threshold: ms(2_000),
            path: None,
        }
    }
}

/// How one of the endpoints is chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum Scheduling {
    /// Written in place, or the built-in document.
    Inline(Box<EndpointPickerConfig>),
    /// In a file of its own.
    File {
        /// The file.
        path: Spanned<PathBuf>,
        /// What it holds; empty until the configuration has been loaded.
        config: Box<EndpointPickerConfig>,
    },
}

impl Scheduling {
    /// The configuration, wherever it was written.
    #[must_use]
    pub fn config(&self) -> &EndpointPickerConfig {
        match self {
            Self::Inline(config) | Self::File { config, .. } => config,
        }
    }
}

impl Default for Scheduling {
    fn default() -> Self {
        Self::Inline(Box::new(EndpointPickerConfig::builtin()))
    }
}

/// The only field of a reference to a file.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SchedulingFile")]
struct FileRef {
    /// A file that holds an `EndpointPickerConfig`. A relative path begins at this file's folder.
    path: Spanned<PathBuf>,
}

impl<'de> Deserialize<'de> for Scheduling {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Scheduling;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an EndpointPickerConfig, or the path of one")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scheduling, A::Error> {
                let missing = || A::Error::custom("expected a mapping");
                let meta = Meta::read(&mut seq)?;
                if meta.keys.iter().any(|k| k == "path") {
                    let FileRef { path } = seq.next_element()?.ok_or_else(missing)?;
                    return Ok(Scheduling::File { path, config: Box::default() });
                }
                seq.next_element()?.map(Scheduling::Inline).ok_or_else(missing)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scheduling, D::Error> {
                let node = crate::yaml::Node::deserialize(deserializer)?;
                crate::yaml::from_node(&node).map_err(D::Error::custom)
            }
        }
        deserializer.deserialize_newtype_struct(LOCATED, Either)
    }
}

impl Serialize for Scheduling {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Inline(config) => config.serialize(serializer),
            Self::File { path, .. } => FileRef { path: path.clone() }.serialize(serializer),
        }
    }
}

impl JsonSchema for Scheduling {
    fn schema_name() -> Cow<'static, str> {
        "Scheduling".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let inline = generator.subschema_for::<EndpointPickerConfig>();
        let file = generator.subschema_for::<FileRef>();
        json_schema!({ "anyOf": [inline, file] })
    }
}
