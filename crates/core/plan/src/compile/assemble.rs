//! Building instances in the order of their dependencies, and profiles from them.

use std::sync::Arc;

use weir_api::{Diagnostic, Diagnostics, EndpointPickerConfig, Spanned};
use weir_protocol::{ParserKind, Parsers};

use crate::{
    Columns, CompileOptions, DataKey, DataSet, Effective, ExtensionPoint, Named, Parts, Plan, Profile, PromptStream,
    SaturationDetector, Scored, UsageLimits, Wiring,
    compile::{
        data_layer::data_layer,
        discovery::discovery,
        effective,
        instances::{Instance, Instances},
    },
};

/// An instance that is built.
pub(super) struct Built {
    pub(super) name: String,
    pub(super) kind: &'static str,
    points: &'static [ExtensionPoint],
    /// Where it is in the file.
    pub(super) at: Spanned<()>,
    /// It is in the file.
    pub(super) listed: bool,
    pub(super) parts: Parts,
}

pub(super) fn assemble(
    config: &EndpointPickerConfig,
    instances: Instances,
    options: CompileOptions,
    notes: &mut Diagnostics,
) -> Option<Plan> {
    let mut profiles = profile_refs(config, &instances, notes);
    let profile_names: Vec<String> = profiles.iter().map(|profile| profile.name.clone()).collect();
    let mut written = effective::draft(config, &instances);
    let offering = |key| {
        instances.list.iter().filter(|one| one.draft.offers.contains(&key)).map(|one: &Instance| one.name.clone()).collect()
    };
    let columns = Columns {
        prefix: offering(DataKey::PrefixCacheMatchInfo),
        latency: offering(DataKey::LatencyPredictionInfo),
        encoder: offering(DataKey::EncoderCacheMatchInfo),
    };
    let parser_refs = parser_refs(config, &instances);
    let order = dependency_order(&instances.list, notes)?;
    let built = build(instances.list, &order, &columns, &profile_names, notes)?;

    let handlers: Vec<&Built> = built.iter().filter(|one| one.parts.handler.is_some()).collect();
    let handler = match handlers.as_slice() {
        [one] => one,
        [] => {
            let second = config.scheduling_profiles.get(1).map(|one| one.name.clone().map(|_| ())).unwrap_or_default();
            notes.push(
                second
                    .error("there are several profiles and no profile handler, so nothing says which of them run")
                    .with_help("add a profile handler plugin, or keep one profile"),
            );
            return None;
        }
        [_, second, ..] => {
            notes.push(second.at.error(format!("`{}` is a second profile handler; there can be one", second.name)));
            return None;
        }
    };
    if handler.kind == "single-profile-handler" && profiles.len() > 1 {
        let second = config.scheduling_profiles.get(1).map(|one| one.name.clone().map(|_| ())).unwrap_or_default();
        let message = format!("single-profile-handler runs one profile, and there are {}", profiles.len());
        notes.push(second.error(message).with_help("use a handler for several profiles, or keep one"));
        return None;
    }

    let mut reads = DataSet::NONE;
    let mut compiled = Vec::with_capacity(profiles.len());
    for refs in &mut profiles {
        compiled.push(profile(refs, &built, &mut reads, notes)?);
    }
    let (parsers, parser_names) = parsers(&parser_refs, &built, notes);
    let producers: Vec<_> = built.iter().filter_map(|one| named(one, one.parts.producer.as_ref())).collect();
    producers.iter().for_each(|one| reads |= one.plugin.reads());
    let screeners = in_file_order(&built, &order, |parts| parts.screener.as_ref());
    screeners.iter().for_each(|one| reads |= one.plugin.reads());
    let admitters = in_file_order(&built, &order, |parts| parts.admitter.as_ref());
    admitters.iter().for_each(|one| reads |= one.plugin.reads());
    let detector = detector(config, &built, &mut reads);
    let layer = data_layer(config, &built, reads, notes);
    let mut plan = Plan {
        handler: named(handler, handler.parts.handler.as_ref())?,
        header_processors: in_file_order(&built, &order, |parts| parts.header_processor.as_ref()),
        detector,
        usage_limits: usage_limits(config, &built),
        screeners,
        admitters,
        reporters: in_file_order(&built, &order, |parts| parts.reporter.as_ref()),
        pre_request: in_file_order(&built, &order, |parts| parts.pre_request.as_ref()),
        response_headers: in_file_order(&built, &order, |parts| parts.response_headers.as_ref()),
        metrics: layer.metrics,
        pages: layer.pages,
        models: layer.models,
        endpoint_events: in_file_order(&built, &order, |parts| parts.endpoint_events.as_ref()),
        kv_events: in_file_order(&built, &order, |parts| parts.kv_events.as_ref()),
        discovery: discovery(config, &built, notes),
        in_flight: built.iter().find_map(|one| one.parts.in_flight),
        parsers,
        producers,
        columns,
        reads,
        seed: options.seed,
        effective: Effective::default(),
        warnings: Vec::new(),
        profiles: compiled,
    };
    written.profiles = plan.profiles.iter().map(effective::profile).collect();
    written.handler.clone_from(&plan.handler.name);
    written.sources = layer.effective;
    if !parser_names.is_empty() {
        written.parsers = parser_names;
    }
    written.reads = reads.names().collect();
    plan.effective = written;
    Some(plan)
}

