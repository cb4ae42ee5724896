//! What a Kubernetes cluster says about pools, and what follows it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use weir_api::{KubernetesEndpoints, Objective, PoolSpec, Rewrite, RouterConfig, Spanned};
use weir_kubernetes::{
    Client, ClusterObject, ObjectsWatch, PoolGroup, PoolState, PoolWatch, PoolsWatch, Source, Target, WatchState, Watches,
};
use weir_pool::{Pool, Scheme};
use weir_protocol::Parsers;

use super::{System, election::LeaderView};
use crate::{admin::ClusterView, failure::Failure};

/// The cluster that the configuration's pools are in.
pub(super) struct Cluster {
    client: Client,
    pub(super) watches: Watches,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// By namespace.
    objects: Mutex<BTreeMap<String, ObjectsWatch>>,
    sets: Mutex<Vec<(Selected, PoolsWatch)>>,
    /// Objectives or rewrites changed.
    pub(super) objects_changed: Arc<Notify>,
    /// Pools that a label selects came or went.
    pub(super) pools_changed: Arc<Notify>,
    /// Something changed that may have to be said of.
    pub(super) status_changed: Arc<Notify>,
}

/// Pools that a label selects.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Selected {
    namespace: String,
    group: PoolGroup,
    selector: String,
}

/// What pools wait for, and what they are told.
#[derive(Default)]
pub(super) struct ClusterSync {
    pub(super) pools: Vec<PoolSync>,
    /// Some pools come and go by themselves: one of them that has no endpoints must not make the others unreachable.
    pub(super) any_pool_suffices: bool,
    sets: Vec<watch::Receiver<Option<BTreeSet<String>>>>,
}

/// A pool of a cluster.
pub(super) struct PoolSync {
    pub(super) pool: String,
    pub(super) state: watch::Receiver<PoolState>,
    pub(super) parsers: Parsers,
}

impl ClusterSync {
    /// Why requests should not come yet, for people; nothing if they may.
    pub(super) fn waits_for(&self) -> Vec<String> {
        let mut why = Vec::new();
        if self.sets.iter().any(|set| set.borrow().is_none()) {
            why.push("the cluster's pools are not listed yet".to_owned());
        }
        for one in &self.pools {
            let state = one.state.borrow();
            if !state.synced {
                why.push(format!("pool {}: the cluster has not said which endpoints it has", one.pool));
            } else if !one.parsers.claims_protocol(&state.app_protocol) {
                why.push(format!("pool {}: no parser reads its appProtocol {}", one.pool, state.app_protocol));
            }
        }
        why
    }
}

impl Cluster {
    /// The cluster of the environment, if some pool is in one.
    pub(super) async fn connect(
        config: &RouterConfig,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Option<Arc<Self>>, Failure> {
        let asked = config.leader_election.is_some() || config.metrics.kubernetes_auth;
        if !asked && !config.pools.iter().any(|pool| pool.endpoints.kubernetes.is_some()) {
            return Ok(None);
        }
        let client = Box::pin(weir_kubernetes::connect()).await.map_err(|error| {
            Failure::new(error.to_string()).with_help("set KUBECONFIG, or run it in a pod that has a service account")
        })?;
        Ok(Some(Arc::new(Self {
            client,
            watches: Watches::default(),
            stop: stop.clone(),
            tasks: tasks.clone(),
            objects: Mutex::default(),
            sets: Mutex::default(),
            objects_changed: Arc::default(),
            pools_changed: Arc::default(),
            status_changed: Arc::default(),
        })))
    }

    /// The pools that there are: those that stand for several are replaced by what the cluster lists.
    pub(super) fn expand(&self, specs: &[PoolSpec]) -> Vec<PoolSpec> {
        self.follow_sets(specs);
        let mut names: HashSet<String> =
            specs.iter().filter(|spec| !spec.is_template()).map(|spec| spec.name.value.clone()).collect();
        let mut expanded = Vec::with_capacity(specs.len());
        for spec in specs {
            let Some(kubernetes) = spec.endpoints.kubernetes.as_ref().filter(|_| spec.is_template()) else {
                expanded.push(spec.clone());
                continue;
            };
            for name in self.members(kubernetes) {
                if names.insert(name.clone()) {
                    expanded.push(named(spec, kubernetes, name));
                } else {
                    tracing::warn!(pool = name, "two pools bear this name; the first one is used");
                }
            }
        }
        expanded
    }

    fn members(&self, kubernetes: &KubernetesEndpoints) -> Vec<String> {
        match selected(kubernetes) {
            None => kubernetes.pools.iter().map(|name| name.value.clone()).collect(),
            Some(wanted) => {
                let sets = self.sets.lock();
                let set = sets.iter().find(|(set, _)| *set == wanted);
                set.and_then(|(_, watch)| watch.names().borrow().clone()).into_iter().flatten().collect()
            }
        }
    }

    fn follow_sets(&self, specs: &[PoolSpec]) {
        let wanted: Vec<Selected> = specs.iter().filter_map(|spec| selected(spec.endpoints.kubernetes.as_ref()?)).collect();
        let mut sets = self.sets.lock();
        sets.retain(|(set, _)| wanted.contains(set));
        for one in wanted {
            if sets.iter().all(|(set, _)| *set != one) {
                let Selected { namespace, group, selector } = &one;
                let watch = PoolsWatch::start(self.client.clone(), &self.watches, namespace, *group, selector, &self.stop);
                self.notify(watch.names(), &[&self.pools_changed]);
                sets.push((one, watch));
            }
        }
    }

    /// Follows the objects of every namespace that has a pool of these, and no other.
    pub(super) fn follow_objects<'s>(&self, specs: impl Iterator<Item = &'s PoolSpec>) {
        let pools = specs.filter_map(target).filter(|target| matches!(target.source, Source::Pool { .. }));
        let wanted: BTreeSet<String> = pools.map(|target| target.namespace).collect();
        let mut objects = self.objects.lock();
        objects.retain(|namespace, _| wanted.contains(namespace));
        for namespace in wanted {
            objects.entry(namespace).or_insert_with_key(|namespace| {
                let watch = ObjectsWatch::start(self.client.clone(), &self.watches, namespace, &self.stop);
                self.notify(watch.state(), &[&self.objects_changed, &self.status_changed]);
                watch
            });
        }
    }

