//! Sources besides engines' own pages, which are not yet active: GPU exporters and other clusters' pickers.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, GoDuration};
use weir_plan::{Draft, ExtensionPoint, Parts, Payload, PluginContext, PluginType};

use crate::declare::{NoParameters, alpha};

pub(super) fn plugins() -> [PluginType; 5] {
    let inactive = |plugin: PluginType| PluginType { active: false, ..plugin };
    [
        inactive(alpha::<Dcgm>(
            "dcgm-data-source",
            &[ExtensionPoint::DataSource],
            "Fetches the metrics page of the GPU exporter beside each endpoint.",
            dcgm,
        )),
        inactive(alpha::<NoParameters>(
            "dcgm-extractor",
            &[ExtensionPoint::Extractor],
            "Reads how busy endpoints' GPUs are, as attribute `GPUUtilization`.",
            |context| {
                let NoParameters {} = context.params()?;
                Ok(Draft::ready(Parts::default()).taking(&[Payload::MetricsPage]))
            },
        )),
        inactive(alpha::<ClusterSource>(
            "multicluster-metrics-data-source",
            &[ExtensionPoint::DataSource],
            "Fetches the metrics pages of other clusters' pickers.",
            cluster_source,
        )),
        inactive(alpha::<ClusterExtractor>(
            "multicluster-metrics-extractor",
            &[ExtensionPoint::Extractor],
            "Reads how busy other clusters are.",
            cluster_extractor,
        )),
        inactive(alpha::<ClusterFile>(
            "multicluster-file-discovery",
            &[ExtensionPoint::DataSource],
            "Reads the list of clusters from a file.",
            cluster_file,
        )),
    ]
}

/// Where the exporter's page is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Dcgm {
    /// `http` or `https`.
    scheme: String,
    /// Port of the exporter.
    port: u16,
    /// Path of the page.
    path: String,
    /// Whether the exporter is asked at the address of the endpoint's node.
    use_node_address: bool,
    /// Whether certificates go unchecked.
    insecure_skip_verify: bool,
    /// How often the page is fetched.
    interval: Option<GoDuration>,
}

impl Default for Dcgm {
    fn default() -> Self {
        Self {
            scheme: "http".to_owned(),
            port: 9_400,
            path: "/metrics".to_owned(),
            use_node_address: false,
            insecure_skip_verify: true,
            interval: None,
        }
    }
}

fn dcgm(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Dcgm = context.params()?;
    check_scheme(context, &params.scheme)?;
    if params.port == 0 {
        return Err(context.error_at("port", "must be in 1..=65535"));
    }
    check_path(context, &params.path)?;
    Ok(Draft::ready(Parts::default()).bringing(Payload::MetricsPage))
}

fn check_scheme(context: &PluginContext<'_>, scheme: &str) -> Result<(), Diagnostic> {
    if ["http", "https"].contains(&scheme) {
        return Ok(());
    }
    Err(context.error_at("scheme", format!("must be http or https, is `{scheme}`")))
}

fn check_path(context: &PluginContext<'_>, path: &str) -> Result<(), Diagnostic> {
    if path.starts_with('/') { Ok(()) } else { Err(context.error_at("path", format!("must begin with a slash, is `{path}`"))) }
}

/// Where the pages are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ClusterSource {
    /// `http` or `https`.
    scheme: String,
    /// Path of the page.
    path: String,
    /// Port; unset: as the cluster's label says.
    port: Option<u16>,
    /// Whether certificates go unchecked.
    insecure_skip_verify: bool,
    /// File with the certificates to trust.
    ca_cert_path: Option<String>,
    /// File with this router's certificate.
    client_cert_path: Option<String>,
    /// File with its key.
    client_key_path: Option<String>,
    /// How often a page is fetched.
    interval: Option<GoDuration>,
}

impl Default for ClusterSource {
    fn default() -> Self {
        Self {
            scheme: "https".to_owned(),
            path: "/metrics".to_owned(),
            port: None,
            insecure_skip_verify: false,
            ca_cert_path: None,
            client_cert_path: None,
            client_key_path: None,
            interval: None,
        }
    }
}

fn cluster_source(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: ClusterSource = context.params()?;
    check_scheme(context, &params.scheme)?;
    check_path(context, &params.path)?;
    if params.client_cert_path.is_some() != params.client_key_path.is_some() {
        return Err(context.error_at("clientCertPath", "goes with clientKeyPath"));
    }
    Ok(Draft::ready(Parts::default()).bringing(Payload::MetricsPage))
}

/// Which families mean what.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ClusterExtractor {
    /// Average used share of a cluster's KV caches.
    kv_cache_utilization_metric: String,
    /// Average length of a cluster's queues.
    queue_size_metric: String,
}

impl Default for ClusterExtractor {
    fn default() -> Self {
        Self {
            kv_cache_utilization_metric: "llm_d_epp_average_kv_cache_utilization".to_owned(),
            queue_size_metric: "llm_d_epp_average_queue_size".to_owned(),
        }
    }
}

fn cluster_extractor(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: ClusterExtractor = context.params()?;
    for (field, family) in
        [("kvCacheUtilizationMetric", params.kv_cache_utilization_metric), ("queueSizeMetric", params.queue_size_metric)]
    {
        if family.is_empty() {
            return Err(context.error_at(field, "must not be empty"));
        }
    }
    Ok(Draft::ready(Parts::default()).taking(&[Payload::MetricsPage]))
}

/// The file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ClusterFile {
    /// Its path. Required.
    path: String,
    /// Whether it is read again when it changes.
    watch_file: bool,
}

fn cluster_file(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let ClusterFile { path, watch_file: _ } = context.params()?;
    if path.is_empty() {
        return Err(context.error_at("path", "is required"));
    }
    Ok(Draft::ready(Parts::default()))
}

#[cfg(test)]
mod tests {
    use crate::testing::{compile, refused};

    #[test]
    fn they_load_and_are_named_as_not_active() {
        let text = "plugins:\n- {type: dcgm-data-source, parameters: {port: 9401, useNodeAddress: true, interval: 1s}}\n- {type: \
                    dcgm-extractor}\n- {type: multicluster-metrics-data-source}\n- {type: multicluster-metrics-extractor}\n- {type: \
                    multicluster-file-discovery, parameters: {path: /etc/clusters.yaml, watchFile: true}}\n- {type: queue-scorer}\n\
                    dataLayer:\n  sources:\n  - {pluginRef: dcgm-data-source, extractors: [{pluginRef: dcgm-extractor}]}\n";
        let plan = compile(text).unwrap();
        assert_eq!(plan.inactive().filter(|one| one.contains("dcgm") || one.contains("multicluster")).count(), 5);
    }

    #[test]
    fn parameters_that_are_refused() {
        for (kind, parameters, why) in [
            ("dcgm-data-source", "{scheme: ftp}", "http or https"),
            ("dcgm-data-source", "{port: 0}", "1..=65535"),
            ("dcgm-data-source", "{path: metrics}", "slash"),
            ("multicluster-metrics-data-source", "{clientCertPath: a}", "clientKeyPath"),
            ("multicluster-metrics-extractor", "{queueSizeMetric: ''}", "must not be empty"),
            ("multicluster-file-discovery", "{}", "is required"),
        ] {
            assert!(refused(kind, parameters).contains(why), "{kind} {parameters}");
        }
    }
}
