//! Spans of requests: W3C trace context in and out, and a queue towards an exporter.
//!
//! - A [`Tracer`] makes the [`Span`] of a request, as a child of what the client's `traceparent` names; whether a trace is recorded
//!   is decided once, at its root.
//! - A [`Parent`] is what further spans hang on, and the headers that the next hop gets.
//! - [`pipeline`] makes both ends: a tracer, and an [`Exporting`] whose owner runs it until the process ends.
//!
//! Invariants: whoever ends a span never waits; spans that find the queue full are dropped and counted in [`Totals`]; an exporter that
//! fails costs the spans that it was given, and is told of in the log once, until it works again.
//!
//! Cost: a request whose trace is not recorded draws a number; a recorded span is an allocation or two, and one operation on the queue.
//!
//! Not here: how spans are sent, what is configured, which spans there are.

mod context;
mod export;
mod span;
#[cfg(test)]
mod tests;

pub use opentelemetry::trace::SpanKind;

pub use self::{
    export::{Batching, Exporting, Totals, pipeline},
    span::{Parent, Span, Tracer, numbers},
};
