//! Who may do what: the roles that are stored.

use serde_json::Value;

use crate::store::{Resource, Store};

const RBAC: &str = "rbac.authorization.k8s.io";
/// Whoever bears this token may do everything.
pub(crate) const ADMIN: &str = "admin";

/// What somebody wants to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) verb: String,
    pub(crate) group: String,
    /// With a subresource, as `pods/status`.
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Instead of a resource.
    pub(crate) path: String,
}

pub(crate) fn may(store: &Store, user: &str, wish: &Wish) -> bool {
    if user == ADMIN {
        return true;
    }
    let of = |plural: &str| Resource::new(RBAC, "v1", plural);
    let bound = |binding: &Value| {
        let subjects = binding["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
        subjects.iter().any(|subject| subject["name"] == user)
    };
    let role = |kind: &Value, name: &Value, namespace: &str| -> Option<&Value> {
        let name = name.as_str()?.to_owned();
        let (plural, namespace) = if kind == "ClusterRole" { ("clusterroles", "") } else { ("roles", namespace) };
        store.get(&of(plural), &(namespace.to_owned(), name)).ok()
    };
    let allows = |binding: &Value, namespace: &str| {
        let (kind, name) = (&binding["roleRef"]["kind"], &binding["roleRef"]["name"]);
        bound(binding) && role(kind, name, namespace).is_some_and(|role| allowed(role, wish))
    };
    let (here, everywhere) = (of("rolebindings"), of("clusterrolebindings"));
    let here = store.all(&here).filter(|((namespace, _), _)| *namespace == wish.namespace && !namespace.is_empty());
    here.into_iter().any(|((namespace, _), binding)| allows(binding, namespace))
        || store.all(&everywhere).any(|(_, binding)| allows(binding, ""))
}

fn allowed(role: &Value, wish: &Wish) -> bool {
    let has = |list: &Value, wanted: &str| {
        list.as_array().is_some_and(|list| list.iter().any(|one| one == "*" || one.as_str() == Some(wanted)))
    };
    let rules = role["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    rules.iter().filter(|rule| has(&rule["verbs"], &wish.verb)).any(|rule| {
        if !wish.path.is_empty() {
            return has(&rule["nonResourceURLs"], &wish.path);
        }
        let names = &rule["resourceNames"];
        let named = names.as_array().is_none_or(|list| list.is_empty()) || has(names, &wish.name);
        has(&rule["apiGroups"], &wish.group) && has(&rule["resources"], &wish.resource) && named
    })
}
