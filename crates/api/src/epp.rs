//! llm-d's `EndpointPickerConfig`: which plugins there are and how profiles combine them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Diagnostic, Diagnostics, GoDuration, Params, Quantity, Span, Spanned, yaml};

mod check;
mod gates;
#[cfg(test)]
mod tests;

pub use self::gates::{FeatureGates, GATES};

/// The `apiVersion` of today.
pub const EPP_API_VERSION: &str = "llm-d.ai/v1alpha1";
/// The `apiVersion` of before, still accepted with a warning.
pub const EPP_API_VERSION_DEPRECATED: &str = "inference.networking.x-k8s.io/v1alpha1";
/// The `kind`.
pub const EPP_KIND: &str = "EndpointPickerConfig";

/// The document that is used when there is none.
pub const BUILTIN_EPP: &str = "\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: metrics-data-source
- type: core-metrics-extractor
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
    weight: 2
  - pluginRef: kv-cache-utilization-scorer
    weight: 2
  - pluginRef: prefix-cache-scorer
    weight: 3
dataLayer:
  sources:
  - pluginRef: metrics-data-source
    extractors:
    - pluginRef: core-metrics-extractor
";

/// A usable value and what its author should nevertheless know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked<T> {
    /// The value.
    pub value: T,
    /// Warnings only.
    pub warnings: Diagnostics,
}

/// How requests are scheduled: llm-d's `EndpointPickerConfig`.
///
/// Decoding checks names and types; [`EndpointPickerConfig::parse`] also checks the structure (names unique, references
/// not empty, gates known) and moves deprecated fields to where they are now. Whether types are registered and
/// references lead anywhere is for the compilation of a plan, which knows the plugins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(description = "How requests are scheduled: llm-d's EndpointPickerConfig.")]
pub struct EndpointPickerConfig {
    /// `llm-d.ai/v1alpha1`, or the deprecated `inference.networking.x-k8s.io/v1alpha1`. May be left out where the
    /// document is part of another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<Spanned<String>>,
    /// `EndpointPickerConfig`. May be left out where the document is part of another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Spanned<String>>,
    /// Gates to open or close: `name`, `name=true` or `name=false`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feature_gates: Vec<Spanned<String>>,
    /// Every plugin instance.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginSpec>,
    /// Combinations of filters, scorers and a picker. Without any there is one profile, `default`, of all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scheduling_profiles: Vec<ProfileSpec>,
    /// Where facts about endpoints come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_layer: Option<DataLayerSpec>,
    /// Queues, priorities and fairness; needs the gate `flowControl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_control: Option<FlowControlSpec>,
    /// How request bodies are understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_handler: Option<RequestHandlerSpec>,
    /// Deprecated: now `flowControl.saturationDetector`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saturation_detector: Option<PluginRef>,
    /// Deprecated: now the first of `requestHandler.parsers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parser: Option<PluginRef>,
}

/// One plugin instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Spanned<PluginEntry>", into = "PluginEntry")]
#[schemars(rename = "Plugin")]
pub struct PluginSpec {
    /// Its own name, if it has one.
    pub name: Option<Spanned<String>>,
    /// Registered type.
    pub plugin_type: Spanned<String>,
    /// Its parameters, as written.
    pub parameters: Params,
    /// Where the entry stands.
    pub at: Span,
    /// Where it is in the configuration, as in `plugins[3]`.
    pub path: String,
}

impl PluginSpec {
    /// An instance that was written nowhere.
    pub fn new(plugin_type: impl Into<String>) -> Self {
        Self {
            name: None,
            plugin_type: Spanned::nowhere(plugin_type.into()),
            parameters: Params::default(),
            at: Span::default(),
            path: String::new(),
        }
    }

    /// Its name: its own, else its type.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_ref().map_or(self.plugin_type.as_str(), |n| n.as_str())
    }

    /// An error about the entry.
    pub fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.at, &self.path, message)
    }

    /// A warning about the entry.
    pub fn warning(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(self.at, &self.path, message)
    }
}

