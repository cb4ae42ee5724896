//! Spans, and what they hang on.

use std::{borrow::Cow, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Array, Context, KeyValue, Value,
    trace::{Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use crate::context::{TRACEPARENT, extract, traceparent};

/// Makes spans. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracer(pub(crate) SdkTracer);

impl Tracer {
    /// The span of a request that came with these headers: a child of the span that they name, if they name one.
    pub fn request(&self, name: &'static str, headers: &HeaderMap) -> Span {
        let parent = extract(headers);
        let span = self.0.build_with_context(builder(name, SpanKind::Server, None), &parent);
        // Whoever began an unrecorded trace stays the parent of what comes after: a span that nobody will see would be a gap in it.
        let kept = !span.is_recording() && parent.span().span_context().is_valid();
        Span { sdk: span, tracer: self.clone(), kept }
    }
}

fn builder(name: impl Into<Cow<'static, str>>, kind: SpanKind, start: Option<SystemTime>) -> SpanBuilder {
    let builder = SpanBuilder::from_name(name).with_kind(kind);
    match start {
        Some(start) => builder.with_start_time(start),
        None => builder,
    }
}

/// One span. It ends when it is dropped, or when it is told to.
#[derive(Debug)]
pub struct Span {
    sdk: SdkSpan,
    tracer: Tracer,
    kept: bool,
}

impl Span {
    /// Whether anybody will see it. If not, nothing needs to be computed for it.
    pub fn is_recording(&self) -> bool {
        self.sdk.is_recording()
    }

    /// Notes a fact.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.sdk.set_attribute(KeyValue::new(name, value));
    }

    /// Notes that what it stands for failed.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        self.sdk.set_status(Status::error(why));
    }

    /// Notes how a request ended: with a status, 0 if there was none, and the reason if it failed.
    pub fn answered(&mut self, status: u16, reason: Option<&'static str>) {
        if status > 0 {
            self.set("http.response.status_code", i64::from(status));
        }
        match reason {
            Some(reason) => {
                self.set("error.type", reason);
                self.fail(reason);
            }
            None if status >= 400 => {
                self.set("error.type", status.to_string());
                self.fail("");
            }
            None => {}
        }
    }

    /// Notes that something happened now.
    pub fn event(&mut self, name: &'static str) {
        self.sdk.add_event(name, Vec::new());
    }

    /// Ends it at a moment that has been taken already.
    pub fn end_at(mut self, time: SystemTime) {
        self.sdk.end_with_timestamp(time);
    }

    /// What further spans of this request hang on.
    pub fn parent(&self) -> Parent {
        Parent {
            tracer: self.tracer.clone(),
            context: self.sdk.span_context().clone(),
            recorded: self.is_recording(),
            kept: self.kept,
        }
    }
}

/// A span that others hang on, without the right to end it.
#[derive(Clone, Debug)]
pub struct Parent {
    tracer: Tracer,
    context: SpanContext,
    recorded: bool,
    kept: bool,
}

impl Parent {
    /// A span below this one; `None` if the trace is not recorded. `start`: when it began, if not now.
    pub fn child(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind, start: Option<SystemTime>) -> Option<Span> {
        if !self.recorded {
            return None;
        }
        let parent = Context::new().with_remote_span_context(self.context.clone());
        let span = self.tracer.0.build_with_context(builder(name, kind, start), &parent);
        Some(Span { sdk: span, tracer: self.tracer.clone(), kept: false })
    }

    /// The header that tells the next hop of this span; `None` if it is to get the client's as it is. `tracestate` and `baggage` pass
    /// unchanged in either case.
    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        (!self.kept && self.context.is_valid()).then(|| (TRACEPARENT, traceparent(&self.context)))
    }

    /// The trace's id, for logs.
    pub fn trace_id(&self) -> String {
        self.context.trace_id().to_string()
    }
}

/// A list of numbers as an attribute's value.
pub fn numbers(values: impl IntoIterator<Item = f64>) -> Value {
    Value::Array(Array::F64(values.into_iter().collect()))
}
