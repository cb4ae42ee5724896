//! `topology-extractor`: which labels of endpoints say where they run.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{DataKey, Draft, ExtensionPoint, Parts, PluginContext, PluginType, TopologyLabels};

use crate::declare::alpha;

pub(crate) fn plugin() -> PluginType {
    alpha::<Params>(
        "topology-extractor",
        &[ExtensionPoint::Extractor],
        "Says which labels of endpoints name the host, rack, zone and region that they run in.",
        draft,
    )
}

/// Names of labels.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Label of the host. Endpoints without it count as being on the host of their address.
    hostname: String,
    /// Label of the rack.
    rack: String,
    /// Label of the zone.
    zone: String,
    /// Label of the region.
    region: String,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            hostname: "kubernetes.io/hostname".to_owned(),
            rack: "topology.kubernetes.io/rack".to_owned(),
            zone: "topology.kubernetes.io/zone".to_owned(),
            region: "topology.kubernetes.io/region".to_owned(),
        }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let Params { hostname, rack, zone, region } = context.params()?;
    let labels = Arc::new(TopologyLabels { hostname, rack, zone, region });
    Ok(Draft::wired(Vec::new(), vec![DataKey::Topology], |_| Ok(Parts { topology: Some(labels), ..Parts::default() })))
}
