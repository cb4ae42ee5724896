//! Everything about pools at one moment, for somebody who looks for what is wrong.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};

use crate::{
    ClusterObject, ObjectKind, PoolGroup, Source,
    objects::read,
    pool::{facts_of, selector_of},
};

/// Pods of a pool that are looked at.
const MOST_PODS: u32 = 500;

/// An `InferencePool` and its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenPool {
    /// Its name.
    pub name: String,
    /// Its selector, as text.
    pub selector: String,
    /// Its ports.
    pub ports: Vec<u16>,
    /// The Service of its picker, if it names one.
    pub picker: Option<String>,
    /// Pods that it selects, at most 500.
    pub pods: Vec<SeenPod>,
    /// Why it cannot be read.
    pub unreadable: Option<String>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenPod {
    /// Its name.
    pub name: String,
    /// Whether it is Ready, and not being deleted.
    pub ready: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Ports that its containers declare.
    pub ports: Vec<u16>,
}

/// The pools of a namespace.
///
/// # Errors
/// The API server does not answer, or refuses.
pub async fn inspect_pools(client: &Client, namespace: &str, group: PoolGroup) -> Result<Vec<SeenPool>, kube::Error> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group.name(), group.version(), "InferencePool"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut seen = Vec::new();
    for object in api.list(&ListParams::default()).await? {
        let name = object.name_any();
        let spec = &object.data["spec"];
        let picker = [&spec["endpointPickerRef"]["name"], &spec["extensionRef"]["name"]];
        let picker = picker.into_iter().find_map(|name| name.as_str()).map(str::to_owned);
        match facts_of(&object, &Source::Pool { name: name.clone(), group }) {
            Ok(facts) => {
                let selector = selector_of(&facts.labels);
                let found = pods.list(&ListParams::default().labels(&selector).limit(MOST_PODS)).await?;
                let pods = found.items.into_iter().map(pod).collect();
                seen.push(SeenPool { name, selector, ports: facts.ports, picker, pods, unreadable: None });
            }
            Err(error) => seen.push(SeenPool { name, picker, unreadable: Some(error), ..SeenPool::default() }),
        }
    }
    Ok(seen)
}

/// The objectives and rewrites of a namespace, of one group; none if there is no such kind.
///
/// # Errors
/// The API server does not answer, or refuses.
pub async fn inspect_objects(client: &Client, namespace: &str, group: &'static str) -> Result<Vec<ClusterObject>, kube::Error> {
    let mut all = Vec::new();
    for kind in ObjectKind::ALL {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.resource(group));
        match api.list(&ListParams::default()).await {
            Ok(list) => all.extend(list.items.into_iter().map(|object| read(kind, group, object))),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn pod(pod: Pod) -> SeenPod {
    let deleting = pod.metadata.deletion_timestamp.is_some();
    let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready = conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
    let containers = pod.spec.map(|spec| spec.containers).unwrap_or_default();
    let ports = containers.into_iter().flat_map(|one| one.ports.unwrap_or_default());
    SeenPod {
        name: pod.metadata.name.unwrap_or_default(),
        ready: ready && !deleting,
        labels: pod.metadata.labels.unwrap_or_default(),
        ports: ports.filter_map(|one| u16::try_from(one.container_port).ok()).collect(),
    }
}
