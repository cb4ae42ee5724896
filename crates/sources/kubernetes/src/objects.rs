//! Objectives and rewrites of a namespace.
//!
//! The current group's are used wherever that kind exists; only where it does not, those of the group before.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture, stream::BoxStream};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Duration, Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use weir_api::{ObjectId, Objective, PoolReference, Rewrite, RewriteRule, RewriteTarget};
use weir_crds::{Condition, InferenceModelRewriteSpec, InferenceObjectiveSpec, LEGACY_GROUP, LLM_D_GROUP};

use crate::{
    Trouble, Watches,
    follow::{Event, Filter, follow, next},
};

/// Changes that come in one go are put into force in one go.
const GATHER: Duration = Duration::from_millis(10);
/// Version of both kinds, in both groups.
const VERSION: &str = "v1alpha2";

/// Which kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `InferenceObjective`
    Objective,
    /// `InferenceModelRewrite`
    Rewrite,
}

impl ObjectKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Objective, Self::Rewrite];

    /// As `kind` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Objective => "InferenceObjective",
            Self::Rewrite => "InferenceModelRewrite",
        }
    }

    /// How the API server is asked for it.
    pub fn resource(self, group: &str) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, VERSION, self.name()))
    }
}

/// An object of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterObject {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its API group.
    pub group: &'static str,
    /// Which.
    pub id: ObjectId,
    /// Its unique id.
    pub uid: String,
    /// Which version of its specification this is.
    pub generation: i64,
    /// What is said of it so far.
    pub conditions: Vec<Condition>,
    /// What it says, or why that cannot be read.
    pub spec: Result<Spec, String>,
}

/// What an object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Of an objective.
    Objective(Objective),
    /// Of a rewrite.
    Rewrite(Rewrite),
}

impl Spec {
    /// The pool that it is for.
    pub const fn pool(&self) -> &PoolReference {
        match self {
            Self::Objective(one) => &one.pool,
            Self::Rewrite(one) => &one.pool,
        }
    }
}

/// All objects of a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterObjects {
    /// Whether all are known, as far as we may know them.
    pub synced: bool,
    /// The objects, by kind and name.
    pub objects: Arc<Vec<ClusterObject>>,
}

impl ClusterObjects {
    /// Objectives and rewrites of one pool.
    pub fn of_pool(&self, group: &str, name: &str) -> (Vec<Objective>, Vec<Rewrite>) {
        let (mut objectives, mut rewrites) = (Vec::new(), Vec::new());
        for object in self.objects.iter() {
            let Ok(spec) = &object.spec else { continue };
            if spec.pool().group != group || spec.pool().name != name {
                continue;
            }
            match spec {
                Spec::Objective(one) => objectives.push(one.clone()),
                Spec::Rewrite(one) => rewrites.push(one.clone()),
            }
        }
        (objectives, rewrites)
    }
}

/// Keeps the objects of a namespace until it is dropped.
#[derive(Debug)]
pub struct ObjectsWatch {
    state: watch::Receiver<ClusterObjects>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl ObjectsWatch {
    /// Begins to follow the cluster, and returns at once.
    pub fn start(client: Client, watches: &Watches, namespace: &str, cancel: &CancellationToken) -> Self {
        let (sender, state) = watch::channel(ClusterObjects::default());
        let cancel = cancel.child_token();
        let kinds = ObjectKind::ALL.map(|kind| Kind::new(kind, client.clone(), watches.clone(), namespace));
        let task = tokio::spawn({
            let cancel = cancel.clone();
            async move {
                cancel.run_until_cancelled(run(kinds, sender)).await;
            }
        });
        Self { state, cancel, task }
    }

    /// The objects, and when they change.
    pub fn state(&self) -> watch::Receiver<ClusterObjects> {
        self.state.clone()
    }

    /// Stops following, and waits until that has happened.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        // It ends by being cancelled; a panic in it was reported by the runtime.
        let _ = (&mut self.task).await;
    }
}

