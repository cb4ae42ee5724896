//! What a plugin can be. One instance may be several of these at once.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue};
use weir_pool::{Endpoint, EndpointEvents};
use weir_protocol::{MediaKind, ParserKind, Usage};

use crate::{Attributes, Candidates, Column, DataSet, PickError, PoolView, RequestAttributes, RequestView, Targets};

/// Looks at a request's headers before it is admitted, and may note attributes of the request.
pub trait HeaderProcessor: Send + Sync {
    /// Notes what it finds in `out`.
    fn process(&self, headers: &HeaderMap, out: &mut RequestAttributes);
}

/// Narrows the candidates of all profiles. Each screener is shown all candidates; those that every one of them keeps stay.
pub trait Screener: Send + Sync {
    /// Facts that this screener reads.
    fn reads(&self) -> DataSet;
    /// Keeps in `keep` the indices (from `view.index`) that may stay, in their order. `keep` comes empty.
    fn screen(&self, request: &RequestView<'_>, view: &PoolView<'_>, random: &mut Rng, keep: &mut Candidates);
    /// What it counts, for metrics.
    fn figures(&self) -> Vec<Figure> {
        Vec::new()
    }
}

/// A number that a plugin keeps for metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// llm-d's name for it, without its prefix and without `_total`.
    pub family: &'static str,
    /// What it means, as a sentence.
    pub help: &'static str,
    /// Whether it only grows.
    pub counts: bool,
    /// Labels besides the plugin's type and name.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: f64,
}

/// Says whether a request may be scheduled at all.
pub trait Admitter: Send + Sync {
    /// Facts that this admitter reads.
    fn reads(&self) -> DataSet;
    /// Lets the request pass, or says why not.
    ///
    /// # Errors
    /// The request is to be refused; the error keeps its status all the way to the client.
    fn admit(&self, request: &RequestView<'_>, view: &PoolView<'_>, random: &mut Rng) -> Result<(), PickError>;
}

/// Says how full a pool is.
pub trait SaturationDetector: Send + Sync {
    /// Facts that this detector reads.
    fn reads(&self) -> DataSet;
    /// 0: idle; 1 and above: saturated. A pool without candidates is saturated.
    fn saturation(&self, view: &PoolView<'_>) -> f64;
    /// How many candidates it knows too little of, and counts as full for that; `None`: it needs to know nothing that can be missing.
    fn stale(&self, view: &PoolView<'_>) -> Option<usize> {
        let _ = view;
        None
    }
}

/// Removes candidates.
pub trait Filter: Send + Sync {
    /// Facts that this filter reads.
    fn reads(&self) -> DataSet;
    /// Keeps in `keep` the indices (from `view.index`) that may stay, in their order. `keep` comes empty.
    fn filter(&self, request: &RequestView<'_>, view: &PoolView<'_>, random: &mut Rng, keep: &mut Candidates);
}

/// Scores every candidate.
pub trait Scorer: Send + Sync {
    /// Facts that this scorer reads. The plan starts only the sources that somebody reads.
    fn reads(&self) -> DataSet;
    /// Writes one score per candidate: `out[i]` belongs to `view.endpoint(i)`, in `0.0..=1.0`. `out` comes filled with 0. What
    /// lies outside is clamped; NaN counts as 0.
    fn score(&self, request: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]);
}

/// Decides whether a request is served by several workers.
pub trait Decider: Send + Sync {
    /// Whether the stage that this decider is asked about gets a worker of its own. `chosen`: the worker that was chosen before, as its
    /// place in the snapshot.
    fn splits(&self, request: &RequestView<'_>, view: &PoolView<'_>, chosen: Option<u32>) -> bool;
}

/// Says how much of a pool requests of each priority may fill.
pub trait UsageLimits: Send + Sync {
    /// Adds one ceiling per priority to `out`: the saturation from which its requests wait. `priorities`: highest first.
    fn ceilings(&self, priorities: &[i32], saturation: f64, out: &mut Vec<f64>);
}

/// Scored candidates, as a picker sees them.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// Weighted sum of scores, parallel to `view`'s candidates.
    pub totals: &'a [f64],
}

