//! What people write: configuration files, header names, reason codes.
#![deny(missing_docs)]

mod diagnostic;
mod duration;
pub mod headers;
mod nearest;
mod params;
mod quantity;
mod reason;
mod spanned;
pub mod yaml;

pub use self::{
    diagnostic::{Diagnostic, Diagnostics, Severity, Source, Sources, Span},
    duration::{DurationError, GoDuration},
    nearest::nearest,
    params::Params,
    quantity::{Quantity, QuantityError},
    reason::{Outcome, Reason, Retry, UnknownReason},
    spanned::Spanned,
};
