//! What people write: configuration files, header names, reason codes.
#![deny(missing_docs)]

mod diagnostic;
mod duration;
mod epp;
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
    epp::{
        BUILTIN_EPP, BandSpec, Checked, DataLayerSpec, DataSourceSpec, EPP_API_VERSION, EPP_API_VERSION_DEPRECATED, EPP_KIND,
        EndpointPickerConfig, FeatureGates, FlowControlSpec, GATES, PluginRef, PluginSpec, PriorityBandSpec, ProfilePlugin,
        ProfileSpec, RequestHandlerSpec, Standing,
    },
    nearest::nearest,
    params::Params,
    quantity::{Quantity, QuantityError},
    reason::{Outcome, Reason, Retry, UnknownReason},
    spanned::Spanned,
};
