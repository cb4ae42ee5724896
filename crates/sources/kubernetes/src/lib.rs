//! Endpoints, objectives and rewrites of a Kubernetes cluster, followed.
//!
//! - [`PoolWatch`] keeps one [`weir_pool::Pool`] equal to the pods of an `InferencePool`, of a label selector, or of a Service.
//! - [`ObjectsWatch`] keeps a namespace's `InferenceObjective`s and `InferenceModelRewrite`s, of the current group or, where that is
//!   missing, of the one before.
//! - [`PoolsWatch`] keeps the names of the pools that a label selector selects.
//! - [`Election`] holds a lease, or waits for it: one of several replicas leads.
//! - [`Reviewer`] asks who may read a path.
//! - [`Watches`] says of each watch whether it works, and why not.
//!
//! Invariants: what a cluster does not say any more because it cannot be reached, or because it refuses, stays as it was said last;
//! only an object that is known to be gone takes effect. Every task is owned and ends with its handle.
//!
//! Cost: a few hundred bytes and the labels for each pod; nothing while nothing changes, but one watch for each kind of object.
//!
//! Not here: which endpoint is best, whether it works.

mod access;
mod client;
mod derive;
mod follow;
mod inspect;
mod lease;
mod objects;
mod pod;
mod pool;
mod pools;
mod report;
mod slice;
mod status;
mod target;
mod watches;

pub use kube::{Client, Error};
pub use weir_crds::LLM_D_GROUP;

pub use self::{
    access::{Access, Reviewer, Right, may},
    client::{ConnectError, connect, namespace, pool_exists},
    derive::{PodFacts, active_ports, endpoints},
    inspect::{SeenPod, SeenPool, inspect_objects, inspect_pools},
    lease::{Election, Leadership, LeaseConfig},
    objects::{ClusterObject, ClusterObjects, ObjectKind, ObjectsWatch, Spec},
    pod::LightPod,
    pool::{PoolState, PoolWatch},
    pools::PoolsWatch,
    report::{About, Reporter, Wrote},
    status::{Verdict, conditions},
    target::{PoolGroup, Source, Target},
    watches::{Trouble, WatchState, WatchStatus, Watches},
};
