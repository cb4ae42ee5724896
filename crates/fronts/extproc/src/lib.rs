//! Envoy external processing server.
//!
//! [`ExtProc::serve`] takes connections (HTTP/2, in the clear and under TLS) and answers `envoy.service.ext_proc.v3` and
//! `grpc.health.v1`. Each stream is one request: the state machine of `weir-protocol-extproc` says what to answer, the router of the
//! [`Live`] configuration where the request goes. A reload stores another `Live`; requests under way keep theirs.
//!
//! Invariants:
//! - one task serves one stream: what comes in is answered by the task that reads it, without a queue in between, so a proxy that
//!   does not read is not read from either;
//! - a request stays in its endpoint's ledger until its response has ended, or its stream has, however that happens;
//! - every task is owned: [`ExtProc::serve`] returns when none is left.
//!
//! Not here: which endpoint (router), the order of messages (`weir-protocol-extproc`), files and signals (the program).

mod health;
mod metrics;
pub mod proto;
mod refusal;
mod request;
mod server;
mod service;
mod settings;
mod stream;
mod wire;

pub use self::{
    health::Health,
    server::{ExtProc, Listener, Serves, Shutdown},
    settings::{Limits, Live, Settings},
    wire::Metadata,
};
