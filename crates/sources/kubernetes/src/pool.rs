//! Keeps one pool equal to what the cluster says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::stream::BoxStream;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client, ResourceExt,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use weir_crds::{InferencePoolSpec, LegacyInferencePoolSpec};
use weir_pool::{EndpointSpec, Pool, Scheme};

use crate::{
    LightPod, PodFacts, PoolGroup, Source, Target, Watches, derive,
    follow::{Event, Filter, follow, next},
    slice,
};

/// Changes that come in one go are put into force in one go.
const GATHER: Duration = Duration::from_millis(10);

/// What the cluster says of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Whether the pool is known, and all its pods.
    pub synced: bool,
    /// Grows when the set of endpoints changes.
    pub revision: u64,
    /// What is spoken on its ports, as `InferencePool` says: `http` or `kubernetes.io/h2c`; empty without such an object.
    pub app_protocol: String,
    /// Pods, ready or not.
    pub pods: usize,
    /// Whether the `InferencePool` exists; `None` until that is known, and without such an object.
    pub exists: Option<bool>,
    /// Its unique id, if it exists.
    pub uid: String,
}

/// Keeps a pool up to date until it is dropped; the endpoints stay.
#[derive(Debug)]
pub struct PoolWatch {
    state: watch::Receiver<PoolState>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl PoolWatch {
    /// Begins to follow the cluster, and returns at once.
    pub fn start(client: Client, watches: &Watches, target: Target, pool: Arc<Pool>, cancel: &CancellationToken) -> Self {
        let (sender, state) = watch::channel(PoolState::default());
        let cancel = cancel.child_token();
        let follower = Follower::new(client, watches.clone(), target, pool, sender);
        let task = tokio::spawn({
            let cancel = cancel.clone();
            async move {
                cancel.run_until_cancelled(follower.run()).await;
            }
        });
        Self { state, cancel, task }
    }

    /// What the cluster says, and when that changes.
    pub fn state(&self) -> watch::Receiver<PoolState> {
        self.state.clone()
    }

    /// Stops following, and waits until that has happened.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        // It ends by being cancelled; a panic in it was reported by the runtime.
        let _ = (&mut self.task).await;
    }
}

impl Drop for PoolWatch {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// What an `InferencePool` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) ports: Vec<u16>,
    app_protocol: String,
    uid: String,
}

type Stream<K> = Option<BoxStream<'static, Event<K>>>;

struct Follower {
    client: Client,
    watches: Watches,
    target: Target,
    pool: Arc<Pool>,
    state: watch::Sender<PoolState>,
    pools: Stream<DynamicObject>,
    pods: Stream<LightPod>,
    slices: Stream<EndpointSlice>,
    /// What the pool's object says; without such an object what was configured.
    facts: Option<Facts>,
    /// The pool's object was in the list that is being read.
    seen: bool,
    /// Whether everything that is selected is known.
    listed: bool,
    known: Known,
    /// The list that is being read.
    staged: Option<Known>,
    /// When changes are put into force.
    due: Option<Instant>,
}

/// Pods or slices by name.
#[derive(Debug, Default)]
struct Known {
    pods: BTreeMap<String, PodFacts>,
    slices: BTreeMap<String, slice::Slice>,
}

impl Follower {
    fn new(client: Client, watches: Watches, target: Target, pool: Arc<Pool>, state: watch::Sender<PoolState>) -> Self {
        let mut this = Self {
            client,
            watches,
            target,
            pool,
            state,
            pools: None,
            pods: None,
            slices: None,
            facts: None,
            seen: false,
            listed: false,
            known: Known::default(),
            staged: None,
            due: None,
        };
        match this.target.source.clone() {
            Source::Pool { name, group } => this.pools = Some(this.follow_pool(&name, group)),
            Source::Pods { selector, ports } => {
                this.facts = Some(Facts { ports, ..Facts::default() });
                this.pods = Some(this.follow_pods(&selector));
            }
            Source::Service { name, ports } => {
                this.facts = Some(Facts { ports, ..Facts::default() });
                this.slices = Some(this.follow_slices(&name));
            }
        }
        this
    }

