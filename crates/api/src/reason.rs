//! Why a request was not served: one stable code for the response header, the log and the metric.

use std::{fmt, str::FromStr};

/// Whether, and where, the same request may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// It would fail again, or may have had an effect.
    Never,
    /// On the endpoint that failed.
    SameEndpoint,
    /// On an endpoint that has not failed it yet.
    OtherEndpoint,
}

/// What a failure means to the client and to the code that decides about retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// HTTP status.
    pub status: u16,
    /// The stable code.
    pub reason: Reason,
    /// Whether to try again.
    pub retry: Retry,
}

impl Outcome {
    /// All three given.
    #[must_use]
    pub const fn new(status: u16, reason: Reason, retry: Retry) -> Self {
        Self { status, reason, retry }
    }
}

impl From<Reason> for Outcome {
    fn from(reason: Reason) -> Self {
        Self::new(reason.status(), reason, reason.retry())
    }
}

/// One row per reason: name, code, status, retry, and the value of llm-d's drop-reason header if it has one.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $retry:ident, $dropped:expr;)*) => {
        /// A stable reason code. Codes are never renamed or reused; new ones may be added.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code, in snake_case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The HTTP status that goes with it unless the caller knows better. 499 is for the log only: there is
            /// nobody left to read it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Whether to try again unless the caller knows better. It presumes that no byte of an answer was sent.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)* }
            }

            /// The value of `x-llm-d-request-dropped-reason`, for those reasons that llm-d has.
            #[must_use]
            pub const fn dropped_reason(self) -> Option<&'static str> {
                match self { $(Self::$name => $dropped,)* }
            }
        }
    };
}

reasons! {
    /// The pool has no ready endpoint, or none that the request may use.
    NoEndpoints = "no_endpoints", 503, Never, Some("rejected-no-endpoints");
    /// No pool serves the model.
    ModelNotFound = "model_not_found", 404, Never, None;
    /// The request is not what its API allows.
    InvalidRequest = "invalid_request", 400, Never, None;
    /// The body is not JSON.
    InvalidJson = "invalid_json", 400, Never, None;
    /// No parser of the pool reads requests to this path.
    NoParser = "no_parser", 400, Never, None;
    /// The body exceeds the limit.
    BodyTooLarge = "body_too_large", 413, Never, None;
    /// The headers exceed the limit.
    HeadersTooLarge = "headers_too_large", 431, Never, None;
    /// The client did not send its request in time.
    RequestTimeout = "request_timeout", 408, Never, None;
    /// No valid API key.
    Unauthorized = "unauthorized", 401, Never, None;
    /// A valid API key that may not do this.
    Forbidden = "forbidden", 403, Never, None;
    /// Nothing is served at this path.
    NotFound = "not_found", 404, Never, None;
    /// The path is served, but not with this method.
    MethodNotAllowed = "method_not_allowed", 405, Never, None;
    /// A condition set by the client does not hold, such as `Prefer: if-available`.
    PreconditionFailed = "precondition_failed", 412, Never, None;
    /// The connection to the endpoint could not be opened.
    UpstreamConnectFailed = "upstream_connect_failed", 502, OtherEndpoint, None;
    /// The connection to the endpoint was not open in time.
    UpstreamConnectTimeout = "upstream_connect_timeout", 504, OtherEndpoint, None;
    /// TLS with the endpoint failed.
    UpstreamTlsFailed = "upstream_tls_failed", 502, OtherEndpoint, None;
    /// The endpoint closed or reset the connection.
    UpstreamReset = "upstream_reset", 502, OtherEndpoint, None;
    /// The endpoint answered something that is not HTTP, or broke off in the middle of an answer.
    UpstreamProtocol = "upstream_protocol", 502, OtherEndpoint, None;
    /// The endpoint answered that it cannot serve now (5xx before any token).
    UpstreamUnavailable = "upstream_unavailable", 503, OtherEndpoint, None;
    /// The endpoint sent nothing in time.
    FirstByteTimeout = "first_byte_timeout", 504, OtherEndpoint, None;
    /// The stream stood still for too long.
    IdleTimeout = "idle_timeout", 504, Never, None;
    /// The request as a whole took too long.
    TotalTimeout = "total_timeout", 504, Never, None;
    /// Every endpoint that could serve has an open circuit breaker.
    CircuitOpen = "circuit_open", 503, OtherEndpoint, None;
    /// It could be tried elsewhere, but too many retries are under way.
    RetryBudgetExhausted = "retry_budget_exhausted", 503, Never, None;
    /// The pool is saturated.
    RejectedSaturated = "rejected_saturated", 429, Never, Some("rejected-saturated");
    /// It waited longer than it may.
    RejectedTtlExpired = "rejected_ttl_expired", 429, Never, Some("rejected-ttl-expired");
    /// The client left while its request waited.
    RejectedContextCancelled = "rejected_context_cancelled", 503, Never, Some("rejected-context-cancelled");
    /// It was running and made room for others.
    Evicted = "evicted", 429, Never, Some("evicted");
    /// It was waiting and the queue was too full.
    EvictedQueuePressure = "evicted_queue_pressure", 429, Never, Some("evicted-queue-pressure");
    /// It was waiting and made room for a higher priority.
    EvictedPriority = "evicted_priority", 429, Never, Some("evicted-priority");
    /// Too many connections or streams.
    TooManyRequests = "too_many_requests", 429, Never, None;
    /// The router is shutting down.
    ShuttingDown = "shutting_down", 503, Never, Some("rejected-shutting-down");
    /// The client left.
    ClientDisconnected = "client_disconnected", 499, Never, None;
    /// A defect of the router.
    Internal = "internal", 500, Never, None;
}

