//! A request's way: through the proxy, past the picker, to a model server and back.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use weir_api::headers;
use weir_pool::EndpointUrl;
use weir_router::Explained;

use super::{Finding, PATIENCE, Report};
use crate::http_client::{self, Answer, ClientError};

/// A model may be slow.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// An address that nobody has (RFC 5737).
const NOBODY: &str = "192.0.2.1:9";
/// How often the picker is asked whether it saw the answer, and how many times.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS: u32 = 40;

/// Sends requests through `url`.
pub(super) async fn check(url: &EndpointUrl, admin: Option<&EndpointUrl>, model: Option<&str>, report: &mut Report) {
    let model = match model {
        Some(model) => model.to_owned(),
        None => match model_of(url, admin).await {
            Ok(model) => model,
            Err(finding) => return report.add(finding),
        },
    };
    let id = format!("weir-doctor-{}", uuid::Uuid::new_v4());
    let plain = Request::post("/").header(headers::REQUEST_ID, &id);
    if !report_answer(ask(url, plain, &model).await, url, &model, report) {
        return;
    }
    match admin {
        None => report.add(Finding::skipped("flow.picker", "whether the picker was asked is told by --admin")),
        Some(admin) => picker_saw(admin, &id, report).await,
    }
    let lying = Request::post("/").header(headers::DESTINATION_ENDPOINT, NOBODY);
    report.add(client_header(ask(url, lying, &model).await));
}

async fn ask(url: &EndpointUrl, head: http::request::Builder, model: &str) -> Result<Answer, ClientError> {
    let body = serde_json::json!({"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Say hello."}]});
    let head = head.header(http::header::CONTENT_TYPE, "application/json");
    http_client::send(url, "/v1/chat/completions", head, Bytes::from(body.to_string()), ANSWER_WITHIN).await
}

/// The first model that the picker knows, else that a server lists.
async fn model_of(url: &EndpointUrl, admin: Option<&EndpointUrl>) -> Result<String, Finding> {
    const CHECK: &str = "flow.answer";
    const FIX: &str = "name one with --model";
    if let Some(admin) = admin
        && let Ok(answer) = http_client::get(admin, "/debug/state", PATIENCE).await
        && let Ok(state) = serde_json::from_slice::<serde_json::Value>(&answer.body)
        && let Some(model) = state["models"][0]["model"].as_str()
    {
        return Ok(model.to_owned());
    }
    let answer = http_client::get(url, "/v1/models", PATIENCE).await.map_err(|error| unreachable(url, &error))?;
    let list: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match list["data"][0]["id"].as_str() {
        Some(model) => Ok(model.to_owned()),
        None => {
            Err(explain(&answer, url, None)
                .unwrap_or_else(|| Finding::wrong(CHECK, format!("{url}/v1/models lists no model"), FIX)))
        }
    }
}

fn unreachable(url: &EndpointUrl, error: &ClientError) -> Finding {
    let fix = "start Envoy, or give --url the address of its listener for clients";
    Finding::wrong("flow.answer", format!("{url}: {error}"), fix)
}

/// Whether it was answered.
fn report_answer(answer: Result<Answer, ClientError>, url: &EndpointUrl, model: &str, report: &mut Report) -> bool {
    let finding = match answer {
        Err(error) => unreachable(url, &error),
        Ok(answer) => match explain(&answer, url, Some(model)) {
            Some(finding) => finding,
            None => {
                report.add(Finding::ok("flow.answer", format!("{url} answers for the model `{model}`")));
                return true;
            }
        },
    };
    report.add(finding);
    false
}

