//! `endpoint-notification-source`, `k8s-notification-source`: what comes, changes and goes.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{Draft, ExtensionPoint, Parts, Payload, PluginContext, PluginType};

use crate::declare::{NoParameters, beta};

pub(super) fn plugins() -> [PluginType; 2] {
    [
        beta::<NoParameters>(
            "endpoint-notification-source",
            &[ExtensionPoint::DataSource],
            "Tells of endpoints that come, change and go. In weir whoever wants to know is told, wired here or not.",
            |context| {
                let NoParameters {} = context.params()?;
                Ok(Draft::ready(Parts::default()).bringing(Payload::EndpointEvents))
            },
        ),
        PluginType {
            active: false,
            ..beta::<Params>(
                "k8s-notification-source",
                &[ExtensionPoint::DataSource],
                "Tells of Kubernetes objects of one kind that come, change and go.",
                kubernetes,
            )
        },
    ]
}

/// The kind of objects.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// API group; empty: the core group.
    group: String,
    /// API version. Required.
    version: String,
    /// Kind. Required.
    kind: String,
}

fn kubernetes(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let Params { group: _, version, kind } = context.params()?;
    for (field, value) in [("version", version), ("kind", kind)] {
        if value.is_empty() {
            return Err(context.error_at(field, "is required"));
        }
    }
    Ok(Draft::ready(Parts::default()).bringing(Payload::KubernetesObjects))
}

#[cfg(test)]
mod tests {
    use crate::testing::{compile, refused};

    #[test]
    fn a_kind_must_be_named() {
        assert!(refused("k8s-notification-source", "{kind: Pod}").contains("is required"));
        let one = "{type: k8s-notification-source, parameters: {version: v1, kind: Pod}}";
        let plan = compile(&format!("plugins: [{one}, {{type: queue-scorer}}]")).unwrap();
        assert!(plan.inactive().any(|one| one.starts_with("k8s-notification-source")));
    }
}
