//! TLS of the fronts.
//!
//! [`ServerTls`] makes servers' configurations, with a certificate from files that can be read again while connections are open
//! ([`CertReloader`]) or with one that signs itself; [`ClientTls`] makes those towards endpoints.
//!
//! Not here: sockets, watching files.

mod client;
mod error;
mod pem;
mod server;

pub use self::{
    client::ClientTls,
    error::TlsError,
    server::{CertReloader, ServerTls},
};
