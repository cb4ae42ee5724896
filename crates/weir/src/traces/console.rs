//! Spans on standard output, one JSON object a line.

use std::{
    io::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use opentelemetry::{SpanId, trace::Status};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::SpanData,
};
use serde_json::{Value, json};

/// Writes spans to standard output.
#[derive(Debug)]
pub(crate) struct Console;

impl Console {
    pub(super) fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut text = String::new();
        for span in &batch {
            text.push_str(&line(span).to_string());
            text.push('\n');
        }
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
    }
}

fn line(span: &SpanData) -> Value {
    let attributes: serde_json::Map<String, Value> =
        span.attributes.iter().map(|one| (one.key.to_string(), value(&one.value))).collect();
    let parent = (span.parent_span_id != SpanId::INVALID).then(|| span.parent_span_id.to_string());
    let error = match &span.status {
        Status::Error { description } => Some(description.to_string()),
        _ => None,
    };
    json!({
        "traceId": span.span_context.trace_id().to_string(),
        "spanId": span.span_context.span_id().to_string(),
        "parentSpanId": parent,
        "name": span.name,
        "startTimeUnixNano": nanos(span.start_time),
        "endTimeUnixNano": nanos(span.end_time),
        "attributes": attributes,
        "events": span.events.iter().map(|one| json!({"name": one.name, "timeUnixNano": nanos(one.timestamp)})).collect::<Vec<_>>(),
        "error": error,
    })
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn value(value: &opentelemetry::Value) -> Value {
    match value {
        opentelemetry::Value::Bool(value) => (*value).into(),
        opentelemetry::Value::I64(value) => (*value).into(),
        opentelemetry::Value::F64(value) => (*value).into(),
        other => other.to_string().into(),
    }
}
