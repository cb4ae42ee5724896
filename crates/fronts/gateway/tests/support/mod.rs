//! A gateway over scripted engines, and a client that sees every byte.

mod client;
mod engine;
mod router;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_fronts::AccessLog;
use weir_gateway::{Gateway, Listener, Live, Settings, Upstream};
use weir_pool::{Endpoint, Pool};

pub use self::{
    client::Client,
    engine::{EVENTS, Engine, Heard, OK},
    router::{pool_of, router_over},
};

/// A running gateway.
pub struct Rig {
    pub address: SocketAddr,
    pub live: Arc<ArcSwap<Live>>,
    pub pool: Arc<Pool>,
    pub registry: Registry,
    pub shutdown: CancellationToken,
    pub served: tokio::task::JoinHandle<()>,
}

/// Settings for tests: as by default, and quick to say no.
pub fn settings() -> Settings {
    let mut settings = Settings { endpoint_header: true, ..Settings::default() };
    settings.timeouts.connect = Duration::from_secs(2);
    settings
}

pub fn live_over(pool: &Arc<Pool>, settings: Settings, upstream: Upstream, registry: &mut Registry) -> Live {
    Live { router: router_over(Arc::clone(pool), registry), upstreams: vec![upstream], settings }
}

impl Rig {
    /// A gateway in front of `engines`.
    pub async fn over(engines: &[SocketAddr], settings: Settings) -> Self {
        Self::with(pool_of(engines, "http"), settings, Upstream::default(), None).await
    }

    pub async fn with(pool: Arc<Pool>, settings: Settings, upstream: Upstream, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let mut registry = Registry::default();
        let live = Arc::new(ArcSwap::from_pointee(live_over(&pool, settings, upstream, &mut registry)));
        let listener = Listener { socket: TcpListener::bind("127.0.0.1:0").await.unwrap(), tls };
        let address = listener.local_addr().unwrap();
        let gateway = Gateway::new(Arc::clone(&live), &mut registry, AccessLog::default());
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(gateway.serve(vec![listener], shutdown.clone(), Duration::from_secs(5)));
        Self { address, live, pool, registry, shutdown, served }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    pub fn endpoint(&self, index: usize) -> Arc<Endpoint> {
        Arc::clone(&self.pool.snapshot().endpoints[index])
    }

    /// The value of a metric, by its name and labels as they are written.
    pub fn metric(&self, name: &str) -> u64 {
        let mut page = String::new();
        encode(&mut page, &self.registry).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().unwrap()
    }

    /// Waits until `wanted` holds.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        eventually(what, || wanted(self)).await;
    }
}

/// Waits until `wanted` holds; fails after some seconds.
pub async fn eventually(what: &str, wanted: impl Fn() -> bool) {
    for _ in 0..1000 {
        if wanted() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never happened: {what}");
}

/// A chat request with its head.
pub fn chat(stream: bool) -> String {
    let body = format!(r#"{{"model":"m","stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}"#);
    post("/v1/chat/completions", "", &body)
}

pub fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: weir\r\n{headers}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: weir\r\n{headers}\r\n")
}