/// Chooses among scored candidates.
pub trait Picker: Send + Sync {
    /// Writes places among the candidates (`0..scores.totals.len()`), best first, at least one; `out` comes empty.
    fn pick(&self, scores: Scores<'_>, random: &mut Rng, out: &mut Vec<u32>);
}

/// What a profile gave.
#[derive(Clone, Debug, Default)]
pub struct ProfileResult {
    /// Whether it ran in this cycle.
    pub ran: bool,
    /// Its targets as places in the snapshot, best first; empty if it failed.
    pub targets: Vec<u32>,
    /// Why it failed.
    pub error: Option<PickError>,
}

/// Decides which profiles run, and which one's target gets the request.
pub trait ProfileHandler: Send + Sync {
    /// The next profile to run, as its place in the plan; `None` ends the cycle. `view` shows all candidates.
    fn next(&self, request: &RequestView<'_>, view: &PoolView<'_>, results: &[ProfileResult]) -> Option<usize>;
    /// The profile whose targets get the request.
    ///
    /// # Errors
    /// None does: what the client is told.
    fn primary(&self, request: &RequestView<'_>, results: &[ProfileResult]) -> Result<usize, PickError>;
    /// The endpoint (as its place in the snapshot) near which those profiles should choose that run now.
    fn peer(&self, results: &[ProfileResult]) -> Option<u32> {
        let _ = results;
        None
    }
    /// The profile of prefill workers, if there is one; otherwise the one named `prefill` counts.
    fn prefill(&self) -> Option<usize> {
        None
    }
    /// Which workers serve the request, for handlers that may divide it among several: `decode-only`, `prefill-decode`,
    /// `encode-decode` or `encode-prefill-decode`. `results` are those of a cycle that is through.
    fn split(&self, results: &[ProfileResult]) -> Option<&'static str> {
        let _ = results;
        None
    }
}

/// Finds facts about a request before it is scheduled.
pub trait Producer: Send + Sync {
    /// Facts that this producer reads.
    fn reads(&self) -> DataSet;
    /// Writes what it finds into its columns of `out`.
    fn produce(&self, request: &RequestView<'_>, endpoints: &[Arc<Endpoint>], out: &mut Attributes);
    /// Memory that it keeps between requests, and the most it may keep, in bytes; `None` if it keeps none to speak of.
    fn memory(&self) -> Option<(usize, usize)> {
        None
    }
    /// Entries of its prefix index, if it has one.
    fn entries(&self) -> Option<usize> {
        None
    }
}

/// What plugins change of a request on its way to its endpoint.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Headers to be set. A name that the client sent too is replaced.
    pub headers: HeaderMap,
    /// Headers to be removed, before `headers` are set.
    pub remove: Vec<HeaderName>,
    /// Port to be used instead of the endpoint's own.
    pub port: Option<u16>,
}

impl Outgoing {
    /// Sets a header, whatever it was.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Removes a header that the client may have sent.
    pub fn remove(&mut self, name: HeaderName) {
        self.headers.remove(&name);
        self.remove.push(name);
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.headers.clear();
        self.remove.clear();
        self.port = None;
    }

    /// Whether the request goes out as it came.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.remove.is_empty() && self.port.is_none()
    }
}

/// Learns of a decision before the request is sent, and may change what is sent.
pub trait PreRequest: Send + Sync {
    /// The request goes to `targets`.
    fn picked(&self, request: &RequestView<'_>, targets: &Targets<'_>, attributes: &Attributes, outgoing: &mut Outgoing);
}

/// Who answered, as far as that is known.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// The endpoint that was chosen.
    pub endpoint: &'a Endpoint,
    /// How it is known that it answered.
    pub told: Told<'a>,
}

/// How it is known which endpoint answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told<'a> {
    /// This process sent the request there itself.
    #[default]
    Directly,
    /// The proxy's metadata names it.
    ByProxy(&'a str),
    /// The proxy sent metadata, but not this one.
    NotNamed,
    /// The proxy sent no metadata.
    NotTold,
}

/// Adds headers to the response.
pub trait ResponseHeaders: Send + Sync {
    /// `served` answered; the client will see `headers`.
    fn respond(&self, served: &Served<'_>, headers: &mut HeaderMap);
}

/// Reports a number when a response has ended, for whoever accounts for requests.
pub trait Reporter: Send + Sync {
    /// What the engine says of the tokens it used comes to this; `None`: nothing is reported.
    fn report(&self, usage: &Usage) -> Option<Report>;
}

/// A number for a proxy's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The number.
    pub value: i64,
}

