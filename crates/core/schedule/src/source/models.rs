//! `models-data-source`, `models-data-extractor`: which models endpoints list. weir asks every endpoint for them by itself; these say
//! how, and that everything that the lists say is kept.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, GoDuration};
use weir_plan::{Draft, ExtensionPoint, ModelsSource, Parts, Payload, PluginContext, PluginType, SourceConfig};

use super::metrics::{TlsParams, scheme_of, tls_of};
use crate::declare::{NoParameters, beta};

pub(super) fn plugins() -> [PluginType; 2] {
    [
        beta::<Params>(
            "models-data-source",
            &[ExtensionPoint::DataSource],
            "Says how the lists of endpoints' models are fetched. Without it they are fetched from `/v1/models`, every 30 seconds.",
            source,
        ),
        beta::<NoParameters>(
            "models-data-extractor",
            &[ExtensionPoint::Extractor],
            "Keeps everything that the lists say of models (id, object, created, owner, parent): expressions see it as \
             `endpoint.models`. Without it only names are kept, which choose the pool.",
            |context| {
                let NoParameters {} = context.params()?;
                let source = Some(SourceConfig::ModelDetails);
                Ok(Draft::ready(Parts { source, ..Parts::default() }).taking(&[Payload::ModelList]))
            },
        ),
    ]
}

/// Where the list is, and how often it is fetched.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// `http` or `https`. Default: as the endpoint.
    scheme: Option<String>,
    /// Path of the list. Default: `/v1/models`.
    path: Option<String>,
    /// How often it is fetched. Default: 30s.
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

fn source(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let scheme = scheme_of(context, params.scheme)?;
    let path = params.path.filter(|path| !path.is_empty());
    if let Some(path) = path.as_deref().filter(|path| !path.starts_with('/')) {
        return Err(context.error_at("path", format!("must begin with a slash, is `{path}`")));
    }
    let tls = TlsParams {
        insecure_skip_verify: params.insecure_skip_verify,
        ca_cert_path: params.ca_cert_path,
        client_cert_path: params.client_cert_path,
        client_key_path: params.client_key_path,
    };
    let tls = tls_of(context, tls, scheme.as_deref())?;
    let interval = params.interval.filter(|interval| !interval.is_zero()).map(GoDuration::get);
    let source = SourceConfig::Models(ModelsSource { scheme, path, interval, tls, details: false });
    Ok(Draft::ready(Parts { source: Some(source), ..Parts::default() }).bringing(Payload::ModelList))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use crate::testing::{compile, refused};

    const TEXT: &str = "plugins:\n- {type: models-data-source, parameters: PARAMETERS}\n- {type: models-data-extractor}\n- {type: \
                        queue-scorer}\ndataLayer:\n  sources:\n  - {pluginRef: models-data-source, extractors: [{pluginRef: \
                        models-data-extractor}]}\n";

    #[test]
    fn parameters_reach_the_plan() {
        let parameters = "{scheme: https, path: /models, interval: 5s, caCertPath: ca.pem, clientCertPath: c, clientKeyPath: k}";
        let models = compile(&TEXT.replace("PARAMETERS", parameters)).unwrap().models.unwrap();
        assert_eq!((models.scheme.as_deref(), models.path.as_deref()), (Some("https"), Some("/models")));
        assert_eq!((models.interval, models.details), (Some(Duration::from_secs(5)), true));
        assert_eq!((models.tls.ca_file.as_deref(), models.tls.insecure_skip_verify), (Some(Path::new("ca.pem")), false));
        assert_eq!(models.tls.identity, Some(("c".into(), "k".into())));
        let without =
            TEXT.replace("PARAMETERS", "{}").replace("extractors: [{pluginRef: models-data-extractor}]", "extractors: []");
        assert!(!compile(&without).unwrap().models.unwrap().details);
    }

    #[test]
    fn what_is_refused() {
        assert!(refused("models-data-source", "{path: models}").contains("slash"));
        assert!(refused("models-data-source", "{scheme: ftp}").contains("http or https"));
        assert!(refused("models-data-source", "{clientCertPath: c}").contains("clientKeyPath"));
        let wrong =
            TEXT.replace("PARAMETERS", "{}").replace("pluginRef: models-data-extractor", "pluginRef: core-metrics-extractor");
        assert!(compile(&wrong).unwrap_err().errors().any(|one| one.message.contains("cannot read what")));
    }
}
