//! Writes conditions and events into the cluster: only what changed, slowly, and not at all where that is not allowed.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::DynamicObject,
};
use serde_json::json;
use tokio::time::Instant;
use tracing::{debug, info};
use weir_crds::Condition;

use crate::{ClusterObject, Verdict, conditions};

/// Who writes.
const WRITER: &str = "weir";
/// Writes per second, over a while; and at once.
const PER_SECOND: f64 = 5.0;
const BURST: f64 = 20.0;
/// The same event is written again at the earliest after this time.
const REPEAT: Duration = Duration::from_secs(600);
/// After a refusal nothing of that kind is written for this time.
const REFUSED: Duration = Duration::from_secs(300);
/// Events that are remembered.
const REMEMBERED: usize = 4096;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// `apiVersion`
    pub api_version: String,
    /// `kind`
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Unique id; may be empty.
    pub uid: String,
}

impl From<&ClusterObject> for About {
    fn from(object: &ClusterObject) -> Self {
        Self {
            api_version: object.kind.resource(object.group).api_version,
            kind: object.kind.name().to_owned(),
            namespace: object.id.namespace.clone(),
            name: object.id.name.clone(),
            uid: object.uid.clone(),
        }
    }
}

/// Writes into a cluster.
pub struct Reporter {
    client: Client,
    /// Writes that may be made at once.
    tokens: f64,
    refilled: Instant,
    /// Until when nothing is written: status, events.
    refused: [Option<Instant>; 2],
    events: HashMap<String, Instant>,
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// There was nothing to be written.
    Nothing,
    /// It was written.
    Done,
    /// It was not; it may be tried again later.
    Later,
}

const STATUS: usize = 0;
const EVENTS: usize = 1;

impl Reporter {
    /// Writes by this client.
    pub fn new(client: Client) -> Self {
        Self { client, tokens: BURST, refilled: Instant::now(), refused: [None; 2], events: HashMap::new() }
    }

    /// Gives an object the conditions of a verdict, if it has others, and says in an event when it is not in force.
    pub async fn judge(&mut self, object: &ClusterObject, verdict: &Verdict) -> Wrote {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let wanted = conditions(object, verdict, &now);
        if wanted == object.conditions {
            return Wrote::Nothing;
        }
        if !self.may(STATUS) {
            return Wrote::Later;
        }
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &object.id.namespace, &object.kind.resource(object.group));
        let patch = json!({"status": {"conditions": wanted}});
        let written = api.patch_status(&object.id.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        let wrote = self.outcome(STATUS, "status", written.map(drop));
        if wrote == Wrote::Done
            && let Some(not) = wanted.iter().find(|one| one.kind == "Ready" && one.status != "True")
        {
            self.tell(&About::from(object), "Warning", &not.reason, &message_of(not)).await;
        }
        wrote
    }

    /// Writes an event, unless the same was written a moment ago.
    pub async fn tell(&mut self, about: &About, kind: &str, reason: &str, message: &str) -> Wrote {
        let key = format!("{}/{}/{}/{reason}/{message}", about.kind, about.namespace, about.name);
        if self.events.get(&key).is_some_and(|at| at.elapsed() < REPEAT) {
            return Wrote::Nothing;
        }
        if !self.may(EVENTS) {
            return Wrote::Later;
        }
        if self.events.len() >= REMEMBERED {
            self.events.clear();
        }
        self.events.insert(key.clone(), Instant::now());
        let now = jiff::Timestamp::now();
        let event = Event {
            metadata: ObjectMeta {
                // The same event of another replica, or of a process before, has the same name.
                name: Some(format!("{}.{:016x}", about.name, hash(&format!("{key}/{}", about.uid)))),
                namespace: Some(about.namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some(about.api_version.clone()),
                kind: Some(about.kind.clone()),
                name: Some(about.name.clone()),
                namespace: Some(about.namespace.clone()),
                uid: Some(about.uid.clone()).filter(|uid| !uid.is_empty()),
                ..ObjectReference::default()
            },
            type_: Some(kind.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            source: Some(EventSource { component: Some(WRITER.to_owned()), host: None }),
            reporting_component: Some(WRITER.to_owned()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &about.namespace);
        let written = match api.create(&PostParams::default(), &event).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let name = event.metadata.name.as_deref().unwrap_or_default();
                let again = json!({"lastTimestamp": event.last_timestamp});
                api.patch(name, &PatchParams::default(), &Patch::Merge(again)).await
            }
            other => other,
        };
        self.outcome(EVENTS, "events", written.map(drop))
    }

    fn may(&mut self, what: usize) -> bool {
        let now = Instant::now();
        if self.refused[what].is_some_and(|until| until > now) {
            return false;
        }
        self.tokens = (self.tokens + now.duration_since(self.refilled).as_secs_f64() * PER_SECOND).min(BURST);
        self.refilled = now;
        let may = self.tokens >= 1.0;
        if may {
            self.tokens -= 1.0;
        }
        may
    }

    fn outcome(&mut self, what: usize, name: &str, written: kube::Result<()>) -> Wrote {
        match written {
            Ok(()) => {
                self.refused[what] = None;
                Wrote::Done
            }
            // It is gone, and so is the need to say something of it.
            Err(kube::Error::Api(status)) if status.code == 404 => Wrote::Nothing,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                if self.refused[what].replace(Instant::now() + REFUSED).is_none() {
                    info!(error = status.message, "we may not write {name}: people will have to read the log");
                }
                Wrote::Later
            }
            Err(error) => {
                debug!(%error, "{name} could not be written");
                Wrote::Later
            }
        }
    }
}

fn message_of(condition: &Condition) -> String {
    if condition.message.is_empty() { condition.reason.clone() } else { condition.message.clone() }
}

/// FNV-1a, the same in every process.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
