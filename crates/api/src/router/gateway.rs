//! How the gateway treats traffic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{GoDuration, Quantity, Spanned};

/// How the gateway treats traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Gateway {
    /// How long to wait for endpoints.
    pub timeouts: Timeouts,
    /// When to try another endpoint.
    pub retry: RetryPolicy,
    /// When to leave an endpoint alone.
    pub circuit_breaker: CircuitBreaker,
    /// What clients may use up.
    pub limits: Limits,
    /// Whether answers name their endpoint in `x-weir-endpoint`. Default true.
    pub endpoint_header: bool,
    /// Whether every request is logged, at level info. Default true.
    pub access_log: bool,
    /// Which web pages may use the gateway.
    pub cors: Cors,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            circuit_breaker: CircuitBreaker::default(),
            limits: Limits::default(),
            endpoint_header: true,
            access_log: true,
            cors: Cors::default(),
        }
    }
}

/// How long to wait for endpoints. All are above zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a connection, with TLS. Default 2s.
    pub connect: Spanned<GoDuration>,
    /// From the request to the first byte of the answer. Default 5m.
    pub first_byte: Spanned<GoDuration>,
    /// Between two pieces of an answer. Default 2m.
    pub idle: Spanned<GoDuration>,
    /// For the whole request. Default 1h.
    pub total: Spanned<GoDuration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        let secs = |n| Spanned::nowhere(GoDuration::from_secs(n));
        Self { connect: secs(2), first_byte: secs(300), idle: secs(120), total: secs(3_600) }
    }
}

/// When to try another endpoint: only before the first byte of an answer, and never after a 4xx.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Tries in all, the first included; 1 never retries. Default 3.
    pub max_attempts: Spanned<u32>,
    /// Retries allowed per request served, 0 to 1. Default 0.2.
    pub budget_ratio: Spanned<f64>,
    /// Retries allowed per second whatever the ratio. Default 10.
    pub min_per_second: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: Spanned::nowhere(3), budget_ratio: Spanned::nowhere(0.2), min_per_second: 10 }
    }
}

/// When to leave an endpoint alone. 4xx do not count as failures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// Failures in a row that open it; 0 switches it off. Default 5.
    pub consecutive_failures: u32,
    /// How long it stays open before one request may try. Default 1s.
    pub open_for: Spanned<GoDuration>,
    /// That time doubles with each failed try, up to this. Default 30s.
    pub max_open_for: Spanned<GoDuration>,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        let secs = |n| Spanned::nowhere(GoDuration::from_secs(n));
        Self { consecutive_failures: 5, open_for: secs(1), max_open_for: secs(30) }
    }
}

/// What clients may use up. All are above zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Largest request body. Default 64Mi.
    pub max_body_bytes: Spanned<Quantity>,
    /// Largest sum of header names and values. Default 64Ki.
    pub max_header_bytes: Spanned<Quantity>,
    /// Most headers of a request. Default 100.
    pub max_headers: Spanned<u32>,
    /// Most streams of an HTTP/2 connection at a time. Default 1024.
    pub max_concurrent_streams: Spanned<u32>,
    /// Most connections at a time. Default 65536.
    pub max_connections: Spanned<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: Spanned::nowhere(Quantity::mib(64)),
            max_header_bytes: Spanned::nowhere(Quantity::kib(64)),
            max_headers: Spanned::nowhere(100),
            max_concurrent_streams: Spanned::nowhere(1_024),
            max_connections: Spanned::nowhere(65_536),
        }
    }
}

/// Which web pages may use the gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cors {
    /// Origins such as `https://chat.example.com`, or `*` for all. Default none.
    pub allowed_origins: Vec<Spanned<String>>,
}
