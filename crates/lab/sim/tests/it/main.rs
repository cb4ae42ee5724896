//! A worker from outside: through sockets, in real time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod events;
mod http;
mod life;
mod support;
