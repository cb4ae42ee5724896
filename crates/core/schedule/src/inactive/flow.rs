//! Policies of flow control: their parameters are read and checked; the queues that they are for are not yet active.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_api::Diagnostic;
use weir_plan::{Draft, ExtensionPoint, Parts, PluginContext, PluginType, UsageLimits};

use crate::declare::{NoParameters, alpha, beta};

const FLOW: &[ExtensionPoint] = &[ExtensionPoint::FlowControl];

pub(super) fn plugins() -> Vec<PluginType> {
    let plain = |name, summary| PluginType { active: false, ..beta::<NoParameters>(name, FLOW, summary, nothing) };
    vec![
        plain("fcfs-ordering-policy", "First come, first served."),
        plain("edf-ordering-policy", "The request whose time in the queue runs out first goes first."),
        plain("slo-deadline-ordering-policy", "The request whose first token is due first goes first."),
        plain("global-strict-fairness-policy", "The best request of all flows goes first."),
        plain("round-robin-fairness-policy", "Flows take turns."),
        PluginType {
            active: false,
            ..beta::<ProgramAware>(
                "program-aware-fairness",
                FLOW,
                "The flow goes first that was served least, and whose request waited longest.",
                program_aware,
            )
        },
        PluginType { active: false, ..beta::<Static>("static-usage-limit-policy", FLOW, "One limit for all priorities.", fixed) },
        PluginType {
            active: false,
            ..alpha::<Holdback>(
                "priority-holdback-policy",
                FLOW,
                "The lower the priority, the less of the pool it may fill.",
                holdback,
            )
        },
        PluginType {
            active: false,
            ..alpha::<NoParameters>(
                "soft-reflective-ceiling-policy",
                FLOW,
                "The fuller the pool, the fewer low priorities may go.",
                soft,
            )
        },
        PluginType {
            active: false,
            ..alpha::<NoParameters>("sheddable-eviction-filter", FLOW, "Only requests of negative priority are evicted.", nothing)
        },
        PluginType {
            active: false,
            ..alpha::<NoParameters>(
                "priority-then-time-eviction-order-policy",
                FLOW,
                "The lowest priority is evicted first, of equal ones the newest.",
                nothing,
            )
        },
    ]
}

fn nothing(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let NoParameters {} = context.params()?;
    Ok(Draft::ready(Parts::default()))
}

fn limits(limits: impl UsageLimits + 'static) -> Draft {
    Draft::ready(Parts { usage_limits: Some(Arc::new(limits)), ..Parts::default() })
}

/// What counts as served, and how long it is remembered.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ProgramAware {
    /// How flows are ranked.
    strategy: Strategy,
    /// Seconds after which an idle flow is forgotten.
    eviction_ttl_seconds: f64,
    /// Seconds between searches for idle flows.
    eviction_sweep_seconds: f64,
    /// Weight of the service had.
    las_weight_service: f64,
    /// Weight of the time that the first request waited.
    las_weight_head_wait: f64,
    /// Seconds after which service counts half.
    las_half_life_seconds: f64,
}

impl Default for ProgramAware {
    fn default() -> Self {
        Self {
            strategy: Strategy::Las,
            eviction_ttl_seconds: 3_600.0,
            eviction_sweep_seconds: 300.0,
            las_weight_service: 0.8,
            las_weight_head_wait: 0.2,
            las_half_life_seconds: 60.0,
        }
    }
}

/// How flows are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Strategy {
    /// Least attained service.
    Las,
}

fn program_aware(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: ProgramAware = context.params()?;
    let Strategy::Las = params.strategy;
    let times = [
        ("evictionTtlSeconds", params.eviction_ttl_seconds),
        ("evictionSweepSeconds", params.eviction_sweep_seconds),
        ("lasHalfLifeSeconds", params.las_half_life_seconds),
    ];
    if let Some((field, value)) = times.into_iter().find(|(_, value)| !value.is_finite() || *value <= 0.0) {
        return Err(context.error_at(field, format!("must be above 0, is {value}")));
    }
    let weights = [("lasWeightService", params.las_weight_service), ("lasWeightHeadWait", params.las_weight_head_wait)];
    if let Some((field, value)) = weights.into_iter().find(|(_, value)| !value.is_finite() || *value < 0.0) {
        return Err(context.error_at(field, format!("must be 0 or more, is {value}")));
    }
    Ok(Draft::ready(Parts::default()))
}

