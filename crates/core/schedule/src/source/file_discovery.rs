//! `file-discovery`: endpoints from a file instead of from Kubernetes.
//!
//! It counts only where `dataLayer.discovery` names it. Reading the file and following it are for whoever keeps the pool.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{DiscoveryFile, Draft, ExtensionPoint, Parts, PluginContext, PluginType, SourceConfig};

use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "file-discovery",
        &[ExtensionPoint::DataSource],
        "Endpoints from a file; `dataLayer.discovery` has to name it.",
        draft,
    )
}

/// The file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// The file: `endpoints`, a list of name, namespace, address, port and labels. Required. A relative path begins in the
    /// working folder.
    path: String,
    /// Whether changes of the file are followed.
    watch_file: bool,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if params.path.is_empty() {
        return Err(context.error("`path` is missing: the file that lists the endpoints"));
    }
    let source = SourceConfig::File(DiscoveryFile { path: PathBuf::from(params.path), watch: params.watch_file });
    Ok(Draft::ready(Parts { source: Some(source), ..Parts::default() }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::testing::{compile, refused};

    const PLUGIN: &str = "- {type: file-discovery, name: here, parameters: {path: /etc/epp/endpoints.yaml, watchFile: true}}";

    #[test]
    fn the_named_one_reaches_the_plan() {
        let plan =
            compile(&format!("plugins:\n- type: queue-scorer\n{PLUGIN}\ndataLayer: {{discovery: {{pluginRef: here}}}}")).unwrap();
        let found = plan.discovery.unwrap();
        assert_eq!((found.path.as_path(), found.watch), (Path::new("/etc/epp/endpoints.yaml"), true));
        assert_eq!(plan.warnings, []);
    }

    #[test]
    fn one_that_nobody_names_has_no_effect_and_that_is_said() {
        let plan = compile(&format!("plugins:\n- type: queue-scorer\n{PLUGIN}")).unwrap();
        assert_eq!(plan.discovery, None);
        let warnings: Vec<&str> = plan.warnings.iter().map(|one| one.message.as_str()).collect();
        assert!(warnings.iter().any(|one| one.contains("`here`") && one.contains("dataLayer.discovery")), "{warnings:?}");
    }

    #[test]
    fn what_is_refused() {
        assert!(refused("file-discovery", "{}").contains("`path` is missing"));
        assert!(refused("file-discovery", "{path: a, watch: true}").contains("watch"));
        let notes = compile("plugins:\n- type: queue-scorer\ndataLayer: {discovery: {pluginRef: queue-scorer}}").unwrap_err();
        let errors: Vec<String> = notes.errors().map(ToString::to_string).collect();
        assert!(errors.len() == 1 && errors[0].contains("finds no endpoints"), "{errors:?}");
        let notes = compile("plugins:\n- type: queue-scorer\ndataLayer: {discovery: {pluginRef: nobody}}").unwrap_err();
        assert!(notes.errors().any(|one| one.message.contains("`nobody`")));
    }
}