/// Takes a prompt as a stream of token bytes (little-endian u32 each).
pub trait PromptSink {
    /// More bytes; any length, aligned to nothing.
    fn bytes(&mut self, bytes: &[u8]);
    /// Whether it wants to see the next bytes of this prompt. If not, [`skip`](Self::skip) may be told how many they are: decoding a
    /// long prompt that nobody looks at costs more than all else.
    fn wants_bytes(&self) -> bool {
        true
    }
    /// So many bytes follow that are not shown.
    fn skip(&mut self, bytes: u64) {
        let _ = bytes;
    }
    /// Zero bytes up to the next token border.
    fn align(&mut self);
    /// The same token `count` times.
    fn repeat(&mut self, token: u32, count: u32);
    /// An image, video or sound follows, which is `tokens` tokens long; `hash` is that of its reference.
    fn media(&mut self, kind: MediaKind, hash: u64, tokens: u32) {
        let _ = (kind, hash, tokens);
    }
    /// The prompt ends; another one follows.
    fn next_prompt(&mut self);
    /// What comes, or came, is an estimate: no engine has these tokens.
    fn estimated(&mut self) {}
}

/// Gives a request's prompt as tokens, without building a list of them.
pub trait PromptStream: Send + Sync {
    /// Pours the prompt into `sink`. Returns false if the request has no known prompt.
    fn stream(&self, request: &RequestView<'_>, sink: &mut dyn PromptSink) -> bool;
}

/// Takes what engines say of their KV caches. All of one endpoint comes in its order.
pub trait KvEventSink: Send + Sync {
    /// A batch of events, as it came. `model` is what the engine's stream is named after; empty if it is not.
    fn batch(&self, endpoint: u32, model: &str, payload: &[u8]);
    /// What is known of the endpoint is not to be trusted, or its engine started anew.
    fn clear(&self, endpoint: u32);
    /// The endpoint is gone for good.
    fn gone(&self, endpoint: u32);
    /// Its engine is, or is no longer, listened to.
    fn following(&self, endpoint: u32, yes: bool);
}

/// Where a plugin wants KV-cache events from.
#[derive(Clone)]
pub struct KvEventSource {
    /// Address to which engines connect, as `tcp://*:5557`; empty: none.
    pub zmq_endpoint: String,
    /// Beginning of the topics that are followed.
    pub topic_filter: String,
    /// Whether every endpoint is connected to.
    pub discover: bool,
    /// Port of an endpoint's events; ranks follow it.
    pub socket_port: u16,
    /// Port of past events; `None`: there is none.
    pub replay_port: Option<u16>,
    /// The plugin.
    pub sink: Arc<dyn KvEventSink>,
}

impl std::fmt::Debug for KvEventSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvEventSource")
            .field("zmq_endpoint", &self.zmq_endpoint)
            .field("topic_filter", &self.topic_filter)
            .field("discover", &self.discover)
            .field("socket_port", &self.socket_port)
            .field("replay_port", &self.replay_port)
            .finish_non_exhaustive()
    }
}

/// A configured source of facts about endpoints.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// `metrics-data-source`: where and how often to scrape.
    Metrics {
        /// `http` or `https`; `None`: as the endpoint.
        scheme: Option<String>,
        /// Path of the page; `None`: `/metrics`.
        path: Option<String>,
        /// Port; `None`: the endpoint's.
        port: Option<u16>,
        /// How often; `None`: as the pool says.
        interval: Option<Duration>,
        /// TLS, where the page is fetched by it.
        tls: SourceTls,
    },
    /// `core-metrics-extractor`: which families mean what.
    CoreMetrics {
        /// Label that names an endpoint's engine.
        engine_label_key: String,
        /// Engine of endpoints without that label.
        default_engine: String,
        /// User-defined engines: as written, decoded by whoever scrapes.
        engines: Vec<EngineSpec>,
    },
    /// A page besides the engine's own.
    Page(PageConfig),
    /// Numbers that stand on such pages.
    Numbers(Vec<NumberConfig>),
    /// `models-data-source`: how lists of models are fetched.
    Models(ModelsSource),
    /// `models-data-extractor`: everything that they say is kept.
    ModelDetails,
    /// `file-discovery`: where the endpoints are listed.
    File(DiscoveryFile),
}

/// Where and how often a page besides the engine's own is fetched.
#[derive(Clone, Debug, PartialEq)]
pub struct PageConfig {
    /// `http` or `https`; `None`: as the endpoint.
    pub scheme: Option<String>,
    /// Its path.
    pub path: String,
    /// Its port; `None`: the endpoint's.
    pub port: Option<u16>,
    /// How often; `None`: as the pool says.
    pub interval: Option<Duration>,
    /// TLS, where the page is fetched by it.
    pub tls: SourceTls,
    /// Whether labels of endpoints (`metricsAddress`, `metricsPort`) say where their page is.
    pub by_label: bool,
}

