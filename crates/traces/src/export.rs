//! From spans that ended to an exporter, in batches, by a task of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use opentelemetry::{Context, InstrumentationScope, trace::TracerProvider as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::Tracer;

/// How many spans wait, how many are sent together, and how long the first of them waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Spans that may wait; more of them are dropped.
    pub queue: usize,
    /// Most spans in one message.
    pub batch: usize,
    /// Longest time that a span waits for others.
    pub delay: Duration,
}

impl Default for Batching {
    /// OpenTelemetry's.
    fn default() -> Self {
        Self { queue: 2048, batch: 512, delay: Duration::from_secs(5) }
    }
}

/// What became of spans so far.
#[derive(Debug, Default)]
pub struct Totals {
    exported: AtomicU64,
    overflowed: AtomicU64,
    failed: AtomicU64,
}

impl Totals {
    /// Spans that the exporter took.
    pub fn exported(&self) -> u64 {
        self.exported.load(Relaxed)
    }

    /// Spans that found the queue full.
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Relaxed)
    }

    /// Spans that the exporter could not send.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }
}

/// A tracer whose spans come to `exporter`, once [`Exporting::run`] runs. `scope` names whoever makes the spans.
pub fn pipeline<E: SpanExporter>(
    mut exporter: E,
    resource: Resource,
    sampler: Sampler,
    batching: Batching,
    scope: InstrumentationScope,
) -> (Tracer, Exporting<E>) {
    let (sender, receiver) = mpsc::channel(batching.queue.max(1));
    let totals = Arc::new(Totals::default());
    exporter.set_resource(&resource);
    let queue = Queue { sender, totals: Arc::clone(&totals) };
    let provider = SdkTracerProvider::builder().with_span_processor(queue).with_sampler(sampler).with_resource(resource).build();
    let tracer = Tracer(provider.tracer_with_scope(scope));
    (tracer, Exporting { receiver, exporter, batching, totals })
}

/// The near end.
#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<SpanData>,
    totals: Arc<Totals>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.sender.try_send(span).is_err() {
            self.totals.overflowed.fetch_add(1, Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The far end: spans that wait to be exported.
#[derive(Debug)]
pub struct Exporting<E> {
    receiver: mpsc::Receiver<SpanData>,
    exporter: E,
    batching: Batching,
    totals: Arc<Totals>,
}

impl<E: SpanExporter> Exporting<E> {
    /// What became of spans so far.
    pub fn totals(&self) -> Arc<Totals> {
        Arc::clone(&self.totals)
    }

    /// Exports until `stop` is cancelled or every tracer is gone, and then what still waits, for as long as the caller lets it.
    pub async fn run(mut self, stop: CancellationToken) {
        let most = self.batching.batch.max(1);
        let mut failing = false;
        let mut batch = Vec::new();
        while !self.receiver.is_closed() || !self.receiver.is_empty() {
            if !self.fill(&mut batch, most, &stop).await {
                self.receiver.close();
            }
            if batch.is_empty() {
                continue;
            }
            let count = batch.len() as u64;
            match self.exporter.export(std::mem::take(&mut batch)).await {
                Ok(()) => {
                    self.totals.exported.fetch_add(count, Relaxed);
                    if std::mem::take(&mut failing) {
                        tracing::info!("traces are exported again");
                    }
                }
                Err(error) => {
                    self.totals.failed.fetch_add(count, Relaxed);
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "traces cannot be exported; they are dropped until they can");
                    }
                }
            }
        }
    }

    /// Waits for a full batch, or for as long as its first span may wait. False: nothing more will come.
    async fn fill(&mut self, batch: &mut Vec<SpanData>, most: usize, stop: &CancellationToken) -> bool {
        let mut until: Option<Instant> = None;
        while batch.len() < most {
            let left = most - batch.len();
            let late = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                came = self.receiver.recv_many(batch, left) => {
                    if came == 0 {
                        return false;
                    }
                    until.get_or_insert_with(|| Instant::now() + self.batching.delay);
                }
                () = stop.cancelled() => return false,
                () = late => return true,
            }
        }
        true
    }
}