impl Reason {
    /// The `type` of an OpenAI error object.
    #[must_use]
    pub const fn error_type(self) -> &'static str {
        match self.status() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// Its place in [`Reason::ALL`], for arrays of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reason code")]
pub struct UnknownReason;

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(code: &str) -> Result<Self, UnknownReason> {
        Self::ALL.iter().copied().find(|r| r.as_str() == code).ok_or(UnknownReason)
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        code.parse().map_err(|_| serde::de::Error::custom(format!("unknown reason code `{code}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_snake_case_and_read_back() {
        let mut seen = std::collections::BTreeSet::new();
        for (i, reason) in Reason::ALL.iter().enumerate() {
            let code = reason.as_str();
            assert!(seen.insert(code), "{code} twice");
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
            assert_eq!(code.parse(), Ok(*reason));
            assert_eq!(reason.index(), i);
            assert!((400..600).contains(&reason.status()), "{code}");
        }
        assert_eq!("nope".parse::<Reason>(), Err(UnknownReason));
    }

    #[test]
    fn client_errors_are_never_retried() {
        for reason in Reason::ALL {
            if reason.status() < 500 {
                assert_eq!(reason.retry(), Retry::Never, "{reason}");
            }
        }
    }

    #[test]
    fn drop_reasons_are_those_of_llm_d() {
        let mut known: Vec<&str> = Reason::ALL.iter().filter_map(|r| r.dropped_reason()).collect();
        known.sort_unstable();
        assert_eq!(
            known,
            [
                "evicted",
                "evicted-priority",
                "evicted-queue-pressure",
                "rejected-context-cancelled",
                "rejected-no-endpoints",
                "rejected-saturated",
                "rejected-shutting-down",
                "rejected-ttl-expired",
            ]
        );
        assert_eq!(Outcome::from(Reason::NoEndpoints), Outcome::new(503, Reason::NoEndpoints, Retry::Never));
        assert_eq!(Reason::RejectedSaturated.error_type(), "rate_limit_error");
        assert_eq!(Reason::ModelNotFound.error_type(), "invalid_request_error");
    }
}
