//! The right reader for an answer.

use super::{JsonUsageTail, Report, SseUsage, Usage, grpc::GrpcUsage};
use crate::api::Api;

/// Watches an answer go by, whatever its form: finds the usage in it and counts its events.
///
/// Feed it the bytes as they come, cut anywhere. What it cannot read, it passes over: compressed bodies, and forms that its API does
/// not have. Bounded: it holds 128 KiB of a stream or a document at most, and 1 MiB of a gRPC message.
#[derive(Debug, Clone)]
pub struct ResponseWatch {
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Unread,
    Events(SseUsage),
    Document(JsonUsageTail),
    Messages(Box<GrpcUsage>),
}

impl ResponseWatch {
    /// An answer to a request to `api` with this `content-type`. `encoded` says that it has a `content-encoding`.
    pub fn new(api: Api, content_type: &[u8], encoded: bool) -> Self {
        let report = if api == Api::SglangGenerate { Report::MetaInfo } else { Report::Usage };
        let is = |kind: &[u8]| content_type.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind));
        let form = if encoded {
            Form::Unread
        } else if api.is_grpc() && is(b"application/grpc") {
            Form::Messages(Box::new(GrpcUsage::new(api)))
        } else if is(b"text/event-stream") {
            Form::Events(SseUsage::of(report))
        } else if is(b"application/json") {
            Form::Document(JsonUsageTail::of(report))
        } else {
            Form::Unread
        };
        Self { form }
    }

    /// An answer that nobody reads.
    pub const fn blind() -> Self {
        Self { form: Form::Unread }
    }

    /// Whether tokens arrive one after the other.
    pub fn is_stream(&self) -> bool {
        matches!(self.form, Form::Events(_) | Form::Messages(_))
    }

    /// The next bytes of the body.
    pub fn feed(&mut self, chunk: &[u8]) {
        match &mut self.form {
            Form::Unread => {}
            Form::Events(events) => events.feed(chunk),
            Form::Document(tail) => tail.feed(chunk),
            Form::Messages(messages) => messages.feed(chunk),
        }
    }

    /// Events or messages so far; 0 if the answer is one document.
    pub fn events(&self) -> u64 {
        match &self.form {
            Form::Events(events) => events.events(),
            Form::Messages(messages) => messages.events(),
            Form::Unread | Form::Document(_) => 0,
        }
    }

    /// What was reported, once the body has ended. Call it once.
    pub fn finish(&mut self) -> Option<Usage> {
        match &mut self.form {
            Form::Unread => None,
            Form::Events(events) => events.finish(),
            Form::Document(tail) => tail.finish(),
            Form::Messages(messages) => messages.finish(),
        }
    }
}
