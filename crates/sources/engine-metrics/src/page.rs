//! Pages besides an engine's own: other pages of metrics, GPU exporters, the pickers of other clusters.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio::time::timeout;
use tracing::{info, warn};
use weir_pool::{Endpoint, EndpointUrl, Host, Scheme};

use crate::{
    Clock, EngineMappings, FamilySpec, ScrapeOptions,
    connection::{Answer, AskError, Buffers, Connection, Origin, ask},
    engine::has_load,
    scan,
    visit::Outcome,
};

/// Labels of endpoints that say where the page of their cluster is.
const ADDRESS_LABEL: &str = "metricsAddress";
const PORT_LABEL: &str = "metricsPort";
/// Label of series that names the pod that they are about.
const POD: &[u8] = b"pod";
/// Failures in a row after which numbers are withdrawn.
const PATIENCE: u32 = 3;

/// A page besides the engine's own, and what is read from it.
#[derive(Clone, Debug)]
pub struct PageOptions {
    /// Type of the source, for counters.
    pub source: &'static str,
    /// Scheme; `None` is the endpoint's.
    pub scheme: Option<Scheme>,
    /// Path, from the root of the server unless the page is the endpoint's own.
    pub path: String,
    /// Port; `None` is the endpoint's.
    pub port: Option<u16>,
    /// Whether labels of endpoints (`metricsAddress`, `metricsPort`) say where their page is.
    pub by_label: bool,
    /// Time from scrape to scrape.
    pub interval: Duration,
    /// Whether the page is of the same server, which takes the pool's key.
    pub with_key: bool,
    /// How `https` is verified; without it such pages cannot be fetched.
    pub tls: Option<Arc<ClientConfig>>,
    /// Who reads it.
    pub readers: Vec<PageReader>,
}

/// Somebody who reads a page.
#[derive(Clone, Debug)]
pub enum PageReader {
    /// Queue, batch, KV cache, adapters and custom numbers, by the endpoint's engine.
    Engines(Arc<EngineMappings>),
    /// Single numbers.
    Numbers {
        /// Type of the extractor, for counters.
        extractor: &'static str,
        /// Which.
        numbers: Vec<NumberSpec>,
    },
}

/// A number of a page, and what it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberSpec {
    /// Its name among the endpoint's numbers.
    pub name: String,
    /// Where it stands.
    pub family: FamilySpec,
    /// What it is divided by.
    pub divisor: f64,
    /// The page is about many pods: of the series about this endpoint's pod the greatest counts. If no series names a pod, of all.
    pub of_pod: bool,
}

impl NumberSpec {
    /// The number for an endpoint, if the page has it.
    fn read(&self, page: &[u8], endpoint: &Endpoint) -> Option<f64> {
        let labels = &self.family.labels;
        let fits = |one: &scan::Series<'_>| labels.iter().all(|(name, value)| one.is(name.as_bytes(), value.as_bytes()));
        let series = || scan::series(page, self.family.family.as_bytes()).filter(fits);
        if !self.of_pod {
            return series().next().map(|one| one.value / self.divisor);
        }
        let names_pods = series().any(|one| one.has(POD));
        let own = |one: &scan::Series<'_>| !names_pods || is_pod_of(one, endpoint);
        series().filter(own).map(|one| one.value / self.divisor).filter(|number| number.is_finite()).reduce(f64::max)
    }
}

/// Ranks of a pod are endpoints of their own: `POD-rank-N`.
fn is_pod_of(series: &scan::Series<'_>, endpoint: &Endpoint) -> bool {
    let name = &endpoint.spec().name;
    let pod = name.rsplit_once("-rank-").filter(|(_, rank)| rank.bytes().all(|byte| byte.is_ascii_digit())).map(|(pod, _)| pod);
    series.is(POD, name.as_bytes()) || pod.is_some_and(|pod| series.is(POD, pod.as_bytes()))
}

#[derive(Debug, thiserror::Error)]
enum PageError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("it answers {0}")]
    Status(u16),
    #[error("label {PORT_LABEL} is no port")]
    Port,
}

