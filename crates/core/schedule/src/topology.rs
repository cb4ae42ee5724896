//! `topology-extractor`, `topology-affinity-filter`, `topology-affinity-scorer`: choose near the worker that data is exchanged with.

pub(crate) mod extractor;
mod filter;
mod scorer;

use weir_plan::{PluginType, TopologyLabels};
use weir_pool::Endpoint;

pub(crate) fn plugins() -> Vec<PluginType> {
    vec![extractor::plugin(), filter::plugin(), scorer::plugin()]
}

/// What two endpoints share, the tightest level that they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Nothing that is known.
    Nothing,
    Region,
    Zone,
    Rack,
    Host,
}

/// The tightest level at which both endpoints have a value, and the same one. Endpoints without the label of their host count as being
/// on the host of their address.
fn shared(labels: &TopologyLabels, a: &Endpoint, b: &Endpoint) -> Level {
    let same = |label: &str| a.label(label).is_some_and(|value| !value.is_empty() && b.label(label) == Some(value));
    let unlabelled = |one: &Endpoint| one.label(&labels.hostname).is_none();
    let same_address = || unlabelled(a) && unlabelled(b) && a.spec().url.host == b.spec().url.host;
    if same(&labels.hostname) || same_address() {
        Level::Host
    } else if same(&labels.rack) {
        Level::Rack
    } else if same(&labels.zone) {
        Level::Zone
    } else if same(&labels.region) {
        Level::Region
    } else {
        Level::Nothing
    }
}

#[cfg(test)]
mod tests;
