//! Which sources of facts about endpoints are started, and who reads what they bring.

use weir_api::{Diagnostics, EndpointPickerConfig, Spanned};

use super::{
    assemble::Built,
    instances::{METRICS_EXTRACTOR, METRICS_SOURCE},
};
use crate::{DataSet, EffectiveSource, MetricsSource, ModelsSource, PageConfig, PageReader, PageSource, SourceConfig};

/// What is fetched, and the sources as people read them.
pub(super) struct DataLayer {
    /// The engine's own page; nothing if nobody reads it.
    pub(super) metrics: Option<MetricsSource>,
    pub(super) pages: Vec<PageSource>,
    pub(super) models: Option<ModelsSource>,
    pub(super) effective: Vec<EffectiveSource>,
}

const UNREAD: &str = "nobody reads what it brings";
const NO_EXTRACTOR: &str = "it has no extractor that is active";

pub(super) fn data_layer(config: &EndpointPickerConfig, built: &[Built], reads: DataSet, notes: &mut Diagnostics) -> DataLayer {
    let mut layer = DataLayer { metrics: None, pages: Vec::new(), models: None, effective: Vec::new() };
    let wired = wired(config, built, notes);
    for Wired { source, extractors, added } in &wired {
        let not_started = match &source.parts.source {
            Some(SourceConfig::Metrics { scheme, path, port, interval, tls }) => {
                let page = PageConfig {
                    scheme: scheme.clone(),
                    path: path.clone().unwrap_or_else(|| "/metrics".to_owned()),
                    port: *port,
                    interval: *interval,
                    tls: tls.clone(),
                    by_label: false,
                };
                match extractors.iter().position(|one| matches!(one.parts.source, Some(SourceConfig::CoreMetrics { .. }))) {
                    // The engine's own page.
                    Some(place) if layer.metrics.is_none() => match reads.intersects(DataSet::ENGINE_METRICS) {
                        false => Some(UNREAD),
                        true => {
                            let engines = engines(extractors[place]).unwrap_or_default();
                            let (scheme, path, tls) = (scheme.clone(), path.clone(), tls.clone());
                            layer.metrics =
                                Some(MetricsSource { scheme, path, port: *port, interval: *interval, tls, ..engines });
                            let rest: Vec<&Built> =
                                extractors.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, one)| *one).collect();
                            if rest.is_empty() { None } else { layer.page(source, page, &rest, reads) }
                        }
                    },
                    _ => layer.page(source, page, extractors, reads),
                }
            }
            Some(SourceConfig::Page(page)) => layer.page(source, page.clone(), extractors, reads),
            Some(SourceConfig::Models(models)) => {
                let details = extractors.iter().any(|one| matches!(one.parts.source, Some(SourceConfig::ModelDetails)));
                layer.models = Some(ModelsSource { details, ..models.clone() });
                None
            }
            _ => None,
        };
        layer.effective.push(EffectiveSource {
            name: source.name.clone(),
            extractors: extractors.iter().map(|one| one.name.clone()).collect(),
            added: *added,
            not_started,
        });
    }
    unwired(built, &wired, notes);
    if layer.metrics.is_none() {
        unread(config, built, notes);
    }
    layer
}

impl DataLayer {
    /// Adds a page besides the engine's own, or says why not.
    fn page(&mut self, source: &Built, page: PageConfig, extractors: &[&Built], reads: DataSet) -> Option<&'static str> {
        let mut readers = Vec::new();
        let mut idle = NO_EXTRACTOR;
        for one in extractors {
            let (reader, wanted) = match &one.parts.source {
                Some(SourceConfig::CoreMetrics { .. }) => {
                    (PageReader::Engines(engines(one).unwrap_or_default()), DataSet::ENGINE_METRICS)
                }
                Some(SourceConfig::Numbers(numbers)) => (PageReader::Numbers(one.kind, numbers.clone()), DataSet::ATTRIBUTES),
                _ => continue,
            };
            if reads.intersects(wanted) {
                readers.push(reader);
            } else {
                idle = UNREAD;
            }
        }
        if readers.is_empty() {
            return Some(idle);
        }
        self.pages.push(PageSource { name: source.name.clone(), kind: source.kind, page, readers });
        None
    }
}

/// The tables of an extractor of engines' numbers.
fn engines(extractor: &Built) -> Option<MetricsSource> {
    let Some(SourceConfig::CoreMetrics { engine_label_key, default_engine, engines }) = &extractor.parts.source else {
        return None;
    };
    Some(MetricsSource {
        engine_label_key: engine_label_key.clone(),
        default_engine: default_engine.clone(),
        engines: engines.clone(),
        ..MetricsSource::default()
    })
}

/// Sources that the file lists and does not wire bring nothing; only that of engines' own pages is wired by itself.
fn unwired(built: &[Built], wired: &[Wired<'_>], notes: &mut Diagnostics) {
    for one in built.iter().filter(|one| one.listed) {
        let brings = matches!(one.parts.source, Some(SourceConfig::Page(_) | SourceConfig::Models(_)));
        if brings && !wired.iter().any(|wired| wired.source.name == one.name) {
            let warning = one.at.warning(format!("`{}` has no effect: dataLayer.sources does not list it", one.name));
            notes.push(warning.with_help(format!(
                "write dataLayer: {{sources: [{{pluginRef: {}, extractors: [{{pluginRef: …}}]}}]}}",
                one.name
            )));
        }
    }
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
