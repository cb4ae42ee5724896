//! A small Kubernetes API server in memory, for tests.
//!
//! It serves what a client that lists and watches meets: namespaced and cluster-wide objects of a few built-in kinds and of every
//! `CustomResourceDefinition` that is posted, resource versions, label and field selectors, pages, watches with bookmarks, streamed
//! lists, `410 Gone`, status subresources, conflicts, and authorization by the `Role`s and `ClusterRole`s that are stored in it.
//! A bearer token is the name of the user; `admin` may do everything.
//!
//! It can be stopped and started again, made to forget the past, and told to know no streamed lists.
//!
//! Not here: validation, defaults, admission, server-side apply with owners, controllers. The tests of this crate run against a real
//! API server too, so that both stay alike in what is here.

mod access;
mod http;
mod patch;
mod selector;
mod server;
mod store;
mod watch;

pub use self::{
    server::{Fake, Options},
    store::Written,
};
