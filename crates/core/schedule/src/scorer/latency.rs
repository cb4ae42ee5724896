//! `latency-scorer`: prefers endpoints by how much of the allowed latency would be left.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_api::Diagnostic;
use weir_plan::{
    Column, DataKey, DataSet, Draft, LatencyPrediction, Need, Parts, PluginContext, PluginType, PoolView, RequestView, Scorer,
};

use super::SCORER;
use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "latency-scorer",
        SCORER,
        "Prefers endpoints by predicted headroom: those that are in time, the fullest or the emptiest first; without predictions by KV \
         cache, queue and prefix.",
        draft,
    )
}

/// How headrooms are weighed, and what counts without predictions.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Weight of the headroom of the first token.
    ttft_weight: f64,
    /// Weight of the headroom of the other tokens.
    tpot_weight: f64,
    /// Which of the endpoints that are in time are best.
    headroom_selection_strategy: Strategy,
    /// Without predictions: weight of the free KV cache.
    #[serde(rename = "compositeKVWeight")]
    composite_kv_weight: f64,
    /// Without predictions: weight of a short queue.
    composite_queue_weight: f64,
    /// Without predictions: weight of the prefix held.
    composite_prefix_weight: f64,
    /// Name of the producer of the match. Default: `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: Option<String>,
    /// Name of the producer of predictions. Default: `predicted-latency-producer`.
    latency_prediction_info_producer_name: Option<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            ttft_weight: 0.8,
            tpot_weight: 0.2,
            headroom_selection_strategy: Strategy::Least,
            composite_kv_weight: 1.0,
            composite_queue_weight: 1.0,
            composite_prefix_weight: 1.0,
            prefix_match_info_producer_name: None,
            latency_prediction_info_producer_name: None,
        }
    }
}

/// Which of the endpoints that are in time are best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Strategy {
    /// Those with the least headroom: endpoints are filled one after the other.
    Least,
    /// Those with the most: load is spread.
    Most,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let weights = [
        ("ttftWeight", params.ttft_weight),
        ("tpotWeight", params.tpot_weight),
        ("compositeKVWeight", params.composite_kv_weight),
        ("compositeQueueWeight", params.composite_queue_weight),
        ("compositePrefixWeight", params.composite_prefix_weight),
    ];
    for (field, weight) in weights {
        if !weight.is_finite() || weight < 0.0 {
            return Err(context.error_at(field, format!("must be 0 or more, is {weight}")));
        }
    }
    let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let prefix = Need::required(DataKey::PrefixCacheMatchInfo, given(&params.prefix_match_info_producer_name).as_deref());
    let latency = Need::required(DataKey::LatencyPredictionInfo, given(&params.latency_prediction_info_producer_name).as_deref());
    let (prefix_from, latency_from) = (prefix.producer.clone(), latency.producer.clone());
    let missing = context.error(format!("`{prefix_from}` or `{latency_from}` produces nothing"));
    Ok(Draft::wired(vec![latency, prefix], Vec::new(), move |wiring| {
        let columns = wiring.prefix_column(&prefix_from).zip(wiring.latency_column(&latency_from));
        let (prefix, latency) = columns.ok_or(missing)?;
        Ok(Parts { scorer: Some(Arc::new(LatencyScorer { params, prefix, latency })), ..Parts::default() })
    }))
}

struct LatencyScorer {
    params: Params,
    prefix: Column,
    latency: Column,
}

/// How an endpoint's prediction stands to what the request allows. Only endpoints of one standing are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// In time, or not predicted.
    InTime,
    /// Late, but nothing runs there.
    Idle,
    /// The first token is in time, the others are late.
    LateTokens,
    /// The first token is late.
    LateFirst,
    /// All are late.
    Late,
}

impl Standing {
    fn of(prediction: Option<&LatencyPrediction>) -> Self {
        match prediction {
            None => Self::InTime,
            Some(found) if found.in_time() => Self::InTime,
            Some(found) if found.dispatched_requests == 0 => Self::Idle,
            Some(found) if found.ttft_headroom_ms >= 0.0 => Self::LateTokens,
            Some(found) if found.tpot_headroom_ms >= 0.0 => Self::LateFirst,
            Some(_) => Self::Late,
        }
    }
}

