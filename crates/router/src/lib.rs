//! One request's life: parse, resolve, produce, schedule, send, observe.
//!
//! A [`Router`] is built from compiled plans and never changed; a reload builds another one, while what must survive (the
//! endpoints with their ledgers, the decision log, the metrics) is shared by both. [`Router::route`] is synchronous and does
//! everything up to the endpoint; the [`Routed`] that it returns is the request's entry in the endpoint's ledger until it is
//! finished or dropped.
//!
//! A [`Case`] is the same on paper: endpoints, numbers and a request from a file, decided by the same router.
//!
//! What objectives and rewrites make of a request is [`ObjectsInForce`], a pure function of the objects.
//!
//! Cost of `route` for a request of 2.5 KB, 8 endpoints and 3 scorers: a few microseconds, no allocation per endpoint.
//!
//! Not here: sockets, retries in time, what to do with a response's bytes.

mod case;
mod clock;
mod decide;
mod decisions;
mod explain;
mod llm_d;
mod metrics;
mod models;
mod names;
mod objects;
mod observed;
mod pool_objects;
mod refusal;
mod route;
mod routed;
mod scratch;
mod trace;

pub use self::{
    case::{
        CandidateVerdict, Case, CaseEndpoint, CaseInFlight, CaseLora, CaseMetrics, CaseRequest, EarlierRequest, Expectation,
        FilterVerdict, ProfileVerdict, Refused, Verdict,
    },
    clock::Clock,
    decisions::{DecisionLog, DecisionLogConfig},
    explain::{Explained, ExplainedCandidate, ExplainedScorer},
    llm_d::LlmDCollector,
    metrics::RouterMetrics,
    objects::{Finding, FindingKind, ObjectsInForce, Split},
    pool_objects::{PoolObjects, Preview},
    refusal::Refusal,
    route::{PoolRuntime, PoolStatus, RequestHead, Router, Shared},
    routed::{End, Proxy, Routed},
};
