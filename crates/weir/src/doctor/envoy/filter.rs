//! The filter that asks the picker.

use super::{
    Finding,
    dump::{Cluster, ExtProc, is_type, list, seconds, text},
};

const HEADER: &str = "x-gateway-destination-endpoint";
/// What Envoy waits for an answer if nothing is said.
const DEFAULT_TIMEOUT_S: f64 = 0.2;
/// A queue or a large prompt takes longer than what is below.
const ENOUGH_S: f64 = 60.0;

pub(super) fn judge(filter: &ExtProc<'_>, destinations: &[Cluster<'_>]) -> Vec<Finding> {
    vec![
        body_mode(filter),
        response_mode(filter),
        message_timeout(filter),
        failure_mode(filter),
        client_header(filter),
        metadata(filter, destinations),
    ]
}

fn body_mode(filter: &ExtProc<'_>) -> Finding {
    const CHECK: &str = "envoy.body-mode";
    const FIX: &str = "set processing_mode.request_body_mode: FULL_DUPLEX_STREAMED and request_trailer_mode: SEND";
    let place = &filter.place;
    let mode = &filter.config["processing_mode"];
    if text(&mode["request_header_mode"]) == "SKIP" {
        let message = format!("{place} does not show the picker the headers of requests");
        return Finding::wrong(CHECK, message, "set processing_mode.request_header_mode: SEND");
    }
    match text(&mode["request_body_mode"]) {
        "FULL_DUPLEX_STREAMED" => Finding::ok(CHECK, format!("{place} streams requests to the picker")),
        "BUFFERED" => Finding::warning(
            CHECK,
            format!("{place} holds each request until all of it has arrived, and refuses what exceeds its buffer with 413"),
            format!("{FIX}; or raise per_connection_buffer_limit_bytes of the listener above the largest prompt"),
        ),
        "BUFFERED_PARTIAL" => {
            Finding::wrong(CHECK, format!("{place} shows the picker only the beginning of large requests"), FIX)
        }
        "STREAMED" => Finding::wrong(
            CHECK,
            format!("{place} wants an answer before it shows the picker the body, so neither model nor prompt count"),
            FIX,
        ),
        // NONE is the default, and left out.
        _ => Finding::wrong(CHECK, format!("{place} does not show the picker the bodies of requests"), FIX),
    }
}

fn response_mode(filter: &ExtProc<'_>) -> Finding {
    const CHECK: &str = "envoy.response-mode";
    let place = &filter.place;
    let mode = &filter.config["processing_mode"];
    if text(&mode["response_header_mode"]) == "SKIP" {
        return Finding::wrong(
            CHECK,
            format!("{place} does not tell the picker who answered, and how"),
            "set processing_mode.response_header_mode: SEND",
        );
    }
    match text(&mode["response_body_mode"]) {
        "BUFFERED" | "BUFFERED_PARTIAL" => Finding::wrong(
            CHECK,
            format!("{place} holds answers back until they are complete: no token streams"),
            "set processing_mode.response_body_mode: NONE, or FULL_DUPLEX_STREAMED if the picker is to count tokens",
        ),
        "STREAMED" => Finding::warning(
            CHECK,
            format!("{place} waits for the picker after each piece of an answer"),
            "set processing_mode.response_body_mode: FULL_DUPLEX_STREAMED and response_trailer_mode: SEND, or NONE",
        ),
        "FULL_DUPLEX_STREAMED" => Finding::ok(CHECK, format!("{place} streams answers through the picker")),
        _ if text(&mode["response_trailer_mode"]) != "SEND" => Finding::warning(
            CHECK,
            format!("{place} lets go of the picker when an answer begins, so it takes requests for done that run"),
            "set processing_mode.response_trailer_mode: SEND",
        ),
        _ => Finding::ok(CHECK, format!("{place} shows the picker where answers begin and end: tokens cost it nothing")),
    }
}