/// The parsers that the configuration lists; without any, those that were added for it.
fn parser_refs(config: &EndpointPickerConfig, instances: &Instances) -> Vec<Spanned<String>> {
    let listed = config.request_handler.iter().flat_map(|handler| &handler.parsers);
    let mut refs: Vec<Spanned<String>> = listed.map(|one| one.plugin_ref.clone()).collect();
    if refs.is_empty() {
        // An instance may have a name of its own.
        let of_kind = |kind: ParserKind| instances.list.iter().find(|one| one.kind == kind.plugin_type());
        refs.extend(ParserKind::DEFAULT.into_iter().filter_map(of_kind).map(|one| Spanned::from(one.name.clone())));
    }
    refs
}

/// Of two parsers of a type the first counts, and none that follows the fallback: it would never see a request.
fn parsers(refs: &[Spanned<String>], built: &[Built], notes: &mut Diagnostics) -> (Parsers, Vec<String>) {
    let (mut kinds, mut names) = (Vec::new(), Vec::new());
    for reference in refs {
        let name = &reference.value;
        // What is no parser was reported before.
        let Some(kind) = built.iter().find(|one| one.name == *name).and_then(|one| one.parts.parser) else { continue };
        if kinds.contains(&ParserKind::Passthrough) {
            let message = format!("`{name}` has no effect: the parser before it takes every request that comes this far");
            notes.push(reference.warning(message));
        } else if kinds.contains(&kind) {
            notes.push(reference.warning(format!("`{name}` has no effect: a parser of its type is listed before it")));
        } else {
            kinds.push(kind);
            names.push(name.clone());
        }
    }
    (Parsers::new(kinds), names)
}

/// A profile as references to instances.
struct ProfileRefs {
    name: String,
    /// Name and weight, in the order of the file.
    refs: Vec<Ref>,
}

/// One reference of a profile.
struct Ref {
    name: String,
    weight: Option<f64>,
    at: Spanned<()>,
}

