//! What can be said about the document without knowing the plugins.

use std::collections::HashMap;

use super::{
    BandSpec, DataLayerSpec, EPP_API_VERSION, EPP_API_VERSION_DEPRECATED, EPP_KIND, EndpointPickerConfig, FlowControlSpec,
    PluginRef, RequestHandlerSpec, Standing,
};
use crate::{
    Diagnostic, Diagnostics, Span, Spanned,
    yaml::{Node, push_key},
};

impl EndpointPickerConfig {
    /// Checks the structure and moves deprecated fields to where they are now.
    pub(crate) fn check(&mut self, node: &Node, path: &str, standing: Standing, found: &mut Diagnostics) {
        self.check_version(node.at, path, standing, found);
        self.check_plugins(found);
        self.check_profiles(found);
        if let Some(layer) = &self.data_layer {
            check_data_layer(layer, found);
        }
        for parser in self.request_handler.iter().flat_map(|h| &h.parsers) {
            check_ref(&parser.plugin_ref, found);
        }
        self.move_deprecated(found);
        self.check_flow(node, path, found);
    }

    fn check_version(&self, at: Span, path: &str, standing: Standing, found: &mut Diagnostics) {
        let missing = |field: &str, value: &str| {
            let mut place = path.to_owned();
            push_key(&mut place, field);
            Diagnostic::error(at, place, format!("the field `{field}` is missing")).with_help(format!("write {field}: {value}"))
        };
        match &self.api_version {
            None if standing == Standing::Alone => found.push(missing("apiVersion", EPP_API_VERSION)),
            None => {}
            Some(v) if v.as_str() == EPP_API_VERSION => {}
            Some(v) if v.as_str() == EPP_API_VERSION_DEPRECATED => {
                let warning = v.warning(format!("the apiVersion `{v}` is deprecated"));
                found.push(warning.with_help(format!("write {EPP_API_VERSION}")));
            }
            Some(v) => found.push(unexpected("apiVersion", v, EPP_API_VERSION)),
        }
        match &self.kind {
            None if standing == Standing::Alone => found.push(missing("kind", EPP_KIND)),
            Some(kind) if kind.as_str() != EPP_KIND => found.push(unexpected("kind", kind, EPP_KIND)),
            _ => {}
        }
    }

    fn check_plugins(&self, found: &mut Diagnostics) {
        let mut names: HashMap<&str, Span> = HashMap::new();
        for plugin in &self.plugins {
            if plugin.plugin_type.trim().is_empty() {
                found.push(plugin.plugin_type.error("a plugin's type cannot be empty"));
                continue;
            }
            let name = plugin.name.as_ref().unwrap_or(&plugin.plugin_type);
            if let Some(first) = names.insert(name.as_str(), name.at) {
                let error = name.error(format!("two plugins are called `{name}`; the first is on line {}", first.line));
                found.push(match plugin.name {
                    Some(_) => error,
                    None => error.with_help("give one of them a `name` of its own"),
                });
            }
        }
    }

    fn check_profiles(&self, found: &mut Diagnostics) {
        let mut names: HashMap<&str, Span> = HashMap::new();
        for profile in &self.scheduling_profiles {
            if profile.name.is_empty() {
                found.push(profile.name.error("a profile's name cannot be empty"));
            } else if let Some(first) = names.insert(profile.name.as_str(), profile.name.at) {
                let message = format!("two profiles are called `{}`; the first is on line {}", profile.name, first.line);
                found.push(profile.name.error(message));
            }
            for plugin in &profile.plugins {
                check_ref(&plugin.plugin_ref, found);
                if plugin.weight.is_some_and(|w| !w.is_finite()) {
                    found.push(plugin.plugin_ref.error("the weight must be a finite number"));
                }
            }
        }
    }

