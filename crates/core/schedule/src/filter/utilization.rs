//! `utilization-filter`: keeps endpoints whose numbers are all within limits.

use std::sync::Arc;

use fastrand::Rng;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{
    Candidates, DataKey, DataSet, Draft, ExtensionPoint, Filter, Need, Parts, PluginContext, PluginType, PoolView, RequestView,
};
use weir_pool::EndpointState;

use crate::declare::alpha;

pub(crate) fn plugin() -> PluginType {
    alpha::<Params>(
        "utilization-filter",
        &[ExtensionPoint::Filter],
        "Keeps endpoints whose requests in flight, batch, queue or KV cache are within limits.",
        draft,
    )
}

/// The limits.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Limits, all of which an endpoint must keep. At least one.
    conditions: Vec<Condition>,
    /// Whether all endpoints stay if none is within the limits.
    fallback_on_empty: bool,
    /// Name of the `inflight-load-producer` that counts `active-requests`.
    in_flight_load_producer_name: Option<String>,
}

/// One limit.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    /// The number. One that an endpoint does not have counts as 0.
    metric: Metric,
    /// The most that is allowed: 0 or more, for `kv-cache-utilization` at most 1.
    max_value: f64,
}

/// A number of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Metric {
    /// Requests in flight.
    ActiveRequests,
    /// Requests in the engine's batch.
    RunningRequests,
    /// Requests in the engine's queue.
    WaitingQueue,
    /// Used share of the KV cache, 0 to 1.
    KvCacheUtilization,
}

impl Metric {
    fn of(self, state: &EndpointState) -> f64 {
        match self {
            Self::ActiveRequests => state.inflight_requests as f64,
            Self::RunningRequests => f64::from(state.running),
            Self::WaitingQueue => f64::from(state.waiting),
            Self::KvCacheUtilization => state.kv_usage,
        }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if params.conditions.is_empty() {
        return Err(context.error_at("conditions", "there must be at least one"));
    }
    for Condition { metric, max_value } in &params.conditions {
        if !max_value.is_finite() || *max_value < 0.0 {
            return Err(context.error_at("conditions", format!("maxValue must be 0 or more, is {max_value}")));
        }
        if *metric == Metric::KvCacheUtilization && *max_value > 1.0 {
            return Err(context.error_at("conditions", format!("maxValue of kv-cache-utilization is at most 1, is {max_value}")));
        }
    }
    let counts = params.conditions.iter().any(|one| one.metric == Metric::ActiveRequests);
    let name = params.in_flight_load_producer_name.clone().filter(|name| !name.is_empty());
    let needs = if counts { vec![Need::required(DataKey::InFlightLoad, name.as_deref())] } else { Vec::new() };
    Ok(Draft::wired(needs, Vec::new(), move |_| Ok(Parts { filter: Some(Arc::new(params)), ..Parts::default() })))
}

impl Filter for Params {
    fn reads(&self) -> DataSet {
        self.conditions.iter().fold(DataSet::NONE, |reads, one| {
            reads
                | match one.metric {
                    Metric::ActiveRequests => DataSet::IN_FLIGHT,
                    Metric::RunningRequests => DataSet::RUNNING,
                    Metric::WaitingQueue => DataSet::QUEUE,
                    Metric::KvCacheUtilization => DataSet::KV_USAGE,
                }
        })
    }

    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        view.retain(keep, |i| self.conditions.iter().all(|one| one.metric.of(view.state(i)) <= one.max_value));
        if keep.is_empty() && self.fallback_on_empty {
            view.retain_all(keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, compile, refused};

    const KIND: &str = "utilization-filter";

    #[test]
    fn all_conditions_must_hold() {
        let fixture = Fixture::scraped(3, |i, state| {
            (state.waiting, state.running, state.kv_usage) = ([0, 5, 9][i], [8, 2, 2][i], [0.1, 0.5, 0.9][i]);
            state.inflight_requests = [3, 2, 1][i];
        });
        for (conditions, kept) in [
            ("[{metric: waiting-queue, maxValue: 5}]", vec![0, 1]),
            ("[{metric: running-requests, maxValue: 2}]", vec![1, 2]),
            ("[{metric: kv-cache-utilization, maxValue: 0.5}]", vec![0, 1]),
            ("[{metric: active-requests, maxValue: 1}]", vec![2]),
            ("[{metric: waiting-queue, maxValue: 5}, {metric: running-requests, maxValue: 2}]", vec![1]),
            ("[{metric: waiting-queue, maxValue: 0}, {metric: running-requests, maxValue: 2}]", vec![]),
        ] {
            assert_eq!(fixture.filter(KIND, &format!("{{conditions: {conditions}}}")), kept, "{conditions}");
        }
        let nobody = "[{metric: waiting-queue, maxValue: 0}, {metric: running-requests, maxValue: 2}]";
        assert_eq!(fixture.filter(KIND, &format!("{{conditions: {nobody}, fallbackOnEmpty: true}}")), [0, 1, 2]);
    }

    #[test]
    fn it_brings_what_counts_requests() {
        let with = |metric: &str| {
            compile(&format!("plugins: [{{type: {KIND}, parameters: {{conditions: [{{metric: {metric}, maxValue: 1}}]}}}}]"))
                .unwrap()
        };
        assert!(with("active-requests").in_flight.is_some() && with("active-requests").metrics.is_none());
        assert!(with("waiting-queue").in_flight.is_none() && with("waiting-queue").metrics.is_some());
    }

    #[test]
    fn parameters_that_are_refused() {
        for (parameters, why) in [
            ("{}", "at least one"),
            ("{conditions: [{metric: waiting-queue}]}", "maxValue"),
            ("{conditions: [{metric: waiting-queue, maxValue: -1}]}", "0 or more"),
            ("{conditions: [{metric: kv-cache-utilization, maxValue: 1.5}]}", "at most 1"),
            ("{conditions: [{metric: temperature, maxValue: 1}]}", "temperature"),
            ("{conditions: [{metric: active-requests, maxValue: 1}], inFlightLoadProducerName: x}", "InFlightLoadDataKey/x"),
        ] {
            assert!(refused(KIND, parameters).contains(why), "{parameters}");
        }
    }
}