/// A number that stands on a page.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberConfig {
    /// Its name among the numbers of an endpoint: `attribute/producer`, or without a producer.
    pub name: String,
    /// Where it stands: `family{label=value}`.
    pub family: String,
    /// What it is divided by.
    pub divisor: f64,
    /// Whether the page is about many pods, so that the greatest of the series about the endpoint's own pod counts.
    pub of_pod: bool,
}

/// How lists of models are fetched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelsSource {
    /// `http` or `https`; `None`: as the endpoint.
    pub scheme: Option<String>,
    /// Path of the list; `None`: `/v1/models`.
    pub path: Option<String>,
    /// How often; `None`: every 30 seconds.
    pub interval: Option<Duration>,
    /// TLS, where `scheme` asks for it.
    pub tls: SourceTls,
    /// Whether everything that lists say is kept, not only names.
    pub details: bool,
}

/// TLS towards a page with facts about an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceTls {
    /// Whether certificates go unchecked.
    pub insecure_skip_verify: bool,
    /// Certificates that are trusted, PEM; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// Client certificate chain and its private key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A file of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whether changes of it are followed.
    pub watch: bool,
}

/// Names of the labels that say where an endpoint runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyLabels {
    /// Its host.
    pub hostname: String,
    /// Its rack.
    pub rack: String,
    /// Its zone.
    pub zone: String,
    /// Its region.
    pub region: String,
}

/// One entry of `engineConfigs`: metric specs as written (`family{label=value}`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineSpec {
    /// Its name.
    pub name: String,
    /// Queue length.
    pub queued: Option<String>,
    /// Batch size.
    pub running: Option<String>,
    /// KV-cache usage, 0 to 1.
    pub kv_usage: Option<String>,
    /// Adapters.
    pub lora: Option<String>,
    /// Family whose labels tell block size and number of blocks.
    pub cache_info: Option<String>,
    /// Label of the block size.
    pub cache_block_size_label: Option<String>,
    /// Label of the number of blocks.
    pub cache_num_blocks_label: Option<String>,
    /// Gauge of the block size.
    pub cache_block_size: Option<String>,
    /// Gauge of the number of blocks.
    pub cache_num_blocks: Option<String>,
    /// Metrics for filters and scorers on attributes: the attribute's name, and where its value stands.
    pub custom: Vec<(String, String)>,
}

/// The roles of one instance. What it is not, is `None`.
#[derive(Clone, Default)]
pub struct Parts {
    /// Header processor.
    pub header_processor: Option<Arc<dyn HeaderProcessor>>,
    /// Screener.
    pub screener: Option<Arc<dyn Screener>>,
    /// Admitter.
    pub admitter: Option<Arc<dyn Admitter>>,
    /// Saturation detector.
    pub detector: Option<Arc<dyn SaturationDetector>>,
    /// Decider.
    pub decider: Option<Arc<dyn Decider>>,
    /// Limits of priorities.
    pub usage_limits: Option<Arc<dyn UsageLimits>>,
    /// Filter.
    pub filter: Option<Arc<dyn Filter>>,
    /// Scorer.
    pub scorer: Option<Arc<dyn Scorer>>,
    /// Picker.
    pub picker: Option<Arc<dyn Picker>>,
    /// Profile handler.
    pub handler: Option<Arc<dyn ProfileHandler>>,
    /// Data producer.
    pub producer: Option<Arc<dyn Producer>>,
    /// Token producer.
    pub prompt_stream: Option<Arc<dyn PromptStream>>,
    /// Learner.
    pub pre_request: Option<Arc<dyn PreRequest>>,
    /// Response headers.
    pub response_headers: Option<Arc<dyn ResponseHeaders>>,
    /// Reporter.
    pub reporter: Option<Arc<dyn Reporter>>,
    /// Source or extractor of facts about endpoints.
    pub source: Option<SourceConfig>,
    /// Hears of endpoints that come and go.
    pub endpoint_events: Option<Arc<dyn EndpointEvents>>,
    /// Which labels say where endpoints run.
    pub topology: Option<Arc<TopologyLabels>>,
    /// How in-flight tokens are counted.
    pub in_flight: Option<crate::InFlightPolicy>,
    /// Parser.
    pub parser: Option<ParserKind>,
    /// Columns in which it writes prefix matches.
    pub prefix_column: Option<Column>,
    /// Where it wants KV-cache events from.
    pub kv_events: Option<KvEventSource>,
}