/// What an answer other than success means.
fn explain(answer: &Answer, url: &EndpointUrl, model: Option<&str>) -> Option<Finding> {
    let status = answer.status.as_u16();
    let excerpt = answer.excerpt();
    let dropped = answer.headers.get(headers::REQUEST_DROPPED_REASON).and_then(|value| value.to_str().ok());
    let fix = match (status, dropped) {
        (200..=299, _) => return None,
        (_, Some("rejected-no-endpoints")) => "the picker has no ready endpoint: see picker.endpoints".to_owned(),
        (_, Some(reason)) => format!("the picker refused it ({reason}): see `weir explain`, and the picker's log"),
        (500, None) if excerpt.is_empty() => {
            "Envoy could not ask the picker: see envoy.picker-health and envoy.picker-cluster".to_owned()
        }
        (503, None) if excerpt.contains("no healthy upstream") => {
            "the picker gave no address, or Envoy did not take it: see envoy.destination and envoy.body-mode".to_owned()
        }
        (503, None) => "Envoy could not reach the server that the picker chose: see picker.endpoints".to_owned(),
        (504, None) => "something gave up waiting: see envoy.message-timeout and envoy.route-timeout".to_owned(),
        (413, None) => "Envoy's buffer is too small: see envoy.body-mode".to_owned(),
        (404, None) => "no server has this model or path: name a model with --model".to_owned(),
        (401 | 403, None) => "the servers want an API key, which doctor does not send".to_owned(),
        _ => "read the logs of Envoy and of the server".to_owned(),
    };
    let of = model.map_or_else(String::new, |model| format!(" for the model `{model}`"));
    Some(Finding::wrong("flow.answer", format!("{url} answered {status}{of}: {excerpt}"), fix))
}

/// Whether the picker decided this request, and saw its answer.
async fn picker_saw(admin: &EndpointUrl, id: &str, report: &mut Report) {
    let mut decision = None;
    for _ in 0..LOOKS {
        decision = decision_of(admin, id).await.or(decision);
        if decision.as_ref().is_some_and(|one| one.outcome.is_some()) {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    report.extend(judge(decision.as_ref(), admin));
}

async fn decision_of(admin: &EndpointUrl, id: &str) -> Option<Explained> {
    let answer = http_client::get(admin, &format!("/debug/explain/{id}"), PATIENCE).await.ok()?;
    let decisions: Vec<Explained> = serde_json::from_slice(&answer.body).ok()?;
    decisions.into_iter().next_back()
}

fn judge(decision: Option<&Explained>, admin: &EndpointUrl) -> Vec<Finding> {
    let Some(decision) = decision else {
        return vec![Finding::wrong(
            "flow.picker",
            format!("the request was answered, and the picker at {admin} was not asked"),
            "let the listener's ext_proc filter stand before the router, in every route that models are served by; if there are \
             several pickers, give --admin the address of the one that Envoy asks",
        )];
    };
    let chosen = decision.candidates.iter().find(|one| one.chosen).map_or("an endpoint", |one| one.address.as_str());
    let asked = Finding::ok("flow.picker", format!("the picker chose {chosen} in {} µs", decision.decision_us));
    let answered = match &decision.outcome {
        Some(outcome) if outcome.status != 0 => {
            Finding::ok("flow.response", format!("the picker saw the answer: {}", outcome.status))
        }
        _ => Finding::wrong(
            "flow.response",
            "the picker did not see the answer: to it, the client left",
            "set processing_mode.response_header_mode: SEND",
        ),
    };
    vec![asked, answered]
}

/// Whether a client can choose the server.
fn client_header(answer: Result<Answer, ClientError>) -> Finding {
    const CHECK: &str = "flow.client-header";
    match answer {
        Ok(answer) if answer.status.is_success() => {
            Finding::ok(CHECK, format!("{} in a client's request has no effect", headers::DESTINATION_ENDPOINT))
        }
        other => Finding::wrong(
            CHECK,
            format!(
                "a client that sends {} is {}",
                headers::DESTINATION_ENDPOINT,
                other.map_or_else(|error| error.to_string(), |answer| format!("answered {}", answer.status))
            ),
            "let the ext_proc filter stand before everything that reads the header, and remove the header early, as \
             deploy/standalone/envoy.yaml does",
        ),
    }
}