fn message_timeout(filter: &ExtProc<'_>) -> Finding {
    const CHECK: &str = "envoy.message-timeout";
    const FIX: &str = "set message_timeout: 1000s and max_message_timeout: 1000s";
    let timeout = seconds(&filter.config["message_timeout"]).unwrap_or(DEFAULT_TIMEOUT_S);
    let message = format!("{} gives the picker {timeout} s for an answer", filter.place);
    let waits = text(&filter.config["processing_mode"]["request_body_mode"]) != "FULL_DUPLEX_STREAMED";
    match (timeout >= ENOUGH_S, waits) {
        (true, _) => Finding::ok(CHECK, message),
        (false, true) => Finding::wrong(CHECK, format!("{message}; requests that queue longer fail with 504"), FIX),
        // In full duplex the timer does not run for requests; for the headers of answers it does.
        (false, false) => Finding::warning(CHECK, format!("{message}; a busy picker may need longer"), FIX),
    }
}

fn failure_mode(filter: &ExtProc<'_>) -> Finding {
    const CHECK: &str = "envoy.failure-mode";
    let place = &filter.place;
    if filter.config["failure_mode_allow"] != true {
        return Finding::ok(CHECK, format!("{place} refuses requests while there is no picker"));
    }
    let message = format!("{place} lets requests pass while there is no picker; where they go is then left to the client");
    let fix = "set failure_mode_allow: false";
    if strips_header(filter) { Finding::warning(CHECK, message, fix) } else { Finding::wrong(CHECK, message, fix) }
}

fn client_header(filter: &ExtProc<'_>) -> Finding {
    const CHECK: &str = "envoy.client-header";
    let place = &filter.place;
    if strips_header(filter) {
        return Finding::ok(CHECK, format!("{place} removes {HEADER} from clients' requests"));
    }
    Finding::warning(
        CHECK,
        format!("{place} takes {HEADER} from clients: past the picker they could reach any address"),
        format!(
            "add to the connection manager: early_header_mutation_extensions, an \
             envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation with `remove: {HEADER}`"
        ),
    )
}

fn strips_header(filter: &ExtProc<'_>) -> bool {
    const MUTATION: &str = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation";
    let early = list(&filter.manager["early_header_mutation_extensions"]).map(|one| &one["typed_config"]);
    early
        .filter(|one| is_type(one, MUTATION))
        .flat_map(|one| list(&one["mutations"]))
        .any(|one| text(&one["remove"]).eq_ignore_ascii_case(HEADER))
}

fn metadata(filter: &ExtProc<'_>, destinations: &[Cluster<'_>]) -> Finding {
    const CHECK: &str = "envoy.metadata";
    let place = &filter.place;
    let has = |direction: &str, namespace: &str| {
        list(&filter.config["metadata_options"][direction]["untyped"]).any(|one| text(one) == namespace)
    };
    let by_metadata = destinations.iter().any(|one| {
        let policies = one.config["load_balancing_policy"].to_string();
        policies.contains("\"metadata\"") && !policies.contains("\"header\"")
    });
    if !has("receiving_namespaces", "envoy.lb") {
        let message = format!("{place} drops the picker's metadata");
        let fix = "set metadata_options.receiving_namespaces.untyped: [envoy.lb]";
        return if by_metadata { Finding::wrong(CHECK, message, fix) } else { Finding::warning(CHECK, message, fix) };
    }
    let missing: Vec<&str> =
        ["envoy.lb", "envoy.lb.subset_hint"].into_iter().filter(|name| !has("forwarding_namespaces", name)).collect();
    if missing.is_empty() {
        return Finding::ok(CHECK, format!("{place} passes metadata both ways"));
    }
    Finding::warning(
        CHECK,
        format!("{place} keeps {} from the picker: subset hints or who served is lost", missing.join(" and ")),
        "set metadata_options.forwarding_namespaces.untyped: [envoy.lb, envoy.lb.subset_hint]",
    )
}
