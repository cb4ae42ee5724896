//! Tells the authors of objectives, rewrites and pools what became of them: conditions and events in the cluster.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use weir_kubernetes::{About, ClusterObject, ObjectKind, PoolGroup, Reporter, Source, Spec, Verdict, Wrote};
use weir_router::{Finding, ObjectsInForce};

use super::{
    System,
    election::LeaderView,
    kubernetes::{Cluster, target},
};

/// How often everything is looked at again without a cause: a pool that did not exist may have come.
const AGAIN: Duration = Duration::from_secs(60);
/// When something could not be written.
const SOON: Duration = Duration::from_secs(2);
/// How long it is believed that a pool of nobody here exists, or does not.
const BELIEVED: Duration = Duration::from_secs(30);

/// Namespace, group and name of a pool.
type PoolKey = (String, String, String);

/// A pool that this process follows.
struct Followed {
    /// `None` until it is known.
    exists: Option<bool>,
    uid: String,
    /// The protocol that no parser reads, if that is so.
    unread_protocol: Option<String>,
    findings: Vec<Finding>,
}

impl System {
    /// Writes what is to be said, until the process ends.
    pub(super) async fn report_status(&self) {
        let mut reporter = None;
        let mut believed: HashMap<PoolKey, (bool, Instant)> = HashMap::new();
        let mut leader = self.leader.as_ref().map(LeaderView::changes);
        loop {
            let mut wait = AGAIN;
            if let Some(cluster) = self.cluster.load_full() {
                let reporter = reporter.get_or_insert_with(|| Reporter::new(cluster.client()));
                if self.leader.as_ref().is_none_or(LeaderView::leads) && self.say(&cluster, reporter, &mut believed).await {
                    wait = SOON;
                }
            }
            let cluster = self.cluster.load_full();
            let changed = async {
                match &cluster {
                    Some(cluster) => cluster.status_changed.notified().await,
                    None => self.cluster_came.notified().await,
                }
            };
            let elected = async {
                match &mut leader {
                    Some(leader) => leader.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = changed => {}
                _ = elected => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Says what is to be said, and returns whether something could not be.
    async fn say(&self, cluster: &Cluster, reporter: &mut Reporter, believed: &mut HashMap<PoolKey, (bool, Instant)>) -> bool {
        believed.retain(|_, (_, at)| at.elapsed() < BELIEVED);
        let followed = self.followed(cluster).await;
        let mut later = false;
        for ((namespace, group, name), pool) in &followed {
            if let Some(protocol) = &pool.unread_protocol {
                let version = PoolGroup::named(group).map_or("v1", PoolGroup::version);
                let about = About {
                    api_version: format!("{group}/{version}"),
                    kind: "InferencePool".to_owned(),
                    namespace: namespace.clone(),
                    name: name.clone(),
                    uid: pool.uid.clone(),
                };
                let message = format!("no parser of the endpoint picker reads requests of the appProtocol {protocol}");
                later |= reporter.tell(&about, "Warning", "AppProtocolNotSupported", &message).await == Wrote::Later;
            }
        }
        if let Some(leader) = &self.leader {
            let about = About {
                api_version: "coordination.k8s.io/v1".to_owned(),
                kind: "Lease".to_owned(),
                namespace: leader.lease.namespace.clone(),
                name: leader.lease.name.clone(),
                uid: String::new(),
            };
            let message = format!("{} became leader", leader.lease.identity);
            later |= reporter.tell(&about, "Normal", "LeaderElection", &message).await == Wrote::Later;
        }
        for object in cluster.objects() {
            if let Some(verdict) = self.verdict(&object, &followed, cluster, believed).await {
                later |= reporter.judge(&object, &verdict).await == Wrote::Later;
            }
        }
        later
    }

    /// The pools of this process that are `InferencePool`s.
    async fn followed(&self, cluster: &Cluster) -> BTreeMap<PoolKey, Followed> {
        let in_force = self.in_force.lock().await;
        let mut followed = BTreeMap::new();
        for one in &in_force.pools {
            let (Some(target), Some(sync)) = (target(&one.spec), one.sync()) else { continue };
            let Source::Pool { name, group } = target.source else { continue };
            let state = sync.state.borrow().clone();
            let unread = state.synced && !sync.parsers.claims_protocol(&state.app_protocol);
            let (objectives, rewrites) = cluster.objects_of(&one.spec);
            let pool = Followed {
                exists: state.exists,
                uid: state.uid,
                unread_protocol: unread.then_some(state.app_protocol),
                findings: ObjectsInForce::compile(&objectives, &rewrites).1,
            };
            followed.insert((target.namespace, group.name().to_owned(), name), pool);
        }
        followed
    }

    /// What is to be said of an object; nothing if its pool is somebody else's, or not known yet.
    async fn verdict(
        &self,
        object: &ClusterObject,
        followed: &BTreeMap<PoolKey, Followed>,
        cluster: &Cluster,
        believed: &mut HashMap<PoolKey, (bool, Instant)>,
    ) -> Option<Verdict> {
        let spec = match &object.spec {
            Ok(spec) => spec,
            Err(error) => return Some(Verdict { rejected: Some(("Invalid", error.clone())), note: None, pool_exists: false }),
        };
        let key = (object.id.namespace.clone(), spec.pool().group.clone(), spec.pool().name.clone());
        match followed.get(&key) {
            Some(pool) => {
                let (rejected, note) = judged(object, spec, &pool.findings);
                Some(Verdict { rejected, note, pool_exists: pool.exists? })
            }
            None => {
                let fresh = believed.get(&key).filter(|(_, at)| at.elapsed() < BELIEVED).map(|(exists, _)| *exists);
                let exists = match fresh {
                    Some(exists) => exists,
                    None => {
                        let exists = cluster.pool_exists(&key.0, &key.1, &key.2).await?;
                        believed.insert(key, (exists, Instant::now()));
                        exists
                    }
                };
                (!exists).then_some(Verdict { rejected: None, note: None, pool_exists: false })
            }
        }
    }
}

/// Whether rules of a rewrite are overruled: all of them, or some.
fn judged(object: &ClusterObject, spec: &Spec, findings: &[Finding]) -> (Option<(&'static str, String)>, Option<String>) {
    let (ObjectKind::Rewrite, Spec::Rewrite(rewrite)) = (object.kind, spec) else { return (None, None) };
    let found: Vec<&Finding> = findings.iter().filter(|one| one.id.name == object.id.name).collect();
    if found.is_empty() {
        return (None, None);
    }
    // A finding is about one model of a rule, or about the rule for every model.
    let names: usize = rewrite.rules.iter().map(|rule| rule.models.len().max(1)).sum();
    let message = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if found.len() >= names { (Some(("Shadowed", message)), None) } else { (None, Some(message)) }
}
