//! Header names, in lower case, as HTTP/2 sends them and weir compares them.
//!
//! Names that begin with `x-gateway-`, `x-llm-d-` and the host-port names are llm-d's interface; `x-weir-` is ours.

/// Gateway ← picker: `ip:port[,ip:port…]`, the chosen endpoint first, then the others in order of preference.
pub const DESTINATION_ENDPOINT: &str = "x-gateway-destination-endpoint";
/// Gateway → picker (metadata key): the endpoints that may be chosen.
pub const DESTINATION_ENDPOINT_SUBSET: &str = "x-gateway-destination-endpoint-subset";
/// Gateway ← picker (metadata key): score of every candidate.
pub const DESTINATION_ENDPOINT_SCORES: &str = "x-gateway-destination-endpoint-scores";
/// Gateway → picker (metadata key): the endpoint that really served.
pub const DESTINATION_ENDPOINT_SERVED: &str = "x-gateway-destination-endpoint-served";
/// Metadata key of an early draft of the protocol. Never sent; stripped from clients.
pub const DESTINATION_ENDPOINT_FALLBACK: &str = "x-gateway-destination-endpoint-fallback";
/// Metadata namespace of the destination keys.
pub const LB_NAMESPACE: &str = "envoy.lb";
/// Metadata namespace of the subset key.
pub const SUBSET_NAMESPACE: &str = "envoy.lb.subset_hint";

/// Picker → sidecar: `ip:port` of the prefill worker.
pub const PREFILLER_HOST_PORT: &str = "x-prefiller-host-port";
/// Picker → sidecar: comma list of `ip:port` of encode workers.
pub const ENCODER_HOSTS_PORTS: &str = "x-encoder-hosts-ports";
/// Picker → sidecar: `ip:port` of the wanted data-parallel rank.
pub const DATA_PARALLEL_HOST_PORT: &str = "x-data-parallel-host-port";
/// Picker → sidecar: `ip:port` of a peer that holds more of the prefix.
pub const KV_CACHE_SOURCE_HOST_PORT: &str = "x-kv-cache-source-host-port";
/// Sidecar → engine: data-parallel rank.
pub const DATA_PARALLEL_RANK: &str = "x-data-parallel-rank";

/// Name of an objective, which gives the request its priority.
pub const INFERENCE_OBJECTIVE: &str = "x-llm-d-inference-objective";
/// Deprecated alias of [`INFERENCE_OBJECTIVE`].
pub const INFERENCE_OBJECTIVE_ALIAS: &str = "x-gateway-inference-objective";
/// Tenant or flow the request is accounted to; default `default-flow`.
pub const INFERENCE_FAIRNESS_ID: &str = "x-llm-d-inference-fairness-id";
/// Deprecated alias of [`INFERENCE_FAIRNESS_ID`].
pub const INFERENCE_FAIRNESS_ID_ALIAS: &str = "x-gateway-inference-fairness-id";
/// Longest the request may wait, a Go duration; it can only shorten what is configured.
pub const INFERENCE_TTL: &str = "x-llm-d-inference-ttl";
/// Model to be served whatever the body says.
pub const MODEL_NAME_REWRITE: &str = "x-llm-d-model-name-rewrite";
/// Deprecated alias of [`MODEL_NAME_REWRITE`].
pub const MODEL_NAME_REWRITE_ALIAS: &str = "x-gateway-model-name-rewrite";
/// Wanted time to first token, ms.
pub const SLO_TTFT_MS: &str = "x-llm-d-slo-ttft-ms";
/// Deprecated alias of [`SLO_TTFT_MS`].
pub const SLO_TTFT_MS_ALIAS: &str = "x-slo-ttft-ms";
/// Wanted time per output token, ms.
pub const SLO_TPOT_MS: &str = "x-llm-d-slo-tpot-ms";
/// Deprecated alias of [`SLO_TPOT_MS`].
pub const SLO_TPOT_MS_ALIAS: &str = "x-slo-tpot-ms";
/// Frames per second of a video input.
pub const VIDEO_FPS: &str = "x-llm-d-video-fps";
/// Length of a video input, seconds.
pub const VIDEO_DURATION_SECONDS: &str = "x-llm-d-video-duration-seconds";
/// Size of a video input, `WxH`.
pub const VIDEO_RESOLUTION: &str = "x-llm-d-video-resolution";
/// On an error: why the request was dropped.
pub const REQUEST_DROPPED_REASON: &str = "x-llm-d-request-dropped-reason";
/// On an answer: how long the request waited in a queue, ms.
pub const FLOW_QUEUE_DURATION_MS: &str = "x-llm-d-flow-queue-duration-ms";
/// Conformance tests only: forces the listed endpoints.
pub const TEST_ENDPOINT_SELECTION: &str = "test-epp-endpoint-selection";
/// Which profile a coordinator wants to be run.
pub const EPP_PROFILE: &str = "epp-profile";