    fn follow_pool(&self, name: &str, group: PoolGroup) -> BoxStream<'static, Event<DynamicObject>> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group.name(), group.version(), "InferencePool"));
        let fields = format!("metadata.name={name}");
        let watch = self.watches.begin(format!("inferencepools.{}", group.name()), &self.target.namespace, &fields);
        let api = Api::namespaced_with(self.client.clone(), &self.target.namespace, &kind);
        follow(api, Filter { labels: None, fields: Some(fields) }, watch)
    }

    fn follow_pods(&self, selector: &str) -> BoxStream<'static, Event<LightPod>> {
        let watch = self.watches.begin("pods", &self.target.namespace, selector);
        let api = Api::namespaced(self.client.clone(), &self.target.namespace);
        follow(api, Filter { labels: Some(selector.to_owned()), fields: None }, watch)
    }

    fn follow_slices(&self, service: &str) -> BoxStream<'static, Event<EndpointSlice>> {
        let labels = format!("kubernetes.io/service-name={service}");
        let watch = self.watches.begin("endpointslices.discovery.k8s.io", &self.target.namespace, &labels);
        let api = Api::namespaced(self.client.clone(), &self.target.namespace);
        follow(api, Filter { labels: Some(labels), fields: None }, watch)
    }

    async fn run(mut self) {
        loop {
            let due = self.due;
            tokio::select! {
                biased;
                () = async { match due { Some(due) => sleep_until(due).await, None => std::future::pending().await } } => {
                    self.due = None;
                    self.publish();
                }
                event = next(&mut self.pools) => self.on_pool(event),
                event = next(&mut self.pods) => {
                    let event = event.map(|pod| { let pod = PodFacts::from(pod); (pod.name.clone(), pod) });
                    self.on_member(event, |known| &mut known.pods);
                }
                event = next(&mut self.slices) => {
                    let event = event.map(|slice| (slice.name_any(), slice::Slice::from(slice)));
                    self.on_member(event, |known| &mut known.slices);
                }
            }
        }
    }

    fn on_pool(&mut self, event: Event<DynamicObject>) {
        match event {
            Event::Began => self.seen = false,
            Event::Listed(object) | Event::Applied(object) => {
                self.seen = true;
                if object.metadata.deletion_timestamp.is_some() { self.pool_is_gone() } else { self.pool_is(&object) }
            }
            Event::Complete if !self.seen => self.pool_is_gone(),
            Event::Deleted(_) => self.pool_is_gone(),
            Event::Complete | Event::Failing(_) => {}
        }
    }

    fn pool_is(&mut self, object: &DynamicObject) {
        let pool = self.pool.name();
        let facts = match facts_of(object, &self.target.source) {
            Ok(facts) => facts,
            Err(error) => {
                error!(pool, %error, "the InferencePool cannot be read; what it said before stays in use");
                return;
            }
        };
        if self.facts.as_ref() == Some(&facts) {
            return;
        }
        let known = self.facts.as_ref().map(|known| &known.labels);
        if known != Some(&facts.labels) {
            let selector = selector_of(&facts.labels);
            info!(pool, selector, ports = ?facts.ports, "the pool's pods are listed");
            // Those of the old selector serve until those of the new one are known.
            (self.listed, self.staged) = (false, None);
            self.pods = Some(self.follow_pods(&selector));
        } else {
            info!(pool, ports = ?facts.ports, "the pool changed");
        }
        self.dirty();
        self.facts = Some(facts);
    }

    fn pool_is_gone(&mut self) {
        if self.facts.take().is_some() {
            warn!(pool = self.pool.name(), "the InferencePool was deleted: it has no endpoints any more");
        } else if self.state.borrow().revision == 0 {
            let Target { namespace, source, .. } = &self.target;
            info!(pool = self.pool.name(), namespace, ?source, "there is no such InferencePool yet");
        }
        (self.pods, self.listed, self.staged, self.known) = (None, false, None, Known::default());
        self.dirty();
    }

    fn on_member<T>(&mut self, event: Event<(String, T)>, of: fn(&mut Known) -> &mut BTreeMap<String, T>) {
        match event {
            Event::Began => self.staged = Some(Known::default()),
            Event::Listed((name, one)) => {
                of(self.staged.get_or_insert_default()).insert(name, one);
            }
            Event::Complete => {
                self.known = self.staged.take().unwrap_or_default();
                self.listed = true;
                self.dirty();
            }
            Event::Applied((name, one)) => {
                of(&mut self.known).insert(name, one);
                self.dirty();
            }
            Event::Deleted((name, _)) => {
                of(&mut self.known).remove(&name);
                self.dirty();
            }
            Event::Failing(_) => {}
        }
    }

    fn dirty(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + GATHER);
    }

    fn publish(&mut self) {
        let synced = self.listed && self.facts.is_some();
        let exists = self.pools.is_some().then_some(self.facts.is_some());
        let uid = self.facts.as_ref().map(|facts| facts.uid.clone()).unwrap_or_default();
        if self.facts.is_some() && !self.listed {
            // What is known is of another selector.
            self.state.send_if_modified(|state| {
                state.exists != exists && {
                    state.exists = exists;
                    true
                }
            });
            return;
        }
        let before = self.pool.load().generation;
        let report = self.pool.reconcile(&self.endpoints());
        for endpoint in &report.removed {
            info!(pool = self.pool.name(), endpoint = endpoint.id(), "the endpoint is gone and drains");
        }
        let changed = self.pool.load().generation != before;
        let app_protocol = self.facts.as_ref().map(|facts| facts.app_protocol.clone()).unwrap_or_default();
        if self.pools.is_some() {
            self.pool.set_app_protocol(&app_protocol);
        }
        let pods = self.known.pods.len();
        self.state.send_if_modified(|state| {
            let revision = state.revision + u64::from(changed);
            let new = PoolState { synced, revision, app_protocol, pods, exists, uid };
            let news = *state != new;
            *state = new;
            news
        });
    }

    fn endpoints(&self) -> Vec<EndpointSpec> {
        let Some(facts) = &self.facts else { return Vec::new() };
        let scheme: Scheme = self.target.scheme;
        let mut endpoints: Vec<EndpointSpec> =
            self.known.pods.values().flat_map(|pod| derive::endpoints(pod, &facts.ports, scheme)).collect();
        // Slices overlap while an endpoint moves from one to another.
        let mut names = BTreeSet::new();
        for slice in self.known.slices.values() {
            endpoints.extend(slice.endpoints(&facts.ports, scheme).into_iter().filter(|one| names.insert(one.name.clone())));
        }
        endpoints
    }
}

