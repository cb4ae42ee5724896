//! `models-data-source`, `models-data-extractor`: which models endpoints list. weir asks every endpoint for them by itself.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, GoDuration};
use weir_plan::{Draft, ExtensionPoint, Parts, Payload, PluginContext, PluginType};

use crate::declare::{NoParameters, beta};

pub(super) fn plugins() -> [PluginType; 2] {
    [
        beta::<Params>(
            "models-data-source",
            &[ExtensionPoint::DataSource],
            "Fetches the list of endpoints' models. weir does so for every endpoint, listed or not.",
            source,
        ),
        beta::<NoParameters>(
            "models-data-extractor",
            &[ExtensionPoint::Extractor],
            "Reads the list of endpoints' models. weir does so for every endpoint, listed or not.",
            |context| {
                let NoParameters {} = context.params()?;
                Ok(Draft::ready(Parts::default()).taking(&[Payload::ModelList]))
            },
        ),
    ]
}

const PATH: &str = "/v1/models";

/// Where the list is. weir looks at `/v1/models` of the endpoint, every 30 s.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Ignored: as the endpoint.
    scheme: Option<String>,
    /// Path of the list. Only `/v1/models` is supported.
    path: Option<String>,
    /// Ignored: every 30 s.
    interval: Option<GoDuration>,
    /// Ignored: as the pool says.
    insecure_skip_verify: Option<bool>,
    /// Ignored: as the pool says.
    ca_cert_path: Option<String>,
    /// Ignored: as the pool says.
    client_cert_path: Option<String>,
    /// Ignored: as the pool says.
    client_key_path: Option<String>,
}

fn source(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if params.path.as_deref().is_some_and(|path| !path.is_empty() && path != PATH) {
        return Err(context.error_at("path", format!("models are listed at {PATH} only")));
    }
    let ignored = [
        ("scheme", params.scheme.is_some()),
        ("interval", params.interval.is_some()),
        ("insecureSkipVerify", params.insecure_skip_verify.is_some()),
        ("caCertPath", params.ca_cert_path.is_some()),
        ("clientCertPath", params.client_cert_path.is_some()),
        ("clientKeyPath", params.client_key_path.is_some()),
    ];
    for (field, _) in ignored.into_iter().filter(|(_, set)| *set) {
        context.warn(format!("`{field}` has no effect: weir lists models as it speaks to the endpoint otherwise"));
    }
    Ok(Draft::ready(Parts::default()).bringing(Payload::ModelList))
}

#[cfg(test)]
mod tests {
    use crate::testing::{compile, refused};

    #[test]
    fn what_is_taken_and_what_has_no_effect() {
        let text = "plugins:\n- {type: models-data-source, parameters: {path: /v1/models, interval: 5s}}\n- {type: \
                    models-data-extractor}\n- {type: queue-scorer}\ndataLayer:\n  sources:\n  - {pluginRef: models-data-source, \
                    extractors: [{pluginRef: models-data-extractor}]}\n";
        let plan = compile(text).unwrap();
        assert!(plan.warnings.iter().any(|one| one.message.contains("`interval` has no effect")), "{:?}", plan.warnings);
        assert!(refused("models-data-source", "{path: /models}").contains("/v1/models only"));
        let wrong = text.replace("pluginRef: models-data-extractor", "pluginRef: core-metrics-extractor");
        assert!(compile(&wrong).unwrap_err().errors().any(|one| one.message.contains("cannot read what")));
    }
}
