//! Endpoints and what is known of them now.
//!
//! One writer per piece of state, many readers: the set of endpoints is an immutable [`Snapshot`] behind an atomic pointer;
//! each endpoint's numbers are atomics that the scraper, the gateway and the scheduler share without a lock.
//!
//! Cost: reading one endpoint's [`EndpointState`] is a dozen relaxed loads; charging and releasing the [`Ledger`] two atomic adds
//! each; taking a snapshot one atomic load.
//!
//! Not here: where endpoints come from, how metrics are fetched, which endpoint is best.
#![deny(missing_docs)]

mod breaker;
mod endpoint;
mod engine;
mod health;
mod ledger;
mod numbers;
mod snapshot;
mod subset;
mod time;

pub use weir_api::{EndpointUrl, Host, Scheme};

pub use self::{
    breaker::{Breaker, BreakerConfig, BreakerState},
    endpoint::{Endpoint, EndpointSpec, EndpointState, ListedModel},
    engine::{EngineState, LoraState, Scrape},
    health::{Health, Readiness},
    ledger::{Charge, Ledger},
    numbers::Numbers,
    snapshot::{EndpointEvents, Pool, Reconciled, Snapshot},
    subset::Subset,
    time::Time,
};