/// The one limit.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Static {
    /// Saturation up to which requests may go.
    threshold: f64,
}

impl Default for Static {
    fn default() -> Self {
        Self { threshold: 1.0 }
    }
}

fn fixed(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Static = context.params()?;
    if !params.threshold.is_finite() || params.threshold <= 0.0 {
        return Err(context.error_at("threshold", format!("must be above 0, is {}", params.threshold)));
    }
    Ok(limits(params))
}

impl UsageLimits for Static {
    fn ceilings(&self, priorities: &[i32], _: f64, out: &mut Vec<f64>) {
        out.extend(priorities.iter().map(|_| self.threshold));
    }
}

/// How ceilings fall with priority.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Holdback {
    /// The form of the fall.
    #[serde(default)]
    shape: Shape,
    /// What it falls with.
    #[serde(default)]
    domain: Domain,
    /// Ceiling of the lowest priority: 0 or more, below 1. Required.
    min_ceiling: Option<f64>,
    /// Ceiling of the highest priority: above `minCeiling`, at most 1.
    #[serde(default = "one")]
    max_ceiling: f64,
}

fn one() -> f64 {
    1.0
}

/// The form of the fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Shape {
    /// Straight.
    #[default]
    Linear,
}

/// What ceilings fall with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Domain {
    /// The place among the priorities.
    #[default]
    Rank,
    /// The priority itself.
    Value,
}

fn holdback(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Holdback = context.params()?;
    let Shape::Linear = params.shape;
    let Some(least) = params.min_ceiling else { return Err(context.error_at("minCeiling", "is required")) };
    if !(0.0..1.0).contains(&least) {
        return Err(context.error_at("minCeiling", format!("must be 0 or more and below 1, is {least}")));
    }
    if !(params.max_ceiling > least && params.max_ceiling <= 1.0) {
        return Err(context.error_at("maxCeiling", format!("must be above minCeiling and at most 1, is {}", params.max_ceiling)));
    }
    Ok(limits(HoldbackLimits { domain: params.domain, least, most: params.max_ceiling }))
}

struct HoldbackLimits {
    domain: Domain,
    least: f64,
    most: f64,
}

impl UsageLimits for HoldbackLimits {
    fn ceilings(&self, priorities: &[i32], _: f64, out: &mut Vec<f64>) {
        let (highest, lowest) = (priorities.first().copied().unwrap_or(0), priorities.last().copied().unwrap_or(0));
        let range = f64::from(highest) - f64::from(lowest);
        let steps = priorities.len().saturating_sub(1) as f64;
        out.extend(priorities.iter().enumerate().map(|(rank, priority)| match self.domain {
            _ if steps == 0.0 || range == 0.0 => self.most,
            Domain::Rank => self.most - rank as f64 * (self.most - self.least) / steps,
            Domain::Value => self.least + (f64::from(*priority) - f64::from(lowest)) / range * (self.most - self.least),
        }));
    }
}

fn soft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let NoParameters {} = context.params()?;
    Ok(limits(SoftCeiling { tick: AtomicU64::new(0) }))
}

struct SoftCeiling {
    tick: AtomicU64,
}

