//! The flags by subject.

use super::{Flags, read};
use crate::go_flags::{self, Flag, Group, Takes, boolean, port, whole};

const fn value(
    name: &'static str,
    takes: &'static str,
    default: &'static str,
    help: &'static str,
    set: fn(&mut Flags, &str) -> Result<(), String>,
) -> Flag<Flags> {
    Flag { name, takes: Takes::Value(takes), default, help, set }
}

const fn switch(
    name: &'static str,
    default: &'static str,
    help: &'static str,
    set: fn(&mut Flags, &str) -> Result<(), String>,
) -> Flag<Flags> {
    Flag { name, takes: Takes::Nothing, default, help, set }
}

/// A setter of one field: `set!(field, reader)`.
macro_rules! set {
    ($($field:ident).+, $read:expr) => {
        |flags, text| {
            flags.$($field).+ = $read(text)?;
            Ok(())
        }
    };
}

/// A setter of nothing: the value is read, and has no effect.
macro_rules! ignore {
    ($read:expr) => {
        |_, text| $read(text).map(drop)
    };
}

/// A setter that takes note of a flag that is gone.
macro_rules! removed {
    ($name:literal) => {
        value($name, "NAME", "", "", |flags, text| {
            if !text.is_empty() && !flags.removed.contains(&$name) {
                flags.removed.push($name);
            }
            Ok(())
        })
    };
}

/// Shown by the help.
const SHOWN: &[Group<Flags>] = &[
    (
        "Endpoints",
        &[
            value(
                "endpoints-file",
                "FILE",
                "",
                "weir's own: endpoints as file-discovery reads them; the file is followed",
                set!(endpoints_file, read::path),
            ),
            value(
                "pool-name",
                "NAME",
                "",
                "the InferencePool to watch; with a file of endpoints, what metrics and log call the pool [epp]",
                set!(pool_name, read::text),
            ),
            value(
                "pool-namespace",
                "NAME",
                "",
                "its namespace; else the environment's NAMESPACE, else default",
                set!(pool_namespace, read::text),
            ),
            value("pool-group", "GROUP", "inference.networking.k8s.io", "its API group", |flags, text| {
                flags.pool_group = text.to_owned();
                Ok(())
            }),
            value(
                "endpoint-selector",
                "LABELS",
                "",
                "pods by label instead of an InferencePool",
                set!(endpoint_selector, read::text),
            ),
            value("endpoint-target-ports", "PORTS", "", "their ports, 1 to 8 with commas between", |flags, text| {
                read::ports(&mut flags.endpoint_target_ports, text)
            }),
            switch(
                "disable-endpoint-subset-filter",
                "false",
                "ignore the gateway's x-gateway-destination-endpoint-subset",
                set!(disable_endpoint_subset_filter, boolean),
            ),
        ],
    ),
    (
        "Scheduling",
        &[
            value(
                "config-file",
                "FILE",
                "",
                "the EndpointPickerConfig; followed, and a valid change takes effect without a restart",
                set!(config_file, read::path),
            ),
            value(
                "config-text",
                "YAML",
                "",
                "the same as text. Without either: queue, KV cache, prefix cache",
                set!(config_text, read::text),
            ),
            switch(
                "allow-experimental-plugins",
                "false",
                "allow plugins that llm-d calls Alpha",
                set!(allow_experimental_plugins, boolean),
            ),
            switch(
                "emit-endpoint-scores",
                "false",
                "give the gateway every endpoint's score, as metadata",
                set!(emit_endpoint_scores, boolean),
            ),
            value(
                "refresh-metrics-interval",
                "TIME",
                "50ms",
                "how often a busy endpoint's metrics are read; at least 50ms",
                set!(refresh_metrics_interval, read::duration),
            ),
            value(
                "metrics-staleness-threshold",
                "TIME",
                "2s",
                "metrics older than this are marked stale",
                set!(metrics_staleness_threshold, read::duration),
            ),
        ],
    ),
    (
        "Serving",
        &[
            value(
                "grpc-port",
                "PORT",
                "9002",
                "external processing; of this port and the next two, 0 picks a free one",
                set!(grpc_port, port),
            ),
            value("grpc-health-port", "PORT", "9003", "gRPC health, in cleartext", set!(grpc_health_port, port)),
            value("metrics-port", "PORT", "9090", "/metrics, /readyz and /debug", set!(metrics_port, port)),
            value(
                "grpc-max-recv-msg-size",
                "SIZE",
                "",
                "largest message from the proxy, such as 16MiB [4MiB]",
                set!(grpc_max_recv_msg_size, read::size),
            ),
            value(
                "grpc-max-send-msg-size",
                "SIZE",
                "",
                "largest message to the proxy [no limit]",
                set!(grpc_max_send_msg_size, read::size),
            ),
            value(
                "drain-timeout",
                "TIME",
                "30s",
                "how long running requests may take to end after SIGTERM",
                set!(drain_timeout, read::duration),
            ),
            switch("ha-enable-leader-election", "false", "only the leader is ready", set!(ha_enable_leader_election, boolean)),
            switch("health-checking", "false", "health on the external processing port too", set!(health_checking, boolean)),
        ],
    ),
    (
        "TLS",
        &[
            switch("secure-serving", "true", "TLS on the external processing port", set!(secure_serving, boolean)),
            value(
                "cert-path",
                "FOLDER",
                "",
                "holds tls.crt and tls.key; without it the certificate is self-signed",
                set!(cert_path, read::path),
            ),
            switch("enable-cert-reload", "false", "read them again when they change", set!(enable_cert_reload, boolean)),
            value(
                "tls-min-version",
                "VERSION",
                "",
                "VersionTLS12 or VersionTLS13; nothing older is ever spoken",
                set!(tls_min_version, read::tls_version),
            ),
            value(
                "tls-cipher-suites",
                "NAMES",
                "",
                "of TLS 1.2, as Go calls them, with commas between",
                set!(tls_cipher_suites, read::cipher_suites),
            ),
            switch(
                "metrics-endpoint-auth",
                "true",
                "only who Kubernetes allows may read /metrics",
                set!(metrics_endpoint_auth, boolean),
            ),
            value("metrics-cert-dir", "FOLDER", "", "TLS for the metrics port", set!(metrics_cert_dir, read::path)),
            value(
                "metrics-client-ca-file",
                "FILE",
                "",
                "whose clients may read metrics; needs --metrics-cert-dir",
                set!(metrics_client_ca_file, read::path),
            ),
        ],
    ),
    (
        "Observation",
        &[
            value("v", "LEVEL", "2", "how much is logged: 2 info, 4 debug, 5 everything", set!(verbosity, whole)),
            value("zap-encoder", "FORMAT", "", "json or console [console]", set!(zap.encoder, read::encoder)),
            value(
                "zap-log-level",
                "LEVEL",
                "",
                "debug, info, error, panic or a number; wins over --v",
                set!(zap.level, read::zap_level),
            ),
            switch("zap-devel", "false", "console and debug, unless said otherwise", set!(zap.devel, boolean)),
            switch(
                "enable-grpc-stream-metrics",
                "false",
                "count and time external processing streams",
                set!(enable_grpc_stream_metrics, boolean),
            ),
            switch("tracing", "true", "OpenTelemetry spans", set!(tracing, boolean)),
        ],
    ),
    (
        "Accepted without effect",
        &[
            switch("enable-pprof", "true", "profiles of Go programs", set!(enable_pprof, boolean)),
            value(
                "refresh-prometheus-metrics-interval",
                "TIME",
                "5s",
                "pool gauges are computed when they are asked for",
                set!(refresh_prometheus_metrics_interval, read::duration),
            ),
            value("zap-stacktrace-level", "LEVEL", "", "stack traces in the log", ignore!(read::stacktrace_level)),
            value("zap-time-encoding", "FORMAT", "", "times in the log are RFC 3339", ignore!(read::time_encoding)),
        ],
    ),
    (
        "Old, with a warning: parameters of the metrics-data-source today",
        &[
            value("model-server-metrics-scheme", "SCHEME", "", "its `scheme`", set!(model_server_metrics.scheme, read::scheme)),
            value("model-server-metrics-path", "PATH", "", "its `path`", set!(model_server_metrics.path, read::page)),
            value("model-server-metrics-port", "PORT", "", "its `port`; 0 is the endpoint's", |flags, text| {
                flags.model_server_metrics.port = Some(port(text)?).filter(|port| *port > 0);
                Ok(())
            }),
            switch("model-server-metrics-https-insecure-skip-verify", "", "its `insecureSkipVerify`", |flags, text| {
                flags.model_server_metrics.insecure_skip_verify = Some(boolean(text)?);
                Ok(())
            }),
        ],
    ),
];

