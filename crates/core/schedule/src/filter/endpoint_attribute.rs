//! `endpoint-attribute-filter`: keeps endpoints whose number of some name passes a threshold.

use std::sync::Arc;

use fastrand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_api::Diagnostic;
use weir_plan::{Candidates, DataSet, Draft, ExtensionPoint, Filter, Parts, PluginContext, PluginType, PoolView, RequestView};

use crate::{declare::alpha, numbers::Number};

pub(crate) fn plugin() -> PluginType {
    alpha::<Params>(
        "endpoint-attribute-filter",
        &[ExtensionPoint::Filter],
        "Keeps endpoints whose attribute, such as a custom metric, passes a threshold.",
        draft,
    )
}

/// The attribute and its threshold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Name of the attribute. Required.
    attribute: String,
    /// Who produces it. Default: `core-metrics-extractor`; empty: the attribute's key names no producer.
    producer: Option<String>,
    /// What becomes of endpoints without the attribute.
    on_missing: OnMissing,
    /// Whether all endpoints stay if none passes.
    fallback_on_empty: bool,
    /// How the number is judged. Required.
    algorithm: Option<Algorithm>,
}

/// What becomes of endpoints without the attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
enum OnMissing {
    /// They stay.
    #[default]
    Pass,
    /// They go.
    Fail,
}

/// How the number is judged.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Algorithm {
    /// The kind of judgement.
    #[serde(rename = "type")]
    kind: Kind,
    /// For `threshold`. Required.
    threshold: Option<Threshold>,
}

/// The kind of judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Kind {
    /// By comparison with one value.
    Threshold,
}

/// The endpoint stays if its number and `value` relate like this.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Threshold {
    /// How they relate.
    operator: Operator,
    /// What the number is compared with.
    value: f64,
}

/// How a number relates to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
enum Operator {
    /// `<`
    LessThan,
    /// `≤`
    LessThanOrEqual,
    /// `>`
    GreaterThan,
    /// `≥`
    GreaterThanOrEqual,
    /// `=`
    Equal,
    /// `≠`
    NotEqual,
}

impl Threshold {
    #[expect(clippy::float_cmp, reason = "Equal and NotEqual mean just that")]
    fn passes(self, number: f64) -> bool {
        match self.operator {
            Operator::LessThan => number < self.value,
            Operator::LessThanOrEqual => number <= self.value,
            Operator::GreaterThan => number > self.value,
            Operator::GreaterThanOrEqual => number >= self.value,
            Operator::Equal => number == self.value,
            Operator::NotEqual => number != self.value,
        }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let number = Number::parse(context, "attribute", &params.attribute, params.producer.as_deref())?;
    let Some(algorithm) = params.algorithm else {
        return Err(context.error_at("algorithm", "is required: {type: threshold, threshold: {operator, value}}"));
    };
    let Kind::Threshold = algorithm.kind;
    let Some(threshold) = algorithm.threshold else {
        return Err(context.error_at("algorithm.threshold", "is required: {operator, value}"));
    };
    let found_by = number.found_by(context, "attribute");
    let filter = AttributeFilter {
        number,
        threshold,
        missing_passes: params.on_missing == OnMissing::Pass,
        fallback: params.fallback_on_empty,
    };
    Ok(Draft::ready(Parts { filter: Some(Arc::new(filter)), ..Parts::default() }).reading(found_by))
}

struct AttributeFilter {
    number: Number,
    threshold: Threshold,
    missing_passes: bool,
    fallback: bool,
}

impl Filter for AttributeFilter {
    fn reads(&self) -> DataSet {
        self.number.reads()
    }

    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        view.retain(keep, |i| self.number.of(view, i).map_or(self.missing_passes, |number| self.threshold.passes(number)));
        if keep.is_empty() && self.fallback {
            view.retain_all(keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, refused};

    const KIND: &str = "endpoint-attribute-filter";

    fn with(operator: &str, more: &str) -> String {
        format!("{{attribute: Rate, algorithm: {{type: threshold, threshold: {{operator: {operator}, value: 5}}}}{more}}}")
    }

    #[test]
    fn operators_and_missing_numbers() {
        let fixture = Fixture::new(4);
        for (endpoint, number) in fixture.endpoints.iter().zip([4.0, 5.0, 6.0]) {
            endpoint.numbers.set("Rate/core-metrics-extractor", Some(number));
        }
        for (operator, kept) in [
            ("LessThan", vec![0, 3]),
            ("LessThanOrEqual", vec![0, 1, 3]),
            ("GreaterThan", vec![2, 3]),
            ("GreaterThanOrEqual", vec![1, 2, 3]),
            ("Equal", vec![1, 3]),
            ("NotEqual", vec![0, 2, 3]),
        ] {
            assert_eq!(fixture.filter(KIND, &with(operator, "")), kept, "{operator}");
        }
        assert_eq!(fixture.filter(KIND, &with("LessThan", ", onMissing: Fail")), [0]);
    }

    #[test]
    fn nobody_left() {
        let fixture = Fixture::new(2);
        assert!(fixture.filter(KIND, &with("LessThan", ", onMissing: Fail")).is_empty());
        assert_eq!(fixture.filter(KIND, &with("LessThan", ", onMissing: Fail, fallbackOnEmpty: true")), [0, 1]);
    }

    #[test]
    fn producers() {
        let fixture = Fixture::scraped(2, |i, state| state.waiting = [9, 1][i]);
        fixture.endpoints[0].numbers.set("llm-d.ai/multicluster-queue-size", Some(1.0));
        fixture.endpoints[1].numbers.set("Rate/mine", Some(1.0));
        let bare = with("LessThan", ", onMissing: Fail, producer: ''").replace("Rate", "llm-d.ai/multicluster-queue-size");
        assert_eq!(fixture.filter(KIND, &bare), [0]);
        assert_eq!(fixture.filter(KIND, &with("LessThan", ", onMissing: Fail, producer: mine")), [1]);
        assert_eq!(fixture.filter(KIND, &with("LessThan", ", onMissing: Fail").replace("Rate", "WaitingQueueSize")), [1]);
    }

    #[test]
    fn parameters_that_are_refused() {
        for (parameters, why) in [
            ("{}", "must not be empty"),
            ("{attribute: a}", "is required"),
            ("{attribute: a, algorithm: {type: threshold}}", "{operator, value}"),
            (
                "{attribute: a/b, algorithm: {type: threshold, threshold: {operator: Equal, value: 1}}}",
                "split it: attribute: a, producer: b",
            ),
            ("{attribute: a, algorithm: {type: threshold, threshold: {operator: Like, value: 1}}}", "Like"),
            (
                "{attribute: Rate, algorithm: {type: threshold, threshold: {operator: Equal, value: 1}}}",
                "reads Rate/core-metrics-extractor, which no plugin produces (`customMetrics` in",
            ),
        ] {
            assert!(refused(KIND, parameters).contains(why), "{parameters}: {}", refused(KIND, parameters));
        }
    }
}
