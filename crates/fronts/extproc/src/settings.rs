//! What the server does, as values.

use std::{sync::Arc, time::Duration};

use weir_api::{Destinations, ErrorFormat, ExtProc};
use weir_pool::BreakerConfig;
use weir_router::Router;

/// One configuration at work. A request loads it once and keeps it to its end, so that a reload changes nothing under it.
#[derive(Debug)]
pub struct Live {
    /// Gives requests their endpoints.
    pub router: Arc<Router>,
    /// When an endpoint is left alone: by pool, in the router's order.
    pub breakers: Vec<BreakerConfig>,
    /// Everything else.
    pub settings: Settings,
}

/// What a reload can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many endpoints a proxy is told.
    pub destinations: Destinations,
    /// Whether the proxy's list of endpoints counts (`envoy.lb.subset_hint`).
    pub subset_hint: bool,
    /// Tells the proxy every candidate's score, in the metadata.
    pub scores: bool,
    /// How clients are told why they are not served.
    pub errors: ErrorFormat,
    /// Longest body that is kept to be read.
    pub max_body_bytes: u64,
    /// One line per request, target `access`, level info.
    pub access_log: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            destinations: Destinations::All,
            subset_hint: true,
            scores: false,
            errors: ErrorFormat::Json,
            max_body_bytes: 64 << 20,
            access_log: true,
        }
    }
}

impl Settings {
    /// The `extProc` section of a configuration.
    pub fn new(config: &ExtProc, access_log: bool) -> Self {
        Self {
            destinations: config.destinations,
            subset_hint: config.subset_hint,
            scores: config.scores,
            errors: config.errors,
            max_body_bytes: config.max_body_bytes.get(),
            access_log,
        }
    }
}

/// What proxies may use up. Fixed when the server starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message taken.
    pub recv_message_bytes: usize,
    /// Longest message sent.
    pub send_message_bytes: usize,
    /// Streams in one connection at one time.
    pub streams: u32,
    /// Connections at one time; more of them wait.
    pub connections: usize,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// A connection on which nothing comes for so long is asked whether it is still there.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            recv_message_bytes: 4 << 20,
            send_message_bytes: 4 << 20,
            streams: 65_536,
            connections: 4_096,
            handshake: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// The `extProc` section of a configuration.
    pub fn new(config: &ExtProc) -> Self {
        Self {
            recv_message_bytes: config.max_receive_bytes.as_usize(),
            send_message_bytes: config.max_send_bytes.as_usize(),
            ..Self::default()
        }
    }
}
