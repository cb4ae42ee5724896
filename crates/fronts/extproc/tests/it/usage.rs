//! What is counted of a request: once, however it ends.

use prost_types::value::Kind;
use tonic::Code;
use weir_extproc::{
    Metadata,
    proto::envoy::service::ext_proc::v3::{
        HttpTrailers, ProcessingResponse, ProtocolConfiguration, processing_request::Request, processing_response::Response,
    },
};

use crate::support::{Call, Rig, Wanted, body, eventually, headers};

const STREAM: &[&str] = &[
    "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\nda",
    "ta: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion",
    "_tokens\":5,\"total_tokens\":15}}\n\ndata: [DONE]\n\n",
];
const COST: &str = "plugins: [{type: active-request-scorer}, {type: request-attribute-reporter, parameters: {attributes: \
                    [{key: {name: cost, namespace: my.costs}, expression: 'usage.prompt_tokens + usage.completion_tokens'}]}}]";

/// What is known of the requests of a rig: how many have a duration, an input, an output, and how many failed.
fn counted(rig: &Rig) -> [f64; 4] {
    [
        "llm_d_epp_request_duration_seconds_count",
        "llm_d_epp_request_input_tokens_count",
        "llm_d_epp_request_output_tokens_count",
        "llm_d_epp_request_error_total",
    ]
    .map(|name| rig.sum(name))
}

/// Waits until nothing is left of any request; says what was counted of them.
async fn settled(rig: &Rig) -> [f64; 4] {
    eventually("no stream is open", || rig.metric("weir_extproc_streams_in_flight") == 0).await;
    assert_eq!(rig.in_flight(), 0);
    assert_eq!(rig.sum("llm_d_epp_request_running"), 0.0);
    counted(rig)
}

/// A call whose request was sent, answered, and whose response began.
async fn begun(rig: &Rig) -> Call {
    let mut call = rig.proxy().await.open().await;
    call.chat(Metadata::default()).await;
    call.next().await.unwrap();
    respond(&mut call, "200", false).await;
    call
}

async fn respond(call: &mut Call, status: &str, end: bool) {
    call.send(Request::ResponseHeaders(headers(&[(":status", status), ("content-type", "text/event-stream")], end))).await;
    assert!(matches!(call.next().await.unwrap(), Some(Response::ResponseHeaders(_))));
}

/// Sends pieces of a response; the last one ends it, if `end` says so.
async fn pieces(call: &mut Call, pieces: &[&str], end: bool) -> Vec<ProcessingResponse> {
    let mut answers = Vec::new();
    for (place, piece) in pieces.iter().enumerate() {
        call.send(Request::ResponseBody(body((*piece).to_owned(), end && place + 1 == pieces.len()))).await;
        answers.push(call.next_message().await);
    }
    answers
}

/// What an answer reports.
fn cost(answer: &ProcessingResponse) -> Option<f64> {
    let Some(Kind::StructValue(inner)) = answer.dynamic_metadata.as_ref()?.fields["my.costs"].kind.clone() else { panic!() };
    let Some(Kind::NumberValue(cost)) = inner.fields["cost"].kind else { panic!() };
    Some(cost)
}

#[tokio::test]
async fn a_whole_response_is_counted_once() {
    let rig = Rig::new(Wanted { plugins: COST, ..Wanted::default() }).await;
    // Its end comes with the last piece.
    let mut call = begun(&rig).await;
    let answers = pieces(&mut call, STREAM, true).await;
    assert_eq!(answers.iter().map(cost).collect::<Vec<_>>(), [None, None, Some(15.0)]);
    assert_eq!(call.next().await.unwrap(), None);
    assert_eq!(settled(&rig).await, [1.0, 1.0, 1.0, 0.0]);
    // With an empty one.
    let mut call = begun(&rig).await;
    let answers = pieces(&mut call, &[STREAM, &[""]].concat(), true).await;
    assert_eq!(answers.iter().filter_map(cost).collect::<Vec<_>>(), [15.0]);
    assert_eq!(cost(answers.last().unwrap()), Some(15.0));
    drop(call);
    assert_eq!(settled(&rig).await, [2.0, 2.0, 2.0, 0.0]);
    // With trailers.
    let mut call = begun(&rig).await;
    let answers = pieces(&mut call, STREAM, false).await;
    assert!(answers.iter().all(|answer| cost(answer).is_none()));
    call.send(Request::ResponseTrailers(HttpTrailers::default())).await;
    let last = call.next_message().await;
    assert!(matches!(last.response, Some(Response::ResponseTrailers(_))));
    assert_eq!(cost(&last), Some(15.0));
    drop(call);
    assert_eq!(settled(&rig).await, [3.0, 3.0, 3.0, 0.0]);
    assert_eq!(rig.sum("llm_d_epp_request_input_tokens_sum"), 30.0);
    assert_eq!(rig.metric("weir_requests_total{pool=\"p\",outcome=\"complete\"}"), 3);
}

