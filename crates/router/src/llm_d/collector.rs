//! llm-d's families, as they are scraped.

mod pools;
mod saturation;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::{
    Labels, Series,
    encode::{Families, LabelSet, Rows},
    histogram::{Histogram, Reading},
    names,
};
use crate::{Router, Shared};

/// Writes llm-d's families. Register it once.
pub struct LlmDCollector {
    shared: Arc<Shared>,
    router: Arc<dyn Fn() -> Arc<Router> + Send + Sync>,
    legacy: Arc<AtomicBool>,
}

impl fmt::Debug for LlmDCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmDCollector").finish_non_exhaustive()
    }
}

impl LlmDCollector {
    /// A collector over what `shared` counted and over the pools that `router` has now. While `legacy` is set, names of before
    /// (`inference_objective_`, `inference_pool_`, `inference_extension_`) are written too.
    pub fn new(shared: Arc<Shared>, router: Arc<dyn Fn() -> Arc<Router> + Send + Sync>, legacy: Arc<AtomicBool>) -> Self {
        Self { shared, router, legacy }
    }
}

const NEW: &str = "llm_d_epp_";
const OBJECTIVE: &str = "inference_objective_";
const POOL: &str = "inference_pool_";
const EXTENSION: &str = "inference_extension_";
const SCHEDULER: &str = "llm_d_inference_scheduler_";
/// The handler that divided requests before `disagg-profile-handler`, whose decisions have a family of their own.
const PD_HANDLER: &str = "pd-profile-handler";

/// How a histogram of requests is called: today, help, before.
type RequestHistogram = (&'static str, &'static str, &'static str, fn(&Series) -> &Histogram);

const REQUEST_HISTOGRAMS: [RequestHistogram; 9] = [
    ("request_duration_seconds", "Time from a request's arrival to the end of its response", "request_duration_seconds", |one| {
        &one.duration
    }),
    ("request_size_bytes", "Bytes of requests' bodies", "request_sizes", |one| &one.request_bytes),
    ("response_size_bytes", "Bytes of responses' bodies", "response_sizes", |one| &one.response_bytes),
    ("request_input_tokens", "Tokens of prompts, as engines report them", "input_tokens", |one| &one.input_tokens),
    ("request_cached_tokens", "Tokens of prompts that engines found in their caches", "prompt_cached_tokens", |one| {
        &one.cached_tokens
    }),
    ("request_output_tokens", "Tokens of answers, as engines report them", "output_tokens", |one| &one.output_tokens),
    (
        "request_ntpot_seconds",
        "Time per output token over the whole request",
        "normalized_time_per_output_token_seconds",
        |one| &one.ntpot,
    ),
    ("request_streaming_tpot_seconds", "Time per output token after the first, of streams", "request_tpot_seconds", |one| {
        &one.tpot
    }),
    ("request_streaming_itl_seconds", "Time between pieces of streams", "", |one| &one.itl),
];

impl Collector for LlmDCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let legacy = self.legacy.load(Relaxed);
        let mut families = Families::new(&mut encoder);
        self.requests(&mut families, legacy)?;
        self.scheduling(&mut families, legacy)?;
        let router = (self.router)();
        pools::write(&router, &mut families, legacy)?;
        saturation::write(&router, &mut families, legacy)?;
        self.prefixes(&router, &mut families, legacy)?;
        self.encoders(&mut families)?;
        self.in_flight(&mut families)?;
        self.splits(&mut families, legacy)?;
        figures(&router, &mut families)?;
        let help = "Requests whose model an InferenceModelRewrite decided on";
        both(legacy, EXTENSION, "model_rewrite_decisions", |name| families.kept(name, help, &self.shared.metrics.rewrites))?;
        let info = [("commit", option_env!("WEIR_COMMIT").unwrap_or("unknown")), ("build_ref", env!("CARGO_PKG_VERSION"))];
        let rows = vec![(info.map(|(name, value)| (name, value.to_owned())).to_vec(), 1.0)];
        both(legacy, EXTENSION, "info", |name| families.gauge(name, "What was built", &rows))
    }
}

/// Writes a family under today's name, and under the name of before where its labels are the same.
fn both(legacy: bool, before: &str, name: &str, mut write: impl FnMut(&str) -> fmt::Result) -> fmt::Result {
    write(&format!("{NEW}{name}"))?;
    if legacy { write(&format!("{before}{name}")) } else { Ok(()) }
}

