//! `utilization-detector`: how full a pool is by its queues and KV caches. Also a filter.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, GoDuration};
use weir_plan::{
    Candidates, DataSet, Draft, ExtensionPoint, Filter, Parts, PluginContext, PluginType, PoolView, RequestView,
    SaturationDetector,
};
use weir_pool::EndpointState;

use super::{fuller, mean};
use crate::declare::beta;

pub(super) fn plugin() -> PluginType {
    beta::<Params>(
        "utilization-detector",
        &[ExtensionPoint::FlowControl, ExtensionPoint::Filter],
        "Tells from queues and KV caches whether a pool is saturated. As a filter it keeps endpoints that are not full.",
        draft,
    )
}

/// Where an endpoint counts as full.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Waiting requests at which an endpoint is full. Above 0.
    queue_depth_threshold: i64,
    /// Used share of the KV cache at which an endpoint is full. Above 0, at most 1.
    kv_cache_util_threshold: f64,
    /// Age from which numbers count as unknown, and the endpoint as full.
    metrics_staleness_threshold: GoDuration,
    /// For the filter: how far above full an endpoint may be, as a share.
    headroom: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            queue_depth_threshold: 5,
            kv_cache_util_threshold: 0.8,
            metrics_staleness_threshold: GoDuration::from_millis(200),
            headroom: 0.0,
        }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if params.queue_depth_threshold <= 0 {
        return Err(context.error_at("queueDepthThreshold", format!("must be above 0, is {}", params.queue_depth_threshold)));
    }
    if !(params.kv_cache_util_threshold > 0.0 && params.kv_cache_util_threshold <= 1.0) {
        let message = format!("must be above 0 and at most 1, is {}", params.kv_cache_util_threshold);
        return Err(context.error_at("kvCacheUtilThreshold", message));
    }
    if !params.headroom.is_finite() || params.headroom < 0.0 {
        return Err(context.error_at("headroom", format!("must be 0 or more, is {}", params.headroom)));
    }
    let stale_after = params.metrics_staleness_threshold.get();
    if stale_after.is_zero() {
        return Err(context.error_at("metricsStalenessThreshold", "must be above 0"));
    }
    let detector = Arc::new(UtilizationDetector {
        queue: params.queue_depth_threshold as f64,
        kv: params.kv_cache_util_threshold,
        stale_after,
        limit: 1.0 + params.headroom,
    });
    Ok(Draft::ready(Parts { filter: Some(detector.clone()), detector: Some(detector), ..Parts::default() }))
}

struct UtilizationDetector {
    queue: f64,
    kv: f64,
    stale_after: Duration,
    /// For the filter: share from which an endpoint goes.
    limit: f64,
}

impl UtilizationDetector {
    /// How full one endpoint is; `None` if its numbers are too old. Where nothing ran when they were read, and nothing was sent since,
    /// they hold as long as those of idle endpoints are expected to: these are read less often.
    fn of(&self, state: &EndpointState) -> Option<f64> {
        let idle = state.waiting == 0 && state.running == 0 && state.inflight_requests == 0;
        let fresh = |age: &Duration| *age <= self.stale_after || (idle && !state.stale);
        state.age.filter(fresh).map(|_| fuller(state, self.queue, self.kv))
    }
}

impl SaturationDetector for UtilizationDetector {
    fn reads(&self) -> DataSet {
        DataSet::QUEUE | DataSet::KV_USAGE
    }

    fn saturation(&self, view: &PoolView<'_>) -> f64 {
        mean(view, |state| self.of(state).unwrap_or(1.0))
    }

    fn stale(&self, view: &PoolView<'_>) -> Option<usize> {
        Some(view.states().filter(|state| self.of(state).is_none()).count())
    }
}

impl Filter for UtilizationDetector {
    fn reads(&self) -> DataSet {
        DataSet::QUEUE | DataSet::KV_USAGE
    }

    /// If nobody is left, all stay.
    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        view.retain(keep, |i| self.of(view.state(i)).is_some_and(|full| full < self.limit));
        if keep.is_empty() {
            view.retain_all(keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::testing::{Fixture, refused};

    const KIND: &str = "utilization-detector";

    fn fixture() -> Fixture {
        Fixture::scraped(3, |i, state| {
            (state.waiting, state.kv_usage) = ([3, 0, 9][i], [0.4, 0.8, 0.1][i]);
            state.age = Some(Duration::from_millis([50, 50, 900][i]));
        })
    }

    #[test]
    fn golden_vectors() {
        let mut fixture = fixture();
        fixture.candidates = vec![0, 1];
        assert_eq!(fixture.saturation(KIND, "{}"), (0.6 + 1.0) / 2.0);
        fixture.candidates = vec![2];
        assert_eq!(fixture.saturation(KIND, "{}"), 1.0, "stale only");
        fixture.candidates = vec![];
        assert_eq!(fixture.saturation(KIND, "{}"), 1.0, "none");
    }

    #[test]
    fn numbers_of_idle_endpoints_hold_as_long_as_the_pool_says() {
        let mut fixture = Fixture::scraped(2, |_, state| state.age = Some(Duration::from_millis(900)));
        assert_eq!(fixture.saturation(KIND, "{}"), 0.0);
        assert_eq!(fixture.filter(KIND, "{}"), [0, 1]);
        fixture.states[0].inflight_requests = 1;
        assert_eq!(fixture.saturation(KIND, "{}"), 0.5, "something was sent there since");
        fixture.states[0] = fixture.states[1];
        fixture.states[0].running = 1;
        assert_eq!(fixture.saturation(KIND, "{}"), 0.5, "it worked when it was last seen");
        fixture.states[1].stale = true;
        assert_eq!(fixture.saturation(KIND, "{}"), 1.0, "it does not answer any more");
    }

    #[test]
    fn parameters() {
        let mut fixture = fixture();
        fixture.candidates = vec![0, 1];
        assert_eq!(fixture.saturation(KIND, "{queueDepthThreshold: 3}"), 1.0);
        assert_eq!(fixture.saturation(KIND, "{kvCacheUtilThreshold: 0.4}"), (1.0 + 2.0) / 2.0);
        fixture.candidates = vec![2];
        assert_eq!(fixture.saturation(KIND, "{metricsStalenessThreshold: 1s}"), 9.0 / 5.0);
    }

    #[test]
    fn as_a_filter_it_keeps_what_is_fresh_and_not_full() {
        let mut fixture = fixture();
        assert_eq!(fixture.filter(KIND, "{}"), [0]);
        assert_eq!(fixture.filter(KIND, "{headroom: 0.1}"), [0, 1]);
        assert_eq!(fixture.filter(KIND, "{metricsStalenessThreshold: 1s, headroom: 1}"), [0, 1, 2]);
        fixture.candidates = vec![1, 2];
        assert_eq!(fixture.filter(KIND, "{}"), [1, 2], "nobody would be left");
    }

    #[test]
    fn parameters_that_are_refused() {
        for (parameters, why) in [
            ("{queueDepthThreshold: 0}", "above 0"),
            ("{kvCacheUtilThreshold: 1.1}", "at most 1"),
            ("{headroom: -1}", "0 or more"),
            ("{metricsStalenessThreshold: 0s}", "above 0"),
        ] {
            assert!(refused(KIND, parameters).contains(why), "{parameters}");
        }
    }
}
