//! What is legal and probably not meant.

use weir_api::{Diagnostics, EndpointPickerConfig};

use super::instances::{Instance, Instances, METRICS_EXTRACTOR, METRICS_SOURCE};
use crate::{DataKey, ExtensionPoint};

pub(super) fn warn(config: &EndpointPickerConfig, instances: &Instances, notes: &mut Diagnostics) {
    unused(config, instances, notes);
    profiles(config, instances, notes);
    renamed_sources(config, instances, notes);
    unsubscribed(config, instances, notes);
}

/// A default producer is about to be added although the file lists one of its type: under another name, which nobody reads.
pub(super) fn second_producer(instances: &Instances, consumer: &str, key: DataKey, notes: &mut Diagnostics) {
    let kind = key.default_producer();
    let Some(listed) = instances.list.iter().find(|one| one.listed() && one.kind == kind) else { return };
    let effect = match key {
        DataKey::TokenizedPrompt => ", which estimates tokens",
        DataKey::PrefixCacheMatchInfo => ", with an index of its own",
        _ => "",
    };
    let warning =
        listed.at.warning(format!("`{consumer}` reads {key}/{kind}, not `{}`: a second `{kind}` is added{effect}", listed.name));
    notes.push(warning.with_help(format!("name it `{kind}`, or name it in the parameters of those that should read it")));
}

fn is_scheduling(one: &Instance) -> bool {
    [ExtensionPoint::Filter, ExtensionPoint::Scorer, ExtensionPoint::Picker].into_iter().any(|point| one.is(point))
}

/// Filters and scorers do nothing outside a profile.
fn unused(config: &EndpointPickerConfig, instances: &Instances, notes: &mut Diagnostics) {
    if config.scheduling_profiles.is_empty() {
        return;
    }
    let referenced = |name: &str| {
        config.scheduling_profiles.iter().flat_map(|profile| &profile.plugins).any(|one| one.plugin_ref.value == name)
    };
    for one in instances.list.iter().filter(|one| one.listed() && is_scheduling(one) && !referenced(&one.name)) {
        // A plugin of several kinds may do its other work; a picker serves the profiles that list none.
        let only = one.points.iter().all(|point| matches!(point, ExtensionPoint::Filter | ExtensionPoint::Scorer));
        if only {
            notes.push(one.at.warning(format!("`{}` has no effect: no profile lists it", one.name)));
        }
    }
}

fn profiles(config: &EndpointPickerConfig, instances: &Instances, notes: &mut Diagnostics) {
    let pickers: Vec<&Instance> = instances.list.iter().filter(|one| one.is(ExtensionPoint::Picker)).collect();
    for profile in &config.scheduling_profiles {
        let mut has_picker = false;
        for (place, one) in profile.plugins.iter().enumerate() {
            let name = &one.plugin_ref;
            let Some(found) = instances.get(&name.value) else { continue };
            has_picker |= found.is(ExtensionPoint::Picker);
            if one.weight.is_some() && is_scheduling(found) && !found.is(ExtensionPoint::Scorer) {
                notes.push(name.warning(format!("the weight of `{name}` has no effect: it is no scorer")));
            }
            if !found.is(ExtensionPoint::Picker)
                && profile.plugins[..place].iter().any(|other| other.plugin_ref.value == name.value)
            {
                notes.push(name.warning(format!("`{name}` is listed twice in profile `{}`: it counts twice", profile.name)));
            }
        }
        if let (false, [first, _, ..]) = (has_picker, pickers.as_slice()) {
            let warning = profile.name.warning(format!(
                "profile `{}` lists no picker, and there are several: it gets `{}`; llm-d would take any of them",
                profile.name, first.name
            ));
            notes.push(warning.with_help("list the picker in the profile"));
        }
    }
}

/// llm-d looks for the default source by its name, so that it scrapes a renamed one and the default one.
fn renamed_sources(config: &EndpointPickerConfig, instances: &Instances, notes: &mut Diagnostics) {
    let Some(layer) = config.data_layer.as_ref().filter(|layer| layer.inject_defaults) else { return };
    if layer.sources.iter().any(|one| one.plugin_ref.value == METRICS_SOURCE) {
        return;
    }
    for source in &layer.sources {
        let name = &source.plugin_ref;
        if instances.get(&name.value).is_some_and(|one| one.kind == METRICS_SOURCE) {
            let warning =
                name.warning(format!("llm-d would scrape twice: `{name}`, and a default source that it adds; weir scrapes once"));
            notes.push(warning.with_help(format!("name it `{METRICS_SOURCE}`, or write injectDefaults: false")));
        }
    }
    let extractor = instances.list.iter().find(|one| one.kind == METRICS_EXTRACTOR && one.listed());
    if let Some(one) = extractor.filter(|one| one.name != METRICS_EXTRACTOR) {
        let warning = one
            .at
            .warning(format!("llm-d's scorers read what an extractor named `{METRICS_EXTRACTOR}` finds, not `{}`", one.name));
        notes.push(warning.with_help(format!("name it `{METRICS_EXTRACTOR}`")));
    }
}

/// The precise producer hears of endpoints only as an extractor of the source of their events.
fn unsubscribed(config: &EndpointPickerConfig, instances: &Instances, notes: &mut Diagnostics) {
    const PRODUCER: &str = "precise-prefix-cache-producer";
    const EVENTS: &str = "endpoint-notification-source";
    let sources = config.data_layer.iter().flat_map(|layer| &layer.sources);
    let subscribed: Vec<&str> = sources
        .filter(|one| instances.get(&one.plugin_ref.value).is_some_and(|found| found.kind == EVENTS))
        .flat_map(|one| &one.extractors)
        .map(|one| one.plugin_ref.as_str())
        .collect();
    for one in instances.list.iter().filter(|one| one.kind == PRODUCER && !subscribed.contains(&one.name.as_str())) {
        let warning = one
            .at
            .warning(format!("`{}` never subscribes to KV-cache events in llm-d: it is no extractor of an `{EVENTS}`", one.name));
        notes.push(warning.with_help(format!(
            "write dataLayer: {{sources: [{{pluginRef: {EVENTS}, extractors: [{{pluginRef: {}}}]}}]}}",
            one.name
        )));
    }
}
