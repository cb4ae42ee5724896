//! `prefix-cache-scorer`: prefers endpoints that hold the beginning of the prompt.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{Column, DataKey, DataSet, Draft, Need, Parts, PluginContext, PluginType, PoolView, RequestView, Scorer};

use super::SCORER;
use crate::declare::{alpha, beta};

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "prefix-cache-scorer",
        SCORER,
        "Prefers endpoints that hold the beginning of the prompt: the share of its blocks, optionally mixed with the length held.",
        |context| draft(context, None),
    )
}

/// The same over endpoints that are whole clusters.
pub(crate) fn multicluster() -> PluginType {
    alpha::<Params>(
        "multicluster-prefix-cache-scorer",
        SCORER,
        "The same as `prefix-cache-scorer`, over endpoints that are whole clusters.",
        |context| draft(context, Some(MULTICLUSTER)),
    )
}

const MULTICLUSTER: &str = "multicluster-approx-prefix-cache-producer";

/// Which match, and how much its absolute length counts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Name of the producer of the match. Default: `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: Option<String>,
    /// Weight of the matched length, 0 to 1; the matched share of the prompt gets the rest.
    match_length_weight: f64,
    /// Tokens at which the matched length counts in full; above 0 if the weight is.
    match_length_scale_tokens: i64,
}

impl Default for Params {
    fn default() -> Self {
        Self { prefix_match_info_producer_name: None, match_length_weight: 0.0, match_length_scale_tokens: 8_192 }
    }
}

/// `default`: type of the producer that is added if none is named; unset: that of every match.
fn draft(context: &mut PluginContext<'_>, default: Option<&'static str>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let weight = params.match_length_weight;
    if !(0.0..=1.0).contains(&weight) {
        return Err(context.error_at("matchLengthWeight", format!("must be in 0..=1, is {weight}")));
    }
    if weight > 0.0 && params.match_length_scale_tokens <= 0 {
        return Err(context.error_at("matchLengthScaleTokens", "must be above 0 when `matchLengthWeight` is"));
    }
    let scale = params.match_length_scale_tokens.max(1) as f64;
    let name = params.prefix_match_info_producer_name.filter(|name| !name.is_empty());
    let mut need = Need::required(DataKey::PrefixCacheMatchInfo, name.as_deref().or(default));
    need.creates = default.unwrap_or(need.creates);
    let producer = need.producer.clone();
    let missing = context.error(format!("`{producer}` produces no prefix matches"));
    Ok(Draft::wired(vec![need], Vec::new(), move |wiring| {
        let column = wiring.prefix_column(&producer).ok_or(missing)?;
        Ok(Parts { scorer: Some(Arc::new(PrefixCache { column, weight, scale })), ..Parts::default() })
    }))
}

struct PrefixCache {
    column: Column,
    weight: f64,
    scale: f64,
}

impl Scorer for PrefixCache {
    fn reads(&self) -> DataSet {
        DataSet::PREFIX
    }

    /// `w·min(1, match·blockSize/scale)² + (1−w)·match/total`; 0 if nothing is known of the prompt.
    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let Some(found) = view.attributes().prefix(self.column).filter(|found| found.total_blocks > 0) else { return };
        let (total, block) = (f64::from(found.total_blocks), f64::from(found.block_size_tokens));
        for (i, score) in out.iter_mut().enumerate() {
            let matched = f64::from(found.matched(view.index(i)));
            let length = (matched * block / self.scale).min(1.0);
            *score = self.weight * length * length + (1.0 - self.weight) * matched / total;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, compile, refused};

    fn score(matched: u32, total: u32, block: u32, parameters: &str) -> f64 {
        let mut fixture = Fixture::new(2);
        fixture.prefix(&[0, matched], total, block);
        let scores = fixture.score("prefix-cache-scorer", parameters);
        assert_eq!(scores[0], 0.0);
        scores[1]
    }

    #[test]
    fn golden_vectors() {
        assert_eq!(score(4, 8, 16, "{}"), 0.5);
        assert_eq!(score(4, 8, 16, "{matchLengthWeight: 0.5, matchLengthScaleTokens: 128}"), 0.375);
        assert_eq!(score(5, 10, 64, "{}"), 0.5);
        assert_eq!(score(64, 128, 64, "{matchLengthWeight: 1, matchLengthScaleTokens: 8192}"), 0.25);
        assert_eq!(score(64, 128, 64, "{matchLengthWeight: 0.5}"), 0.375);
        assert_eq!(score(128, 128, 64, "{matchLengthWeight: 1, matchLengthScaleTokens: 64}"), 1.0);
        assert_eq!(score(0, 0, 0, "{}"), 0.0);
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        assert!(refused("prefix-cache-scorer", "{matchLengthWeight: 1.5}").contains("0..=1"));
        assert!(refused("prefix-cache-scorer", "{matchLengthWeight: .nan}").contains("0..=1"));
        assert!(refused("prefix-cache-scorer", "{matchLengthWeight: 0.1, matchLengthScaleTokens: 0}").contains("above 0"));
        assert!(refused("prefix-cache-scorer", "{prefixMatchInfoProducerName: other}").contains("other"));
    }

    #[test]
    fn two_producers_two_columns() {
        let plan = compile(
            "plugins:\n- {type: approx-prefix-cache-producer, name: one}\n- {type: approx-prefix-cache-producer, name: two}\n\
             - {type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: two}}\n",
        )
        .unwrap();
        assert_eq!(plan.columns.prefix, ["one", "two"]);
        let mut fixture = Fixture::new(1);
        fixture.attributes.reset(&weir_plan::Columns { prefix: vec![String::new(); 2], ..Default::default() });
        let column = fixture.attributes.prefix_mut(weir_plan::Column::for_tests(1)).unwrap();
        (column.matched_blocks, column.total_blocks) = (vec![1], 4);
        assert_eq!(fixture.score_with(&plan), [0.25]);
    }
}
