//! One (server, port) pair that runs a model.

use std::{
    any::Any,
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;

use crate::{EndpointUrl, EngineState, Health, Ledger, Numbers, Time};

/// What discovery says of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Name, unique with the namespace.
    pub name: String,
    /// Namespace; `default` outside Kubernetes.
    pub namespace: String,
    /// Where it listens.
    pub url: EndpointUrl,
    /// Labels, for filters and engine mapping.
    pub labels: BTreeMap<String, String>,
}

impl EndpointSpec {
    /// An endpoint in the namespace `default`, without labels.
    pub fn new(name: impl Into<String>, url: EndpointUrl) -> Self {
        Self { name: name.into(), namespace: "default".to_owned(), url, labels: BTreeMap::new() }
    }
}

/// A model or an adapter, as a model server lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedModel {
    /// Its name.
    pub id: String,
    /// What it is: `model`.
    pub object: String,
    /// Unix seconds; 0 if the list does not say.
    pub created: i64,
    /// Whose it is; empty if the list does not say.
    pub owned_by: String,
    /// The model that an adapter belongs to.
    pub parent: Option<String>,
}

/// An endpoint and everything known of it. Shared; its identity is `namespace/name`.
#[derive(Debug)]
pub struct Endpoint {
    serial: u32,
    id: String,
    authority: String,
    spec: EndpointSpec,
    addresses: ArcSwap<Vec<SocketAddr>>,
    models: ArcSwap<Vec<String>>,
    listing: ArcSwap<Vec<ListedModel>>,
    transport: OnceLock<Box<dyn Any + Send + Sync>>,
    /// Numbers of its metrics page.
    pub engine: EngineState,
    /// Numbers by name: custom metrics, and what other sources bring.
    pub numbers: Numbers,
    /// What this process has in flight there.
    pub ledger: Arc<Ledger>,
    /// Whether it may be given requests.
    pub health: Health,
}

/// An endpoint's numbers, frozen for one decision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EndpointState {
    /// Requests in the engine's queue.
    pub waiting: u32,
    /// Requests in the engine's batch.
    pub running: u32,
    /// Used share of the KV cache, 0 to 1.
    pub kv_usage: f64,
    /// Age of those three; `None` if the engine was never scraped.
    pub age: Option<Duration>,
    /// They are older than the pool's threshold, or were never fetched.
    pub stale: bool,
    /// Requests in flight: our own, and foreign ones that scrapes show.
    pub inflight_requests: u64,
    /// Tokens in flight, ours.
    pub inflight_tokens: u64,
}

impl Endpoint {
    /// A new endpoint of which nothing is known. A host that is an IP literal is its own address.
    pub fn new(spec: EndpointSpec) -> Self {
        Self::with_serial(spec, 0)
    }

    /// As [`Endpoint::new`], with a number that no other endpoint of the same pool has or had.
    pub fn with_serial(spec: EndpointSpec, serial: u32) -> Self {
        let literal = spec.url.host.ip().map(|ip| SocketAddr::new(ip, spec.url.port));
        Self {
            serial,
            id: format!("{}/{}", spec.namespace, spec.name),
            authority: spec.url.authority(),
            addresses: ArcSwap::from_pointee(literal.into_iter().collect()),
            models: ArcSwap::from_pointee(Vec::new()),
            listing: ArcSwap::from_pointee(Vec::new()),
            transport: OnceLock::new(),
            spec,
            engine: EngineState::default(),
            numbers: Numbers::default(),
            ledger: Arc::new(Ledger::default()),
            health: Health::default(),
        }
    }

    /// A number that no other endpoint of the same pool has or had: small, dense, never used again.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// `namespace/name`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `host:port` as configured.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What discovery said.
    pub fn spec(&self) -> &EndpointSpec {
        &self.spec
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.spec.labels.get(key).map(String::as_str)
    }

    /// Addresses that the host resolved to, newest resolution; empty if it never resolved.
    pub fn addresses(&self) -> Arc<Vec<SocketAddr>> {
        self.addresses.load_full()
    }

    /// Publishes a new resolution of the host.
    pub fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        if **self.addresses.load() != addresses {
            self.addresses.store(Arc::new(addresses));
        }
    }

    /// Models and adapters that its `/v1/models` lists; empty if unknown.
    pub fn models(&self) -> Arc<Vec<String>> {
        self.models.load_full()
    }

    /// Publishes what `/v1/models` lists. Returns whether that changed anything.
    pub fn set_models(&self, models: Vec<String>) -> bool {
        let changed = **self.models.load() != models;
        if changed {
            self.models.store(Arc::new(models));
        }
        changed
    }

    /// All that its list of models says of them; empty unless somebody wants to know.
    pub fn listing(&self) -> Arc<Vec<ListedModel>> {
        self.listing.load_full()
    }

    /// Publishes what the list of models says.
    pub fn set_listing(&self, listing: Vec<ListedModel>) {
        if **self.listing.load() != listing {
            self.listing.store(Arc::new(listing));
        }
    }

    /// What the front keeps per endpoint, such as its connections: made by `init` at first use, and gone with the endpoint.
    /// `None` if another type was attached first.
    pub fn transport<T: Any + Send + Sync>(&self, init: impl FnOnce() -> T) -> Option<&T> {
        self.transport.get_or_init(|| Box::new(init())).downcast_ref()
    }

    /// Its numbers at `now`; stale if older than `threshold`.
    pub fn state(&self, now: Time, threshold: Duration) -> EndpointState {
        let age = self.engine.scraped_at().map(|at| now.since(at));
        EndpointState {
            waiting: self.engine.waiting(),
            running: self.engine.running(),
            kv_usage: self.engine.kv_usage(),
            age,
            stale: age.is_none_or(|age| age > threshold),
            inflight_requests: self.ledger.requests() + u64::from(self.engine.foreign_requests()),
            inflight_tokens: self.ledger.tokens(),
        }
    }
}
