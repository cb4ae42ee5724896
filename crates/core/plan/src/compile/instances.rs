//! The instances of a configuration, and those that it needs and does not list.

use std::collections::HashMap;

use weir_api::{Diagnostic, Diagnostics, EndpointPickerConfig, Params, Spanned, nearest};
use weir_protocol::ParserKind;

use super::traps;
use crate::{CompileOptions, DataKey, Draft, ExtensionPoint, Need, PluginContext, PluginType, Registry, Stability};

/// Type of the source of engines' metrics, which every configuration gets.
pub(super) const METRICS_SOURCE: &str = "metrics-data-source";
/// Type of the extractor that reads it.
pub(super) const METRICS_EXTRACTOR: &str = "core-metrics-extractor";

/// References to policies of flow control, if its gate is open.
pub(super) fn policies(config: &EndpointPickerConfig) -> Vec<&Spanned<String>> {
    let open = config.gates().is_ok_and(|gates| gates.flow_control);
    let Some(flow) = config.flow_control.as_ref().filter(|_| open) else { return Vec::new() };
    let listed = flow.priority_bands.iter().flat_map(|band| [&band.fairness_policy_ref, &band.ordering_policy_ref]);
    let templates = [&flow.default_priority_band, &flow.default_negative_priority_band].into_iter().flatten();
    let defaults = templates.flat_map(|band| [&band.fairness_policy_ref, &band.ordering_policy_ref]);
    listed.chain(defaults).chain([&flow.usage_limit_policy_plugin_ref]).flatten().collect()
}

/// One instance on its way into a plan.
pub(super) struct Instance {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) points: &'static [ExtensionPoint],
    pub(super) active: bool,
    pub(super) added_because: Option<String>,
    pub(super) parameters: Params,
    pub(super) draft: Draft,
    /// Where it is in the file; nowhere if it was added.
    pub(super) at: Spanned<()>,
}

impl Instance {
    /// Names of the instances that must be built before it.
    pub(super) fn before(&self) -> impl Iterator<Item = &str> {
        let needs = self.draft.needs.iter().map(|need| need.producer.as_str());
        needs.chain(self.draft.references.iter().map(|one| one.name.as_str()))
    }

    /// Whether the file lists it.
    pub(super) fn listed(&self) -> bool {
        self.added_because.is_none()
    }

    pub(super) fn is(&self, point: ExtensionPoint) -> bool {
        self.points.contains(&point)
    }
}

/// All instances, in the order of the file, then in the order in which they were added.
pub(super) struct Instances {
    pub(super) list: Vec<Instance>,
}

impl Instances {
    pub(super) fn draft(
        config: &EndpointPickerConfig,
        registry: &Registry,
        options: CompileOptions,
        notes: &mut Diagnostics,
    ) -> Self {
        let mut this = Self { list: Vec::new() };
        let mut seen: HashMap<&str, ()> = HashMap::new();
        for spec in &config.plugins {
            let name = spec.name();
            if seen.insert(name, ()).is_some() {
                notes.push(
                    spec.error(format!("two plugins are named `{name}`"))
                        .with_help("give one of them another `name`; without a name a plugin is named after its type"),
                );
                continue;
            }
            let Some((found, deprecated)) = registry.find(&spec.plugin_type.value) else {
                notes.push(unknown_type(&spec.plugin_type, registry));
                continue;
            };
            if let Some(old) = deprecated {
                notes.push(spec.plugin_type.warning(format!(
                    "plugin type `{}` is deprecated since llm-d {} and gone in {}; write `{}`",
                    old.alias, old.since, old.removed_in, found.name
                )));
            }
            if found.stability == Stability::Alpha && !options.allow_experimental {
                notes.push(
                    spec.plugin_type
                        .error(format!("plugin type `{}` is experimental", found.name))
                        .with_help("start with --allow-experimental-plugins to use it"),
                );
                continue;
            }
            match draft(found, name, &spec.parameters, notes) {
                Ok(drafted) => this.list.push(Instance {
                    name: name.to_owned(),
                    kind: found.name,
                    points: found.points,
                    active: found.active,
                    added_because: None,
                    parameters: spec.parameters.clone(),
                    draft: drafted,
                    at: Spanned { value: (), at: spec.at, path: spec.path.clone() },
                }),
                Err(error) => notes.push(error),
            }
        }
        this
    }