impl Drop for ObjectsWatch {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn run(mut kinds: [Kind; 2], state: watch::Sender<ClusterObjects>) {
    let mut due: Option<Instant> = None;
    loop {
        let [objectives, rewrites] = &mut kinds;
        tokio::select! {
            biased;
            () = async { match due { Some(due) => sleep_until(due).await, None => std::future::pending().await } } => {
                due = None;
                publish(&kinds, &state);
                continue;
            }
            () = objectives.step() => {}
            () = rewrites.step() => {}
        }
        due.get_or_insert_with(|| Instant::now() + GATHER);
    }
}

fn publish(kinds: &[Kind; 2], state: &watch::Sender<ClusterObjects>) {
    let objects = kinds.iter().flat_map(|kind| kind.in_use().into_iter().flat_map(|known| known.values().cloned()));
    let new = ClusterObjects { synced: kinds.iter().all(Kind::is_settled), objects: Arc::new(objects.collect()) };
    state.send_if_modified(|state| {
        let news = *state != new;
        *state = new;
        news
    });
}

/// What is known of one group's objects of a kind.
#[derive(Default)]
enum Presence {
    /// Nothing yet.
    #[default]
    Unknown,
    /// There is no such kind, or we may not see it.
    Missing,
    /// These.
    Present(BTreeMap<String, ClusterObject>),
}

struct Group {
    name: &'static str,
    events: Option<BoxStream<'static, Event<DynamicObject>>>,
    presence: Presence,
    staged: BTreeMap<String, ClusterObject>,
}

/// One kind, in both groups.
struct Kind {
    kind: ObjectKind,
    client: Client,
    watches: Watches,
    namespace: String,
    current: Group,
    /// Followed only while the current group has no such kind.
    legacy: Group,
    /// Looks once for objects that are ignored, when the current group has turned out to be there.
    look: Option<BoxFuture<'static, ()>>,
    looked: bool,
}

impl Kind {
    fn new(kind: ObjectKind, client: Client, watches: Watches, namespace: &str) -> Self {
        let group = |name| Group { name, events: None, presence: Presence::default(), staged: BTreeMap::new() };
        let namespace = namespace.to_owned();
        let (current, legacy) = (group(LLM_D_GROUP), group(LEGACY_GROUP));
        let mut this = Self { kind, client, watches, namespace, current, legacy, look: None, looked: false };
        this.current.events = Some(this.follow(LLM_D_GROUP));
        this
    }

    fn api(&self, group: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &self.kind.resource(group))
    }

    fn follow(&self, group: &str) -> BoxStream<'static, Event<DynamicObject>> {
        let resource = format!("{}.{group}", self.kind.resource(group).plural);
        let watch = self.watches.begin(resource, &self.namespace, "");
        follow(self.api(group), Filter::default(), watch)
    }

    fn is_settled(&self) -> bool {
        match &self.current.presence {
            Presence::Unknown => false,
            Presence::Present(_) => true,
            Presence::Missing => !matches!(self.legacy.presence, Presence::Unknown),
        }
    }

    fn in_use(&self) -> Option<&BTreeMap<String, ClusterObject>> {
        match (&self.current.presence, &self.legacy.presence) {
            (Presence::Present(known), _) | (_, Presence::Present(known)) => Some(known),
            _ => None,
        }
    }

    /// Takes one event.
    async fn step(&mut self) {
        let look = async {
            match &mut self.look {
                Some(look) => look.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = next(&mut self.current.events) => self.current.take(self.kind, event),
            event = next(&mut self.legacy.events) => self.legacy.take(self.kind, event),
            () = look => self.look = None,
        }
        match self.current.presence {
            Presence::Missing if self.legacy.events.is_none() => {
                self.legacy.events = Some(self.follow(LEGACY_GROUP));
            }
            Presence::Present(_) if !self.looked => {
                (self.looked, self.legacy.events, self.legacy.presence) = (true, None, Presence::Missing);
                self.look = Some(look_for_ignored(self.api(LEGACY_GROUP), self.kind, self.namespace.clone()).boxed());
            }
            _ => {}
        }
    }
}

