//! Where endpoints come from: static lists, files, DNS.
//!
//! A [`Discovery`] keeps one [`weir_pool::Pool`] equal to its [`Source`]: what is gone drains, what stays keeps its identity and state,
//! host names are looked up again every 30 s. A source that turns bad changes nothing.
//!
//! [`FileWatch`] is of use for any file that may be edited, renamed over, or swapped by a mounted `ConfigMap`.
//!
//! Cost: nothing while nothing changes, but a few `stat`s every 5 s for each watched file.
//!
//! Not here: whether endpoints work, what they run.

mod discovery;
mod names;
mod parse;
#[cfg(test)]
mod scratch;
mod watch;

pub use self::{
    discovery::{Discovery, DiscoveryError, Source, SourceState},
    parse::endpoint_spec,
    watch::{FileWatch, watch_files},
};