/// On an answer: `host:port` of the endpoint that served.
pub const WEIR_ENDPOINT: &str = "x-weir-endpoint";
/// On an error: the stable reason code, see [`crate::Reason`].
pub const WEIR_REASON: &str = "x-weir-reason";

/// Correlates a request through every hop; generated when absent.
pub const REQUEST_ID: &str = "x-request-id";
/// Session affinity: the endpoint of earlier answers, encoded.
pub const SESSION_TOKEN: &str = "x-session-token";
/// Session affinity: the client's own session id.
pub const SESSION_ID: &str = "x-session-id";
/// Headers in which coding agents name their session, best first.
pub const AGENT_SESSIONS: &[&str] = &["x-claude-code-session-id", "x-session-affinity", "session-id", "session_id"];
/// Path of the request when the proxy does not send `:path`, best first.
pub const ORIGINAL_PATHS: &[&str] = &["x-original-path", "x-forwarded-path"];
/// Conditional requests (RFC 7240); the token `if-available` asks for a worker that has the prefix already.
pub const PREFER: &str = "prefer";

/// What a client may never set: routing is decided here, and workers believe these headers.
///
/// [`SESSION_TOKEN`] is not among them: clients send it back to stay with an endpoint, and it is only a wish.
pub const STRIPPED_FROM_CLIENTS: &[&str] = &[
    DESTINATION_ENDPOINT,
    DESTINATION_ENDPOINT_SUBSET,
    DESTINATION_ENDPOINT_SCORES,
    DESTINATION_ENDPOINT_SERVED,
    DESTINATION_ENDPOINT_FALLBACK,
    PREFILLER_HOST_PORT,
    ENCODER_HOSTS_PORTS,
    DATA_PARALLEL_HOST_PORT,
    KV_CACHE_SOURCE_HOST_PORT,
    DATA_PARALLEL_RANK,
    REQUEST_DROPPED_REASON,
    FLOW_QUEUE_DURATION_MS,
    TEST_ENDPOINT_SELECTION,
    WEIR_ENDPOINT,
    WEIR_REASON,
];

/// Whether a header of a client's request must be dropped. `name` in lower case, as parsed by an HTTP library.
///
/// Covers [`STRIPPED_FROM_CLIENTS`] and every other name that begins like the destination header.
#[must_use]
pub fn is_stripped_from_clients(name: &str) -> bool {
    // Two lengths of prefix decide for nearly every header without a walk through the list.
    if !name.starts_with("x-") && !name.starts_with("test-") {
        return false;
    }
    name.starts_with(DESTINATION_ENDPOINT) || STRIPPED_FROM_CLIENTS.contains(&name)
}

/// What a client tells the router, and nobody behind it: which objective, tenant, model, latency and time to wait it wants.
pub const CONTROLS: &[&str] = &[
    INFERENCE_OBJECTIVE,
    INFERENCE_OBJECTIVE_ALIAS,
    INFERENCE_FAIRNESS_ID,
    INFERENCE_FAIRNESS_ID_ALIAS,
    INFERENCE_TTL,
    MODEL_NAME_REWRITE,
    MODEL_NAME_REWRITE_ALIAS,
    SLO_TTFT_MS,
    SLO_TTFT_MS_ALIAS,
    SLO_TPOT_MS,
    SLO_TPOT_MS_ALIAS,
    VIDEO_FPS,
    VIDEO_DURATION_SECONDS,
    VIDEO_RESOLUTION,
];

/// Whether a header of a client's request is for the router alone. `name` in lower case.
#[must_use]
pub fn is_control(name: &str) -> bool {
    name.starts_with("x-") && CONTROLS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_listed_once() {
        let mut seen = std::collections::BTreeSet::new();
        for name in STRIPPED_FROM_CLIENTS {
            assert!(seen.insert(name), "{name} twice");
            assert_eq!(*name, name.to_ascii_lowercase());
            assert!(is_stripped_from_clients(name), "{name}");
        }
    }

    #[test]
    fn controls_are_not_what_clients_may_never_set() {
        for name in CONTROLS {
            assert!(is_control(name) && !is_stripped_from_clients(name), "{name}");
        }
        assert!(!is_control(REQUEST_ID) && !is_control(SESSION_TOKEN));
    }

    #[test]
    fn clients_keep_what_is_theirs() {
        for name in [REQUEST_ID, SESSION_TOKEN, INFERENCE_OBJECTIVE, SLO_TTFT_MS, "authorization", "content-type", "x-api-key"] {
            assert!(!is_stripped_from_clients(name), "{name}");
        }
        assert!(is_stripped_from_clients("x-gateway-destination-endpoint-anything"));
    }
}