/// Known so that setting one can be answered with what to do.
const HIDDEN: Group<Flags> = (
    "Removed",
    &[
        removed!("total-queued-requests-metric"),
        removed!("total-running-requests-metric"),
        removed!("kv-cache-usage-percentage-metric"),
        removed!("lora-info-metric"),
        removed!("cache-info-metric"),
    ],
);

/// All of them.
pub(super) const GROUPS: &[Group<Flags>] = &{
    let mut all = [HIDDEN; SHOWN.len() + 1];
    let mut place = 0;
    while place < SHOWN.len() {
        all[place] = SHOWN[place];
        place += 1;
    }
    all
};

/// The text of `weir epp --help`.
pub(in crate::epp) fn help() -> String {
    let mut out = String::from(
        "llm-d's Endpoint Picker: Envoy asks it, for each request, which model server to send it to.\n\n\
         Usage: weir epp [FLAGS]      (the program does the same when it is called `epp`)\n\n\
         Flags are those of llm-d's picker: with one dash or two, `--flag value` or `--flag=value`, booleans as\n\
         `--flag` or `--flag=false`. Given twice, the last one counts; an empty argument is none. What stands in\n\
         brackets is the default. The cluster is that of the kubeconfig, or the one that it runs in.\n\n\
         Examples:\n\
         \x20 weir epp --pool-name chat --pool-namespace team\n\
         \x20     over the pods of an InferencePool, in a cluster\n\
         \x20 weir epp --endpoint-selector app=vllm --endpoint-target-ports 8000\n\
         \x20     over pods by label, without any InferencePool\n\
         \x20 weir epp --endpoints-file endpoints.yaml --secure-serving=false\n\
         \x20     over the servers that a file lists, with llm-d's default plugins, for an Envoy on the same machine\n\
         \x20 weir epp --config-file epp.yaml --zap-encoder json --v 4\n\
         \x20     as an EndpointPickerConfig says, whose plugin file-discovery names the endpoints\n\
         \x20 weir check --config epp.yaml       what is wrong with that file, and what was added to it\n\
         \x20 weir doctor --help                 what is wrong with the Envoy in front of it\n",
    );
    out.push_str(&go_flags::help(SHOWN));
    out.push_str(
        "\nRemoved in llm-d, refused with what to write instead:\n\
         \x20 --total-queued-requests-metric, --total-running-requests-metric, --kv-cache-usage-percentage-metric,\n\
         \x20 --lora-info-metric, --cache-info-metric\n",
    );
    out
}
