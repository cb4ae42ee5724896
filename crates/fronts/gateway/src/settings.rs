//! What the gateway does, as values: everything that a reload can change.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use rustls::ClientConfig;
use weir_pool::{BreakerConfig, Endpoint, Scheme};
use weir_router::Router;

use crate::{auth::ApiKeys, cors::Cors};

/// One configuration at work. A request loads it once and keeps it to its end, so that a reload changes nothing under it.
#[derive(Debug)]
pub struct Live {
    /// Gives requests their endpoints.
    pub router: Arc<Router>,
    /// By pool, in the router's order.
    pub upstreams: Vec<Upstream>,
    /// Everything else.
    pub settings: Settings,
}

impl Live {
    pub(crate) fn upstream(&self, pool_index: usize) -> Option<&Upstream> {
        self.upstreams.get(pool_index)
    }

    /// How to talk TLS with `endpoint`, if its URL wants that and the pool says how.
    pub(crate) fn tls_for(&self, pool_index: usize, endpoint: &Endpoint) -> Option<&UpstreamTls> {
        if endpoint.spec().url.scheme == Scheme::Http {
            return None;
        }
        self.upstream(pool_index).and_then(|upstream| upstream.tls.as_ref())
    }
}

/// How the gateway talks to the endpoints of one pool.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// Value of `Authorization`; whatever the client sent in it then stays here.
    pub authorization: Option<HeaderValue>,
    /// For endpoints whose URL is `https://…`.
    pub tls: Option<UpstreamTls>,
    /// When an endpoint is left alone.
    pub breaker: BreakerConfig,
}

/// TLS towards endpoints.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Roots, client certificate, verification.
    pub config: Arc<ClientConfig>,
    /// Name in the certificate, if it is not the host of the URL.
    pub server_name: Option<String>,
}

/// Settings of the gateway.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// When to try another endpoint.
    pub retry: Retries,
    /// Bounds.
    pub limits: Limits,
    /// Which web pages may call; none if absent.
    pub cors: Option<Cors>,
    /// Who may call; everybody if absent.
    pub keys: Option<ApiKeys>,
    /// Tells clients in `x-weir-endpoint` which endpoint served them.
    pub endpoint_header: bool,
    /// One line per request, target `access`, level info.
    pub access_log: bool,
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection to an endpoint is open, TLS included.
    pub connect: Duration,
    /// From sending a request until the first byte of the response's body.
    pub first_byte: Duration,
    /// Between two pieces of a response, and between two pieces of a client's request body.
    pub idle: Duration,
    /// All in all.
    pub total: Duration,
    /// For a client to send the head of its request, and to finish a TLS handshake.
    pub header: Duration,
    /// How long a connection to an endpoint may rest before it is closed.
    pub upstream_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(120),
            total: Duration::from_secs(3600),
            header: Duration::from_secs(30),
            upstream_idle: Duration::from_secs(60),
        }
    }
}

/// When to try another endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// Tries of one request, the first included.
    pub max_attempts: u32,
    /// Retries that each request earns.
    pub ratio: f64,
    /// Retries per second that need not be earned.
    pub min_per_second: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self { max_attempts: 3, ratio: 0.2, min_per_second: 10 }
    }
}

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of a request.
    pub body_bytes: u64,
    /// Names and values of a request's headers, all in all.
    pub header_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Clients' connections at one time; more of them wait.
    pub connections: usize,
    /// Streams in one HTTP/2 connection at one time.
    pub streams: u32,
    /// Idle connections kept per endpoint.
    pub upstream_idle: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 << 20,
            header_bytes: 64 << 10,
            headers: 100,
            connections: 65_536,
            streams: 1024,
            upstream_idle: 1024,
        }
    }
}
