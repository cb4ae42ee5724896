//! The compiled form of a configuration.

use std::{fmt, sync::Arc, time::Duration};

use weir_api::Diagnostic;
use weir_pool::EndpointEvents;
use weir_protocol::Parsers;

use crate::{
    Admitter, Columns, DataSet, DiscoveryFile, Effective, EngineSpec, Filter, HeaderProcessor, KvEventSource, ModelsSource,
    NumberConfig, PageConfig, Picker, PreRequest, Producer, ProfileHandler, Reporter, ResponseHeaders, SaturationDetector,
    Scorer, Screener, SourceTls, UsageLimits,
};

/// A plugin and the name of its instance.
#[derive(Clone)]
pub struct Named<T> {
    /// The instance's name.
    pub name: String,
    /// The type's name.
    pub kind: &'static str,
    /// The plugin.
    pub plugin: T,
}

impl<T> fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.kind)
    }
}

/// A scorer with its weight.
#[derive(Clone, Debug)]
pub struct Scored {
    /// What its clamped score is multiplied with. Not normalised; a negative weight is a penalty.
    pub weight: f64,
    /// The scorer.
    pub scorer: Named<Arc<dyn Scorer>>,
}

/// Filters, then scorers, then a picker.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// In the order of the file.
    pub filters: Vec<Named<Arc<dyn Filter>>>,
    /// In the order of the file.
    pub scorers: Vec<Scored>,
    /// The one picker.
    pub picker: Named<Arc<dyn Picker>>,
}

/// How a request's tokens are charged to its endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InFlightPolicy {
    /// Whether output tokens are charged too.
    pub add_estimated_output_tokens: bool,
    /// Output tokens per prompt token.
    pub output_ratio: f64,
    /// Most output tokens charged; 0: no limit.
    pub max_estimated_output_tokens: u64,
}

impl InFlightPolicy {
    /// Output tokens to charge for a prompt of `prompt_tokens`, of which the client allows at most `max_tokens`.
    pub fn output_tokens(&self, prompt_tokens: u64, max_tokens: Option<u64>) -> u64 {
        if !self.add_estimated_output_tokens {
            return 0;
        }
        let estimate = (prompt_tokens as f64 * self.output_ratio) as u64;
        let limit = if self.max_estimated_output_tokens == 0 { u64::MAX } else { self.max_estimated_output_tokens };
        estimate.min(limit).min(max_tokens.unwrap_or(u64::MAX))
    }
}

/// What is scraped from engines, and how it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsSource {
    /// `http` or `https`; `None`: as the endpoint.
    pub scheme: Option<String>,
    /// Path of the page; `None`: as the pool says, else `/metrics`.
    pub path: Option<String>,
    /// Port; `None`: the endpoint's.
    pub port: Option<u16>,
    /// How often; `None`: as the pool says.
    pub interval: Option<Duration>,
    /// TLS, where `scheme` asks for it.
    pub tls: SourceTls,
    /// Label that names an endpoint's engine.
    pub engine_label_key: String,
    /// Engine of endpoints without that label.
    pub default_engine: String,
    /// User-defined engines.
    pub engines: Vec<EngineSpec>,
}

impl Default for MetricsSource {
    fn default() -> Self {
        Self {
            scheme: None,
            path: None,
            port: None,
            interval: None,
            tls: SourceTls { insecure_skip_verify: true, ..SourceTls::default() },
            engine_label_key: "llm-d.ai/engine-type".to_owned(),
            default_engine: "vllm".to_owned(),
            engines: Vec::new(),
        }
    }
}

/// A page besides the engine's own that is fetched, and who reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct PageSource {
    /// Name of the source's instance.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// Where and how often.
    pub page: PageConfig,
    /// At least one.
    pub readers: Vec<PageReader>,
}

/// Somebody who reads a page.
#[derive(Clone, Debug, PartialEq)]
pub enum PageReader {
    /// The numbers of the endpoint's engine, by these tables; where the page is does not matter.
    Engines(MetricsSource),
    /// Single numbers, and the type of the extractor.
    Numbers(&'static str, Vec<NumberConfig>),
}

/// A configuration, compiled. Immutable.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order of the file.
    pub profiles: Vec<Profile>,
    /// Which profiles run.
    pub handler: Named<Arc<dyn ProfileHandler>>,
    /// Each reads a request's headers before it is admitted; in the order of the file.
    pub header_processors: Vec<Named<Arc<dyn HeaderProcessor>>>,
    /// What says how full the pool is.
    pub detector: Option<Named<Arc<dyn SaturationDetector>>>,
    /// How much of the pool each priority may fill.
    pub usage_limits: Option<Named<Arc<dyn UsageLimits>>>,
    /// In the order of the file.
    pub screeners: Vec<Named<Arc<dyn Screener>>>,
    /// In the order of the file.
    pub admitters: Vec<Named<Arc<dyn Admitter>>>,
    /// Each after those that it reads from.
    pub producers: Vec<Named<Arc<dyn Producer>>>,
    /// In the order of the file.
    pub pre_request: Vec<Named<Arc<dyn PreRequest>>>,
    /// In the order of the file.
    pub response_headers: Vec<Named<Arc<dyn ResponseHeaders>>>,
    /// In the order of the file.
    pub reporters: Vec<Named<Arc<dyn Reporter>>>,
    /// Who writes into which column.
    pub columns: Columns,
    /// Which requests are read, and as what.
    pub parsers: Parsers,
    /// Everything that somebody reads.
    pub reads: DataSet,
    /// What is scraped; `None`: nothing.
    pub metrics: Option<MetricsSource>,
    /// Pages that are fetched besides.
    pub pages: Vec<PageSource>,
    /// How lists of models are fetched, if the configuration says so.
    pub models: Option<ModelsSource>,
    /// Who hears of endpoints that come and go.
    pub endpoint_events: Vec<Named<Arc<dyn EndpointEvents>>>,
    /// Who wants KV-cache events, and from where.
    pub kv_events: Vec<Named<KvEventSource>>,
    /// Where the endpoints are listed; `None`: whoever keeps the pool knows.
    pub discovery: Option<DiscoveryFile>,
    /// How in-flight tokens are charged.
    pub in_flight: Option<InFlightPolicy>,
    /// What every tie and draw comes from.
    pub seed: u64,
    /// The configuration with everything that was added to it.
    pub effective: Effective,
    /// What is legal and probably not meant.
    pub warnings: Vec<Diagnostic>,
}

impl Plan {
    /// Whether somebody reads the prompt, so that bodies must be scanned for it.
    pub fn reads_prompt(&self) -> bool {
        self.reads.intersects(DataSet::PROMPT)
    }

    /// Instances that are accepted and do nothing yet, as `name/type`.
    pub fn inactive(&self) -> impl Iterator<Item = String> {
        self.effective.plugins.iter().filter(|one| !one.active).map(|one| format!("{}/{}", one.name, one.kind))
    }
}
