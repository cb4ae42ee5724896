//! How full pools are, as their detectors see it now.

use std::fmt;

use weir_plan::{Attributes, PoolView};
use weir_pool::EndpointState;
use weir_schedule::StageSaturation;

use super::{EXTENSION, Families, LabelSet, Rows, both, summed, with};
use crate::{Router, decide::list_candidates};

/// The gauges of flow control that need no queue. A stage without workers has no series.
pub(super) fn write(router: &Router, families: &mut Families<'_, '_>, legacy: bool) -> fmt::Result {
    let now = router.now();
    let mut saturations: Rows<f64> = Vec::new();
    let mut stale: Rows<f64> = Vec::new();
    let mut candidates = Vec::new();
    for runtime in router.pools() {
        let Some(detector) = &runtime.plan.detector else { continue };
        let snapshot = runtime.pool.load();
        let endpoints = &snapshot.endpoints;
        let states: Vec<EndpointState> = endpoints.iter().map(|one| one.state(now, runtime.stale_after)).collect();
        list_candidates(endpoints, &[], None, now, &mut candidates);
        let StageSaturation { prefill, decode, effective } =
            StageSaturation::of(detector.plugin.as_ref(), endpoints, &states, &candidates);
        let pool: LabelSet = vec![("inference_pool", runtime.pool.name().to_owned())];
        let stages = [("prefill", prefill), ("decode", decode), ("effective", Some(effective))];
        saturations.extend(stages.into_iter().filter_map(|(stage, value)| Some((with(pool.clone(), "stage", stage), value?))));
        let attributes = Attributes::default();
        if let Some(count) = detector.plugin.stale(&PoolView::new(endpoints, &states, &candidates, &attributes)) {
            stale.push((vec![("detector", detector.name.clone())], count as f64));
        }
    }
    let help = "How full a pool is; from 1 on it is saturated";
    both(legacy, EXTENSION, "flow_control_pool_saturation", |name| families.gauge(name, help, &saturations))?;
    let help = "Endpoints that count as full because their numbers are too old";
    let stale = summed(stale, |sum, more| *sum += more);
    families.gauge("llm_d_epp_flow_control_stale_endpoints", help, &stale)
}
