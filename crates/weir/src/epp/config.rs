//! From flags and llm-d's document to the configuration that `weir serve` runs on.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use weir_api::{
    BUILTIN_EPP, EndpointFile, EndpointPickerConfig, Endpoints, ExtProc, GoDuration, KubernetesEndpoints, LeaderElection,
    ListenAddr, Loaded, Params, PluginSpec, PoolSpec, Quantity, RouterConfig, Scheduling, Sources, Spanned, Standing,
    TraceExporter, Tracing, yaml,
};

use super::flags::{Flags, ModelServerMetrics, TlsVersion};
use crate::failure::Failure;

/// What metrics and log call the pool if nobody named it.
const POOL: &str = "epp";
/// What traces call the picker if nobody named it: llm-d's name.
const SERVICE: &str = "llm-d-epp";
/// The plugin type whose parameters replace the flags `--model-server-metrics-*`.
const METRICS_SOURCE: &str = "metrics-data-source";

/// Reads the document and puts it together with the flags.
pub(super) fn load(flags: &Flags) -> Result<Loaded, Failure> {
    let (name, text) = document(flags)?;
    let sources = Sources::single(name, text.as_str());
    let parsed =
        yaml::parse(&text).map_err(Into::into).and_then(|node| EndpointPickerConfig::from_node(&node, "", Standing::Alone));
    let checked = parsed.map_err(|found| Failure::new(found.render(&sources)))?;
    let mut scheduling = checked.value;
    set_metrics_source(&mut scheduling, &flags.model_server_metrics)?;
    let discovers = scheduling.data_layer.as_ref().is_some_and(|layer| layer.discovery.is_some());
    let endpoints = match &flags.endpoints_file {
        Some(path) => {
            let file = EndpointFile { path: Spanned::nowhere(path.clone()), watch: true };
            Endpoints { file: Some(file), ..Endpoints::default() }
        }
        None if discovers => Endpoints::default(),
        None => Endpoints { kubernetes: Some(kubernetes(flags)?), ..Endpoints::default() },
    };

    let mut config = RouterConfig::default();
    let any = every_address();
    let at = |port| Spanned::nowhere(ListenAddr((any, port).into()));
    config.listen.ext_proc = Some(at(flags.grpc_port));
    config.listen.grpc_health = Some(at(flags.grpc_health_port));
    config.listen.admin = Some(at(flags.metrics_port));
    config.ext_proc = ext_proc(flags);
    config.drain_timeout = GoDuration::from(flags.drain_timeout);
    config.tracing = tracing(flags, &|name| std::env::var(name).ok());
    let mut pool = PoolSpec::new(pool_name(flags), Vec::new());
    pool.endpoints = endpoints;
    pool.metrics.interval = Spanned::nowhere(GoDuration::from(flags.refresh_metrics_interval));
    pool.metrics.staleness_threshold = Spanned::nowhere(GoDuration::from(flags.metrics_staleness_threshold));
    pool.scheduling = Scheduling::Inline(Box::new(scheduling));
    config.metrics.kubernetes_auth = flags.metrics_endpoint_auth && pool.endpoints.kubernetes.is_some();
    config.leader_election = flags.ha_enable_leader_election.then(LeaderElection::default);
    config.pools.push(pool);
    Ok(Loaded { config, warnings: checked.warnings, sources })
}

