//! Whether references outside profiles lead to plugins that can do what they are asked.

use weir_api::{Diagnostics, EndpointPickerConfig, Spanned};

use super::instances::{Instance, Instances};
use crate::ExtensionPoint;

pub(super) fn check(config: &EndpointPickerConfig, instances: &Instances, notes: &mut Diagnostics) {
    let parsers = config.request_handler.iter().flat_map(|handler| &handler.parsers);
    for parser in parsers {
        expect(instances, &parser.plugin_ref, ExtensionPoint::Parser, "reads no requests", notes);
    }
    if let Some(flow) = &config.flow_control {
        if let Some(detector) = &flow.saturation_detector {
            expect(instances, &detector.plugin_ref, ExtensionPoint::FlowControl, "cannot tell how full a pool is", notes);
        }
        if config.gates().is_ok_and(|gates| gates.flow_control) {
            for policy in super::instances::policies(config) {
                expect(instances, policy, ExtensionPoint::FlowControl, "is no policy of flow control", notes);
            }
        }
    }
    let Some(layer) = &config.data_layer else { return };
    for source in &layer.sources {
        let found = expect(instances, &source.plugin_ref, ExtensionPoint::DataSource, "brings no data", notes);
        let mut kinds: Vec<&str> = Vec::new();
        for extractor in &source.extractors {
            let name = &extractor.plugin_ref;
            let Some(one) = instances.get(&name.value) else { continue };
            if !one.is(ExtensionPoint::Extractor) && one.draft.takes.is_empty() {
                notes.push(name.error(format!("`{name}` reads nothing of what sources bring")));
                continue;
            }
            if kinds.contains(&one.kind) {
                notes
                    .push(name.error(format!("a second extractor of type `{}` at the source `{}`", one.kind, source.plugin_ref)));
            }
            kinds.push(one.kind);
            if let Some(brings) = found.and_then(|source| source.draft.brings)
                && !one.draft.takes.is_empty()
                && !one.draft.takes.contains(&brings)
            {
                notes.push(name.error(format!("`{name}` cannot read what `{}` brings", source.plugin_ref)));
            }
        }
    }
    for (plugin, what) in [
        (layer.peer_discovery.as_ref().map(|one| &one.plugin_ref), "peerDiscovery"),
        (layer.cross_replica_syncer_plugin_ref.as_ref(), "crossReplicaSyncerPluginRef"),
    ] {
        if let Some(plugin) = plugin {
            notes.push(plugin.warning(format!("`{what}` is accepted and not yet active, as in llm-d")));
        }
    }
}

/// The instance that a reference leads to, with an error if it does not take part at this point.
fn expect<'i>(
    instances: &'i Instances,
    reference: &Spanned<String>,
    point: ExtensionPoint,
    cannot: &str,
    notes: &mut Diagnostics,
) -> Option<&'i Instance> {
    // That there is one of the name has been checked.
    let one = instances.get(&reference.value)?;
    if one.is(point) {
        return Some(one);
    }
    let able: Vec<String> = instances.list.iter().filter(|one| one.is(point)).map(|one| format!("`{}`", one.name)).collect();
    let error = reference.error(format!("`{reference}` {cannot}: it is a `{}`", one.kind));
    notes.push(if able.is_empty() { error } else { error.with_help(format!("there are {}", able.join(", "))) });
    None
}
