//! `metrics-data-source`: where and how often engines' metrics pages are fetched.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, GoDuration};
use weir_plan::{Draft, ExtensionPoint, Parts, Payload, PluginContext, PluginType, SourceConfig};

use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>("metrics-data-source", &[ExtensionPoint::DataSource], "Fetches engines' Prometheus metrics pages.", draft)
}

/// Where the page is and how often it is fetched.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// `http` or `https`. Default: as the endpoint.
    scheme: Option<String>,
    /// Path of the page. Default: `/metrics`.
    path: Option<String>,
    /// Port of the page. Default: the endpoint's.
    port: Option<u16>,
    /// How often it is fetched. Default: as the pool says.
    interval: Option<GoDuration>,
    /// Whether certificates go unchecked.
    insecure_skip_verify: bool,
    /// Not yet active.
    ca_cert_path: Option<String>,
    /// Not yet active.
    client_cert_path: Option<String>,
    /// Not yet active.
    client_key_path: Option<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            scheme: None,
            path: None,
            port: None,
            interval: None,
            insecure_skip_verify: true,
            ca_cert_path: None,
            client_cert_path: None,
            client_key_path: None,
        }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let set = |text: Option<String>| text.filter(|text| !text.is_empty());
    let scheme = set(params.scheme);
    if let Some(scheme) = scheme.as_deref().filter(|scheme| !["http", "https"].contains(scheme)) {
        return Err(context.error_at("scheme", format!("must be http or https, is `{scheme}`")));
    }
    let path = set(params.path);
    if let Some(path) = path.as_deref().filter(|path| !path.starts_with('/')) {
        return Err(context.error_at("path", format!("must begin with a slash, is `{path}`")));
    }
    let files = [
        ("caCertPath", params.ca_cert_path),
        ("clientCertPath", params.client_cert_path),
        ("clientKeyPath", params.client_key_path),
    ];
    for (field, _) in files.into_iter().filter(|(_, file)| file.is_some()) {
        context.warn(format!("`{field}` is not yet active"));
    }
    let source = SourceConfig::Metrics {
        scheme,
        path,
        port: params.port.filter(|port| *port != 0),
        interval: params.interval.filter(|interval| !interval.is_zero()).map(GoDuration::get),
        insecure_skip_verify: params.insecure_skip_verify,
    };
    Ok(Draft::ready(Parts { source: Some(source), ..Parts::default() }).bringing(Payload::MetricsPage))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::testing::{compile, refused};

    #[test]
    fn parameters_reach_the_plan() {
        let plan = compile(
            "plugins:\n- type: queue-scorer\n- type: metrics-data-source\n  parameters: {scheme: https, path: /prometheus/metrics, \
             port: 9400, interval: 100ms, insecureSkipVerify: false, caCertPath: ca.pem}",
        )
        .unwrap();
        let metrics = plan.metrics.unwrap();
        assert_eq!((metrics.scheme.as_deref(), metrics.port), (Some("https"), Some(9_400)));
        assert_eq!(metrics.path.as_deref(), Some("/prometheus/metrics"));
        assert_eq!((metrics.interval, metrics.insecure_skip_verify), (Some(Duration::from_millis(100)), false));
        assert!(plan.warnings.iter().any(|one| one.message.contains("caCertPath")));
    }

    #[test]
    fn parameters_that_are_refused() {
        assert!(refused("metrics-data-source", "{scheme: ftp}").contains("ftp"));
        assert!(refused("metrics-data-source", "{path: metrics}").contains("slash"));
        assert!(refused("metrics-data-source", "{interval: 100}").contains("unit"));
    }
}