fn all(labels: Labels<'_>) -> LabelSet {
    let mut set = models(labels);
    set.push(("fairness_id", labels.fairness_id.to_owned()));
    set.push(("priority", labels.priority.to_string()));
    set
}

fn models(labels: Labels<'_>) -> LabelSet {
    vec![("model_name", labels.model.to_owned()), ("target_model_name", labels.target.to_owned())]
}

fn with(mut labels: LabelSet, name: &'static str, value: &str) -> LabelSet {
    labels.push((name, value.to_owned()));
    labels
}

/// Adds rows of the same labels up, in the order of their labels.
fn summed<T>(rows: impl IntoIterator<Item = (LabelSet, T)>, mut add: impl FnMut(&mut T, T)) -> Rows<T> {
    let mut sums: BTreeMap<LabelSet, T> = BTreeMap::new();
    for (labels, value) in rows {
        match sums.entry(labels) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(value);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => add(entry.get_mut(), value),
        }
    }
    sums.into_iter().collect()
}

fn sum_of_readings(rows: impl IntoIterator<Item = (LabelSet, Reading)>) -> Rows<Reading> {
    summed(rows, |sum, more| sum.add(&more))
}

impl LlmDCollector {
    fn requests(&self, families: &mut Families<'_, '_>, legacy: bool) -> fmt::Result {
        let series = self.shared.llm_d.series.all();
        let total =
            |labels: fn(Labels<'_>) -> LabelSet| series.iter().map(move |one| (labels(one.labels()), one.total.load(Relaxed)));
        families.counter(&format!("{NEW}request"), "Requests that were given an endpoint", &total(all).collect())?;
        let errors = |labels: fn(Labels<'_>) -> LabelSet| {
            series.iter().flat_map(move |one| {
                one.errors().into_iter().map(move |(code, count)| (with(labels(one.labels()), "error_code", code), count))
            })
        };
        families.counter(&format!("{NEW}request_error"), "Requests that failed", &errors(all).collect())?;
        // A request without a model belongs to no series of its own.
        let running: Rows<f64> = series
            .iter()
            .filter(|one| !one.labels().model.is_empty())
            .map(|one| (all(one.labels()), one.running.load(Relaxed) as f64))
            .collect();
        families.gauge(&format!("{NEW}request_running"), "Requests that run", &running)?;
        for (name, help, before, read) in REQUEST_HISTOGRAMS {
            let rows = |labels: fn(Labels<'_>) -> LabelSet| {
                let read = series.iter().map(move |one| (labels(one.labels()), read(one).read()));
                read.filter(|(_, reading)| reading.count() > 0)
            };
            families.histogram(&format!("{NEW}{name}"), help, &rows(all).collect())?;
            if legacy && !before.is_empty() {
                families.histogram(&format!("{OBJECTIVE}{before}"), help, &sum_of_readings(rows(models)))?;
            }
        }
        let ttft = |labels: fn(Labels<'_>) -> LabelSet, streaming: bool| {
            series.iter().flat_map(move |one| {
                ["false", "true"].into_iter().zip(&one.ttft).filter_map(move |(streamed, histogram)| {
                    let labels = labels(one.labels());
                    let labels = if streaming { with(labels, "streaming", streamed) } else { labels };
                    Some((labels, histogram.read())).filter(|(_, reading)| reading.count() > 0)
                })
            })
        };
        let help = "Time to the first token; of answers that are not streamed, their whole duration";
        families.histogram(&format!("{NEW}request_ttft_seconds"), help, &ttft(all, true).collect())?;
        if !legacy {
            return Ok(());
        }
        families.histogram(&format!("{OBJECTIVE}request_ttft_seconds"), help, &sum_of_readings(ttft(models, false)))?;
        let with_priority = |labels: Labels<'_>| with(models(labels), "priority", &labels.priority.to_string());
        let add = |sum: &mut u64, more: u64| *sum += more;
        let by_priority = series.iter().map(|one| (with_priority(one.labels()), one.total.load(Relaxed)));
        families.counter(&format!("{OBJECTIVE}request"), "Requests that were given an endpoint", &summed(by_priority, add))?;
        families.counter(&format!("{OBJECTIVE}request_error"), "Requests that failed", &summed(errors(models), add))?;
        let by_model = running.into_iter().map(|(mut labels, value)| {
            labels.truncate(1);
            (labels, value)
        });
        families.gauge(&format!("{OBJECTIVE}running_requests"), "Requests that run", &summed(by_model, |sum, more| *sum += more))
    }

    fn scheduling(&self, families: &mut Families<'_, '_>, legacy: bool) -> fmt::Result {
        let llm_d = &self.shared.llm_d;
        for (name, help, histogram, twin) in [
            ("scheduler_e2e_duration_seconds", "Time that scheduling takes", &llm_d.scheduling, true),
            (
                "request_processing_duration_seconds",
                "Time from a request's head to its endpoint, or to its refusal",
                &llm_d.request_processing,
                false,
            ),
            (
                "response_processing_duration_seconds",
                "Time that plugins take with a response's head",
                &llm_d.response_processing,
                false,
            ),
        ] {
            let rows = vec![(LabelSet::new(), histogram.read())];
            both(legacy && twin, EXTENSION, name, |name| families.histogram(name, help, &rows))?;
        }
        let plugins: Rows<Reading> = llm_d
            .plugins
            .lock()
            .iter()
            .map(|((point, kind, name), spent)| {
                let labels = [("extension_point", *point), ("plugin_type", *kind), ("plugin_name", name.as_str())];
                (labels.map(|(name, value)| (name, value.to_owned())).to_vec(), spent.read())
            })
            .filter(|(_, reading)| reading.count() > 0)
            .collect();
        let help = "Time spent in one plugin at one extension point";
        both(legacy, EXTENSION, "plugin_duration_seconds", |name| families.histogram(name, help, &plugins))?;

        let (attempts, failures) = llm_d.attempts.read();
        for (prefix, endpoint_label, wanted) in [(NEW, "endpoint_name", true), (EXTENSION, "pod_name", legacy)] {
            if !wanted {
                continue;
            }
            let row = |status: &str, target: &str, endpoint: &str, namespace: &str, port: &str| {
                vec![
                    ("status", status.to_owned()),
                    ("target_model_name", target.to_owned()),
                    (endpoint_label, endpoint.to_owned()),
                    ("namespace", namespace.to_owned()),
                    ("port", port.to_owned()),
                ]
            };
            let mut rows: Rows<u64> = attempts
                .iter()
                .map(|one| {
                    let (namespace, name, port) = names(&one.endpoint);
                    (row("success", &one.target, name, namespace, &port.to_string()), one.count.load(Relaxed))
                })
                .collect();
            rows.extend(failures.iter().map(|(target, count)| (row("failure", target, "", "", ""), *count)));
            families.counter(&format!("{prefix}scheduler_attempts"), "Decisions", &rows)?;
        }
        Ok(())
    }

    fn prefixes(&self, router: &Router, families: &mut Families<'_, '_>, legacy: bool) -> fmt::Result {
        let sizes = router.pools().iter().flat_map(|runtime| {
            runtime.plan.producers.iter().filter_map(|one| {
                let entries = one.plugin.entries()?;
                Some((producer(&one.name, one.kind), entries as f64))
            })
        });
        let sizes = summed(sizes, |sum, more| *sum += more);
        both(legacy, EXTENSION, "prefix_indexer_size", |name| families.gauge(name, "Entries of a prefix index", &sizes))?;
        let prefixes = self.shared.llm_d.prefixes.lock();
        let read = |histogram: fn(&super::PrefixHits) -> &Histogram| -> Rows<Reading> {
            let rows = prefixes.iter().map(|((name, kind), hits)| (producer(name, kind), histogram(hits).read()));
            rows.filter(|(_, reading)| reading.count() > 0).collect()
        };
        let (ratio, bytes) = (read(|hits| &hits.ratio), read(|hits| &hits.bytes));
        let help = "Share of prompts that the chosen endpoint was believed to hold";
        both(legacy, EXTENSION, "prefix_indexer_hit_ratio", |name| families.histogram(name, help, &ratio))?;
        let help = "Bytes of prompts that the chosen endpoint was believed to hold";
        both(legacy, EXTENSION, "prefix_indexer_hit_bytes", |name| families.histogram(name, help, &bytes))
    }

    fn encoders(&self, families: &mut Families<'_, '_>) -> fmt::Result {
        let encoders = self.shared.llm_d.encoders.lock();
        let (mut queries, mut hits, mut ratios) = (Rows::new(), Rows::new(), Rows::new());
        for ((name, kind), one) in encoders.iter() {
            let own = producer(name, kind);
            queries.extend(one.queries().into_iter().map(|(modality, count)| (with(own.clone(), "modality", modality), count)));
            hits.extend(one.hits().into_iter().map(|(endpoint, modality, count)| {
                let labels = with(own.clone(), "pod", names(&endpoint).1);
                (with(labels, "modality", modality), count)
            }));
            ratios.push((own, one.ratio.read()));
        }
        ratios.retain(|(_, reading)| reading.count() > 0);
        let help = "Images, videos and sounds of requests";
        families.counter(&format!("{NEW}encoder_cache_queries"), help, &queries)?;
        let help = "Images, videos and sounds that the chosen endpoint was believed to have encoded before";
        let hits = summed(hits, |sum, more| *sum += more);
        families.counter(&format!("{NEW}encoder_cache_hits"), help, &hits)?;
        let help = "Share of a request's images, videos and sounds that the chosen endpoint was believed to have encoded before";
        families.histogram(&format!("{NEW}encoder_cache_hit_ratio"), help, &ratios)
    }

    fn in_flight(&self, families: &mut Families<'_, '_>) -> fmt::Result {
        let entries = self.shared.llm_d.in_flight.read();
        let rows = |read: fn((u64, u64)) -> u64| -> Rows<f64> {
            let row = |(labels, counts): (&super::in_flight::InFlightLabels, &(u64, u64))| {
                let set = vec![
                    ("endpoint_name", labels.endpoint.clone()),
                    ("namespace", labels.namespace.clone()),
                    ("producer_name", labels.producer.to_string()),
                    ("fairness_id", labels.fairness_id.clone()),
                    ("priority", labels.priority.to_string()),
                ];
                (set, read(*counts) as f64)
            };
            entries.iter().map(row).collect()
        };
        families.gauge(&format!("{NEW}inflight_requests"), "Requests in flight", &rows(|(requests, _)| requests))?;
        families.gauge(&format!("{NEW}inflight_tokens"), "Tokens in flight", &rows(|(_, tokens)| tokens))
    }
}

impl LlmDCollector {
    fn splits(&self, families: &mut Families<'_, '_>, legacy: bool) -> fmt::Result {
        let splits = self.shared.llm_d.splits.lock();
        for (family, of_pd) in [("disagg_decision", false), ("pd_decision", true)] {
            let own = splits.iter().filter(|((_, kind), _)| (*kind == PD_HANDLER) == of_pd);
            let rows: Rows<u64> = own
                .flat_map(|((name, kind), splits)| {
                    let row = |(model, decision, count): (String, &'static str, u64)| {
                        let labels = with(with(producer(name, kind), "model_name", &model), "decision_type", decision);
                        (labels, count)
                    };
                    splits.read().into_iter().map(row)
                })
                .collect();
            let help = "Requests by the workers that they were divided among";
            families.counter(&format!("{NEW}{family}"), help, &rows)?;
            if legacy {
                let before = rows.into_iter().map(|(labels, count)| (labels[2..].to_vec(), count));
                families.counter(&format!("{SCHEDULER}{family}"), help, &summed(before, |sum, more| *sum += more))?;
            }
        }
        Ok(())
    }
}

/// What screeners count; pools whose screeners share a name are added up.
fn figures(router: &Router, families: &mut Families<'_, '_>) -> fmt::Result {
    let mut counters: BTreeMap<&str, (&str, Rows<u64>)> = BTreeMap::new();
    let mut gauges: BTreeMap<&str, (&str, Rows<f64>)> = BTreeMap::new();
    for one in router.pools().iter().flat_map(|runtime| &runtime.plan.screeners) {
        for figure in one.plugin.figures() {
            let own = [("plugin_type", one.kind.to_owned()), ("plugin_name", one.name.clone())];
            let labels: LabelSet = own.into_iter().chain(figure.labels).collect();
            if figure.counts {
                counters.entry(figure.family).or_insert((figure.help, Vec::new())).1.push((labels, figure.value as u64));
            } else {
                gauges.entry(figure.family).or_insert((figure.help, Vec::new())).1.push((labels, figure.value));
            }
        }
    }
    for (family, (help, rows)) in counters {
        families.counter(&format!("{NEW}{family}"), help, &summed(rows, |sum, more| *sum += more))?;
    }
    for (family, (help, rows)) in gauges {
        // Of pools whose screeners share a name and a revision the last one counts.
        families.gauge(&format!("{NEW}{family}"), help, &summed(rows, |last, value| *last = value))?;
    }
    Ok(())
}

fn producer(name: &str, kind: &str) -> LabelSet {
    vec![("plugin_name", name.to_owned()), ("plugin_type", kind.to_owned())]
}

#[cfg(test)]
mod tests;