    /// Objectives and rewrites of a pool.
    pub(super) fn objects_of(&self, spec: &PoolSpec) -> (Vec<Objective>, Vec<Rewrite>) {
        let Some(Target { namespace, source: Source::Pool { name, group }, .. }) = target(spec) else {
            return Default::default();
        };
        let objects = self.objects.lock();
        let state = objects.get(&namespace).map(|watch| watch.state().borrow().clone());
        state.map(|state| state.of_pool(group.name(), &name)).unwrap_or_default()
    }

    pub(super) fn follow_pool(&self, target: Target, pool: &Arc<Pool>) -> PoolWatch {
        let watch = PoolWatch::start(self.client.clone(), &self.watches, target, Arc::clone(pool), &self.stop);
        self.notify(watch.state(), &[&self.status_changed]);
        watch
    }

    /// Every objective and rewrite of the namespaces that have a pool.
    pub(super) fn objects(&self) -> Vec<ClusterObject> {
        self.objects.lock().values().flat_map(|watch| watch.state().borrow().objects.to_vec()).collect()
    }

    /// Asks whether an `InferencePool` exists; `None` if there is no answer.
    pub(super) async fn pool_exists(&self, namespace: &str, group: &str, name: &str) -> Option<bool> {
        let group = PoolGroup::named(group)?;
        weir_kubernetes::pool_exists(self.client.clone(), namespace, group, name).await.ok()
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(super) fn sets(&self) -> Vec<watch::Receiver<Option<BTreeSet<String>>>> {
        self.sets.lock().iter().map(|(_, watch)| watch.names()).collect()
    }

    fn notify<T: Send + Sync + 'static>(&self, mut state: watch::Receiver<T>, all: &[&Arc<Notify>]) {
        let all: Vec<Arc<Notify>> = all.iter().map(|one| Arc::clone(one)).collect();
        // It ends with the watch.
        self.tasks.spawn(async move {
            while state.changed().await.is_ok() {
                all.iter().for_each(|one| one.notify_one());
            }
        });
    }
}

impl ClusterSync {
    pub(super) fn new(config: &RouterConfig, pools: Vec<PoolSync>, cluster: Option<&Cluster>) -> Self {
        let any_pool_suffices = config.pools.iter().any(PoolSpec::is_template);
        Self { pools, any_pool_suffices, sets: cluster.map(Cluster::sets).unwrap_or_default() }
    }
}

/// The endpoints of a pool, if a cluster says them.
pub(super) fn target(spec: &PoolSpec) -> Option<Target> {
    let kubernetes = spec.endpoints.kubernetes.as_ref()?;
    let ports = kubernetes.ports.iter().map(|port| port.value).collect();
    let source = match (&kubernetes.pool, &kubernetes.pod_selector, &kubernetes.service) {
        (Some(name), _, _) => Source::Pool { name: name.value.clone(), group: group(kubernetes) },
        (_, Some(selector), _) => Source::Pods { selector: selector.value.clone(), ports },
        (_, _, Some(name)) => Source::Service { name: name.value.clone(), ports },
        (None, None, None) => return None,
    };
    Some(Target { namespace: namespace(kubernetes), source, scheme: kubernetes.scheme.unwrap_or(Scheme::Http) })
}

fn selected(kubernetes: &KubernetesEndpoints) -> Option<Selected> {
    let selector = kubernetes.pool_selector.as_ref()?.value.clone();
    Some(Selected { namespace: namespace(kubernetes), group: group(kubernetes), selector })
}

fn group(kubernetes: &KubernetesEndpoints) -> PoolGroup {
    // Others were refused when the configuration was read.
    PoolGroup::named(kubernetes.group()).unwrap_or(PoolGroup::Current)
}

