//! Host names of endpoints, resolved again and again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream};
use tokio::time::timeout;
use tracing::{info, warn};
use weir_pool::{Endpoint, EndpointSpec};

/// Longest time for one lookup.
const PATIENCE: Duration = Duration::from_secs(3);
/// Lookups at one moment; each occupies a thread.
const CONCURRENCY: usize = 16;

/// Turns a host name into addresses.
pub(crate) type Resolver = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The system's resolver.
pub(crate) fn system() -> Resolver {
    Arc::new(|host| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// What the host names of one pool resolved to.
pub(crate) struct Names {
    resolver: Resolver,
    known: HashMap<String, Vec<IpAddr>>,
    /// Names whose last lookup failed.
    failing: BTreeSet<String>,
}

impl Names {
    pub(crate) fn new(resolver: Resolver) -> Self {
        Self { resolver, known: HashMap::new(), failing: BTreeSet::new() }
    }

    /// Looks up the names among `specs` that are not known yet, and forgets those that are not among them.
    pub(crate) async fn learn(&mut self, specs: &[EndpointSpec]) {
        let names: BTreeSet<&str> = specs.iter().filter_map(|spec| spec.url.host.name()).collect();
        self.known.retain(|name, _| names.contains(name.as_str()));
        self.failing.retain(|name| names.contains(name.as_str()));
        let new = names.into_iter().filter(|name| !self.known.contains_key(*name)).map(ToOwned::to_owned).collect();
        self.look_up(new).await;
    }

    /// Looks up all names again.
    pub(crate) async fn renew(&mut self) {
        let names = self.known.keys().chain(&self.failing).cloned().collect::<BTreeSet<_>>();
        self.look_up(names).await;
    }

    /// Looks up again what never resolved.
    pub(crate) async fn retry(&mut self) {
        let names = self.failing.iter().filter(|name| !self.known.contains_key(*name)).cloned().collect();
        self.look_up(names).await;
    }

    async fn look_up(&mut self, names: BTreeSet<String>) {
        let resolver = &self.resolver;
        let lookups = stream::iter(names).map(|name| async {
            let found = timeout(PATIENCE, resolver(name.clone())).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let found = found.and_then(|found| if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) });
            (name, found)
        });
        let answers: BTreeMap<String, io::Result<Vec<IpAddr>>> = lookups.buffer_unordered(CONCURRENCY).collect().await;
        for (name, answer) in answers {
            match answer {
                Ok(found) => {
                    if self.failing.remove(&name) {
                        info!(name, "the host name resolves again");
                    }
                    // Resolvers rotate their answers; only another set is news.
                    let same =
                        |known: &Vec<IpAddr>| known.iter().collect::<BTreeSet<_>>() == found.iter().collect::<BTreeSet<_>>();
                    if !self.known.get(&name).is_some_and(same) {
                        self.known.insert(name, found);
                    }
                }
                Err(error) => {
                    let kept = self.known.contains_key(&name);
                    if self.failing.insert(name.clone()) {
                        warn!(name, %error, kept, "the host name does not resolve; addresses it had stay in use");
                    }
                }
            }
        }
    }

    /// Gives endpoints the addresses of their names; one whose name never resolved stays as it is.
    pub(crate) fn publish(&self, endpoints: &[Arc<Endpoint>]) {
        for endpoint in endpoints {
            let url = &endpoint.spec().url;
            if let Some(found) = url.host.name().and_then(|name| self.known.get(name)) {
                endpoint.set_addresses(found.iter().map(|ip| SocketAddr::new(*ip, url.port)).collect());
            }
        }
    }
}
