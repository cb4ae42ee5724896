//! Finding one's way in `/config_dump`, for configuration from files and from a control plane alike.

use std::collections::BTreeSet;

use serde_json::Value;

const EXT_PROC: &str = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor";
const CONNECTION_MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// The configuration in force.
pub(super) struct Dump {
    listeners: Vec<Value>,
    clusters: Vec<Value>,
    routes: Vec<Value>,
}

/// A filter that asks a picker, and what stands around it.
pub(super) struct ExtProc<'d> {
    /// For people: the listener.
    pub(super) place: String,
    /// The filter's `typed_config`.
    pub(super) config: &'d Value,
    /// The connection manager's.
    pub(super) manager: &'d Value,
}

/// A cluster, by its name.
pub(super) struct Cluster<'d> {
    pub(super) name: &'d str,
    pub(super) config: &'d Value,
}

impl Dump {
    pub(super) fn new(dump: Value) -> Self {
        let mut this = Self { listeners: Vec::new(), clusters: Vec::new(), routes: Vec::new() };
        for section in list(&dump["configs"]) {
            this.listeners.extend(list(&section["static_listeners"]).map(|one| one["listener"].clone()));
            this.listeners.extend(list(&section["dynamic_listeners"]).map(|one| one["active_state"]["listener"].clone()));
            this.clusters.extend(list(&section["static_clusters"]).map(|one| one["cluster"].clone()));
            this.clusters.extend(list(&section["dynamic_active_clusters"]).map(|one| one["cluster"].clone()));
            this.routes.extend(list(&section["static_route_configs"]).map(|one| one["route_config"].clone()));
            this.routes.extend(list(&section["dynamic_route_configs"]).map(|one| one["route_config"].clone()));
        }
        this
    }

    pub(super) fn ext_proc_filters(&self) -> Vec<ExtProc<'_>> {
        let mut found = Vec::new();
        for listener in &self.listeners {
            let chains = list(&listener["filter_chains"]).chain(std::iter::once(&listener["default_filter_chain"]));
            for manager in chains.flat_map(|chain| list(&chain["filters"])).map(|filter| &filter["typed_config"]) {
                if !is_type(manager, CONNECTION_MANAGER) {
                    continue;
                }
                let filters = list(&manager["http_filters"]).map(|filter| &filter["typed_config"]);
                found.extend(filters.filter(|config| is_type(config, EXT_PROC)).map(|config| ExtProc {
                    place: format!("listener `{}`", text(&listener["name"])),
                    config,
                    manager,
                }));
            }
        }
        found
    }

    /// Routes that requests take which the filter has seen: virtual host and route.
    pub(super) fn routes<'d>(&'d self, filter: &ExtProc<'d>) -> Vec<(&'d str, &'d Value)> {
        let named = text(&filter.manager["rds"]["route_config_name"]);
        let own = &filter.manager["route_config"];
        let tables: Vec<&Value> =
            if own.is_object() { vec![own] } else { self.routes.iter().filter(|one| text(&one["name"]) == named).collect() };
        let hosts = tables.into_iter().flat_map(|table| list(&table["virtual_hosts"]));
        hosts.flat_map(|host| list(&host["routes"]).map(move |route| (text(&host["name"]), route))).collect()
    }

    /// Clusters that the filter's requests go to.
    pub(super) fn destinations<'d>(&'d self, filter: &ExtProc<'d>) -> Vec<Cluster<'d>> {
        let mut names = BTreeSet::new();
        for (_, route) in self.routes(filter) {
            names.extend(route["route"]["cluster"].as_str());
            names.extend(list(&route["route"]["weighted_clusters"]["clusters"]).filter_map(|one| one["name"].as_str()));
        }
        names.into_iter().filter_map(|name| self.cluster(name)).collect()
    }

    pub(super) fn cluster<'d>(&'d self, name: &str) -> Option<Cluster<'d>> {
        let config = self.clusters.iter().find(|one| text(&one["name"]) == name)?;
        Some(Cluster { name: text(&config["name"]), config })
    }
}

impl<'d> ExtProc<'d> {
    /// The cluster of the picker.
    pub(super) fn cluster(&self) -> &'d str {
        text(&self.config["grpc_service"]["envoy_grpc"]["cluster_name"])
    }
}

/// The items of an array; none if it is something else.
pub(super) fn list(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// A text; an empty one if it is something else.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn is_type(value: &Value, name: &str) -> bool {
    text(&value["@type"]).strip_prefix("type.googleapis.com/") == Some(name)
}

/// A duration such as `15s` or `0.200s`, in seconds.
pub(super) fn seconds(value: &Value) -> Option<f64> {
    text(value).strip_suffix('s')?.parse().ok()
}