    /// What a configuration may leave out: handler, picker, parsers, metrics source.
    pub(super) fn add_defaults(&mut self, config: &EndpointPickerConfig, registry: &Registry, notes: &mut Diagnostics) {
        if config.scheduling_profiles.len() <= 1 && !self.has(ExtensionPoint::ProfileHandler) {
            self.add(registry, "single-profile-handler", "one profile and no profile handler", notes);
        }
        if !self.has(ExtensionPoint::Picker) {
            self.add(registry, "max-score-picker", "no picker", notes);
        }
        let layer = config.data_layer.as_ref();
        if layer.is_none_or(|layer| layer.inject_defaults) {
            for kind in [METRICS_SOURCE, METRICS_EXTRACTOR] {
                if !self.has_type(kind) {
                    self.add(registry, kind, "dataLayer.injectDefaults", notes);
                }
            }
        }
        let listed: Vec<&Spanned<String>> =
            config.request_handler.iter().flat_map(|handler| &handler.parsers).map(|one| &one.plugin_ref).collect();
        if listed.is_empty() {
            for parser in ParserKind::DEFAULT.map(ParserKind::plugin_type) {
                if !self.has_type(parser) {
                    self.add(registry, parser, "no parsers listed", notes);
                }
            }
        }
        // A reference to a type that `plugins` does not list creates the instance.
        let flow = config.flow_control.as_ref();
        let detector = flow.and_then(|flow| flow.saturation_detector.as_ref()).map(|one| &one.plugin_ref);
        let policies = policies(config);
        let sources = layer.into_iter().flat_map(|layer| {
            let sources = layer.sources.iter();
            let refs =
                sources.flat_map(|one| std::iter::once(&one.plugin_ref).chain(one.extractors.iter().map(|x| &x.plugin_ref)));
            refs.chain(layer.discovery.as_ref().map(|one| &one.plugin_ref))
        });
        for reference in listed.into_iter().chain(detector).chain(policies).chain(sources) {
            let name = reference.value.as_str();
            if self.get(name).is_none() && registry.find(name).is_some() {
                self.add(registry, name, "referenced by its type", notes);
            } else if self.get(name).is_none() {
                notes.push(self.undefined(reference));
            }
        }
        if detector.is_none() {
            self.add(registry, "utilization-detector", "no saturation detector", notes);
        }
        for policy in ["fcfs-ordering-policy", "global-strict-fairness-policy", "static-usage-limit-policy"] {
            self.add(registry, policy, "default of flow control", notes);
        }
    }

    /// Creates default producers until every required datum has one.
    pub(super) fn add_missing_producers(&mut self, registry: &Registry, notes: &mut Diagnostics) {
        while let Some((consumer, Need { key, producer, creates, .. }, at)) = self.first_unmet() {
            if producer == creates && self.get(&producer).is_none() {
                traps::second_producer(self, &consumer, key, notes);
                self.add(registry, creates, &format!("`{consumer}` reads {key}/{producer}"), notes);
                if self.get(&producer).is_some() {
                    continue;
                }
            }
            let offering = self.list.iter().filter(|one| one.draft.offers.contains(&key)).map(|one| one.name.as_str());
            notes.push(
                at.error(format!("`{consumer}` reads {key}/{producer}, which no plugin produces"))
                    .with_nearest(&producer, offering),
            );
            return;
        }
        // Nobody wrote what was added, so nobody expects more of it.
        for instance in self.list.iter().filter(|one| one.added_because.is_none()) {
            for need in instance.draft.needs.iter().filter(|need| !need.required) {
                if !self.offers(&need.producer, need.key) {
                    notes.push(Diagnostic::warning(
                        instance.parameters.at(),
                        instance.parameters.path(),
                        format!("`{}` would use {}/{}, which no plugin produces", instance.name, need.key, need.producer),
                    ));
                }
            }
        }
    }

