//! Objects, their versions, and what happened to them.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use tokio::sync::watch;

/// Changes that are remembered.
const HISTORY: usize = 100_000;

/// What the API server says no to.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }

    pub(crate) fn status(&self) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
               "reason": self.reason, "code": self.code})
    }
}

/// A kind of object: group, version, plural.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
}

impl Resource {
    pub(crate) fn new(group: &str, version: &str, plural: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), plural: plural.to_owned() }
    }
}

/// What is known of a kind.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) name: String,
    pub(crate) namespaced: bool,
    /// Whether status is written on its own.
    pub(crate) status: bool,
}

/// Namespace and name.
pub(crate) type Key = (String, String);

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) resource: Resource,
    pub(crate) before: Option<Value>,
    pub(crate) after: Option<Value>,
}

/// A request that changed something, or tried to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Who asked.
    pub user: String,
}

#[derive(Debug)]
pub(crate) struct Store {
    version: u64,
    kinds: BTreeMap<Resource, Kind>,
    objects: BTreeMap<Resource, BTreeMap<Key, Value>>,
    history: VecDeque<Change>,
    /// Changes up to this version are forgotten.
    forgotten: u64,
    pub(crate) written: Vec<Written>,
    changed: watch::Sender<u64>,
}

/// Kinds that are there from the beginning: group, version, plural, kind, namespaced, status.
const BUILT_IN: [(&str, &str, &str, &str, bool, bool); 13] = [
    ("", "v1", "namespaces", "Namespace", false, true),
    ("", "v1", "pods", "Pod", true, true),
    ("", "v1", "services", "Service", true, true),
    ("", "v1", "configmaps", "ConfigMap", true, false),
    ("", "v1", "serviceaccounts", "ServiceAccount", true, false),
    ("", "v1", "events", "Event", true, false),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true, false),
    ("coordination.k8s.io", "v1", "leases", "Lease", true, false),
    ("rbac.authorization.k8s.io", "v1", "roles", "Role", true, false),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", true, false),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false, false),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false, false),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", false, true),
];

