use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{Sampler, SpanData, SpanExporter},
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{Batching, Exporting, SpanKind, Tracer, pipeline};

#[derive(Clone, Debug, Default)]
struct Kept {
    batches: Arc<Mutex<Vec<Vec<SpanData>>>>,
    broken: bool,
}

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if self.broken {
            return Err(OTelSdkError::InternalFailure("nobody listens".to_owned()));
        }
        self.batches.lock().push(batch);
        Ok(())
    }
}

fn traces(exporter: &Kept, sampler: Sampler, batching: Batching) -> (Tracer, Exporting<Kept>) {
    let scope = InstrumentationScope::builder("tests").build();
    pipeline(exporter.clone(), Resource::builder_empty().build(), sampler, batching, scope)
}

fn headers(traceparent: &str) -> HeaderMap {
    HeaderMap::from_iter([(super::context::TRACEPARENT, traceparent.parse().expect("a header"))])
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[tokio::test(start_paused = true)]
async fn spans_hang_on_the_callers_and_on_each_other() {
    let kept = Kept::default();
    // What the sampler says is for roots only.
    let (tracer, exporting) = traces(&kept, Sampler::ParentBased(Box::new(Sampler::AlwaysOff)), Batching::default());
    let span = tracer.request("request", &headers(&format!("00-{TRACE}-{CALLER}-01")));
    let parent = span.parent();
    assert_eq!(parent.trace_id(), TRACE);
    let mut child = parent.child("child", SpanKind::Client, None).expect("it is recorded");
    child.set("number", 7_i64);
    child.fail("broken");
    let (_, told) = child.parent().header().expect("the next hop is told");
    drop(child);
    drop(span);
    drop((tracer, parent));
    exporting.run(CancellationToken::new()).await;
    let batches = kept.batches.lock();
    let [batch] = batches.as_slice() else { panic!("one batch: {batches:?}") };
    let [child, request] = batch.as_slice() else { panic!("two spans: {batch:?}") };
    assert_eq!((request.name.as_ref(), request.parent_span_id.to_string()), ("request", CALLER.to_owned()));
    assert_eq!((child.parent_span_id, &child.span_kind), (request.span_context.span_id(), &SpanKind::Client));
    assert_eq!(told.to_str().expect("text"), format!("00-{TRACE}-{}-01", child.span_context.span_id()));
    assert_eq!((child.attributes.len(), format!("{:?}", child.status)), (1, "Error { description: \"broken\" }".to_owned()));
}

#[test]
fn traces_that_are_not_recorded_pass_as_they_came() {
    let (tracer, _exporting) = traces(&Kept::default(), Sampler::ParentBased(Box::new(Sampler::AlwaysOff)), Batching::default());
    let theirs = tracer.request("request", &headers(&format!("00-{TRACE}-{CALLER}-00")));
    assert!(!theirs.is_recording() && theirs.parent().child("child", SpanKind::Internal, None).is_none());
    assert!(theirs.parent().header().is_none(), "the caller's own header stays");
    // Where nobody decided before, the decision is passed on.
    let ours = tracer.request("request", &HeaderMap::new()).parent().header().expect("a root").1;
    assert!(ours.to_str().expect("text").ends_with("-00"), "{ours:?}");
}

#[test]
fn what_cannot_be_read_begins_a_new_trace() {
    let (tracer, _exporting) = traces(&Kept::default(), Sampler::AlwaysOn, Batching::default());
    for wrong in ["", "00-0-0-01", "zz", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] {
        let span = tracer.request("request", &headers(wrong));
        assert!(span.is_recording() && span.parent().trace_id() != TRACE, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_and_counts() {
    let kept = Kept::default();
    let batching = Batching { queue: 4, batch: 3, delay: Duration::from_secs(1) };
    let (tracer, exporting) = traces(&kept, Sampler::AlwaysOn, batching);
    for _ in 0..10 {
        drop(tracer.request("request", &HeaderMap::new()));
    }
    let totals = exporting.totals();
    assert_eq!((totals.overflowed(), totals.exported()), (6, 0));
    drop(tracer);
    exporting.run(CancellationToken::new()).await;
    assert_eq!((totals.exported(), totals.failed()), (4, 0));
    assert_eq!(kept.batches.lock().iter().map(Vec::len).collect::<Vec<_>>(), [3, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_first_span_waits_no_longer_than_it_may() {
    let kept = Kept::default();
    let (tracer, exporting) = traces(&kept, Sampler::AlwaysOn, Batching { delay: Duration::from_secs(2), ..Batching::default() });
    let stop = CancellationToken::new();
    let task = tokio::spawn(exporting.run(stop.clone()));
    drop(tracer.request("request", &HeaderMap::new()));
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    assert!(kept.batches.lock().is_empty());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(kept.batches.lock().len(), 1);
    // What waits when the process ends is sent, too.
    drop(tracer.request("request", &HeaderMap::new()));
    tokio::task::yield_now().await;
    stop.cancel();
    task.await.expect("it ends");
    assert_eq!(kept.batches.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_exporter_could_not_send_is_counted() {
    let broken = Kept { broken: true, ..Kept::default() };
    let (tracer, exporting) = traces(&broken, Sampler::AlwaysOn, Batching::default());
    drop(tracer.request("request", &HeaderMap::new()));
    drop(tracer);
    let totals = exporting.totals();
    exporting.run(CancellationToken::new()).await;
    assert_eq!((totals.exported(), totals.failed()), (0, 1));
}
