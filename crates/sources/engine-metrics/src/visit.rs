//! One visit to one endpoint: its metrics page, or a probe if it has none; now and then its list of models.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tracing::{debug, info, warn};
use weir_pool::{Endpoint, EndpointUrl, Scrape, Time};

use crate::{
    Clock, Engine, EngineMapping, ScrapeOptions,
    connection::{Answer, AskError, Buffers, Connection, Origin, ask},
    engine::{has_load, is_complete},
    models,
};

/// How long an endpoint without a metrics page is only probed, before the page is looked for again.
const RECHECK: Duration = Duration::from_secs(5);
/// How soon a list of models is fetched again if that failed.
const MODELS_AGAIN: Duration = Duration::from_secs(5);

/// Why a visit failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum VisitError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0} answers {1}")]
    Status(String, u16),
}

/// Why there is no page to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NoPage {
    #[error("it answers {0}")]
    Status(u16),
    #[error("the page has none of the families that an engine is known by")]
    NoFamilies,
}

/// What a visit to an endpoint came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) answered: bool,
    /// It was probed: it has no metrics page to read.
    pub(crate) probing: bool,
    pub(crate) bytes: u64,
    /// Its page lacked a family that the engine's mapping names.
    pub(crate) incomplete: bool,
}

/// What is kept of an endpoint from visit to visit.
pub(crate) struct Session {
    endpoint: Arc<Endpoint>,
    options: Arc<ScrapeOptions>,
    /// Paths where the page may be, the one where it was last found first.
    paths: Vec<String>,
    origin: Origin,
    api_origin: Origin,
    /// Where models are listed: the API, unless their source says otherwise.
    models_origin: Origin,
    metrics_request: Vec<u8>,
    models_request: Arc<[u8]>,
    metrics: Option<Connection>,
    /// Used only where the page has another port or scheme than the API.
    api: Option<Connection>,
    /// Used only where models are listed elsewhere.
    models: Option<Connection>,
    engine: Arc<Engine>,
    labelled: bool,
    no_page: Option<(NoPage, Time)>,
    models_due: Time,
    failing: bool,
    bytes: u64,
    incomplete: bool,
}

fn request(endpoint: &EndpointUrl, origin: &Origin, path: &str, options: &ScrapeOptions) -> Vec<u8> {
    let host = EndpointUrl { port: origin.port, ..endpoint.clone() }.authority();
    let base = &endpoint.base_path;
    let key = options.api_key.as_ref().map_or(String::new(), |key| format!("Authorization: Bearer {}\r\n", key.expose()));
    format!("GET {base}{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: weir\r\nAccept: */*\r\n{key}\r\n").into_bytes()
}

fn origins(endpoint: &EndpointUrl, options: &ScrapeOptions) -> (Origin, Origin) {
    let server_name = options.tls_server_name.clone().unwrap_or_else(|| endpoint.host.bare().into_owned());
    let api = Origin { scheme: endpoint.scheme, port: endpoint.port, tls: options.tls.clone(), server_name };
    let scheme = options.scheme.unwrap_or(endpoint.scheme);
    (Origin { scheme, port: options.port.unwrap_or(endpoint.port), ..api.clone() }, api)
}

fn models_origin(api: &Origin, options: &ScrapeOptions) -> Origin {
    let models = &options.models;
    Origin { scheme: models.scheme.unwrap_or(api.scheme), tls: models.tls.clone().or_else(|| api.tls.clone()), ..api.clone() }
}

impl Session {
    pub(crate) fn new(endpoint: Arc<Endpoint>, options: Arc<ScrapeOptions>) -> Self {
        let (origin, api_origin) = origins(&endpoint.spec().url, &options);
        let mut session = Self {
            engine: Arc::clone(options.mappings.default_engine()),
            endpoint,
            paths: Vec::new(),
            origin,
            models_origin: models_origin(&api_origin, &options),
            api_origin,
            metrics_request: Vec::new(),
            models_request: Arc::default(),
            metrics: None,
            api: None,
            models: None,
            labelled: false,
            no_page: None,
            models_due: Time::ZERO,
            failing: false,
            bytes: 0,
            incomplete: false,
            options,
        };
        session.prepare();
        session
    }

