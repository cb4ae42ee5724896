//! Where the spans of requests go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Diagnostics, Spanned};

/// Traces of requests, exported by OpenTelemetry's protocol. What is not set here, OpenTelemetry's environment variables say
/// (`OTEL_TRACES_EXPORTER`, `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, …).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tracing {
    /// Where spans go. Default: what `OTEL_TRACES_EXPORTER` says; without it to the collector, if one is named, and else nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exporter: Option<TraceExporter>,
    /// The collector. Default: `http://localhost:4317` with grpc, `http://localhost:4318` with http/protobuf, to which `/v1/traces` is
    /// added if it has no path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Spanned<String>>,
    /// How the collector is spoken to. Default grpc.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<OtlpProtocol>,
    /// Share of traces that are recorded, of those that begin here. Whoever calls with a `traceparent` has decided already. Default 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_ratio: Option<Spanned<f64>>,
    /// What traces call this router. Default `weir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
}

/// Where spans go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TraceExporter {
    /// Nowhere: requests are not traced.
    None,
    /// To a collector.
    Otlp,
    /// To standard output, one JSON object a line.
    Console,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OtlpProtocol {
    /// OTLP over gRPC.
    #[default]
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP over HTTP, in protobuf.
    #[serde(rename = "http/protobuf")]
    Http,
}

impl Tracing {
    pub(super) fn check(&self, found: &mut Diagnostics) {
        if let Some(endpoint) = &self.endpoint {
            let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
            if !host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', ':']) && !host.contains(' ')) {
                let error = endpoint.error(format!("{:?} is no URL of a collector", endpoint.as_str()));
                found.push(error.with_help("write http://host:4317, or https://"));
            }
        }
        if let Some(ratio) = self.sample_ratio.as_ref().filter(|ratio| !(0.0..=1.0).contains(&ratio.value)) {
            found.push(ratio.error("sampleRatio must be from 0 to 1"));
        }
    }
}