pub(super) fn namespace(kubernetes: &KubernetesEndpoints) -> String {
    kubernetes.namespace.as_ref().map_or_else(own_namespace, |namespace| namespace.value.clone())
}

/// The namespace that is meant where none is named.
pub(crate) fn own_namespace() -> String {
    let environment = std::env::var("NAMESPACE").ok().filter(|text| !text.is_empty());
    environment.or_else(weir_kubernetes::namespace).unwrap_or_else(|| weir_api::DEFAULT_NAMESPACE.to_owned())
}

fn named(template: &PoolSpec, kubernetes: &KubernetesEndpoints, name: String) -> PoolSpec {
    let mut spec = template.clone();
    spec.name = Spanned::nowhere(name.clone());
    spec.endpoints.kubernetes = Some(KubernetesEndpoints {
        pool: Some(Spanned::nowhere(name)),
        pools: Vec::new(),
        pool_selector: None,
        ..kubernetes.clone()
    });
    spec
}

impl System {
    /// What the admin server shows of the cluster.
    pub(super) fn cluster_view(&self) -> ClusterView {
        let (sync, several) = (Arc::clone(&self.sync), Arc::clone(&self.sync));
        let cluster = Arc::clone(&self.cluster);
        ClusterView {
            waits_for: Box::new(move || sync.load().waits_for()),
            any_pool_suffices: Box::new(move || several.load().any_pool_suffices),
            watches: Box::new(move || cluster.load().as_ref().map(|cluster| cluster.watches.list())),
            leader: self.leader.clone(),
            reviewer: self.reviewer.clone(),
        }
    }

    /// Puts into force what the cluster says anew, until the process ends.
    pub(super) async fn follow_cluster(&self) {
        loop {
            let Some(cluster) = self.cluster.load_full() else {
                // A reload may bring one.
                if self.stop.run_until_cancelled(self.cluster_came.notified()).await.is_none() {
                    return;
                }
                continue;
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = cluster.objects_changed.notified() => self.refresh_objects(&cluster).await,
                () = cluster.pools_changed.notified() => self.refresh_pools().await,
            }
        }
    }

    async fn refresh_objects(&self, cluster: &Cluster) {
        let in_force = self.in_force.lock().await;
        let router = self.router();
        for runtime in router.pools() {
            let Some(one) = in_force.pools.iter().find(|one| one.spec.name.as_str() == runtime.pool.name()) else { continue };
            let (objects, changed) = self.objects.of_pool(&in_force.config, &one.spec, Some(cluster));
            if changed {
                tracing::info!(pool = runtime.pool.name(), "objectives and rewrites changed");
                runtime.objects.set(objects);
            }
        }
    }

    async fn refresh_pools(&self) {
        let mut in_force = self.in_force.lock().await;
        let (config, sources) = (in_force.config.clone(), in_force.sources.clone());
        match Box::pin(self.apply(config, sources, &mut in_force)).await {
            Ok(()) => tracing::info!(pools = in_force.pools.len(), "the cluster's pools changed"),
            Err(failure) => tracing::error!("the cluster's pools changed, and the new ones cannot be used\n{failure}"),
        }
    }
}

/// Metrics of the watches.
pub(super) struct WatchCollector {
    pub(super) cluster: Arc<ArcSwapOption<Cluster>>,
    pub(super) leader: Option<LeaderView>,
}

impl fmt::Debug for WatchCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchCollector")
    }
}

impl Collector for WatchCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(leader) = &self.leader {
            let help = "1 if this replica leads; the others stand by";
            let gauge = encoder.encode_descriptor("weir_leader", help, None, MetricType::Gauge)?;
            ConstGauge::new(f64::from(u8::from(leader.leads()))).encode(gauge)?;
        }
        let Some(cluster) = self.cluster.load_full() else { return Ok(()) };
        // Watches of one kind and namespace are one series: selectors would be too many.
        let mut series: BTreeMap<(String, String), [f64; 4]> = BTreeMap::new();
        for one in cluster.watches.list() {
            let sums = series.entry((one.resource, one.namespace)).or_default();
            let failing = matches!(one.state, WatchState::Failing(_));
            for (sum, value) in sums.iter_mut().zip([1.0, f64::from(u8::from(failing)), one.lists as f64, one.failures as f64]) {
                *sum += value;
            }
        }
        for (place, name, help) in [
            (0, "weir_kubernetes_watches", "Watches of the Kubernetes API server"),
            (1, "weir_kubernetes_watches_failing", "Watches that do not work now; what was known stays in use"),
            (2, "weir_kubernetes_lists", "Complete lists of the watches that are open; more than one each after a gap"),
            (3, "weir_kubernetes_watch_failures", "Failures of the watches that are open"),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for ((resource, namespace), sums) in &series {
                let labels = [("resource", resource.as_str()), ("namespace", namespace.as_str())];
                ConstGauge::new(sums[place]).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
