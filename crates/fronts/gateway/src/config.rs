//! From what people write to what the gateway does.

use weir_api::{CircuitBreaker, Gateway};
use weir_pool::BreakerConfig;

use crate::{
    auth::ApiKeys,
    cors::Cors,
    settings::{Limits, Retries, Settings, Timeouts},
};

impl Settings {
    /// The `gateway` section of a configuration, with the keys of `auth.keysFile` if there is one.
    pub fn new(config: &Gateway, keys: Option<ApiKeys>) -> Self {
        let defaults = Timeouts::default();
        let (timeouts, retry, limits) = (&config.timeouts, &config.retry, &config.limits);
        let origins = &config.cors.allowed_origins;
        Self {
            timeouts: Timeouts {
                connect: timeouts.connect.value.get(),
                first_byte: timeouts.first_byte.value.get(),
                idle: timeouts.idle.value.get(),
                total: timeouts.total.value.get(),
                ..defaults
            },
            retry: Retries {
                max_attempts: retry.max_attempts.value,
                ratio: retry.budget_ratio.value,
                min_per_second: retry.min_per_second,
            },
            limits: Limits {
                body_bytes: limits.max_body_bytes.value.get(),
                header_bytes: limits.max_header_bytes.value.as_usize(),
                headers: limits.max_headers.value as usize,
                connections: limits.max_connections.value as usize,
                streams: limits.max_concurrent_streams.value,
                ..Limits::default()
            },
            cors: (!origins.is_empty()).then(|| Cors::new(origins.iter().map(|origin| origin.value.as_str()))),
            keys,
            endpoint_header: config.endpoint_header,
            access_log: config.access_log,
        }
    }
}

/// The `circuitBreaker` section.
pub fn breaker(config: &CircuitBreaker) -> BreakerConfig {
    BreakerConfig {
        consecutive_failures: config.consecutive_failures,
        open_for: config.open_for.value.get(),
        max_open_for: config.max_open_for.value.get(),
    }
}
