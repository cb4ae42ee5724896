//! Traces of requests: what the configuration and the environment say of them, and the task that exports them.

mod console;
mod options;

use std::{fmt, sync::Arc, time::Duration};

use opentelemetry::InstrumentationScope;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _, tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter},
};
use weir_api::{OtlpProtocol, Tracing};
use weir_tls::ClientTls;
use weir_traces::{Exporting, Totals, Tracer, pipeline};

use self::{
    console::Console,
    options::{Options, Target},
};
use crate::failure::Failure;

/// Tracing that is configured.
pub(crate) struct Traces {
    pub(crate) tracer: Tracer,
    pub(crate) exporting: Exporting<Exporter>,
    pub(crate) totals: Arc<Totals>,
}

impl Traces {
    /// `None` if requests are not to be traced. Needs the runtime that will export.
    pub(crate) fn new(config: &Tracing) -> Result<Option<Self>, Failure> {
        let found = options::read(config, &|name| std::env::var(name).ok());
        for warning in &found.warnings {
            tracing::warn!("{warning}");
        }
        let Some(options) = found.options else { return Ok(None) };
        tracing::info!("requests are traced: {}", options.describe());
        let Options { target, resource, sampler, batching } = options;
        let scope = InstrumentationScope::builder("weir").with_version(env!("CARGO_PKG_VERSION")).build();
        let (tracer, exporting) = pipeline(exporter(target)?, resource, sampler, batching, scope);
        let totals = exporting.totals();
        Ok(Some(Self { tracer, exporting, totals }))
    }
}

/// Where spans go.
#[derive(Debug)]
pub(crate) enum Exporter {
    Otlp(Box<opentelemetry_otlp::SpanExporter>),
    Console(Console),
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        match self {
            Self::Otlp(exporter) => exporter.export(batch).await,
            Self::Console(exporter) => exporter.export(batch),
        }
    }

    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        if let Self::Otlp(exporter) = self {
            exporter.set_resource(resource);
        }
    }
}

/// Headers, timeout and compression are what the library reads from the environment.
fn exporter(target: Target) -> Result<Exporter, Failure> {
    let failed = |error: &dyn fmt::Display| Failure::new(format!("tracing: {error}"));
    let built = match target {
        Target::Console => return Ok(Exporter::Console(Console)),
        Target::Otlp { endpoint, protocol: OtlpProtocol::Grpc } => {
            let secure = endpoint.starts_with("https:");
            let builder = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint);
            let builder = if secure { builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots()) } else { builder };
            builder.build()
        }
        Target::Otlp { endpoint, protocol: OtlpProtocol::Http } => {
            let secure = endpoint.starts_with("https:");
            let builder = opentelemetry_otlp::SpanExporter::builder()
                .with_http()
                .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
                .with_endpoint(endpoint);
            if secure {
                let mut tls = ClientTls::default().build().map_err(|error| failed(&error))?.as_ref().clone();
                tls.alpn_protocols.clear();
                let connector =
                    hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
                builder.with_http_client(HyperClient::new(connector, TIMEOUT, None)).build()
            } else {
                builder.with_http_client(HyperClient::with_default_connector(TIMEOUT, None)).build()
            }
        }
    };
    built.map(|exporter| Exporter::Otlp(Box::new(exporter))).map_err(|error| failed(&error))
}

/// For one message, retries by the library not counted.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Counts what becomes of spans.
#[derive(Debug)]
pub(crate) struct TraceCollector(pub(crate) Arc<Totals>);

impl Collector for TraceCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Spans that were sent to the collector";
        let exported = encoder.encode_descriptor("weir_trace_spans_exported", help, None, MetricType::Counter)?;
        ConstCounter::new(self.0.exported()).encode(exported)?;
        let help = "Spans that were dropped: the queue was full, or the collector did not take them";
        let mut dropped = encoder.encode_descriptor("weir_trace_spans_dropped", help, None, MetricType::Counter)?;
        for (reason, count) in [("queue_full", self.0.overflowed()), ("export_failed", self.0.failed())] {
            ConstCounter::new(count).encode(dropped.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}