impl Store {
    pub(crate) fn new() -> Self {
        let kinds = BUILT_IN.iter().map(|(group, version, plural, kind, namespaced, status)| {
            let kind = Kind { name: (*kind).to_owned(), namespaced: *namespaced, status: *status };
            (Resource::new(group, version, plural), kind)
        });
        Self {
            version: 1,
            kinds: kinds.collect(),
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            forgotten: 0,
            written: Vec::new(),
            changed: watch::channel(1).0,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn kind(&self, resource: &Resource) -> Result<Kind, Refusal> {
        let missing = || Refusal::new(404, "NotFound", "the server could not find the requested resource");
        self.kinds.get(resource).cloned().ok_or_else(missing)
    }

    pub(crate) fn all(&self, resource: &Resource) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.get(resource).into_iter().flatten()
    }

    pub(crate) fn get(&self, resource: &Resource, key: &Key) -> Result<&Value, Refusal> {
        let missing = || Refusal::new(404, "NotFound", format!("{} \"{}\" not found", resource.plural, key.1));
        self.objects.get(resource).and_then(|all| all.get(key)).ok_or_else(missing)
    }

    /// Changes of one kind after a version, or that they are forgotten.
    pub(crate) fn after(&self, resource: &Resource, version: u64) -> Result<Vec<Change>, Refusal> {
        if version < self.forgotten {
            let message = format!("too old resource version: {version} ({})", self.forgotten);
            return Err(Refusal::new(410, "Expired", message));
        }
        let newer = self.history.iter().rev().take_while(|one| one.version > version);
        let mut changes: Vec<Change> = newer.filter(|one| one.resource == *resource).cloned().collect();
        changes.reverse();
        Ok(changes)
    }

    /// Forgets every change so far: who watches from before must list again.
    pub(crate) fn forget(&mut self) {
        self.history.clear();
        self.forgotten = self.version;
    }

    pub(crate) fn create(
        &mut self,
        resource: &Resource,
        namespace: &str,
        mut object: Value,
        now: &str,
    ) -> Result<Value, Refusal> {
        let kind = self.kind(resource)?;
        if object["metadata"]["name"].as_str().unwrap_or_default().is_empty() {
            let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
            if prefix.is_empty() {
                return Err(Refusal::new(422, "Invalid", "name or generateName is required"));
            }
            object["metadata"]["name"] = json!(format!("{prefix}{:05x}", self.version));
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = (if kind.namespaced { namespace.to_owned() } else { String::new() }, name);
        if self.get(resource, &key).is_ok() {
            let message = format!("{} \"{}\" already exists", resource.plural, key.1);
            return Err(Refusal::new(409, "AlreadyExists", message));
        }
        if kind.namespaced {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{:012x}", self.version));
        object["metadata"]["creationTimestamp"] = json!(now);
        object["metadata"]["generation"] = json!(1);
        if kind.status
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
        }
        self.define(resource, &mut object);
        Ok(self.put(resource, key, Some(object)).unwrap_or_default())
    }

    /// Replaces an object, or its status alone; the version that it bears must be the newest.
    pub(crate) fn replace(
        &mut self,
        resource: &Resource,
        key: Key,
        mut object: Value,
        status_only: bool,
    ) -> Result<Value, Refusal> {
        let kind = self.kind(resource)?;
        let old = self.get(resource, &key)?.clone();
        let version = &object["metadata"]["resourceVersion"];
        if !version.is_null() && *version != old["metadata"]["resourceVersion"] {
            let message =
                format!("Operation cannot be fulfilled on {} \"{}\": the object has been modified", resource.plural, key.1);
            return Err(Refusal::new(409, "Conflict", message));
        }
        if status_only {
            let status = object["status"].take();
            object = old.clone();
            object["status"] = status;
        } else {
            if kind.status {
                let status = old["status"].clone();
                match object.as_object_mut() {
                    Some(fields) if status.is_null() => drop(fields.remove("status")),
                    _ => object["status"] = status,
                }
            }
            for field in ["uid", "creationTimestamp", "generation", "namespace", "name"] {
                object["metadata"][field] = old["metadata"][field].clone();
            }
            if object["spec"] != old["spec"] {
                object["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
            }
        }
        object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        if object == old {
            return Ok(old);
        }
        Ok(self.put(resource, key, Some(object)).unwrap_or_default())
    }

    pub(crate) fn delete(&mut self, resource: &Resource, key: Key) -> Result<Value, Refusal> {
        let old = self.get(resource, &key)?.clone();
        if resource.plural == "customresourcedefinitions" {
            for defined in served(&old) {
                let all: Vec<Key> = self.all(&defined.0).map(|(key, _)| key.clone()).collect();
                for key in all {
                    self.put(&defined.0, key, None);
                }
                self.kinds.remove(&defined.0);
            }
        }
        self.put(resource, key, None);
        Ok(old)
    }

    /// A definition makes a new kind.
    fn define(&mut self, resource: &Resource, object: &mut Value) {
        if resource.plural == "customresourcedefinitions" {
            self.kinds.extend(served(object));
            object["status"] = json!({"conditions": [{"type": "Established", "status": "True", "reason": "InitialNamesAccepted",
                                       "message": "", "lastTransitionTime": object["metadata"]["creationTimestamp"]}]});
        }
    }

    fn put(&mut self, resource: &Resource, key: Key, mut after: Option<Value>) -> Option<Value> {
        self.version += 1;
        if let Some(object) = &mut after {
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        }
        let all = self.objects.entry(resource.clone()).or_default();
        let before = match &after {
            Some(object) => all.insert(key, object.clone()),
            None => all.remove(&key),
        };
        if self.history.len() == HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.forgotten = oldest.version;
        }
        let change = Change { version: self.version, resource: resource.clone(), before, after: after.clone() };
        self.history.push_back(change);
        self.changed.send_replace(self.version);
        after
    }
}

/// The kinds that a definition serves.
fn served(definition: &Value) -> Vec<(Resource, Kind)> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let kind = |version: &Value| {
        let kind = Kind {
            name: text(&spec["names"]["kind"]),
            namespaced: spec["scope"] == "Namespaced",
            status: !version["subresources"]["status"].is_null(),
        };
        (Resource::new(&text(&spec["group"]), &text(&version["name"]), &text(&spec["names"]["plural"])), kind)
    };
    versions.iter().map(kind).collect()
}
