//! Sources besides engines' own pages: GPU exporters and other clusters' pickers.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, GoDuration};
use weir_plan::{
    DiscoveryFile, Draft, ExtensionPoint, NumberConfig, PageConfig, Parts, Payload, PluginContext, PluginType, SourceConfig,
    SourceTls,
};

use crate::{
    declare::{NoParameters, alpha},
    scorer::multicluster::{KV_USAGE, QUEUE},
};

/// How busy a GPU is, in percent.
const GPU_UTILIZATION: &str = "DCGM_FI_DEV_GPU_UTIL";

pub(super) fn plugins() -> [PluginType; 5] {
    [
        alpha::<Dcgm>(
            "dcgm-data-source",
            &[ExtensionPoint::DataSource],
            "Fetches the metrics page of the GPU exporter beside each endpoint.",
            dcgm,
        ),
        alpha::<NoParameters>(
            "dcgm-extractor",
            &[ExtensionPoint::Extractor],
            "Reads how busy endpoints' GPUs are, 0 to 1, as attribute `GPUUtilization`: the busiest of those whose series name the \
             endpoint's pod, or of all if none names a pod.",
            |context| {
                let NoParameters {} = context.params()?;
                let name = format!("GPUUtilization/{}", context.name);
                let number = NumberConfig { name, family: GPU_UTILIZATION.to_owned(), divisor: 100.0, of_pod: true };
                Ok(numbers(vec![number]))
            },
        ),
        alpha::<ClusterSource>(
            "multicluster-metrics-data-source",
            &[ExtensionPoint::DataSource],
            "Fetches the metrics pages of other clusters' pickers, which are where the labels `metricsAddress` and `metricsPort` of \
             their endpoints say.",
            cluster_source,
        ),
        alpha::<ClusterExtractor>(
            "multicluster-metrics-extractor",
            &[ExtensionPoint::Extractor],
            "Reads how busy other clusters are.",
            cluster_extractor,
        ),
        alpha::<ClusterFile>(
            "multicluster-file-discovery",
            &[ExtensionPoint::DataSource],
            "Reads the list of clusters from a file; `dataLayer.discovery` has to name it.",
            cluster_file,
        ),
    ]
}

fn numbers(numbers: Vec<NumberConfig>) -> Draft {
    let keys = numbers.iter().map(|one| one.name.clone()).collect();
    let source = Some(SourceConfig::Numbers(numbers));
    Draft::ready(Parts { source, ..Parts::default() }).taking(&[Payload::MetricsPage]).finding(keys)
}

fn page(page: PageConfig) -> Draft {
    let source = Some(SourceConfig::Page(page));
    Draft::ready(Parts { source, ..Parts::default() }).bringing(Payload::MetricsPage)
}