/// One plugin instance.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PluginEntry {
    /// Name to refer to it by, unique. Default: its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Spanned<String>>,
    /// Registered type.
    #[serde(rename = "type")]
    plugin_type: Spanned<String>,
    /// Parameters, which only the plugin understands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parameters: Option<Params>,
}

impl From<Spanned<PluginEntry>> for PluginSpec {
    fn from(entry: Spanned<PluginEntry>) -> Self {
        let Spanned { value, at, path } = entry;
        let parameters = value.parameters.unwrap_or_else(|| Params::none_at(at, format!("{path}.parameters")));
        let name = value.name.filter(|n| !n.is_empty());
        Self { name, plugin_type: value.plugin_type, parameters, at, path }
    }
}

impl From<PluginSpec> for PluginEntry {
    fn from(spec: PluginSpec) -> Self {
        let parameters = spec.parameters.node().is_some().then(|| spec.parameters.clone());
        Self { name: spec.name, plugin_type: spec.plugin_type, parameters }
    }
}

/// Filters, scorers and a picker that together choose endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "SchedulingProfile")]
pub struct ProfileSpec {
    /// Name, unique.
    pub name: Spanned<String>,
    /// Its plugins; filters run in this order.
    #[serde(default)]
    pub plugins: Vec<ProfilePlugin>,
}

/// A plugin of a profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfilePlugin {
    /// Name of a plugin instance.
    pub plugin_ref: Spanned<String>,
    /// What a scorer's values are multiplied by, default 1. Below zero it is a penalty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// A reference to a plugin instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginRef {
    /// Name of a plugin instance.
    pub plugin_ref: Spanned<String>,
}

/// Where facts about endpoints come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "DataLayer")]
pub struct DataLayerSpec {
    /// Whether the metrics source and its extractor are added when they are not listed. Default true.
    pub inject_defaults: bool,
    /// Sources and who takes what they deliver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<DataSourceSpec>,
    /// Replaces watching Kubernetes for endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<PluginRef>,
    /// Finds other replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_discovery: Option<PluginRef>,
    /// Shares state with other replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_replica_syncer_plugin_ref: Option<Spanned<String>>,
    /// How often it does. Default 200ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_replica_sync_interval: Option<GoDuration>,
}

impl Default for DataLayerSpec {
    fn default() -> Self {
        Self {
            inject_defaults: true,
            sources: Vec::new(),
            discovery: None,
            peer_discovery: None,
            cross_replica_syncer_plugin_ref: None,
            cross_replica_sync_interval: None,
        }
    }
}

/// A data source and its extractors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "DataSource")]
pub struct DataSourceSpec {
    /// Name of a plugin instance that is a data source.
    pub plugin_ref: Spanned<String>,
    /// Plugin instances that take what it delivers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extractors: Vec<PluginRef>,
}

/// How request bodies are understood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "RequestHandler")]
pub struct RequestHandlerSpec {
    /// Parsers; if any is listed, only these are used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parsers: Vec<PluginRef>,
}

/// Queues, priorities and fairness.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "FlowControl")]
pub struct FlowControlSpec {
    /// Most bytes waiting in all queues. 0 or nothing: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Quantity>,
    /// Most requests waiting in all queues. 0 or nothing: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<Quantity>,
    /// Longest a request may wait. Default 60s; 0s: for ever.
    #[serde(rename = "defaultRequestTTL", skip_serializing_if = "Option::is_none")]
    pub default_request_ttl: Option<GoDuration>,
    /// Longest a request may wait while the pool is empty. Default `defaultRequestTTL`; 0s: for ever.
    #[serde(rename = "noEndpointRequestTTL", skip_serializing_if = "Option::is_none")]
    pub no_endpoint_request_ttl: Option<GoDuration>,
    /// For priorities that have no band of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_priority_band: Option<BandSpec>,
    /// The same for priorities below 0. Default `defaultPriorityBand`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_negative_priority_band: Option<BandSpec>,
    /// Bands by priority.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priority_bands: Vec<PriorityBandSpec>,
    /// Plugin that says how full the pool may get for whom. Default `static-usage-limit-policy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_limit_policy_plugin_ref: Option<Spanned<String>>,
    /// Plugin that says how full the pool is. Default `utilization-detector`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saturation_detector: Option<PluginRef>,
    /// Whether running requests may make room for others. Default false.
    #[serde(skip_serializing_if = "is_false")]
    pub enable_eviction: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(b: &bool) -> bool {
    !b
}

impl FlowControlSpec {
    /// What stands for `defaultRequestTTL` when it is not set.
    pub const DEFAULT_TTL: GoDuration = GoDuration::from_secs(60);