/// What is kept of one page of one endpoint from visit to visit.
pub(crate) struct PageSession {
    endpoint: Arc<Endpoint>,
    page: Arc<PageOptions>,
    options: Arc<ScrapeOptions>,
    connection: Option<Connection>,
    failures: u32,
}

impl PageSession {
    pub(crate) fn new(endpoint: Arc<Endpoint>, page: Arc<PageOptions>, options: Arc<ScrapeOptions>) -> Self {
        Self { endpoint, page, options, connection: None, failures: 0 }
    }

    /// Takes over new options. Another page has other numbers: those of this one are withdrawn.
    pub(crate) fn adopt(&mut self, page: &Arc<PageOptions>, options: &Arc<ScrapeOptions>) {
        if !Arc::ptr_eq(&self.page, page) {
            self.withdraw();
            self.connection = None;
            self.page = Arc::clone(page);
        }
        self.options = Arc::clone(options);
    }

    /// Fetches the page once, and publishes what its readers find.
    pub(crate) async fn visit(&mut self, clock: &Clock, buffers: &Buffers) -> Outcome {
        let patience = self.options.timeout;
        let fetched = timeout(patience, self.fetch(clock, buffers)).await.unwrap_or(Err(PageError::Timeout(patience)));
        let (endpoint, page) = (self.endpoint.id(), self.page.source);
        match fetched {
            Ok((bytes, incomplete)) => {
                if std::mem::take(&mut self.failures) > 0 {
                    info!(endpoint, page, "the page can be read again");
                }
                Outcome { answered: true, probing: false, bytes, incomplete }
            }
            Err(error) => {
                if self.failures == 0 {
                    warn!(endpoint, page, %error, "the page cannot be read");
                }
                self.failures = self.failures.saturating_add(1);
                if self.failures == PATIENCE {
                    self.withdraw();
                }
                Outcome { answered: false, probing: false, bytes: 0, incomplete: false }
            }
        }
    }

    /// Nobody is to take old numbers for news.
    fn withdraw(&self) {
        for reader in &self.page.readers {
            if let PageReader::Numbers { numbers, .. } = reader {
                numbers.iter().for_each(|one| self.endpoint.numbers.set(&one.name, None));
            }
        }
    }

    /// Bytes, and whether a reader missed something.
    async fn fetch(&mut self, clock: &Clock, buffers: &Buffers) -> Result<(u64, bool), PageError> {
        let (host, origin) = self.origin()?;
        let addresses = match &host {
            None => self.endpoint.addresses().as_ref().clone(),
            Some(host) => resolve(host, origin.port).await,
        };
        let request = self.request(host.as_ref(), &origin);
        let (page, endpoint) = (Arc::clone(&self.page), Arc::clone(&self.endpoint));
        let read = |status, body: &[u8]| (status == 200).then(|| read(&page, &endpoint, body, clock));
        let Answer { status, read, bytes } =
            ask(&mut self.connection, &origin, &addresses, self.options.timeout, &request, buffers, read).await?;
        read.map(|incomplete| (bytes, incomplete)).ok_or(PageError::Status(status))
    }

    /// Host of the page, if it is not the endpoint's, and how it is spoken to.
    fn origin(&self) -> Result<(Option<Host>, Origin), PageError> {
        let url = &self.endpoint.spec().url;
        let labelled = |label: &str| self.endpoint.label(label).filter(|_| self.page.by_label && !label.is_empty());
        let host = labelled(ADDRESS_LABEL).and_then(|text| text.parse::<Host>().ok());
        let port = match labelled(PORT_LABEL) {
            Some(text) => Some(text.parse().map_err(|_| PageError::Port)?),
            None => self.page.port,
        };
        let server_name = host.as_ref().unwrap_or(&url.host).bare().into_owned();
        let scheme = self.page.scheme.unwrap_or(url.scheme);
        Ok((host, Origin { scheme, port: port.unwrap_or(url.port), tls: self.page.tls.clone(), server_name }))
    }