fn pace(interval: Option<GoDuration>) -> Option<std::time::Duration> {
    interval.filter(|interval| !interval.is_zero()).map(GoDuration::get)
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
    /// Whether the exporter is asked at the address of the endpoint's node. Has no effect without Kubernetes: it is asked at the
    /// endpoint's own address.
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
    if params.use_node_address {
        context.warn("`useNodeAddress` has no effect without Kubernetes: the exporter is asked at the endpoint's own address");
    }
    let tls = SourceTls { insecure_skip_verify: params.insecure_skip_verify, ..SourceTls::default() };
    Ok(page(PageConfig {
        scheme: Some(params.scheme),
        path: params.path,
        port: Some(params.port),
        interval: pace(params.interval),
        tls,
        by_label: false,
    }))
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
    let file = |path: Option<String>| path.filter(|path| !path.is_empty()).map(PathBuf::from);
    let tls = SourceTls {
        insecure_skip_verify: params.insecure_skip_verify,
        ca_file: file(params.ca_cert_path),
        identity: file(params.client_cert_path).zip(file(params.client_key_path)),
    };
    Ok(page(PageConfig {
        scheme: Some(params.scheme),
        path: params.path,
        port: params.port.filter(|port| *port != 0),
        interval: pace(params.interval),
        tls,
        by_label: true,
    }))
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
    let mut found = Vec::new();
    for (field, family, name) in [
        ("kvCacheUtilizationMetric", params.kv_cache_utilization_metric, KV_USAGE),
        ("queueSizeMetric", params.queue_size_metric, QUEUE),
    ] {
        if family.is_empty() {
            return Err(context.error_at(field, "must not be empty"));
        }
        found.push(NumberConfig { name: name.to_owned(), family, divisor: 1.0, of_pod: false });
    }
    Ok(numbers(found))
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
    let ClusterFile { path, watch_file } = context.params()?;
    if path.is_empty() {
        return Err(context.error_at("path", "is required"));
    }
    let source = SourceConfig::File(DiscoveryFile { path: PathBuf::from(path), watch: watch_file });
    Ok(Draft::ready(Parts { source: Some(source), ..Parts::default() }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_plan::PageReader;

    use crate::testing::{compile, refused};

    const GPU: &str = "plugins:\n- {type: dcgm-data-source, parameters: {port: 9401, interval: 1s}}\n- {type: dcgm-extractor, name: gpu}\n\
                       - {type: endpoint-attribute-scorer, parameters: {attributeKey: GPUUtilization, producer: gpu, algorithm: {type: \
                       linear_lower_is_better}}}\ndataLayer:\n  sources:\n  - {pluginRef: dcgm-data-source, extractors: [{pluginRef: \
                       gpu}]}\n";

    #[test]
    fn the_exporters_page_reaches_the_plan() {
        let plan = compile(GPU).unwrap();
        let [page] = plan.pages.as_slice() else { panic!("one page: {:?}", plan.pages) };
        assert_eq!((page.kind, page.page.port, page.page.path.as_str()), ("dcgm-data-source", Some(9_401), "/metrics"));
        assert_eq!(page.page.interval, Some(Duration::from_secs(1)));
        let [PageReader::Numbers("dcgm-extractor", numbers)] = page.readers.as_slice() else { panic!("{:?}", page.readers) };
        assert_eq!((numbers[0].name.as_str(), numbers[0].divisor), ("GPUUtilization/gpu", 100.0));
    }

    #[test]
    fn what_nobody_reads_is_not_fetched_and_what_nobody_wires_is_told() {
        let queue = "{type: queue-scorer}";
        let start = GPU.find("- {type: endpoint-attribute-scorer").unwrap();
        let end = GPU.find("dataLayer").unwrap();
        let plan = compile(&GPU.replace(&GPU[start..end], &format!("- {queue}\n"))).unwrap();
        assert!(plan.pages.is_empty() && plan.effective.sources[0].not_started == Some("nobody reads what it brings"));
        let plan = compile(&GPU[..end]).unwrap();
        assert!(plan.pages.is_empty());
        assert!(
            plan.warnings.iter().any(|one| one.message.contains("dataLayer.sources does not list it")),
            "{:?}",
            plan.warnings
        );
    }

    #[test]
    fn clusters_are_found_and_read() {
        let text = "plugins:\n- {type: multicluster-metrics-data-source, parameters: {insecureSkipVerify: true}}\n- {type: \
                    multicluster-metrics-extractor, parameters: {queueSizeMetric: q}}\n- {type: multicluster-file-discovery, \
                    parameters: {path: /etc/clusters.yaml, watchFile: true}}\n- {type: multicluster-queue-scorer}\ndataLayer:\n  \
                    discovery: {pluginRef: multicluster-file-discovery}\n  sources:\n  - {pluginRef: \
                    multicluster-metrics-data-source, extractors: [{pluginRef: multicluster-metrics-extractor}]}\n";
        let plan = compile(text).unwrap();
        let page = &plan.pages[0];
        assert!(page.page.by_label && page.page.tls.insecure_skip_verify && page.page.scheme.as_deref() == Some("https"));
        let [PageReader::Numbers(_, numbers)] = page.readers.as_slice() else { panic!("{:?}", page.readers) };
        let families: Vec<&str> = numbers.iter().map(|one| one.family.as_str()).collect();
        assert_eq!(families, ["llm_d_epp_average_kv_cache_utilization", "q"]);
        assert!(plan.discovery.is_some_and(|file| file.watch && file.path.ends_with("clusters.yaml")));
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
