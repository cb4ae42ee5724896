//! Requests over gRPC: vLLM's engine service, and Vertex AI's prediction service.

use super::wire::{Field, Fields, Malformed, Value, varints};
use crate::{
    api::Api,
    json::{JsonStr, Span},
    scan::{ScanError, ScanErrorKind, Scanned},
    segment::Segment,
};

/// Bytes before each message: whether it is compressed, and its length.
pub(crate) const PREFIX: usize = 5;

impl From<Malformed> for ScanError {
    fn from(found: Malformed) -> Self {
        Self { offset: found.offset, kind: ScanErrorKind::MalformedMessage }
    }
}

/// Reads the one message of a request. Returns the JSON document inside, if the API has one, to be read by who reads JSON.
pub(crate) fn read_request(api: Api, body: &[u8], out: &mut Scanned) -> Result<Option<Span>, ScanError> {
    let message = only_message(body)?;
    match api {
        Api::VertexChatCompletions | Api::VertexRawPredict => http_body(api, body, message).map(Some),
        _ => vllm(body, message, out).map(|()| None),
    }
}

fn only_message(body: &[u8]) -> Result<Span, ScanError> {
    let fail = |kind| Err(ScanError { offset: 0, kind });
    let Some(([compressed, length @ ..], message)) = body.split_first_chunk::<PREFIX>() else {
        return fail(ScanErrorKind::CutMessage);
    };
    if *compressed != 0 {
        return fail(ScanErrorKind::CompressedMessage);
    }
    if u32::from_be_bytes(*length) as usize != message.len() {
        return fail(ScanErrorKind::CutMessage);
    }
    Ok(Span::new(PREFIX, body.len()))
}

/// `GenerateRequest` and `EmbedRequest`, whose first fields are the same.
fn vllm(body: &[u8], message: Span, out: &mut Scanned) -> Result<(), ScanError> {
    let mut is_text = None;
    for field in Fields::of(body, message) {
        match field? {
            Field { number: 2, value: Value::Bytes(tokenized) } => {
                // The last member of a oneof counts; a message that comes in pieces is one message.
                if is_text.replace(false) == Some(true) {
                    out.segments_mut().clear();
                }
                token_ids(body, tokenized, out)?;
            }
            Field { number: 3, value: Value::Bytes(text) } => {
                is_text = Some(true);
                let segments = out.segments_mut();
                segments.clear();
                if std::str::from_utf8(text.of(body)).is_err() {
                    return Err(Malformed { offset: text.start as usize }.into());
                }
                if !text.is_empty() {
                    segments.push(Segment::Text(JsonStr::plain(text)));
                }
            }
            Field { number: 4, value: Value::Bytes(params) } => sampling_params(body, params, out)?,
            Field { number: 5, value: Value::Varint(stream, _) } => out.set_stream(stream != 0),
            _ => {}
        }
    }
    out.count_prompt();
    Ok(())
}

/// `TokenizedInput`
fn token_ids(body: &[u8], message: Span, out: &mut Scanned) -> Result<(), ScanError> {
    for field in Fields::of(body, message) {
        let Field { number: 2, value } = field? else { continue };
        let packed = match value {
            Value::Bytes(packed) | Value::Varint(_, packed) => packed,
            Value::Fixed => continue,
        };
        if varints(packed.of(body)).is_none() {
            return Err(Malformed { offset: packed.start as usize }.into());
        }
        if !packed.is_empty() {
            out.segments_mut().push(Segment::PackedIds(packed));
        }
    }
    Ok(())
}

/// `SamplingParams`
fn sampling_params(body: &[u8], message: Span, out: &mut Scanned) -> Result<(), ScanError> {
    for field in Fields::of(body, message) {
        let Field { number, value: Value::Varint(value, _) } = field? else { continue };
        match number {
            8 => out.set_limits(Some(value), None, None),
            14 => out.set_limits(None, Some(value != 0), None),
            15 => out.set_limits(None, None, Some(value)),
            _ => {}
        }
    }
    Ok(())
}

/// The `data` of the `google.api.HttpBody` in field 2.
fn http_body(api: Api, body: &[u8], message: Span) -> Result<Span, ScanError> {
    let inner = last_bytes(body, message, 2)?;
    let data = inner.map(|inner| last_bytes(body, inner, 2)).transpose()?.flatten();
    data.ok_or(ScanError { offset: body.len(), kind: ScanErrorKind::Missing { api, field: "http_body" } })
}

pub(crate) fn last_bytes(body: &[u8], message: Span, wanted: u32) -> Result<Option<Span>, Malformed> {
    let mut found = None;
    for field in Fields::of(body, message) {
        if let Field { number, value: Value::Bytes(span) } = field?
            && number == wanted
        {
            found = Some(span);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