impl UsageLimits for SoftCeiling {
    /// A priority that is due goes in one of every `saturation / (1 − saturation)` evaluations.
    fn ceilings(&self, priorities: &[i32], saturation: f64, out: &mut Vec<f64>) {
        let steps = priorities.len().saturating_sub(1) as f64;
        let due = if (0.5..1.0).contains(&saturation) {
            let period = ((saturation / (1.0 - saturation)).round() as u64).max(1);
            self.tick.fetch_add(1, Relaxed).is_multiple_of(period)
        } else {
            saturation < 0.5
        };
        out.extend((0..priorities.len()).map(|rank| {
            let threshold = 1.0 - rank as f64 * saturation / steps.max(1.0);
            let goes = rank == 0 || saturation < threshold || (saturation < 1.0 && due);
            f64::from(goes)
        }));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{compile, refused};

    /// Ceilings of priorities, highest first.
    fn ceilings(kind: &str, parameters: &str, priorities: &[i32], saturation: f64, times: usize) -> Vec<f64> {
        let text = format!(
            "featureGates: [flowControl]\nplugins: [{{type: {kind}, parameters: {parameters}}}, {{type: queue-scorer}}]\n\
             flowControl: {{usageLimitPolicyPluginRef: {kind}}}"
        );
        let plan = compile(&text).unwrap();
        let mut out = Vec::new();
        for _ in 0..times {
            out.clear();
            plan.usage_limits.as_ref().unwrap().plugin.ceilings(priorities, saturation, &mut out);
        }
        out
    }

    fn near(found: &[f64], want: &[f64]) {
        assert!(found.len() == want.len() && found.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?} {want:?}");
    }

    #[test]
    fn golden_vectors() {
        let holdback = |domain: &str, priorities: &[i32]| {
            ceilings("priority-holdback-policy", &format!("{{domain: {domain}, minCeiling: 0.5}}"), priorities, 0.0, 1)
        };
        near(&holdback("rank", &[10, 0, -10]), &[1.0, 0.75, 0.5]);
        near(&holdback("value", &[100, 0, -10]), &[1.0, 0.5455, 0.5]);
        near(&holdback("rank", &[3]), &[1.0]);
        let soft = |saturation, count: i32, times| {
            let priorities: Vec<i32> = (0..count).rev().collect();
            ceilings("soft-reflective-ceiling-policy", "{}", &priorities, saturation, times)
        };
        near(&soft(0.3, 3, 1), &[1.0, 1.0, 1.0]);
        near(&soft(1.0, 3, 1), &[1.0, 0.0, 0.0]);
        near(&soft(1.0, 1, 1), &[1.0]);
        // At 0.75 every third evaluation lets all go: the first, then the fourth.
        near(&soft(0.75, 3, 1), &[1.0, 1.0, 1.0]);
        near(&soft(0.75, 3, 2), &[1.0, 0.0, 0.0]);
        near(&soft(0.75, 3, 4), &[1.0, 1.0, 1.0]);
    }

    #[test]
    fn parameters() {
        near(&ceilings("static-usage-limit-policy", "{}", &[1, 0], 0.0, 1), &[1.0, 1.0]);
        near(&ceilings("static-usage-limit-policy", "{threshold: 0.8}", &[1, 0], 0.0, 1), &[0.8, 0.8]);
        near(&ceilings("priority-holdback-policy", "{minCeiling: 0.2, maxCeiling: 0.8}", &[1, 0], 0.0, 1), &[0.8, 0.2]);
    }

    #[test]
    fn parameters_that_are_refused() {
        for (kind, parameters, why) in [
            ("priority-holdback-policy", "{}", "is required"),
            ("priority-holdback-policy", "{minCeiling: 1}", "below 1"),
            ("priority-holdback-policy", "{minCeiling: 0.5, maxCeiling: 0.4}", "above minCeiling"),
            ("priority-holdback-policy", "{minCeiling: 0.5, shape: round}", "round"),
            ("static-usage-limit-policy", "{threshold: 0}", "above 0"),
            ("program-aware-fairness", "{lasHalfLifeSeconds: 0}", "above 0"),
            ("program-aware-fairness", "{lasWeightService: -1}", "0 or more"),
            ("program-aware-fairness", "{strategy: fair}", "fair"),
            ("fcfs-ordering-policy", "{a: 1}", "unknown field `a`"),
        ] {
            let found = refused(kind, parameters);
            assert!(found.contains(why), "{kind} {parameters}: {found}");
        }
    }
}
