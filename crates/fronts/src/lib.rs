//! What the fronts do alike.
//!
//! [`accept`] takes connections while there is room for them. [`AccessLog`] writes a line for each request: formatted in memory that is
//! used again, handed over under a short lock, and written by a thread of its own, many lines at a time ([`Lines`]).
//!
//! Not here: what is said on a connection, TLS.

mod accept;
mod access_log;
mod lines;

pub use self::{
    accept::accept,
    access_log::{AccessLog, Answered, Format},
    lines::{Lines, Writing},
};
