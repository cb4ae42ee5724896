//! Which sources of facts about endpoints are started, and who reads what they bring.

use weir_api::{Diagnostics, EndpointPickerConfig, Spanned};

use super::{
    assemble::Built,
    instances::{METRICS_EXTRACTOR, METRICS_SOURCE},
};
use crate::{DataSet, EffectiveSource, MetricsSource, SourceConfig};

/// What the plan scrapes (nothing if nobody reads it), and the sources as people read them.
pub(super) fn data_layer(
    config: &EndpointPickerConfig,
    built: &[Built],
    reads: DataSet,
    notes: &mut Diagnostics,
) -> (Option<MetricsSource>, Vec<EffectiveSource>) {
    let wired = wired(config, built, notes);
    let mut effective: Vec<EffectiveSource> = Vec::new();
    let mut scraped: Option<MetricsSource> = None;
    for Wired { source, extractors, added } in &wired {
        let mut not_started = None;
        if let Some(SourceConfig::Metrics { scheme, path, port, interval, tls }) = &source.parts.source {
            let mapping = extractors.iter().find_map(|one| match &one.parts.source {
                Some(SourceConfig::CoreMetrics { engine_label_key, default_engine, engines }) => {
                    Some((engine_label_key, default_engine, engines))
                }
                _ => None,
            });
            match mapping {
                _ if !reads.intersects(DataSet::ENGINE_METRICS) => not_started = Some("nobody reads what it brings"),
                None => not_started = Some("it has no extractor that is active"),
                Some(_) if scraped.is_some() => {
                    not_started = Some("another source of engine metrics is read already");
                    notes.push(source.at.warning(format!(
                        "`{}` is a second source of engine metrics: only the first one that dataLayer.sources lists is read",
                        source.name
                    )));
                }
                Some((engine_label_key, default_engine, engines)) => {
                    scraped = Some(MetricsSource {
                        scheme: scheme.clone(),
                        path: path.clone(),
                        port: *port,
                        interval: *interval,
                        tls: tls.clone(),
                        engine_label_key: engine_label_key.clone(),
                        default_engine: default_engine.clone(),
                        engines: engines.clone(),
                    });
                }
            }
        }
        effective.push(EffectiveSource {
            name: source.name.clone(),
            extractors: extractors.iter().map(|one| one.name.clone()).collect(),
            added: *added,
            not_started,
        });
    }
    if scraped.is_none() {
        unread(config, built, notes);
    }
    (scraped, effective)
}

struct Wired<'b> {
    source: &'b Built,
    extractors: Vec<&'b Built>,
    added: bool,
}

/// The sources that the file wires, and the default one unless the file wires one of its type.
fn wired<'b>(config: &EndpointPickerConfig, built: &'b [Built], notes: &mut Diagnostics) -> Vec<Wired<'b>> {
    let get = |name: &Spanned<String>| built.iter().find(|one| one.name == name.value);
    let layer = config.data_layer.as_ref();
    let mut wired: Vec<Wired<'b>> = Vec::new();
    for spec in layer.into_iter().flat_map(|layer| &layer.sources) {
        if let Some(source) = get(&spec.plugin_ref) {
            let extractors: Vec<&Built> = spec.extractors.iter().filter_map(|one| get(&one.plugin_ref)).collect();
            if source.kind == METRICS_SOURCE && extractors.is_empty() {
                notes.push(spec.plugin_ref.warning(format!("`{}` brings what nobody reads: it has no extractors", source.name)));
            }
            wired.push(Wired { source, extractors, added: false });
        }
    }
    if layer.is_some_and(|layer| !layer.inject_defaults) || wired.iter().any(|one| one.source.kind == METRICS_SOURCE) {
        return wired;
    }
    // The one that bears the type's name is the one that llm-d would use.
    let default = |kind: &str| {
        let exact = built.iter().find(|one| one.kind == kind && one.name == kind);
        exact.or_else(|| built.iter().find(|one| one.kind == kind))
    };
    if let Some(source) = default(METRICS_SOURCE) {
        wired.push(Wired { source, extractors: default(METRICS_EXTRACTOR).into_iter().collect(), added: true });
    }
    wired
}

/// With the default source switched off, somebody may read numbers that nobody brings.
fn unread(config: &EndpointPickerConfig, built: &[Built], notes: &mut Diagnostics) {
    const NAMES: [(DataSet, &str); 4] = [
        (DataSet::QUEUE, "WaitingQueueSize"),
        (DataSet::RUNNING, "RunningRequestsSize"),
        (DataSet::KV_USAGE, "KVCacheUsagePercent"),
        (DataSet::LORA, "ActiveModels"),
    ];
    if config.data_layer.as_ref().is_none_or(|layer| layer.inject_defaults) {
        return;
    }
    for one in built.iter().filter(|one| one.listed) {
        let scorer = one.parts.scorer.as_ref().map_or(DataSet::NONE, |scorer| scorer.reads());
        let filter = one.parts.filter.as_ref().map_or(DataSet::NONE, |filter| filter.reads());
        let Some((_, name)) = NAMES.into_iter().find(|(set, _)| (scorer | filter).intersects(*set)) else { continue };
        let error = one.at.error(format!("`{}` reads {name}/{METRICS_EXTRACTOR}, which no plugin produces", one.name));
        notes.push(error.with_help(format!(
            "list {METRICS_SOURCE} with the extractor {METRICS_EXTRACTOR} in dataLayer.sources, or leave dataLayer.injectDefaults on"
        )));
    }
}