    /// Takes over new options; keeps connections that still lead to the right place.
    pub(crate) fn adopt(&mut self, options: &Arc<ScrapeOptions>) {
        if Arc::ptr_eq(&self.options, options) {
            return;
        }
        let (origin, api_origin) = origins(&self.endpoint.spec().url, options);
        self.metrics = self.metrics.take().filter(|_| origin.same_as(&self.origin));
        self.api = self.api.take().filter(|_| api_origin.same_as(&self.api_origin));
        self.models = None;
        self.models_origin = models_origin(&api_origin, options);
        self.models_due = Time::ZERO;
        (self.origin, self.api_origin) = (origin, api_origin);
        self.options = Arc::clone(options);
        self.no_page = None;
        self.prepare();
    }

    fn prepare(&mut self) {
        let mappings = &self.options.mappings;
        let labelled = mappings.labelled(self.endpoint.spec());
        self.labelled = labelled.is_some();
        self.engine = Arc::clone(labelled.unwrap_or(mappings.default_engine()));
        let own_path = |mapping: &EngineMapping| mapping.path.clone().unwrap_or_else(|| "/metrics".to_owned());
        self.paths = match &self.options.path {
            Some(path) => vec![if path.starts_with('/') { path.clone() } else { format!("/{path}") }],
            None if self.labelled => vec![own_path(self.engine.mapping())],
            None => {
                let mut paths = vec![own_path(self.engine.mapping())];
                for path in mappings.engines().map(|engine| own_path(engine.mapping())) {
                    if !paths.contains(&path) {
                        paths.push(path);
                    }
                }
                paths
            }
        };
        self.write_requests();
    }

    fn write_requests(&mut self) {
        let url = &self.endpoint.spec().url;
        let path = self.paths.first().map_or("/metrics", String::as_str);
        self.metrics_request = request(url, &self.origin, path, &self.options);
        self.models_request = request(url, &self.models_origin, &self.options.models.path, &self.options).into();
    }

    /// Asks the endpoint once, and publishes what it says.
    pub(crate) async fn visit(&mut self, clock: &Clock, buffers: &Buffers) -> Outcome {
        self.bytes = 0;
        self.incomplete = false;
        let patience = self.options.timeout;
        let looked = timeout(patience, self.look(clock, buffers)).await.unwrap_or(Err(VisitError::Timeout(patience)));
        let health = &self.endpoint.health;
        match &looked {
            Ok(()) => {
                health.probe_succeeded();
                if std::mem::take(&mut self.failing) {
                    info!(endpoint = self.endpoint.id(), "the endpoint answers again");
                    self.models_due = Time::ZERO;
                }
                if self.models_due <= clock() {
                    // Not part of the verdict: an engine that is slow to list its models serves all the same.
                    let listed = timeout(patience, self.list_models(clock, buffers)).await;
                    if !matches!(listed, Ok(Ok(200))) {
                        self.models_due = clock() + MODELS_AGAIN;
                    }
                }
            }
            Err(error) => {
                health.probe_failed();
                if !std::mem::replace(&mut self.failing, true) {
                    warn!(endpoint = self.endpoint.id(), url = %self.endpoint.spec().url, %error, "the endpoint does not answer");
                }
            }
        }
        let probing = !self.options.enabled || self.no_page.is_some();
        Outcome { answered: looked.is_ok(), probing, bytes: self.bytes, incomplete: self.incomplete }
    }

    async fn look(&mut self, clock: &Clock, buffers: &Buffers) -> Result<(), VisitError> {
        let recheck = self.no_page.is_none_or(|(_, since)| clock().since(since) >= RECHECK);
        if self.options.enabled && recheck {
            match self.read_page(clock, buffers).await? {
                Ok(()) => {
                    self.no_page = None;
                    return Ok(());
                }
                Err(why) => self.do_without_page(why, clock()),
            }
        }
        self.probe(clock, buffers).await
    }

    fn do_without_page(&mut self, why: NoPage, now: Time) {
        let news = self.no_page.replace((why, now)).is_none_or(|(before, _)| before != why);
        if !news {
            return;
        }
        let endpoint = self.endpoint.id();
        if let NoPage::Status(401 | 403) = why {
            warn!(endpoint, %why, "the metrics page is refused: the pool needs an API key, or another one");
        } else {
            info!(endpoint, %why, "no metrics page to read: the endpoint is probed instead, and scored by what is in flight");
        }
    }

