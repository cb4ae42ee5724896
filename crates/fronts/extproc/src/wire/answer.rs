//! Answers as protobuf messages.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use prost_types::{Struct, Value, value::Kind};
use weir_api::headers::{DESTINATION_ENDPOINT, DESTINATION_ENDPOINT_SCORES, LB_NAMESPACE};
use weir_protocol_extproc::{Answer, BodyAnswer, Destination, Immediate, Mutation, Number};

use crate::proto::envoy::{
    config::core::v3::{HeaderValue as Field, HeaderValueOption, header_value_option::HeaderAppendAction},
    service::ext_proc::v3::{
        BodyMutation, BodyResponse, CommonResponse, GrpcStatus, HeaderMutation, HeadersResponse, ImmediateResponse,
        ProcessingResponse, StreamedBodyResponse, TrailersResponse, body_mutation, processing_response::Response,
    },
    r#type::v3::HttpStatus,
};

/// The message for an answer.
pub(crate) fn response(answer: Answer) -> ProcessingResponse {
    let mut metadata = None;
    let response = match answer {
        Answer::Last(answer, numbers) => {
            return ProcessingResponse { dynamic_metadata: Some(reported(numbers)), ..response(*answer) };
        }
        Answer::RequestHeaders(mutation) => Response::RequestHeaders(headers(*mutation, &mut metadata)),
        Answer::ResponseHeaders(mutation) => Response::ResponseHeaders(headers(*mutation, &mut metadata)),
        Answer::RequestBody(answer) => Response::RequestBody(body(answer, &mut metadata)),
        Answer::ResponseBody(answer) => Response::ResponseBody(body(answer, &mut metadata)),
        Answer::RequestTrailers => Response::RequestTrailers(TrailersResponse::default()),
        Answer::ResponseTrailers => Response::ResponseTrailers(TrailersResponse::default()),
        Answer::Immediate(answer) => Response::ImmediateResponse(immediate(*answer)),
    };
    ProcessingResponse { response: Some(response), dynamic_metadata: metadata, ..ProcessingResponse::default() }
}

fn headers(mutation: Mutation, metadata: &mut Option<Struct>) -> HeadersResponse {
    HeadersResponse { response: common(mutation, metadata) }
}

fn body(answer: BodyAnswer, metadata: &mut Option<Struct>) -> BodyResponse {
    let replaced = |mutation| Some(BodyMutation { mutation: Some(mutation) });
    let response = match answer {
        BodyAnswer::Continue => None,
        BodyAnswer::Headers(mutation) => common(*mutation, metadata),
        BodyAnswer::Replace(body, mutation) => {
            let mut response = mutation.and_then(|mutation| common(*mutation, metadata)).unwrap_or_default();
            let empty = body.is_empty();
            response.body_mutation =
                replaced(if empty { body_mutation::Mutation::ClearBody(true) } else { body_mutation::Mutation::Body(body) });
            Some(response)
        }
        BodyAnswer::Streamed(chunk) => {
            let piece =
                StreamedBodyResponse { body: chunk.body, end_of_stream: chunk.end_of_stream, ..StreamedBodyResponse::default() };
            let body_mutation = replaced(body_mutation::Mutation::StreamedResponse(piece));
            Some(CommonResponse { body_mutation, ..CommonResponse::default() })
        }
    };
    BodyResponse { response }
}

fn common(mutation: Mutation, metadata: &mut Option<Struct>) -> Option<CommonResponse> {
    let Mutation { set, remove, clear_route_cache, destination } = mutation;
    *metadata = destination.map(load_balancer);
    let changes = !set.is_empty() || !remove.is_empty();
    let header_mutation = changes.then(|| HeaderMutation {
        set_headers: options(set),
        remove_headers: remove.into_iter().map(|name| name.as_str().to_owned()).collect(),
    });
    (changes || clear_route_cache).then(|| CommonResponse { header_mutation, clear_route_cache, ..CommonResponse::default() })
}

/// The first value of a name takes the place of all others, the next ones are added to it.
fn options(set: Vec<(HeaderName, HeaderValue)>) -> Vec<HeaderValueOption> {
    let mut options: Vec<HeaderValueOption> = Vec::with_capacity(set.len());
    for (name, value) in set {
        let again = options.iter().any(|one| one.header.as_ref().is_some_and(|header| header.key == name.as_str()));
        let action = if again { HeaderAppendAction::AppendIfExistsOrAdd } else { HeaderAppendAction::OverwriteIfExistsOrAdd };
        let raw_value = bytes::Bytes::copy_from_slice(value.as_bytes());
        let header = Field { key: name.as_str().to_owned(), raw_value, ..Field::default() };
        options.push(HeaderValueOption { header: Some(header), append_action: action.into(), ..HeaderValueOption::default() });
    }
    options
}

fn nested(fields: Struct) -> Value {
    Value { kind: Some(Kind::StructValue(fields)) }
}

fn number(number: f64) -> Value {
    Value { kind: Some(Kind::NumberValue(number)) }
}

fn reported(numbers: Vec<Number>) -> Struct {
    let mut namespaces: BTreeMap<String, Struct> = BTreeMap::new();
    for one in numbers {
        namespaces.entry(one.namespace.to_string()).or_default().fields.insert(one.name.to_string(), number(one.value as f64));
    }
    Struct { fields: namespaces.into_iter().map(|(namespace, fields)| (namespace, nested(fields))).collect() }
}

fn load_balancer(destination: Destination) -> Struct {
    let text = |text: String| Value { kind: Some(Kind::StringValue(text)) };
    let mut inner = Struct::default();
    inner.fields.insert(DESTINATION_ENDPOINT.to_owned(), text(destination.endpoints));
    if !destination.scores.is_empty() {
        let scores = destination.scores.into_iter().map(|(endpoint, score)| (endpoint, number(score))).collect();
        inner.fields.insert(DESTINATION_ENDPOINT_SCORES.to_owned(), nested(Struct { fields: scores }));
    }
    let mut outer = Struct::default();
    outer.fields.insert(LB_NAMESPACE.to_owned(), nested(inner));
    outer
}

fn immediate(answer: Immediate) -> ImmediateResponse {
    ImmediateResponse {
        status: Some(HttpStatus { code: answer.status.into() }),
        headers: Some(HeaderMutation { set_headers: options(answer.headers), remove_headers: Vec::new() }),
        body: answer.body,
        grpc_status: answer.grpc_status.map(|status| GrpcStatus { status }),
        details: answer.details.to_owned(),
    }
}
