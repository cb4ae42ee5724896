//! HTTP reverse proxy with the picker in-process.
//!
//! [`Gateway::serve`] takes connections (HTTP/1.1 and HTTP/2, in the clear and under TLS), asks the router of the [`Live`]
//! configuration for each request's endpoint, and relays. A reload stores another `Live`; requests under way keep theirs.
//!
//! Invariants:
//! - a request is sent to another endpoint only before the first byte of a response's body is there; the head waits for that
//!   byte, so an engine that sends its head early and dies in the queue or in the prefill is replaced, too;
//! - the connection to an endpoint is polled by the task that serves the client, so a client that leaves closes it;
//! - every piece of a response is passed on when it comes; an answer that an endpoint broke off never looks complete.
//!
//! Cost: a small request takes one read and one write on each side; a burst of pieces that are ready together takes one write.
//!
//! Not here: which endpoint (router), files and signals (the program), the page of metrics (the program).

mod answer;
mod auth;
mod budget;
mod config;
mod cors;
mod forward;
mod grpc;
mod head;
mod late;
mod metrics;
mod receive;
mod relay;
mod server;
mod service;
mod settings;
mod ticket;
mod upstream;
mod watch;
mod wire;

pub use self::{
    auth::ApiKeys,
    config::breaker,
    cors::Cors,
    server::{Gateway, Listener},
    settings::{Limits, Live, Retries, Settings, Timeouts, Upstream, UpstreamTls},
};
