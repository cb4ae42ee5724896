//! A server over endpoints that nobody runs, and a client that says what a proxy says.

mod client;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::ArcSwap;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_api::EndpointPickerConfig;
use weir_extproc::{ExtProc, Health, Limits, Listener, Live, Serves, Settings, Shutdown};
use weir_fronts::AccessLog;
use weir_plan::{CompileOptions, compile};
use weir_pool::{BreakerConfig, Endpoint, EndpointSpec, EndpointUrl, Pool};
use weir_router::{Clock, DecisionLog, DecisionLogConfig, LlmDCollector, PoolRuntime, Router, RouterMetrics, Shared};

pub use self::client::{Call, Proxy, body, fields, headers};

/// A running server.
pub struct Rig {
    pub address: SocketAddr,
    pub health_address: SocketAddr,
    pub pool: Arc<Pool>,
    pub router: Arc<Router>,
    pub registry: Registry,
    pub shutdown: CancellationToken,
    pub served: tokio::task::JoinHandle<()>,
}

/// How a rig differs from the usual.
pub struct Wanted<'a> {
    pub endpoints: &'a [&'a str],
    pub plugins: &'a str,
    pub settings: Settings,
    pub limits: Limits,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub end: Shutdown,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self {
            endpoints: &["10.0.0.1:8000", "10.0.0.2:8000", "[2001:db8::3]:8000"],
            plugins: "plugins: [{type: active-request-scorer}]",
            settings: Settings::default(),
            limits: Limits::default(),
            tls: None,
            end: Shutdown { lame_duck: Duration::from_secs(5), drain: Duration::from_secs(5) },
        }
    }
}

impl Rig {
    pub async fn new(wanted: Wanted<'_>) -> Self {
        let mut registry = Registry::default();
        let pool = pool_of(wanted.endpoints);
        let router = router_over(&pool, wanted.plugins, &mut registry);
        let breakers = vec![BreakerConfig { consecutive_failures: 1, ..BreakerConfig::default() }];
        registry.register_collector(Box::new(LlmDCollector::new(
            Arc::clone(router.shared()),
            Arc::new({
                let router = Arc::clone(&router);
                move || Arc::clone(&router)
            }),
            Arc::new(AtomicBool::new(false)),
        )));
        let live = Live { router: Arc::clone(&router), breakers, settings: wanted.settings };
        let health = Health::new({
            let router = Arc::clone(&router);
            move || router.reads_every_pool()
        });
        let server =
            ExtProc::new(Arc::new(ArcSwap::from_pointee(live)), health, wanted.limits, &mut registry, AccessLog::default());
        let bind = async |tls, serves| Listener { socket: TcpListener::bind("127.0.0.1:0").await.unwrap(), tls, serves };
        let listeners = vec![bind(wanted.tls, Serves::Both).await, bind(None, Serves::Health).await];
        let [address, health_address] = [0, 1].map(|place: usize| listeners[place].local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(server.serve(listeners, shutdown.clone(), wanted.end));
        Self { address, health_address, pool, router, registry, shutdown, served }
    }

    pub async fn usual() -> Self {
        Self::new(Wanted::default()).await
    }

    pub async fn proxy(&self) -> Proxy {
        Proxy::connect(self.address).await
    }

    /// The endpoint at an address.
    pub fn endpoint(&self, authority: &str) -> Arc<Endpoint> {
        let snapshot = self.pool.snapshot();
        Arc::clone(snapshot.endpoints.iter().find(|one| one.authority() == authority).unwrap())
    }

    /// Requests in flight everywhere.
    pub fn in_flight(&self) -> u64 {
        self.pool.snapshot().endpoints.iter().map(|one| one.ledger.requests()).sum()
    }

    /// The value of a metric, by its name and labels as they are written.
    pub fn metric(&self, name: &str) -> u64 {
        let mut page = String::new();
        encode(&mut page, &self.registry).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }
}

impl Rig {
    /// The sum of a family's samples.
    pub fn sum(&self, name: &str) -> f64 {
        let mut page = String::new();
        encode(&mut page, &self.registry).unwrap();
        let of = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let samples = page.lines().filter(|line| of(line));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

fn pool_of(endpoints: &[&str]) -> Arc<Pool> {
    let pool = Pool::new("p");
    let spec = |(i, address): (usize, &&str)| {
        let url: EndpointUrl = format!("http://{address}").parse().unwrap();
        EndpointSpec::new(format!("e{i}"), url)
    };
    pool.reconcile(&endpoints.iter().enumerate().map(spec).collect::<Vec<_>>());
    for endpoint in &pool.snapshot().endpoints {
        endpoint.health.probe_succeeded();
        endpoint.set_models(vec!["m".to_owned()]);
    }
    Arc::new(pool)
}

fn router_over(pool: &Arc<Pool>, plugins: &str, registry: &mut Registry) -> Arc<Router> {
    let mut known = weir_plan::Registry::default();
    weir_schedule::register(&mut known);
    let text = format!("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n{plugins}\n");
    let plan = Arc::new(compile(&EndpointPickerConfig::parse(&text).unwrap().value, &known, CompileOptions::default()).unwrap());
    let metrics = RouterMetrics::register(registry);
    let shared = Shared::new(Clock::default(), DecisionLog::new(DecisionLogConfig::default()), metrics);
    let runtime = PoolRuntime::new(Arc::clone(pool), plan, Vec::new(), Duration::from_secs(2), &shared);
    Arc::new(Router::new(vec![runtime], shared))
}

/// Waits until something holds; panics if it never does.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
