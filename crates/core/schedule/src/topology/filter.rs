//! `topology-affinity-filter`: keeps endpoints near the worker that data is exchanged with.

use std::sync::Arc;

use fastrand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_api::Diagnostic;
use weir_plan::{
    Candidates, DataKey, DataSet, Draft, ExtensionPoint, Filter, Need, Parts, PluginContext, PluginType, PoolView, RequestView,
    TopologyLabels,
};

use super::{Level, shared};
use crate::declare::alpha;

pub(super) fn plugin() -> PluginType {
    alpha::<Params>(
        "topology-affinity-filter",
        &[ExtensionPoint::Filter],
        "In disaggregated serving keeps endpoints that share host, rack, zone or region with the worker chosen before. Keeps all if \
         nothing is known or nobody would be left.",
        draft,
    )
}

/// How near is near enough.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// The widest level that must be shared.
    min_affinity: MinAffinity,
    /// Name of the `topology-extractor`.
    topology_producer_name: Option<String>,
}

/// The widest level that must be shared.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum MinAffinity {
    /// The same host.
    #[default]
    Host,
    /// The same rack or host.
    Rack,
    /// The same zone, rack or host.
    Zone,
    /// The same region, or nearer.
    Region,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let least = match params.min_affinity {
        MinAffinity::Host => Level::Host,
        MinAffinity::Rack => Level::Rack,
        MinAffinity::Zone => Level::Zone,
        MinAffinity::Region => Level::Region,
    };
    let need = Need::required(DataKey::Topology, params.topology_producer_name.as_deref().filter(|name| !name.is_empty()));
    let from = need.producer.clone();
    let missing = context.error(format!("`{from}` does not say which labels to look at"));
    Ok(Draft::wired(vec![need], Vec::new(), move |wiring| {
        let labels = wiring.topology(&from).ok_or(missing)?;
        Ok(Parts { filter: Some(Arc::new(TopologyFilter { least, labels })), ..Parts::default() })
    }))
}

struct TopologyFilter {
    least: Level,
    labels: Arc<TopologyLabels>,
}

impl Filter for TopologyFilter {
    fn reads(&self) -> DataSet {
        DataSet::LABELS
    }

    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        if let Some(peer) = view.peer() {
            view.retain(keep, |i| shared(&self.labels, peer, view.endpoint(i)) >= self.least);
        }
        if keep.is_empty() {
            view.retain_all(keep);
        }
    }
}