    fn first_unmet(&self) -> Option<(String, Need, Params)> {
        self.list.iter().find_map(|instance| {
            let need = instance.draft.needs.iter().find(|need| need.required && !self.offers(&need.producer, need.key))?;
            Some((instance.name.clone(), need.clone(), instance.parameters.clone()))
        })
    }

    fn offers(&self, producer: &str, key: DataKey) -> bool {
        self.get(producer).is_some_and(|one| one.draft.offers.contains(&key))
    }

    /// References from one instance to another lead somewhere.
    pub(super) fn check_references(&self, notes: &mut Diagnostics) {
        for reference in self.list.iter().flat_map(|one| &one.draft.references) {
            if self.get(&reference.name).is_none() {
                let names = self.list.iter().map(|one| one.name.as_str());
                notes.push(reference.missing.clone().with_nearest(&reference.name, names));
            }
        }
    }

    /// Numbers of endpoints that somebody reads are found by somebody.
    pub(super) fn check_numbers(&self, notes: &mut Diagnostics) {
        let found = || self.list.iter().flat_map(|one| &one.draft.finds).map(String::as_str);
        for number in self.list.iter().flat_map(|one| &one.draft.numbers) {
            if found().all(|key| key != number.name) {
                notes.push(match nearest(&number.name, found()) {
                    Some(near) => number.missing.clone().with_help(format!("did you mean `{near}`?")),
                    None => number.missing.clone().with_help(format!(
                        "`customMetrics` in the `engineConfigs` of a {METRICS_EXTRACTOR} names what else is to be read"
                    )),
                });
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Instance> {
        self.list.iter().find(|one| one.name == name)
    }

    fn has(&self, point: ExtensionPoint) -> bool {
        self.list.iter().any(|one| one.is(point))
    }

    fn has_type(&self, kind: &str) -> bool {
        self.list.iter().any(|one| one.kind == kind)
    }

    /// Adds an instance of a type, named after it, unless there is one of that type or name.
    fn add(&mut self, registry: &Registry, kind: &str, why: &str, notes: &mut Diagnostics) {
        let Some((found, _)) = registry.find(kind) else {
            return;
        };
        if self.get(found.name).is_some() {
            return;
        }
        let parameters = Params::default();
        match draft(found, found.name, &parameters, notes) {
            Ok(drafted) => self.list.push(Instance {
                name: found.name.to_owned(),
                kind: found.name,
                points: found.points,
                active: found.active,
                added_because: Some(why.to_owned()),
                parameters,
                draft: drafted,
                at: Spanned::default(),
            }),
            Err(error) => notes.push(error),
        }
    }

    /// The error for a reference to a plugin that is not there.
    pub(super) fn undefined(&self, reference: &Spanned<String>) -> Diagnostic {
        let names = self.list.iter().map(|one| one.name.as_str());
        reference.error(format!("no plugin is named `{}`", reference.value)).with_nearest(&reference.value, names)
    }
}

fn draft(found: &PluginType, name: &str, parameters: &Params, notes: &mut Diagnostics) -> Result<Draft, Diagnostic> {
    (found.draft)(&mut PluginContext::new(name, parameters, notes))
}

fn unknown_type(kind: &Spanned<String>, registry: &Registry) -> Diagnostic {
    let error = kind.error(format!("no plugin type is named `{}`", kind.value));
    let names = registry.types().map(|one| one.name);
    match nearest(&kind.value, names) {
        Some(name) => error.with_help(format!("did you mean `{name}`?")),
        None => error.with_help("`weir check --plugins` lists all types"),
    }
}