/// The range of one kind of headroom among the endpoints that are scored.
#[derive(Clone, Copy)]
struct Span {
    least: f64,
    most: f64,
}

impl Span {
    const NONE: Self = Self { least: f64::INFINITY, most: f64::NEG_INFINITY };

    fn add(&mut self, value: f64) {
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    fn is_point(self) -> bool {
        self.most - self.least <= 1e-9
    }

    fn place(self, value: f64) -> f64 {
        if self.is_point() { 0.5 } else { (value - self.least) / (self.most - self.least) }
    }
}

impl LatencyScorer {
    fn prediction<'a>(&self, view: &PoolView<'a>, i: usize) -> Option<&'a LatencyPrediction> {
        view.attributes().latency(self.latency, view.index(i))
    }

    /// Scores the endpoints of one standing; the others keep their 0.
    fn headroom(&self, view: &PoolView<'_>, standing: Standing, out: &mut [f64]) {
        let strategy = if standing == Standing::InTime { self.params.headroom_selection_strategy } else { Strategy::Least };
        let distances = |i: usize| {
            let found = self.prediction(view, i);
            found.map_or((0.0, 0.0), |found| (found.ttft_headroom_ms.abs(), found.tpot_headroom_ms.abs()))
        };
        let chosen = |i: usize| Standing::of(self.prediction(view, i)) == standing;
        let (mut ttft, mut tpot) = (Span::NONE, Span::NONE);
        for i in (0..view.len()).filter(|i| chosen(*i)) {
            let (first, others) = distances(i);
            ttft.add(first);
            tpot.add(others);
        }
        let (mut a, mut b) = (self.params.ttft_weight, self.params.tpot_weight);
        let sum = a + b;
        (a, b) = if sum > 0.0 { (a / sum, b / sum) } else { (1.0, 0.0) };
        // A dimension in which all are equal says nothing; the other one gets all the weight.
        match (ttft.is_point(), tpot.is_point()) {
            (true, false) => (a, b) = (0.0, 1.0),
            (false, true) => (a, b) = (1.0, 0.0),
            _ => {}
        }
        for (i, score) in out.iter_mut().enumerate().filter(|(i, _)| chosen(*i)) {
            let (first, others) = distances(i);
            let combined = a * ttft.place(first) + b * tpot.place(others);
            let share = match strategy {
                Strategy::Least => 1.0 - combined,
                Strategy::Most => combined,
            };
            *score = ((share * 100.0).floor() + 1.0) / 100.0;
        }
    }

    /// Without any prediction: KV cache, queue and prefix, to two places as in llm-d.
    fn composite(&self, view: &PoolView<'_>, out: &mut [f64]) {
        let Params { composite_kv_weight: kv, composite_queue_weight: queue, composite_prefix_weight: prefix, .. } = self.params;
        let sum = kv + queue + prefix;
        let (kv, queue, prefix) = if sum > 0.0 { (kv / sum, queue / sum, prefix / sum) } else { (1.0, 0.0, 0.0) };
        let longest = view.states().map(|state| state.waiting).max().unwrap_or(0);
        for (i, score) in out.iter_mut().enumerate() {
            let state = view.state(i);
            let free = if longest == 0 { 1.0 } else { f64::from(longest - state.waiting) / f64::from(longest) };
            let (matched, total) = view.prefix(self.prefix, i);
            let held = if total == 0 { 0.0 } else { f64::from(matched) / f64::from(total) };
            *score = (100.0 * (kv * (1.0 - state.kv_usage) + queue * free + prefix * held)).round() / 100.0;
        }
    }
}

impl Scorer for LatencyScorer {
    fn reads(&self) -> DataSet {
        DataSet::LATENCY | DataSet::PREFIX | DataSet::QUEUE | DataSet::KV_USAGE
    }

    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        if (0..view.len()).all(|i| self.prediction(view, i).is_none()) {
            return self.composite(view, out);
        }
        let order = [Standing::InTime, Standing::Idle, Standing::LateTokens, Standing::LateFirst, Standing::Late];
        let best = order.into_iter().find(|one| (0..view.len()).any(|i| Standing::of(self.prediction(view, i)) == *one));
        if let Some(best) = best {
            self.headroom(view, best, out);
        }
    }
}
