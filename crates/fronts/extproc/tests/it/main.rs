//! The server over sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod lifecycle;
mod streams;
mod support;
mod usage;