/// The profiles of the configuration; without any, one with every filter, scorer and picker in the order of the file.
fn profile_refs(config: &EndpointPickerConfig, instances: &Instances, notes: &mut Diagnostics) -> Vec<ProfileRefs> {
    let schedulable =
        |one: &&Instance| one.is(ExtensionPoint::Filter) || one.is(ExtensionPoint::Scorer) || one.is(ExtensionPoint::Picker);
    let mut profiles: Vec<ProfileRefs> = Vec::new();
    for profile in &config.scheduling_profiles {
        if profile.name.value.is_empty() {
            notes.push(profile.name.error("a profile needs a name"));
        } else if profiles.iter().any(|one| one.name == profile.name.value) {
            notes.push(profile.name.error(format!("two profiles are named `{}`", profile.name.value)));
        }
        let mut refs = Vec::new();
        for reference in &profile.plugins {
            let name = &reference.plugin_ref;
            match instances.get(&name.value) {
                None => notes.push(instances.undefined(name)),
                Some(found) if schedulable(&found) => {
                    refs.push(Ref { name: name.value.clone(), weight: reference.weight, at: name.clone().map(|_| ()) });
                }
                Some(found) => notes.push(name.warning(format!(
                    "`{}` is neither filter, scorer nor picker: listing it in a profile has no effect",
                    found.name
                ))),
            }
        }
        profiles.push(ProfileRefs { name: profile.name.value.clone(), refs });
    }
    if config.scheduling_profiles.is_empty() {
        let listed = instances.list.iter().filter(|one| one.added_because.is_none()).filter(schedulable);
        let refs = listed.map(|one| Ref { name: one.name.clone(), weight: None, at: one.at.clone() }).collect();
        profiles.push(ProfileRefs { name: "default".to_owned(), refs });
    }
    // The first picker of the file serves every profile that lists none.
    let shared = instances.list.iter().find(|one| one.is(ExtensionPoint::Picker));
    for profile in &mut profiles {
        let is_picker = |name: &str| instances.get(name).is_some_and(|one| one.is(ExtensionPoint::Picker));
        if let Some(picker) = shared
            && !profile.refs.iter().any(|one| is_picker(&one.name))
        {
            profile.refs.push(Ref { name: picker.name.clone(), weight: None, at: picker.at.clone() });
        }
    }
    profiles
}

/// Places in `list`, every producer before its consumers, otherwise in the order of the file.
fn dependency_order(list: &[Instance], notes: &mut Diagnostics) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = Vec::with_capacity(list.len());
    while order.len() < list.len() {
        let ready = (0..list.len()).find(|candidate| {
            !order.contains(candidate)
                && list[*candidate].before().all(|name| {
                    let producer = list.iter().position(|one| one.name == name);
                    producer.is_none_or(|place| place == *candidate || order.contains(&place))
                })
        });
        match ready {
            Some(place) => order.push(place),
            None => {
                let stuck: Vec<&Instance> =
                    (0..list.len()).filter(|place| !order.contains(place)).map(|place| &list[place]).collect();
                let at = stuck.iter().find(|one| one.listed()).map_or_else(Spanned::default, |one| one.at.clone());
                let names: Vec<&str> = stuck.iter().map(|one| one.name.as_str()).collect();
                notes.push(at.error(format!("these plugins depend on each other in a circle: {}", names.join(", "))));
                return None;
            }
        }
    }
    Some(order)
}

/// Builds in dependency order; the result is in that order too.
fn build(
    list: Vec<Instance>,
    order: &[usize],
    columns: &Columns,
    profiles: &[String],
    notes: &mut Diagnostics,
) -> Option<Vec<Built>> {
    let mut list: Vec<Option<Instance>> = list.into_iter().map(Some).collect();
    let mut built: Vec<Built> = Vec::with_capacity(list.len());
    let mut prompt_streams: Vec<(String, Arc<dyn PromptStream>)> = Vec::new();
    let mut topologies = Vec::new();
    let mut deciders = Vec::new();
    let mut failed = false;
    for place in order {
        let Some(instance) = list.get_mut(*place).and_then(Option::take) else { continue };
        let wiring = Wiring {
            own_name: &instance.name,
            columns,
            prompt_streams: &prompt_streams,
            topologies: &topologies,
            deciders: &deciders,
            profiles,
        };
        match (instance.draft.build)(&wiring) {
            Ok(parts) => {
                deciders.extend(parts.decider.clone().map(|decider| (instance.name.clone(), decider)));
                topologies.extend(parts.topology.clone().map(|labels| (instance.name.clone(), labels)));
                prompt_streams.extend(parts.prompt_stream.clone().map(|stream| (instance.name.clone(), stream)));
                let listed = instance.added_because.is_none();
                let (points, at) = (instance.points, instance.at);
                built.push(Built { name: instance.name, kind: instance.kind, points, at, listed, parts });
            }
            Err(error) => {
                notes.push(error);
                failed = true;
            }
        }
    }
    (!failed).then_some(built)
}