#[tokio::test]
async fn a_response_without_a_body_has_no_tokens() {
    let rig = Rig::usual().await;
    let mut call = rig.proxy().await.open().await;
    call.chat(Metadata::default()).await;
    call.next().await.unwrap();
    respond(&mut call, "200", true).await;
    assert_eq!(call.next().await.unwrap(), None);
    assert_eq!(settled(&rig).await, [1.0, 0.0, 0.0, 0.0]);
    // An error of the model server.
    let mut call = rig.proxy().await.open().await;
    call.chat(Metadata::default()).await;
    call.next().await.unwrap();
    respond(&mut call, "503", true).await;
    drop(call);
    assert_eq!(settled(&rig).await, [2.0, 0.0, 0.0, 1.0]);
}

#[tokio::test]
async fn a_response_that_is_not_shown_is_complete_when_the_stream_ends() {
    let rig = Rig::usual().await;
    let mut call = rig.proxy().await.open().await;
    let modes = ProtocolConfiguration { request_body_mode: 4, response_body_mode: 0, ..ProtocolConfiguration::default() };
    let get = Request::RequestHeaders(headers(&[(":path", "/v1/models"), (":method", "GET")], true));
    call.send_as(get, Metadata::default(), modes).await;
    call.next().await.unwrap();
    respond(&mut call, "200", false).await;
    assert_eq!(rig.in_flight(), 1);
    call.close();
    assert_eq!(call.next().await.unwrap(), None);
    assert_eq!(settled(&rig).await, [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(rig.metric("weir_extproc_streams_total{outcome=\"complete\"}"), 1);
}

#[tokio::test]
async fn what_did_not_end_is_not_counted_as_if_it_had() {
    let rig = Rig::new(Wanted { plugins: COST, ..Wanted::default() }).await;
    // The client leaves in the middle, with all tokens told.
    let mut call = begun(&rig).await;
    let answers = pieces(&mut call, STREAM, false).await;
    assert!(answers.iter().all(|answer| cost(answer).is_none()));
    drop(call);
    assert_eq!(settled(&rig).await, [0.0; 4]);
    assert_eq!(rig.metric("weir_requests_total{pool=\"p\",outcome=\"client_gone\"}"), 1);
    // The proxy breaks the rules.
    let mut call = begun(&rig).await;
    pieces(&mut call, STREAM, false).await;
    call.send(Request::ResponseHeaders(headers(&[(":status", "200")], false))).await;
    assert_eq!(call.next().await.unwrap_err().code(), Code::InvalidArgument);
    let [durations, inputs, outputs, errors] = settled(&rig).await;
    assert_eq!([durations, inputs, outputs, errors], [0.0, 0.0, 0.0, 1.0]);
    // It was never sent anywhere.
    let mut call = rig.proxy().await.open().await;
    call.send(Request::RequestHeaders(headers(&[(":path", "/v1/completions"), (":method", "POST")], false))).await;
    call.send(Request::RequestBody(body(r#"{"model":"x","prompt":"p"}"#, true))).await;
    assert!(matches!(call.next().await.unwrap(), Some(Response::ImmediateResponse(_))));
    assert_eq!(settled(&rig).await, [0.0, 0.0, 0.0, 2.0]);
}
