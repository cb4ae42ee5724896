//! `topology-affinity-scorer`: prefers endpoints near the worker that data is exchanged with.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{
    DataKey, DataSet, Draft, ExtensionPoint, Need, Parts, PluginContext, PluginType, PoolView, RequestView, Scorer,
    TopologyLabels,
};

use super::{Level, shared};
use crate::declare::alpha;

pub(super) fn plugin() -> PluginType {
    alpha::<Params>(
        "topology-affinity-scorer",
        &[ExtensionPoint::Scorer],
        "In disaggregated serving scores endpoints on the host of the worker chosen before 1, in its rack 0.2, its zone 0.05, its \
         region 0.02, others 0.",
        draft,
    )
}

/// Where the labels are named.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Name of the `topology-extractor`.
    topology_producer_name: Option<String>,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let need = Need::required(DataKey::Topology, params.topology_producer_name.as_deref().filter(|name| !name.is_empty()));
    let from = need.producer.clone();
    let missing = context.error(format!("`{from}` does not say which labels to look at"));
    Ok(Draft::wired(vec![need], Vec::new(), move |wiring| {
        let labels = wiring.topology(&from).ok_or(missing)?;
        Ok(Parts { scorer: Some(Arc::new(TopologyScorer { labels })), ..Parts::default() })
    }))
}

struct TopologyScorer {
    labels: Arc<TopologyLabels>,
}

impl Scorer for TopologyScorer {
    fn reads(&self) -> DataSet {
        DataSet::LABELS
    }

    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let Some(peer) = view.peer() else { return };
        for (i, score) in out.iter_mut().enumerate() {
            *score = match shared(&self.labels, peer, view.endpoint(i)) {
                Level::Host => 1.0,
                Level::Rack => 0.2,
                Level::Zone => 0.05,
                Level::Region => 0.02,
                Level::Nothing => 0.0,
            };
        }
    }
}
