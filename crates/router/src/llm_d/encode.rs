//! Families of metrics that are made when somebody asks for them.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::histogram::Reading;

/// Labels of a series, in order.
pub(crate) type LabelSet = Vec<(&'static str, String)>;
/// Series of one family.
pub(crate) type Rows<T> = Vec<(LabelSet, T)>;

/// Writes families; names come whole, counters without their `_total`.
pub(crate) struct Families<'e, 'd> {
    encoder: &'e mut DescriptorEncoder<'d>,
}

impl<'e, 'd> Families<'e, 'd> {
    pub(crate) fn new(encoder: &'e mut DescriptorEncoder<'d>) -> Self {
        Self { encoder }
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, rows: &Rows<u64>) -> fmt::Result {
        self.family(name, help, MetricType::Counter, rows, |value, metric| ConstCounter::new(*value).encode(metric))
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, rows: &Rows<f64>) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, rows, |value, metric| ConstGauge::new(*value).encode(metric))
    }

    pub(crate) fn histogram(&mut self, name: &str, help: &str, rows: &Rows<Reading>) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, rows, |value, mut metric| {
            metric.encode_histogram::<NoLabelSet>(value.sum, value.count(), &value.buckets(), None)
        })
    }

    /// Counters that are kept as a family.
    pub(crate) fn kept(&mut self, name: &str, help: &str, counters: &impl EncodeMetric) -> fmt::Result {
        if counters.is_empty() {
            return Ok(());
        }
        let help = format!("[ALPHA] {help}");
        counters.encode(self.encoder.encode_descriptor(name, &help, None, MetricType::Counter)?)
    }

    /// A family without series is left out: whoever looks for it should see that there is nothing.
    fn family<T>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        rows: &Rows<T>,
        write: impl Fn(&T, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        if rows.is_empty() {
            return Ok(());
        }
        let help = format!("[ALPHA] {help}");
        let mut family = self.encoder.encode_descriptor(name, &help, None, kind)?;
        for (labels, value) in rows {
            write(value, family.encode_family(labels)?)?;
        }
        Ok(())
    }
}
