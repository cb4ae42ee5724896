//! `metrics-data-source`: where and how often engines' metrics pages are fetched.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, GoDuration};
use weir_plan::{Draft, ExtensionPoint, Parts, Payload, PluginContext, PluginType, SourceConfig, SourceTls};

use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>("metrics-data-source", &[ExtensionPoint::DataSource], "Fetches engines' Prometheus metrics pages.", draft)
}

/// Where the page is and how often it is fetched.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
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
    /// Whether certificates go unchecked, with `scheme: https`. Default: true, unless `caCertPath` is set.
    insecure_skip_verify: Option<bool>,
    /// Certificates that are trusted, PEM. Default: the system's.
    ca_cert_path: Option<String>,
    /// Client certificate chain, PEM.
    client_cert_path: Option<String>,
    /// Its private key, PEM.
    client_key_path: Option<String>,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let scheme = scheme_of(context, params.scheme)?;
    let path = set(params.path);
    if let Some(path) = path.as_deref().filter(|path| !path.starts_with('/')) {
        return Err(context.error_at("path", format!("must begin with a slash, is `{path}`")));
    }
    let tls = TlsParams {
        insecure_skip_verify: params.insecure_skip_verify,
        ca_cert_path: params.ca_cert_path,
        client_cert_path: params.client_cert_path,
        client_key_path: params.client_key_path,
    };
    let source = SourceConfig::Metrics {
        path,
        port: params.port.filter(|port| *port != 0),
        interval: params.interval.filter(|interval| !interval.is_zero()).map(GoDuration::get),
        tls: tls_of(context, tls, scheme.as_deref())?,
        scheme,
    };
    Ok(Draft::ready(Parts { source: Some(source), ..Parts::default() }).bringing(Payload::MetricsPage))
}

fn set(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

pub(super) fn scheme_of(context: &PluginContext<'_>, scheme: Option<String>) -> Result<Option<String>, Diagnostic> {
    let scheme = set(scheme);
    match scheme.as_deref().filter(|scheme| !["http", "https"].contains(scheme)) {
        Some(scheme) => Err(context.error_at("scheme", format!("must be http or https, is `{scheme}`"))),
        None => Ok(scheme),
    }
}

/// Parameters of TLS that sources have in common.
pub(super) struct TlsParams {
    pub(super) insecure_skip_verify: Option<bool>,
    pub(super) ca_cert_path: Option<String>,
    pub(super) client_cert_path: Option<String>,
    pub(super) client_key_path: Option<String>,
}

pub(super) fn tls_of(context: &mut PluginContext<'_>, params: TlsParams, scheme: Option<&str>) -> Result<SourceTls, Diagnostic> {
    let file = |text: Option<String>| set(text).map(PathBuf::from);
    let ca_file = file(params.ca_cert_path);
    let identity = match (file(params.client_cert_path), file(params.client_key_path)) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => return Err(context.error_at("clientCertPath", "needs `clientKeyPath`")),
        (None, Some(_)) => return Err(context.error_at("clientKeyPath", "needs `clientCertPath`")),
    };
    let insecure_skip_verify = params.insecure_skip_verify.unwrap_or(ca_file.is_none());
    let tls = SourceTls { insecure_skip_verify, ca_file, identity };
    if scheme != Some("https") && (tls.ca_file.is_some() || tls.identity.is_some()) {
        context.warn("certificates have no effect without `scheme: https`");
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

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
        assert_eq!((metrics.interval, metrics.tls.insecure_skip_verify), (Some(Duration::from_millis(100)), false));
        assert_eq!(metrics.tls.ca_file.as_deref(), Some(Path::new("ca.pem")));
    }

    #[test]
    fn certificates_are_checked_where_somebody_says_against_what() {
        let skips = |parameters: &str| {
            let text = format!("plugins:\n- type: queue-scorer\n- {{type: metrics-data-source, parameters: {parameters}}}");
            compile(&text).unwrap().metrics.unwrap().tls.insecure_skip_verify
        };
        assert!(skips("{scheme: https}"));
        assert!(!skips("{scheme: https, caCertPath: ca.pem}"));
        assert!(skips("{scheme: https, caCertPath: ca.pem, insecureSkipVerify: true}"));
        assert!(!skips("{scheme: https, insecureSkipVerify: false}"));
    }

    #[test]
    fn parameters_that_are_refused() {
        assert!(refused("metrics-data-source", "{scheme: ftp}").contains("ftp"));
        assert!(refused("metrics-data-source", "{path: metrics}").contains("slash"));
        assert!(refused("metrics-data-source", "{interval: 100}").contains("unit"));
        assert!(refused("metrics-data-source", "{clientKeyPath: k}").contains("clientCertPath"));
    }
}
