//! `endpoint-attribute-scorer`: prefers endpoints by a number of some name.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{DataSet, Draft, Parts, PluginContext, PluginType, PoolView, RequestView, Scorer};

use super::SCORER;
use crate::{declare::alpha, numbers::Number};

pub(crate) fn plugin() -> PluginType {
    alpha::<Params>(
        "endpoint-attribute-scorer",
        SCORER,
        "Prefers endpoints by an attribute, such as a custom metric: the lower, or the higher, the better.",
        draft,
    )
}

/// The attribute and how it is scored.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Name of the attribute. Required.
    attribute_key: String,
    /// Who produces it. Default: `core-metrics-extractor`; empty: the attribute's key names no producer.
    producer: Option<String>,
    /// How the number is scored. Required.
    algorithm: Option<Algorithm>,
}

/// How the number is scored.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Algorithm {
    /// What is better.
    #[serde(rename = "type")]
    kind: Kind,
    /// Which numbers get 0 and 1.
    #[serde(default)]
    normalization: Normalization,
}

/// What is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Low numbers.
    LinearLowerIsBetter,
    /// High numbers.
    LinearHigherIsBetter,
}

/// Which numbers get 0 and 1: one of the two.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Normalization {
    /// Always the same.
    fixed_range: Option<FixedRange>,
    /// The least and the greatest among the candidates; if all are equal, all get 1. The default.
    adaptive_range: Option<AdaptiveRange>,
}

/// Numbers outside count as the nearer end.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FixedRange {
    /// The low end.
    min: f64,
    /// The high end, above `min`.
    max: f64,
}

/// Has no parameters.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AdaptiveRange {}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let number = Number::parse(context, "attributeKey", &params.attribute_key, params.producer.as_deref())?;
    let Some(algorithm) = params.algorithm else {
        return Err(context.error_at("algorithm", "is required: {type: linear_lower_is_better | linear_higher_is_better}"));
    };
    let Normalization { fixed_range, adaptive_range } = algorithm.normalization;
    if fixed_range.is_some() && adaptive_range.is_some() {
        return Err(context.error_at("algorithm.normalization", "is either fixedRange or adaptiveRange"));
    }
    if let Some(FixedRange { min, max }) = fixed_range
        && (!min.is_finite() || !max.is_finite() || min >= max)
    {
        return Err(context.error_at("algorithm.normalization.fixedRange", format!("min must be below max: {min}, {max}")));
    }
    let found_by = number.found_by(context, "attributeKey");
    let scorer = AttributeScorer { number, lower: algorithm.kind == Kind::LinearLowerIsBetter, fixed: fixed_range };
    Ok(Draft::ready(Parts { scorer: Some(Arc::new(scorer)), ..Parts::default() }).reading(found_by))
}

struct AttributeScorer {
    number: Number,
    lower: bool,
    fixed: Option<FixedRange>,
}

impl Scorer for AttributeScorer {
    fn reads(&self) -> DataSet {
        self.number.reads()
    }

    /// Endpoints without the number get 0.
    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let numbers = || (0..view.len()).filter_map(|i| self.number.of(view, i));
        let FixedRange { min, max } = self.fixed.unwrap_or_else(|| FixedRange {
            min: numbers().fold(f64::INFINITY, f64::min),
            max: numbers().fold(f64::NEG_INFINITY, f64::max),
        });
        for (i, score) in out.iter_mut().enumerate() {
            let Some(number) = self.number.of(view, i) else { continue };
            let share = if max > min { ((number - min) / (max - min)).clamp(0.0, 1.0) } else { f64::from(!self.lower) };
            *score = if self.lower { 1.0 - share } else { share };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, compile, refused};

    const KIND: &str = "endpoint-attribute-scorer";

    fn scores(numbers: &[Option<f64>], algorithm: &str) -> Vec<f64> {
        let fixture = Fixture::new(numbers.len());
        for (endpoint, number) in fixture.endpoints.iter().zip(numbers) {
            endpoint.numbers.set("Rate/core-metrics-extractor", *number);
        }
        fixture.score(KIND, &format!("{{attributeKey: Rate, algorithm: {algorithm}}}"))
    }