fn profile(refs: &ProfileRefs, built: &[Built], reads: &mut DataSet, notes: &mut Diagnostics) -> Option<Profile> {
    let mut filters = Vec::new();
    let mut scorers = Vec::new();
    let mut picker = None;
    for Ref { name, weight, at } in &refs.refs {
        let one = built.iter().find(|one| one.name == *name)?;
        if let Some(filter) = named(one, one.parts.filter.as_ref()) {
            *reads |= filter.plugin.reads();
            filters.push(filter);
        }
        if let Some(scorer) = named(one, one.parts.scorer.as_ref()) {
            *reads |= scorer.plugin.reads();
            scorers.push(Scored { weight: weight.unwrap_or(1.0), scorer });
        }
        if let Some(found) = named(one, one.parts.picker.as_ref())
            && picker.replace(found).is_some()
        {
            notes.push(at.error(format!("profile `{}` has two pickers; `{name}` is the second", refs.name)));
            return None;
        }
        debug_assert!(!one.points.is_empty());
    }
    let Some(picker) = picker else {
        notes.push(nowhere(format!("profile `{}` has no picker that is active", refs.name)));
        return None;
    };
    Some(Profile { name: refs.name.clone(), filters, scorers, picker })
}

fn named<T: Clone>(one: &Built, plugin: Option<&T>) -> Option<Named<T>> {
    plugin.map(|plugin| Named { name: one.name.clone(), kind: one.kind, plugin: plugin.clone() })
}

/// The policy that the configuration names, else the first one that there is.
fn usage_limits(config: &EndpointPickerConfig, built: &[Built]) -> Option<Named<Arc<dyn UsageLimits>>> {
    let named_by = config.flow_control.as_ref().and_then(|flow| flow.usage_limit_policy_plugin_ref.as_ref());
    let wanted = named_by.and_then(|name| built.iter().find(|one| one.name == name.value));
    let one = wanted.or_else(|| built.iter().find(|one| one.parts.usage_limits.is_some()))?;
    named(one, one.parts.usage_limits.as_ref())
}

/// What says how full the pool is: the plugin that the configuration names, else the default one, else the first one that can. One that
/// nobody asked for makes do with what others had fetched; where nothing is fetched, there is none.
fn detector(config: &EndpointPickerConfig, built: &[Built], reads: &mut DataSet) -> Option<Named<Arc<dyn SaturationDetector>>> {
    let named_by = config.flow_control.as_ref().and_then(|flow| flow.saturation_detector.as_ref());
    let wanted = named_by.and_then(|one| built.iter().find(|built| built.name == one.plugin_ref.value));
    let default = || built.iter().find(|one| one.kind == "utilization-detector");
    let one = wanted.or_else(default).or_else(|| built.iter().find(|one| one.parts.detector.is_some()))?;
    let detector = named(one, one.parts.detector.as_ref())?;
    let wants = detector.plugin.reads();
    if one.listed || wanted.is_some() {
        *reads |= wants;
    }
    let fetched = !wants.intersects(DataSet::ENGINE_METRICS) || reads.intersects(DataSet::ENGINE_METRICS);
    fetched.then_some(detector)
}

/// `built` is in dependency order; `order[i]` is the place in the file of `built[i]`.
fn in_file_order<T: Clone>(built: &[Built], order: &[usize], part: impl Fn(&Parts) -> Option<&T>) -> Vec<Named<T>> {
    let mut found: Vec<(usize, Named<T>)> =
        built.iter().zip(order).filter_map(|(one, place)| named(one, part(&one.parts)).map(|named| (*place, named))).collect();
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, named)| named).collect()
}

/// An error about the configuration as a whole.
fn nowhere(message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(weir_api::Span::default(), "", message)
}
