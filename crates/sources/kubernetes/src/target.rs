//! Which endpoints of a cluster a pool consists of.

use weir_pool::Scheme;

/// Which endpoints of a cluster a pool consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The namespace; pools and pods of other ones are never looked at.
    pub namespace: String,
    /// What selects them.
    pub source: Source,
    /// How they are spoken to.
    pub scheme: Scheme,
}

/// What selects endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The pods of an `InferencePool`.
    Pool {
        /// Its name.
        name: String,
        /// Its API.
        group: PoolGroup,
    },
    /// The pods with certain labels.
    Pods {
        /// A label selector, as `kubectl --selector` takes it.
        selector: String,
        /// Ports on which each serves.
        ports: Vec<u16>,
    },
    /// The endpoints of a Service, from its `EndpointSlice`s.
    Service {
        /// Its name.
        name: String,
        /// Ports of the endpoints that are used; none: all of them.
        ports: Vec<u16>,
    },
}

/// The API that an `InferencePool` is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PoolGroup {
    /// `inference.networking.k8s.io/v1`
    Current,
    /// `inference.networking.x-k8s.io/v1alpha2`
    Legacy,
}

impl PoolGroup {
    /// The group's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => weir_crds::POOL_GROUP,
            Self::Legacy => weir_crds::LEGACY_GROUP,
        }
    }

    /// The version that is read.
    pub const fn version(self) -> &'static str {
        match self {
            Self::Current => "v1",
            Self::Legacy => "v1alpha2",
        }
    }

    /// The group of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Current, Self::Legacy].into_iter().find(|group| group.name() == name)
    }
}