    fn move_deprecated(&mut self, found: &mut Diagnostics) {
        if let Some(detector) = self.saturation_detector.take() {
            found.push(deprecated(&detector, "saturationDetector", "flowControl.saturationDetector"));
            check_ref(&detector.plugin_ref, found);
            let flow = self.flow_control.get_or_insert_with(FlowControlSpec::default);
            flow.saturation_detector.get_or_insert(detector);
        }
        if let Some(parser) = self.parser.take() {
            found.push(deprecated(&parser, "parser", "requestHandler.parsers"));
            check_ref(&parser.plugin_ref, found);
            let handler = self.request_handler.get_or_insert_with(RequestHandlerSpec::default);
            if handler.parsers.is_empty() {
                handler.parsers.push(parser);
            }
        }
    }

    fn check_flow(&self, node: &Node, path: &str, found: &mut Diagnostics) {
        let gates = match self.gates() {
            Ok(gates) => gates,
            Err(errors) => {
                found.extend(errors);
                return;
            }
        };
        let Some(flow) = &self.flow_control else { return };
        if let Some(detector) = &flow.saturation_detector {
            check_ref(&detector.plugin_ref, found);
        }
        let mut priorities: HashMap<i32, Span> = HashMap::new();
        for band in &flow.priority_bands {
            if let Some(first) = priorities.insert(band.priority.value, band.priority.at) {
                let message = format!("two bands have the priority {}; the first is on line {}", band.priority, first.line);
                found.push(band.priority.error(message));
            }
        }
        let listed = flow.priority_bands.iter().map(super::PriorityBandSpec::band);
        let templates = [&flow.default_priority_band, &flow.default_negative_priority_band].into_iter().flatten().cloned();
        for band in listed.chain(templates) {
            for policy in [&band.fairness_policy_ref, &band.ordering_policy_ref].into_iter().flatten() {
                check_ref(policy, found);
            }
        }
        if let Some(policy) = &flow.usage_limit_policy_plugin_ref {
            check_ref(policy, found);
        }
        if !gates.flow_control && has_queues(flow) {
            let mut place = path.to_owned();
            push_key(&mut place, "flowControl");
            let at = node.entry("flowControl").map_or(node.at, |e| e.key_at);
            let warning = Diagnostic::warning(at, place, "flowControl is ignored: the feature gate `flowControl` is closed");
            found.push(warning.with_help("write featureGates: [flowControl]"));
        }
    }
}

/// Whether the section says anything that needs the gate.
fn has_queues(flow: &FlowControlSpec) -> bool {
    let without = FlowControlSpec {
        saturation_detector: flow.saturation_detector.clone(),
        enable_eviction: flow.enable_eviction,
        ..FlowControlSpec::default()
    };
    let empty_band = |band: &Option<BandSpec>| band.as_ref().is_none_or(|b| *b == BandSpec::default());
    let bands = empty_band(&flow.default_priority_band) && empty_band(&flow.default_negative_priority_band);
    let bare = FlowControlSpec { default_priority_band: None, default_negative_priority_band: None, ..flow.clone() };
    !(bands && bare == without)
}

fn check_data_layer(layer: &DataLayerSpec, found: &mut Diagnostics) {
    for source in &layer.sources {
        check_ref(&source.plugin_ref, found);
        for extractor in &source.extractors {
            check_ref(&extractor.plugin_ref, found);
        }
    }
    for plugin in [&layer.discovery, &layer.peer_discovery].into_iter().flatten() {
        check_ref(&plugin.plugin_ref, found);
    }
    if let Some(plugin) = &layer.cross_replica_syncer_plugin_ref {
        check_ref(plugin, found);
    }
}

fn check_ref(plugin: &Spanned<String>, found: &mut Diagnostics) {
    if plugin.trim().is_empty() {
        found.push(plugin.error("the reference to a plugin cannot be empty"));
    }
}

fn deprecated(plugin: &PluginRef, old: &str, new: &str) -> Diagnostic {
    let warning = plugin.plugin_ref.warning(format!("`{old}` is deprecated"));
    warning.with_help(format!("move it to `{new}`"))
}

fn unexpected(field: &str, value: &Spanned<String>, wanted: &str) -> Diagnostic {
    value.error(format!("the {field} `{}` is not supported", value.as_str())).with_help(format!("write {wanted}"))
}