    async fn read_page(&mut self, clock: &Clock, buffers: &Buffers) -> Result<Result<(), NoPage>, VisitError> {
        for _ in 0..self.paths.len() {
            let addresses = self.endpoint.addresses();
            let (engine, mappings, labelled) = (&self.engine, &self.options.mappings, self.labelled);
            let read = |status, page: &[u8]| {
                if status == 200 { decode(engine, page, |page| (!labelled).then(|| mappings.detect(page))?) } else { None }
            };
            let Answer { status, read, bytes } =
                ask(&mut self.metrics, &self.origin, &addresses, self.options.timeout, &self.metrics_request, buffers, read)
                    .await?;
            self.bytes += bytes;
            match (status, read) {
                (_, Some((scrape, detected))) => {
                    if let Some(engine) = detected {
                        debug!(endpoint = self.endpoint.id(), engine = engine.name(), "engine recognised by its metrics");
                        self.engine = engine;
                    }
                    self.incomplete = !is_complete(self.engine.mapping(), &scrape);
                    self.endpoint.engine.record(&scrape, self.endpoint.ledger.requests(), clock());
                    for ((name, _), number) in self.engine.mapping().custom.iter().zip(&scrape.custom) {
                        self.endpoint.numbers.set(name, *number);
                    }
                    return Ok(Ok(()));
                }
                (200, None) => return Ok(Err(NoPage::NoFamilies)),
                (404, None) if self.paths.len() > 1 => {
                    self.paths.rotate_left(1);
                    self.write_requests();
                }
                (401 | 403 | 404 | 405 | 501, None) => return Ok(Err(NoPage::Status(status))),
                _ => return Err(VisitError::Status(self.paths.first().cloned().unwrap_or_default(), status)),
            }
        }
        Ok(Err(NoPage::Status(404)))
    }

    async fn probe(&mut self, clock: &Clock, buffers: &Buffers) -> Result<(), VisitError> {
        if self.list_models(clock, buffers).await? == 200 {
            return Ok(());
        }
        let request = request(&self.endpoint.spec().url, &self.api_origin, "/health", &self.options);
        match self.ask_api(&request, buffers, |_, _| ()).await?.status {
            200 => Ok(()),
            status => Err(VisitError::Status("/health".to_owned(), status)),
        }
    }

    /// Fetches the list of models and publishes it; the status.
    async fn list_models(&mut self, clock: &Clock, buffers: &Buffers) -> Result<u16, VisitError> {
        let request = Arc::clone(&self.models_request);
        let read = |status, body: &[u8]| if status == 200 { models::parse(body) } else { None };
        let Answer { status, read, .. } = if self.models_origin.same_as(&self.api_origin) {
            self.ask_api(&request, buffers, read).await?
        } else {
            let addresses = self.endpoint.addresses();
            let patience = self.options.timeout;
            ask(&mut self.models, &self.models_origin, &addresses, patience, &request, buffers, read).await?
        };
        if let Some(models) = read {
            let count = models.len();
            let names = models.iter().map(|one| one.id.clone()).collect();
            if self.endpoint.set_models(names) {
                debug!(endpoint = self.endpoint.id(), count, "the endpoint's models changed");
            }
            self.endpoint.set_listing(if self.options.models.details { models } else { Vec::new() });
            self.models_due = clock() + self.options.models.interval;
        }
        Ok(status)
    }

    async fn ask_api<R>(
        &mut self,
        request: &[u8],
        buffers: &Buffers,
        read: impl FnOnce(u16, &[u8]) -> R,
    ) -> Result<Answer<R>, VisitError> {
        let slot = if self.api_origin.same_as(&self.origin) { &mut self.metrics } else { &mut self.api };
        let addresses = self.endpoint.addresses();
        let answer = ask(slot, &self.api_origin, &addresses, self.options.timeout, request, buffers, read).await?;
        self.bytes += answer.bytes;
        Ok(answer)
    }
}

/// What a page says; if the engine finds no load on it, what the engine that `detect` names says, and that engine.
fn decode<'m>(
    engine: &Engine,
    page: &[u8],
    detect: impl FnOnce(&[u8]) -> Option<&'m Arc<Engine>>,
) -> Option<(Scrape, Option<Arc<Engine>>)> {
    let scrape = engine.decode(page);
    if has_load(&scrape) {
        return Some((scrape, None));
    }
    let detected = detect(page)?;
    Some((detected.decode(page), Some(Arc::clone(detected))))
}
