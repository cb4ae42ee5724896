//! llm-d's metrics: its names, types, labels and buckets, so that dashboards and autoscalers keep their series.
//!
//! What is counted is stored once, under the labels of today; names of before are summed up from the same numbers when
//! somebody asks, and cost a request nothing.
//!
//! Bounds: [`MOST_NAMES`] models, [`MOST_NAMES`] fairness ids and [`MOST_SERIES`] combinations are told apart; what comes
//! after goes under `other`. A combination takes about 2.5 KiB.

mod collector;
mod encode;
mod encoder_hits;
mod histogram;
mod in_flight;
mod pinned;
mod sampling;
mod series;
mod splits;
mod timed;

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use weir_pool::Endpoint;

pub use self::collector::LlmDCollector;
pub(crate) use self::{
    encoder_hits::EncoderHits,
    histogram::Histogram,
    in_flight::{InFlight, InFlightEntry},
    pinned::PinnedNames,
    sampling::{Sampling, weighted},
    series::{Labels, LastSeries, Running, Series, SeriesTable},
    splits::Splits,
    timed::timed,
};
use self::{histogram::bounds, series::Attempts};

/// Models, and fairness ids, that are told apart.
pub(crate) const MOST_NAMES: usize = 1_000;
/// Combinations of model, target model, fairness id and priority that are told apart.
pub(crate) const MOST_SERIES: usize = 10_000;
/// What goes under no name of its own.
pub(crate) const OTHER: &str = "other";

/// What is counted under llm-d's names. One per process.
#[derive(Debug)]
pub(crate) struct LlmD {
    pub(crate) series: SeriesTable,
    pub(crate) in_flight: InFlight,
    pub(crate) attempts: Attempts,
    pub(crate) scheduling: Histogram,
    pub(crate) request_processing: Histogram,
    pub(crate) response_processing: Histogram,
    plugins: Mutex<BTreeMap<PluginKey, Arc<Histogram>>>,
    prefixes: Mutex<BTreeMap<(String, &'static str), Arc<PrefixHits>>>,
    encoders: Mutex<BTreeMap<(String, &'static str), Arc<EncoderHits>>>,
    splits: Mutex<BTreeMap<(String, &'static str), Arc<Splits>>>,
}

/// Extension point, type, name.
type PluginKey = (&'static str, &'static str, String);

/// How much of prompts was believed to be cached, by one producer.
#[derive(Debug)]
pub(crate) struct PrefixHits {
    ratio: Histogram,
    bytes: Histogram,
}

impl LlmD {
    /// Nothing counted yet. The models of `pinned` have names of their own, whatever comes.
    pub(crate) fn new(pinned: Arc<PinnedNames>) -> Self {
        Self {
            series: SeriesTable::new(pinned),
            in_flight: InFlight::default(),
            attempts: Attempts::default(),
            scheduling: Histogram::new(bounds::FAST),
            request_processing: Histogram::new(bounds::REQUEST_PROCESSING),
            response_processing: Histogram::new(bounds::RESPONSE_PROCESSING),
            plugins: Mutex::default(),
            prefixes: Mutex::default(),
            encoders: Mutex::default(),
            splits: Mutex::default(),
        }
    }

    /// Time spent in one plugin instance at one extension point; instances of the same type and name share it.
    pub(crate) fn plugin(&self, point: &'static str, kind: &'static str, name: &str) -> Arc<Histogram> {
        let mut plugins = self.plugins.lock();
        let found = plugins.entry((point, kind, name.to_owned()));
        Arc::clone(found.or_insert_with(|| Arc::new(Histogram::new(bounds::FAST))))
    }

    /// Hits of one producer of prefix matches.
    pub(crate) fn prefix_hits(&self, name: &str, kind: &'static str) -> Arc<PrefixHits> {
        let mut prefixes = self.prefixes.lock();
        let new = || {
            let (ratio, bytes) = (Histogram::new(bounds::RATIO), Histogram::new(bounds::PREFIX_BYTES));
            Arc::new(PrefixHits { ratio, bytes })
        };
        Arc::clone(prefixes.entry((name.to_owned(), kind)).or_insert_with(new))
    }
}

impl LlmD {
    /// Hits of one producer of encoder-cache matches; instances of the same type and name share them.
    pub(crate) fn encoder_hits(&self, name: &str, kind: &'static str) -> Arc<EncoderHits> {
        Arc::clone(self.encoders.lock().entry((name.to_owned(), kind)).or_default())
    }

    /// Decisions of one profile handler; instances of the same type and name share them.
    pub(crate) fn splits(&self, name: &str, kind: &'static str) -> Arc<Splits> {
        Arc::clone(self.splits.lock().entry((name.to_owned(), kind)).or_default())
    }
}

impl PrefixHits {
    /// A prompt of `total` blocks went to an endpoint that holds `matched` of them. A token counts four bytes.
    pub(crate) fn observe(&self, matched: u32, total: u32, block_size_tokens: u32) {
        if total > 0 {
            self.ratio.observe(f64::from(matched) / f64::from(total));
            self.bytes.observe(f64::from(matched) * f64::from(block_size_tokens) * 4.0);
        }
    }
}

/// llm-d's name for the class of an error that a client sees.
pub(crate) fn error_code(status: u16) -> &'static str {
    match status {
        400 | 413 | 415 | 422 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 | 405 => "NotFound",
        412 => "PreconditionFailed",
        429 => "ResourceExhausted",
        503 => "ServiceUnavailable",
        _ => "Internal",
    }
}

/// llm-d's name for an error that the model server answered with, or caused.
pub(crate) const MODEL_SERVER_ERROR: &str = "ModelServerError";

/// `namespace`, name and port as llm-d labels an endpoint.
pub(crate) fn names(endpoint: &Endpoint) -> (&str, &str, u16) {
    let spec = endpoint.spec();
    (&spec.namespace, &spec.name, spec.url.port)
}