pub(crate) fn facts_of(object: &DynamicObject, source: &Source) -> Result<Facts, String> {
    let spec = object.data.get("spec").cloned().unwrap_or_default();
    let legacy = matches!(source, Source::Pool { group: PoolGroup::Legacy, .. });
    let spec: InferencePoolSpec = if legacy {
        serde_json::from_value::<LegacyInferencePoolSpec>(spec).map_err(|error| error.to_string())?.into()
    } else {
        serde_json::from_value(spec).map_err(|error| error.to_string())?
    };
    let mut ports: Vec<u16> = Vec::with_capacity(spec.target_ports.len());
    for port in &spec.target_ports {
        ports.push(u16::try_from(port.number).map_err(|_| format!("{} is no port", port.number))?);
    }
    let labels: BTreeMap<String, String> = spec.selector.match_labels.into_iter().map(|(key, value)| (key, value.0)).collect();
    if labels.is_empty() {
        return Err("its selector is empty, and would select every pod of the namespace".to_owned());
    }
    let app_protocol = serde_json::to_value(spec.app_protocol).ok();
    let app_protocol = app_protocol.as_ref().and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    Ok(Facts { labels, ports, app_protocol, uid: object.metadata.uid.clone().unwrap_or_default() })
}

pub(crate) fn selector_of(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