    #[test]
    fn golden_vectors() {
        let (lower, higher) = ("{type: linear_lower_is_better}", "{type: linear_higher_is_better}");
        assert_eq!(scores(&[Some(10.0), Some(5.0), Some(0.0)], lower), [0.0, 0.5, 1.0]);
        assert_eq!(scores(&[Some(7.0), Some(7.0)], lower), [1.0, 1.0]);
        assert_eq!(scores(&[Some(7.0), Some(7.0)], higher), [1.0, 1.0]);
        assert_eq!(scores(&[Some(10.0), None, Some(0.0)], lower), [0.0, 0.0, 1.0]);
        let fixed = |kind: &str| format!("{{type: {kind}, normalization: {{fixedRange: {{min: 0, max: 10}}}}}}");
        let found = scores(&[Some(7.0), Some(7.0)], &fixed("linear_lower_is_better"));
        assert!(found.iter().all(|score| (score - 0.3).abs() < 1e-9), "{found:?}");
        assert_eq!(scores(&[Some(15.0), Some(-5.0)], &fixed("linear_lower_is_better")), [0.0, 1.0]);
        assert_eq!(scores(&[Some(10.0), None], &fixed("linear_higher_is_better")), [1.0, 0.0]);
        let adaptive = "{type: linear_higher_is_better, normalization: {adaptiveRange: {}}}";
        assert_eq!(scores(&[Some(10.0), Some(20.0), Some(15.0)], adaptive), [0.0, 1.0, 0.5]);
    }

    #[test]
    fn producers_and_core_metrics() {
        let fixture = Fixture::scraped(2, |i, state| state.running = [4, 2][i]);
        let with =
            |more: &str| format!("{{attributeKey: RunningRequestsSize, algorithm: {{type: linear_lower_is_better}}{more}}}");
        assert_eq!(fixture.score(KIND, &with("")), [0.0, 1.0]);
        assert_eq!(fixture.score(KIND, &with(", producer: other")), [0.0, 0.0]);
        fixture.endpoints[0].numbers.set("RunningRequestsSize/other", Some(1.0));
        assert_eq!(fixture.score(KIND, &with(", producer: other")), [1.0, 0.0]);
    }

    #[test]
    fn somebody_has_to_find_the_number() {
        let text = |producers: &str, key: &str| {
            format!(
                "plugins:\n{producers}- type: endpoint-attribute-scorer\n  parameters: {{attributeKey: {key}, algorithm: {{type: \
                 linear_lower_is_better}}}}\n"
            )
        };
        let custom = "- type: core-metrics-extractor\n  parameters: {engineConfigs: [{name: mine, customMetrics: [{attributeKey: \
                      Preemptions, metricSpec: p}]}]}\n";
        assert!(compile(&text(custom, "Preemptions")).is_ok());
        let refused = compile(&text(custom, "Preemption")).unwrap_err();
        assert_eq!(
            refused.errors().map(ToString::to_string).collect::<Vec<_>>(),
            ["7:30: error: plugins[1].parameters.attributeKey: `endpoint-attribute-scorer` reads \
              Preemption/core-metrics-extractor, which no plugin produces (did you mean `Preemptions/core-metrics-extractor`?)"]
        );
        let gpu = "- {type: dcgm-data-source}\n- {type: dcgm-extractor}\n";
        assert!(compile(&text(gpu, "GPUUtilization, producer: dcgm-extractor")).is_ok());
        assert!(compile(&text("", "GPUUtilization, producer: dcgm-extractor")).is_err());
        // What every page of metrics has needs nobody else.
        assert!(compile(&text("", "WaitingQueueSize")).is_ok());
    }

    #[test]
    fn parameters_that_are_refused() {
        for (parameters, why) in [
            ("{}", "must not be empty"),
            ("{attributeKey: a}", "is required"),
            ("{attributeKey: a/b, algorithm: {type: linear_lower_is_better}}", "split it"),
            ("{attributeKey: a, algorithm: {type: cubic}}", "cubic"),
            (
                "{attributeKey: a, algorithm: {type: linear_lower_is_better, normalization: {fixedRange: {min: 1, max: 1}}}}",
                "below max",
            ),
            (
                "{attributeKey: a, algorithm: {type: linear_lower_is_better, normalization: {fixedRange: {min: 0, max: 1}, adaptiveRange: {}}}}",
                "either",
            ),
        ] {
            assert!(refused(KIND, parameters).contains(why), "{parameters}: {}", refused(KIND, parameters));
        }
    }
}
