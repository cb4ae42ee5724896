//! What weir does on a cluster: a list of scenarios, run against the API server of this crate with every `cargo test`, and against a
//! real one by `./test kube`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, unreachable_pub)]

#[macro_use]
mod scenarios;

mod cluster;
mod endpoints;
mod objects;
mod outages;
mod validation;
mod writes;