    fn request(&self, host: Option<&Host>, origin: &Origin) -> Vec<u8> {
        let url = &self.endpoint.spec().url;
        let there = EndpointUrl { port: origin.port, host: host.unwrap_or(&url.host).clone(), ..url.clone() };
        let own = host.is_none() && origin.port == url.port;
        let (base, path) = (if own { url.base_path.as_str() } else { "" }, &self.page.path);
        let key = self.options.api_key.as_ref().filter(|_| self.page.with_key);
        let key = key.map_or(String::new(), |key| format!("Authorization: Bearer {}\r\n", key.expose()));
        let host = there.authority();
        format!("GET {base}{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: weir\r\nAccept: */*\r\n{key}\r\n").into_bytes()
    }
}

async fn resolve(host: &Host, port: u16) -> Vec<SocketAddr> {
    if let Some(ip) = host.ip() {
        return vec![SocketAddr::new(ip, port)];
    }
    tokio::net::lookup_host((host.bare().as_ref(), port)).await.map(Iterator::collect).unwrap_or_default()
}

/// Publishes what the readers find. Whether one of them missed something.
fn read(page: &PageOptions, endpoint: &Endpoint, body: &[u8], clock: &Clock) -> bool {
    let mut incomplete = false;
    for reader in &page.readers {
        match reader {
            PageReader::Engines(mappings) => {
                let engine = mappings.labelled(endpoint.spec()).unwrap_or(mappings.default_engine());
                let scrape = engine.decode(body);
                if has_load(&scrape) {
                    endpoint.engine.record(&scrape, endpoint.ledger.requests(), clock());
                } else {
                    // Numbers that say nothing of the load do not make it look fresh.
                    endpoint.engine.record_more(&scrape);
                }
                for ((name, _), number) in engine.mapping().custom.iter().zip(&scrape.custom) {
                    incomplete |= number.is_none();
                    endpoint.numbers.set(name, *number);
                }
            }
            PageReader::Numbers { numbers, .. } => {
                for one in numbers {
                    let number = one.read(body, endpoint);
                    incomplete |= number.is_none();
                    endpoint.numbers.set(&one.name, number);
                }
            }
        }
    }
    incomplete
}

#[cfg(test)]
mod tests {
    use weir_pool::EndpointSpec;

    use super::*;

    const DCGM: &str = "# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).\n# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n\
        DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",Hostname=\"n\",pod=\"vllm-0\"} 40\n\
        DCGM_FI_DEV_GPU_UTIL{gpu=\"1\",Hostname=\"n\",pod=\"vllm-0\"} 70\n\
        DCGM_FI_DEV_GPU_UTIL{gpu=\"2\",Hostname=\"n\",pod=\"vllm-1\"} 90\n\
        DCGM_FI_DEV_GPU_UTIL_RATIO 7\n";

    fn utilization(endpoint: &str, page: &str) -> Option<f64> {
        let family = "DCGM_FI_DEV_GPU_UTIL".parse().expect("a family");
        let spec = NumberSpec { name: "u".to_owned(), family, divisor: 100.0, of_pod: true };
        spec.read(page.as_bytes(), &Endpoint::new(EndpointSpec::new(endpoint, EndpointUrl::http("10.0.0.1", 1))))
    }

    #[test]
    fn the_busiest_gpu_of_the_endpoints_pod_counts() {
        assert_eq!(utilization("vllm-0", DCGM), Some(0.7));
        assert_eq!(utilization("vllm-1", DCGM), Some(0.9));
        assert_eq!(utilization("vllm-1-rank-3", DCGM), Some(0.9));
        assert_eq!(utilization("vllm-2", DCGM), None);
        assert_eq!(utilization("any", &DCGM.replace("pod=", "container=")), Some(0.9), "an exporter that knows no pods");
        assert_eq!(utilization("any", "up 1\n"), None);
    }

    #[test]
    fn one_number_of_several_is_told_by_its_labels() {
        let page = "q{name=\"a\"} 3\nq{name=\"b\"} 4\n";
        let read = |family: &str| {
            let spec =
                NumberSpec { name: "q".to_owned(), family: family.parse().expect("a family"), divisor: 1.0, of_pod: false };
            spec.read(page.as_bytes(), &Endpoint::new(EndpointSpec::new("e", EndpointUrl::http("10.0.0.1", 1))))
        };
        assert_eq!((read("q"), read("q{name=b}"), read("q{name=c}")), (Some(3.0), Some(4.0), None));
    }
}