    /// Longest a request may wait; zero: for ever.
    #[must_use]
    pub fn request_ttl(&self) -> GoDuration {
        self.default_request_ttl.unwrap_or(Self::DEFAULT_TTL)
    }

    /// Longest a request may wait while the pool is empty; zero: for ever.
    #[must_use]
    pub fn no_endpoint_ttl(&self) -> GoDuration {
        self.no_endpoint_request_ttl.unwrap_or_else(|| self.request_ttl())
    }
}

/// Limits and policies of one priority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(rename = "Band")]
pub struct BandSpec {
    /// Most bytes waiting. 0 or nothing: 1G.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Quantity>,
    /// Most requests waiting. 0 or nothing: 5000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<Quantity>,
    /// Plugin that chooses between flows. Default `global-strict-fairness-policy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fairness_policy_ref: Option<Spanned<String>>,
    /// Plugin that chooses within a flow. Default `fcfs-ordering-policy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering_policy_ref: Option<Spanned<String>>,
}

/// Limits and policies of one priority, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "PriorityBand")]
pub struct PriorityBandSpec {
    /// The priority; higher goes first. Unique.
    pub priority: Spanned<i32>,
    /// Most bytes waiting. 0 or nothing: 1G.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Quantity>,
    /// Most requests waiting. 0 or nothing: 5000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<Quantity>,
    /// Plugin that chooses between flows. Default `global-strict-fairness-policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness_policy_ref: Option<Spanned<String>>,
    /// Plugin that chooses within a flow. Default `fcfs-ordering-policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_policy_ref: Option<Spanned<String>>,
}

impl PriorityBandSpec {
    /// The band without its priority.
    #[must_use]
    pub fn band(&self) -> BandSpec {
        BandSpec {
            max_bytes: self.max_bytes,
            max_requests: self.max_requests,
            fairness_policy_ref: self.fairness_policy_ref.clone(),
            ordering_policy_ref: self.ordering_policy_ref.clone(),
        }
    }
}

impl BandSpec {
    /// Most bytes waiting.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes.map(Quantity::get).filter(|n| *n > 0).unwrap_or(1_000_000_000)
    }

    /// Most requests waiting.
    #[must_use]
    pub fn max_requests(&self) -> u64 {
        self.max_requests.map(Quantity::get).filter(|n| *n > 0).unwrap_or(5_000)
    }
}

/// Whether a document stands alone or inside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Alone: `apiVersion` and `kind` are required.
    Alone,
    /// Inside another: they may be left out.
    Inside,
}

impl EndpointPickerConfig {
    /// Reads a document that stands alone.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Checked<Self>, Diagnostics> {
        Self::from_node(&yaml::parse(text)?, "", Standing::Alone)
    }

    /// Reads a document that has been parsed already and stands at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_node(node: &yaml::Node, path: &str, standing: Standing) -> Result<Checked<Self>, Diagnostics> {
        let (value, mut found) = yaml::decode::<Self>(node, path, yaml::Case::Sensitive);
        let Some(mut value) = value.filter(|_| !found.has_errors()) else {
            return Err(found);
        };
        value.check(node, path, standing, &mut found);
        Ok(Checked { value, warnings: found.into_result()? })
    }

    /// The document that is used when there is none, [`BUILTIN_EPP`].
    #[must_use]
    pub fn builtin() -> Self {
        // A test proves that it parses; an empty document would get every default.
        Self::parse(BUILTIN_EPP).map(|checked| checked.value).unwrap_or_default()
    }

    /// The gates as this document sets them.
    ///
    /// # Errors
    /// An unknown gate or a value that is neither true nor false.
    pub fn gates(&self) -> Result<FeatureGates, Diagnostics> {
        FeatureGates::parse(&self.feature_gates)
    }
}