/// All addresses of this machine, IPv4 and IPv6, as far as it has both.
fn every_address() -> IpAddr {
    match std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// Everything but the switch and the name is the environment's to say.
fn tracing(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Tracing {
    let named = env("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty())
        || env("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="));
    Tracing {
        exporter: (!flags.tracing).then_some(TraceExporter::None),
        service_name: (!named).then(|| SERVICE.to_owned()),
        ..Tracing::default()
    }
}

fn ext_proc(flags: &Flags) -> ExtProc {
    let defaults = ExtProc::default();
    let file =
        |name: &str| flags.cert_path.as_ref().filter(|_| flags.secure_serving).map(|folder| Spanned::nowhere(folder.join(name)));
    let size = |flag: Option<u64>, default| flag.map_or(default, |bytes| Spanned::nowhere(Quantity::new(bytes)));
    ExtProc {
        secure: flags.secure_serving,
        cert_file: file("tls.crt"),
        key_file: file("tls.key"),
        min_tls_version: if flags.tls_min_version == Some(TlsVersion::V13) {
            weir_api::TlsVersion::V13
        } else {
            weir_api::TlsVersion::V12
        },
        cipher_suites: flags.tls_cipher_suites.iter().cloned().map(Spanned::nowhere).collect(),
        subset_hint: !flags.disable_endpoint_subset_filter,
        scores: flags.emit_endpoint_scores,
        max_receive_bytes: size(flags.grpc_max_recv_msg_size, defaults.max_receive_bytes.clone()),
        max_send_bytes: size(flags.grpc_max_send_msg_size, defaults.max_send_bytes.clone()),
        ..defaults
    }
}

/// The document's name and text.
fn document(flags: &Flags) -> Result<(String, String), Failure> {
    match (&flags.config_file, &flags.config_text) {
        (Some(path), _) => Ok((path.display().to_string(), read(path)?)),
        (None, Some(text)) => Ok(("--config-text".to_owned(), text.clone())),
        (None, None) => Ok(("the built-in configuration".to_owned(), BUILTIN_EPP.to_owned())),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::new(format!("--config-file: cannot read {}: {error}", path.display())))
}

/// Old flags become parameters of the metrics source. What the document says itself stays.
fn set_metrics_source(config: &mut EndpointPickerConfig, flags: &ModelServerMetrics) -> Result<(), Failure> {
    let quoted = |text: &String| serde_json::Value::from(text.as_str()).to_string();
    let values = [
        ("scheme", flags.scheme.as_ref().map(quoted)),
        ("path", flags.path.as_ref().map(quoted)),
        ("port", flags.port.map(|port| port.to_string())),
        ("insecureSkipVerify", flags.insecure_skip_verify.map(|skip| skip.to_string())),
    ];
    let wanted: Vec<(&str, String)> = values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let place = match config.plugins.iter().position(|one| one.plugin_type.as_str() == METRICS_SOURCE) {
        Some(place) => place,
        None => {
            config.plugins.push(PluginSpec::new(METRICS_SOURCE));
            config.plugins.len() - 1
        }
    };
    let Some(plugin) = config.plugins.get_mut(place) else { return Ok(()) };
    let mut parameters = plugin.parameters.node().map_or_else(|| serde_json::json!({}), yaml::Node::to_json);
    let Some(fields) = parameters.as_object_mut() else { return Ok(()) };
    for (name, value) in wanted {
        let value = serde_json::from_str(&value).unwrap_or_default();
        fields.entry(name).or_insert(value);
    }
    // JSON is YAML.
    plugin.parameters = Params::from_yaml(&parameters.to_string()).map_err(|error| Failure::new(error.to_string()))?;
    Ok(())
}

/// What metrics and the log call the pool: after its `InferencePool`, else after the Deployment that this pod belongs to.
fn pool_name(flags: &Flags) -> String {
    let named = flags.pool_name.clone().or_else(|| flags.deployment.clone());
    named.unwrap_or_else(|| POOL.to_owned())
}

/// The endpoints that Kubernetes lists.
fn kubernetes(flags: &Flags) -> Result<KubernetesEndpoints, Failure> {
    let text = |text: &Option<String>| text.clone().map(Spanned::nowhere);
    let endpoints = KubernetesEndpoints { namespace: text(&flags.pool_namespace), ..KubernetesEndpoints::default() };
    match (&flags.pool_name, &flags.endpoint_selector) {
        (Some(_), _) => Ok(KubernetesEndpoints {
            pool: text(&flags.pool_name),
            group: Some(Spanned::nowhere(flags.pool_group.clone())),
            ..endpoints
        }),
        (None, Some(_)) => Ok(KubernetesEndpoints {
            pod_selector: text(&flags.endpoint_selector),
            ports: flags.endpoint_target_ports.iter().copied().map(Spanned::nowhere).collect(),
            ..endpoints
        }),
        (None, None) => Err(Failure::new("nothing says where the endpoints are").with_help(
            "start it with --pool-name NAME (an InferencePool), with --endpoint-selector and --endpoint-target-ports (pods by \
             label), or without Kubernetes with --endpoints-file FILE; or let the configuration name a file:\n\
             \x20   plugins:\n\
             \x20   - {type: file-discovery, parameters: {path: endpoints.yaml, watchFile: true}}\n\
             \x20   dataLayer: {discovery: {pluginRef: file-discovery}}",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epp::flags::read as read_flags;

    const DOCUMENT: &str = "{apiVersion: llm-d.ai/v1alpha1, kind: EndpointPickerConfig, plugins: [{type: file-discovery, \
                            parameters: {path: e.yaml}}, {type: metrics-data-source, parameters: {path: /m}}], dataLayer: \
                            {discovery: {pluginRef: file-discovery}}}";

    fn flags(words: &[&str]) -> Flags {
        let words: Vec<String> = words.iter().map(|one| (*one).to_owned()).collect();
        match read_flags(&words) {
            Ok(read) => read.flags,
            Err(errors) => panic!("{errors:?}"),
        }
    }

    fn refused(words: &[&str]) -> String {
        load(&flags(words)).expect_err("it cannot start").to_string()
    }

    #[test]
    fn flags_reach_the_configuration() {
        let config = load(&flags(&[
            "--endpoints-file=e.yaml",
            "--grpc-port=1",
            "--metrics-port=2",
            "--pool-name=chat",
            "--drain-timeout=5s",
            "--refresh-metrics-interval=70ms",
            "--metrics-staleness-threshold=9s",
        ]))
        .expect("it can start")
        .config;
        assert_eq!(config.listen.ext_proc.expect("set").0.port(), 1);
        assert_eq!(config.listen.admin.expect("set").0.port(), 2);
        assert_eq!(config.listen.grpc_health.expect("set").0.port(), 9003);
        assert_eq!(config.drain_timeout, GoDuration::from_secs(5));
        let [pool] = config.pools.as_slice() else { panic!("one pool") };
        assert_eq!(pool.name.as_str(), "chat");
        assert_eq!(*pool.metrics.interval, GoDuration::from_millis(70));
        assert_eq!(*pool.metrics.staleness_threshold, GoDuration::from_secs(9));
        assert_eq!(pool.scheduling.config(), &EndpointPickerConfig::builtin());
        assert_eq!(pool.endpoints.file.as_ref().map(|file| file.path.as_path()), Some(Path::new("e.yaml")));
    }

    #[test]
    fn traces_can_be_switched_off_and_have_llm_ds_name() {
        let of = |words: &[&str], name: &'static str| tracing(&flags(words), &|_| Some(name.to_owned()));
        assert_eq!(of(&[], "").service_name.as_deref(), Some("llm-d-epp"));
        assert_eq!(of(&[], "mine"), Tracing::default(), "the environment says everything");
        assert_eq!(of(&["--tracing=false"], "mine").exporter, Some(TraceExporter::None));
    }

    #[test]
    fn flags_of_external_processing() {
        let of = |words: &[&str]| {
            let words: Vec<&str> = ["--endpoints-file=e.yaml"].iter().chain(words).copied().collect();
            load(&flags(&words)).expect("it can start").config.ext_proc
        };
        assert_eq!(of(&[]), ExtProc::default());
        let tls = of(&[
            "--cert-path=/tls",
            "--tls-min-version=VersionTLS13",
            "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ]);
        assert_eq!(tls.cert_file.as_ref().map(|file| file.as_path()), Some(Path::new("/tls/tls.crt")));
        assert_eq!((tls.min_tls_version, tls.cipher_suites.len()), (weir_api::TlsVersion::V13, 1));
        let plain = of(&["--secure-serving=false", "--cert-path=/tls"]);
        assert!(!plain.secure && plain.cert_file.is_none());
        let other = of(&[
            "--disable-endpoint-subset-filter",
            "--emit-endpoint-scores",
            "--grpc-max-recv-msg-size=8MiB",
            "--grpc-max-send-msg-size=1MiB",
        ]);
        assert!(!other.subset_hint && other.scores);
        assert_eq!((other.max_receive_bytes.get(), other.max_send_bytes.get()), (8 << 20, 1 << 20));
    }

    #[test]
    fn a_file_of_endpoints_in_the_document_is_enough() {
        let loaded = load(&flags(&["--config-text", DOCUMENT])).expect("it can start");
        let [pool] = loaded.config.pools.as_slice() else { panic!("one pool") };
        assert_eq!(pool.name.as_str(), "epp");
        assert_eq!(pool.endpoints, Endpoints::default());
        assert_eq!(pool.scheduling.config().plugins.len(), 2);
    }

    #[test]
    fn pools_and_selectors_reach_the_configuration() {
        let pool_of = |words: &[&str]| load(&flags(words)).expect("it can start").config.pools.remove(0);
        let pool = pool_of(&["--pool-name=chat", "--pool-namespace=team", "--pool-group=inference.networking.x-k8s.io"]);
        let kubernetes = pool.endpoints.kubernetes.expect("it is in a cluster");
        assert_eq!(pool.name.as_str(), "chat");
        assert_eq!(kubernetes.pool.as_ref().map(|one| one.as_str()), Some("chat"));
        assert_eq!(kubernetes.namespace.as_ref().map(|one| one.as_str()), Some("team"));
        assert_eq!(kubernetes.group(), "inference.networking.x-k8s.io");
        let pool = pool_of(&["--endpoint-selector=app=vllm", "--endpoint-target-ports=8000,8001"]);
        let kubernetes = pool.endpoints.kubernetes.expect("it is in a cluster");
        assert_eq!(kubernetes.pod_selector.as_ref().map(|one| one.as_str()), Some("app=vllm"));
        assert_eq!(kubernetes.ports.iter().map(|one| one.value).collect::<Vec<_>>(), [8000, 8001]);
        // A file comes first: then the name is only a name.
        assert_eq!(pool_of(&["--pool-name=chat", "--config-text", DOCUMENT]).endpoints, Endpoints::default());
    }

    #[test]
    fn something_must_say_where_the_endpoints_are() {
        let text = refused(&[]);
        assert!(text.contains("--pool-name NAME") && text.contains("--endpoints-file FILE"), "{text}");
    }

    #[test]
    fn errors_in_the_document_say_where() {
        let text = refused(&["--config-text", "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugin: []\n"]);
        assert!(text.contains("--config-text:3:1") && text.contains("did you mean `plugins`?"), "{text}");
        assert!(refused(&["--config-file", "/nowhere/epp.yaml"]).contains("/nowhere/epp.yaml"));
    }

    #[test]
    fn old_metrics_flags_become_parameters_and_do_not_overrule_them() {
        let old = ["--model-server-metrics-scheme=https", "--model-server-metrics-path=/old", "--model-server-metrics-port=9"];
        let parameters = |words: &[&str]| {
            let words: Vec<&str> = words.iter().copied().chain(old).collect();
            let config = load(&flags(&words)).expect("it can start").config;
            let plugin = config.pools[0].scheduling.config().plugins.iter().find(|one| one.name() == METRICS_SOURCE).cloned();
            plugin.expect("it is there").parameters.node().map(yaml::Node::to_json).expect("it has parameters")
        };
        assert_eq!(parameters(&["--endpoints-file=e.yaml"]), serde_json::json!({"scheme": "https", "path": "/old", "port": 9}));
        assert_eq!(parameters(&["--config-text", DOCUMENT]), serde_json::json!({"scheme": "https", "path": "/m", "port": 9}));
    }
}