/// Objects that nobody will read should not go unnoticed.
async fn look_for_ignored(api: Api<DynamicObject>, kind: ObjectKind, namespace: String) {
    let kind = kind.name();
    match api.list(&ListParams::default().limit(1)).await {
        Ok(list) if !list.items.is_empty() => {
            warn!(kind, namespace, "objects of the group {LEGACY_GROUP} are ignored, because {LLM_D_GROUP} has the same kind");
        }
        Ok(_) => {}
        Err(error) => debug!(kind, namespace, %error, "no objects of the group {LEGACY_GROUP}"),
    }
}

impl Group {
    fn take(&mut self, kind: ObjectKind, event: Event<DynamicObject>) {
        match event {
            Event::Began => self.staged.clear(),
            Event::Listed(object) => {
                self.staged.insert(object.name_any(), read(kind, self.name, object));
            }
            Event::Complete => self.presence = Presence::Present(std::mem::take(&mut self.staged)),
            Event::Applied(object) => {
                let name = object.name_any();
                let object = read(kind, self.name, object);
                if let Presence::Present(known) = &mut self.presence {
                    known.insert(name, object);
                }
            }
            Event::Deleted(object) => {
                if let Presence::Present(known) = &mut self.presence {
                    known.remove(&object.name_any());
                }
            }
            // What was known stays; what was never known is not waited for.
            Event::Failing(Trouble::Absent | Trouble::Forbidden) => {
                if matches!(self.presence, Presence::Unknown) {
                    self.presence = Presence::Missing;
                }
            }
            Event::Failing(_) => {}
        }
    }
}

pub(crate) fn read(kind: ObjectKind, group: &'static str, object: DynamicObject) -> ClusterObject {
    let DynamicObject { metadata, mut data, .. } = object;
    let id = ObjectId {
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        created: metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
    };
    let spec = data["spec"].take();
    let spec = match kind {
        ObjectKind::Objective => serde_json::from_value(spec).map(|spec| Spec::Objective(objective(&id, spec))),
        ObjectKind::Rewrite => serde_json::from_value(spec).map(|spec| Spec::Rewrite(rewrite(&id, spec))),
    };
    let spec = spec.map_err(|error| error.to_string());
    if let Err(error) = &spec {
        warn!(
            kind = kind.name(),
            namespace = id.namespace,
            name = id.name,
            error,
            "the object cannot be read and is not in force"
        );
    }
    ClusterObject {
        kind,
        group,
        uid: metadata.uid.unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        conditions: serde_json::from_value(data["status"]["conditions"].take()).unwrap_or_default(),
        spec,
        id,
    }
}

fn objective(id: &ObjectId, spec: InferenceObjectiveSpec) -> Objective {
    let pool = PoolReference { group: spec.pool_ref.group, name: spec.pool_ref.name };
    Objective { id: id.clone(), pool, priority: spec.priority.unwrap_or(0) }
}

fn rewrite(id: &ObjectId, spec: InferenceModelRewriteSpec) -> Rewrite {
    let target = |one: weir_crds::Target| RewriteTarget {
        model: one.model_rewrite,
        weight: one.weight.map(|weight| u32::try_from(weight).unwrap_or(0)),
    };
    let rule = |one: weir_crds::Rule| RewriteRule {
        models: one.matches.into_iter().map(|one| one.model.value).collect(),
        targets: one.targets.into_iter().map(target).collect(),
    };
    let pool = PoolReference { group: spec.pool_ref.group, name: spec.pool_ref.name };
    Rewrite { id: id.clone(), pool, rules: spec.rules.into_iter().map(rule).collect() }
}
