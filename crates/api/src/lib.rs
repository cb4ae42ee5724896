//! What people write: configuration files, header names, reason codes.
//!
//! - [`RouterConfig`]: weir's own document; [`RouterConfig::parse`] reads, checks and resolves it.
//! - [`EndpointPickerConfig`]: llm-d's document, alone or inside weir's; [`EndpointsFile`]: its list of endpoints.
//! - [`yaml`]: nodes with places, and a strict decoder for them; [`Spanned`], [`Params`], [`GoDuration`], [`Quantity`].
//! - [`Objects`]: objectives and model rewrites, from files.
//! - [`Diagnostics`]: what is wrong or odd, where, and what to do; [`Sources`] to show the lines.
//! - [`headers`] and [`Reason`]: names on the wire that never change.
//!
//! Invariants: an unknown field, a duplicate key and a wrong type are errors, each with line, column and path; all
//! errors of a document are reported together. A document has at most 1 MiB, 64 levels and 250,000 nodes, aliases
//! expanded. No input panics.
//!
//! Cost: a few passes over a document, tens of bytes a node; nothing here is on the way of a request but [`headers`]
//! and [`Reason`], which are constants.
//!
//! Not here: which plugins exist and what their parameters mean, opening sockets, watching files, Kubernetes types.
#![deny(missing_docs)]

mod address;
mod diagnostic;
mod duration;
mod endpoints;
mod epp;
pub mod headers;
mod nearest;
mod objects;
mod params;
mod quantity;
mod reason;
mod router;
mod selector;
mod spanned;
pub mod yaml;

pub use self::{
    address::{AddressError, EndpointUrl, Host, ListenAddr, Scheme},
    diagnostic::{Diagnostic, Diagnostics, Severity, Source, Sources, Span},
    duration::{DurationError, GoDuration},
    endpoints::{DEFAULT_NAMESPACE, EndpointEntry, EndpointsFile, FileEndpoint, FilePort},
    epp::{
        BUILTIN_EPP, BandSpec, Checked, DataLayerSpec, DataSourceSpec, EPP_API_VERSION, EPP_API_VERSION_DEPRECATED, EPP_KIND,
        EndpointPickerConfig, FeatureGates, FlowControlSpec, GATES, PluginRef, PluginSpec, PriorityBandSpec, ProfilePlugin,
        ProfileSpec, RequestHandlerSpec, Standing,
    },
    nearest::nearest,
    objects::{
        OBJECTS_API_VERSION, OBJECTS_API_VERSION_DEPRECATED, ObjectId, Objective, Objects, POOL_GROUP, PoolReference, Rewrite,
        RewriteRule, RewriteTarget,
    },
    params::Params,
    quantity::{Quantity, QuantityError},
    reason::{Outcome, Reason, Retry, UnknownReason},
    router::{
        AppProtocol, Auth, CircuitBreaker, Cors, Destinations, EndpointFile, Endpoints, ErrorFormat, Explain, Exposition,
        ExtProc, Gateway, Https, KubernetesEndpoints, LeaderElection, Limits, Listen, LoadError, Loaded, Log, LogFormat,
        LogLevel, MetricsSpec, ObjectsFile, OtlpProtocol, PoolSpec, PoolTls, ROUTER_API_VERSION, ROUTER_KIND, RetryPolicy,
        RouterConfig, Scheduling, StaticEndpoint, Timeouts, TlsVersion, TraceExporter, Tracing, schema,
    },
    selector::{SelectorError, check_selector},
    spanned::Spanned,
};
