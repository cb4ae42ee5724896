//! The configuration with everything that was added to it.

use weir_api::EndpointPickerConfig;

use super::instances::{Instance, Instances};
use crate::{Effective, EffectiveData, EffectivePlugin, EffectiveProfile, ExtensionPoint, Profile};

/// As far as it can be told before anything is built.
pub(super) fn draft(config: &EndpointPickerConfig, instances: &Instances) -> Effective {
    let gates = config.gates().unwrap_or_default();
    let listed = config.request_handler.iter().flat_map(|handler| &handler.parsers).map(|one| one.plugin_ref.value.clone());
    let mut parsers: Vec<String> = listed.collect();
    if parsers.is_empty() {
        let added = instances.list.iter().filter(|one| !one.listed() && one.is(ExtensionPoint::Parser));
        parsers = added.map(|one| one.name.clone()).collect();
    }
    let mut flow = config.flow_control.clone().unwrap_or_default();
    if flow.saturation_detector.is_none() {
        let plugin_ref = weir_api::Spanned::nowhere("utilization-detector".to_owned());
        flow.saturation_detector = instances.get(&plugin_ref.value).map(|_| weir_api::PluginRef { plugin_ref });
    }
    let data = instances.list.iter().flat_map(|one| {
        one.draft.needs.iter().map(|need| EffectiveData {
            reader: one.name.clone(),
            key: format!("{}/{}", need.key, need.producer),
            produced: instances.get(&need.producer).is_some_and(|found| found.draft.offers.contains(&need.key)),
        })
    });
    Effective {
        gates: vec![
            format!("flowControl={}", gates.flow_control),
            format!("haPopulateNonLeaderDatastore={}", gates.ha_populate_non_leader_datastore),
        ],
        plugins: instances.list.iter().map(plugin).collect(),
        discovery: config.data_layer.as_ref().and_then(|layer| layer.discovery.as_ref()).map(|one| one.plugin_ref.value.clone()),
        parsers,
        flow_control: serde_json::to_value(&flow).unwrap_or_default(),
        data: data.collect(),
        ..Effective::default()
    }
}

fn plugin(one: &Instance) -> EffectivePlugin {
    EffectivePlugin {
        name: one.name.clone(),
        kind: one.kind,
        added_because: one.added_because.clone(),
        active: one.active,
        points: one.points,
        parameters: one.parameters.node().map_or(serde_json::Value::Null, weir_api::yaml::Node::to_json),
    }
}

pub(super) fn profile(profile: &Profile) -> EffectiveProfile {
    EffectiveProfile {
        name: profile.name.clone(),
        filters: profile.filters.iter().map(|one| one.name.clone()).collect(),
        scorers: profile.scorers.iter().map(|one| (one.scorer.name.clone(), one.weight)).collect(),
        picker: profile.picker.name.clone(),
    }
}
