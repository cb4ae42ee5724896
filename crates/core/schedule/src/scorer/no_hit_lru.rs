//! `no-hit-lru-scorer`: spreads prompts that nobody has cached over the endpoints that got none for longest.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{
    Attributes, Column, DataKey, DataSet, Draft, ExtensionPoint, Need, Outgoing, Parts, PluginContext, PluginType, PoolView,
    PreRequest, RequestView, Scorer, Targets,
};

use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "no-hit-lru-scorer",
        &[ExtensionPoint::Scorer, ExtensionPoint::PreRequest],
        "Spreads prompts that nobody has cached: prefers endpoints that got no such prompt for longest. Neutral (0.5) otherwise.",
        draft,
    )
}

/// How many endpoints are remembered.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Endpoints whose last cold prompt is remembered. Less than 1 counts as 1024.
    lru_size: i64,
    /// Name of the producer of the match. Default: `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: Option<String>,
    /// Ignored, as in llm-d.
    prefix_plugin_type: Option<String>,
    /// Ignored, as in llm-d.
    prefix_plugin_name: Option<String>,
}

const DEFAULT_SIZE: i64 = 1_024;

impl Default for Params {
    fn default() -> Self {
        Self { lru_size: DEFAULT_SIZE, prefix_match_info_producer_name: None, prefix_plugin_type: None, prefix_plugin_name: None }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if params.prefix_plugin_type.is_some() || params.prefix_plugin_name.is_some() {
        context.warn("`prefixPluginType` and `prefixPluginName` do nothing; write `prefixMatchInfoProducerName`");
    }
    let size = if params.lru_size < 1 { DEFAULT_SIZE } else { params.lru_size };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let name = params.prefix_match_info_producer_name.filter(|name| !name.is_empty());
    let need = Need::required(DataKey::PrefixCacheMatchInfo, name.as_deref());
    let producer = need.producer.clone();
    let missing = context.error(format!("`{producer}` produces no prefix matches"));
    Ok(Draft::wired(vec![need], Vec::new(), move |wiring| {
        let column = wiring.prefix_column(&producer).ok_or(missing)?;
        let plugin = Arc::new(NoHitLru { column, size, uses: Mutex::default() });
        Ok(Parts { scorer: Some(plugin.clone()), pre_request: Some(plugin), ..Parts::default() })
    }))
}

struct NoHitLru {
    column: Column,
    size: usize,
    uses: Mutex<Uses>,
}

/// When each endpoint, by serial number, was last given a cold prompt.
#[derive(Default)]
struct Uses {
    next: u64,
    last: HashMap<u32, u64>,
}

thread_local! {
    /// Used candidates: when, and their place among the candidates.
    static USED: RefCell<Vec<(u64, u32)>> = const { RefCell::new(Vec::new()) };
}

impl Scorer for NoHitLru {
    fn reads(&self) -> DataSet {
        DataSet::PREFIX
    }

    /// Never used candidates come first, in their order, then the used ones, oldest first; the i-th of n gets `1 − i/(n−1)`.
    /// llm-d takes a used one's position among all endpoints it remembers, so that with many others all candidates get 0; here
    /// it is the position among the candidates.
    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let found = view.attributes().prefix(self.column);
        if found.is_some_and(|found| (0..view.len()).any(|i| found.matched(view.index(i)) > 0)) {
            out.fill(0.5);
            return;
        }
        let steps = out.len().saturating_sub(1).max(1) as f64;
        let value = |rank: usize| 1.0 - rank as f64 / steps;
        USED.with_borrow_mut(|used| {
            used.clear();
            let mut unused = 0;
            let uses = self.uses.lock();
            for (i, score) in out.iter_mut().enumerate() {
                match uses.last.get(&view.endpoint(i).serial()) {
                    Some(when) => used.push((*when, i as u32)),
                    None => {
                        *score = value(unused);
                        unused += 1;
                    }
                }
            }
            drop(uses);
            used.sort_unstable();
            for (position, (_, i)) in used.iter().enumerate() {
                out[*i as usize] = value(unused + position);
            }
        });
    }
}

impl PreRequest for NoHitLru {
    fn picked(&self, _: &RequestView<'_>, targets: &Targets<'_>, attributes: &Attributes, _: &mut Outgoing) {
        if attributes.prefix(self.column).is_some_and(|found| found.matched_blocks.iter().any(|blocks| *blocks > 0)) {
            return;
        }
        let uses = &mut *self.uses.lock();
        for endpoint in targets.computing().filter_map(|index| targets.endpoints.get(index)) {
            uses.next += 1;
            uses.last.insert(endpoint.serial(), uses.next);
            if uses.last.len() > self.size
                && let Some(oldest) = uses.last.iter().min_by_key(|(_, when)| **when).map(|(serial, _)| *serial)
            {
                uses.last.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, compile, refused};

    const KIND: &str = "plugins: [{type: no-hit-lru-scorer, parameters: {lruSize: 2}}]";

    #[test]
    fn golden_vectors() {
        let plan = compile("plugins: [{type: no-hit-lru-scorer}]").unwrap();
        let mut fixture = Fixture::new(3);
        assert_eq!(fixture.score_with(&plan), [1.0, 0.5, 0.0]);
        fixture.picked(&plan, 0);
        assert_eq!(fixture.score_with(&plan), [0.0, 1.0, 0.5]);
        fixture.picked(&plan, 1);
        assert_eq!(fixture.score_with(&plan), [0.5, 0.0, 1.0]);

        fixture.prefix(&[0, 3, 0], 4, 64);
        assert_eq!(fixture.score_with(&plan), [0.5, 0.5, 0.5]);
        fixture.picked(&plan, 2);
        fixture.prefix(&[0, 0, 0], 4, 64);
        assert_eq!(fixture.score_with(&plan), [0.5, 0.0, 1.0], "a warm request moves nobody");
        assert_eq!(Fixture::new(1).score("no-hit-lru-scorer", "{}"), [1.0]);
    }

    #[test]
    fn the_rank_is_among_the_candidates() {
        let plan = compile("plugins: [{type: no-hit-lru-scorer}]").unwrap();
        let mut fixture = Fixture::new(100);
        for index in 0..100 {
            fixture.picked(&plan, index);
        }
        fixture.candidates = vec![7, 50, 90];
        assert_eq!(fixture.score_with(&plan), [1.0, 0.5, 0.0]);
    }

    #[test]
    fn past_its_size_the_oldest_use_is_forgotten() {
        let plan = compile(KIND).unwrap();
        let fixture = Fixture::new(3);
        for index in [0, 1, 2] {
            fixture.picked(&plan, index);
        }
        assert_eq!(fixture.score_with(&plan), [1.0, 0.5, 0.0]);
        fixture.picked(&plan, 0);
        assert_eq!(fixture.score_with(&plan), [0.0, 1.0, 0.5]);
    }

    #[test]
    fn old_parameters_warn() {
        let plan = compile("plugins: [{type: no-hit-lru-scorer, parameters: {prefixPluginName: x}}]").unwrap();
        assert!(plan.warnings.iter().any(|one| one.message.contains("prefixMatchInfoProducerName")));
        assert!(refused("no-hit-lru-scorer", "{lruSise: 1}").contains("lruSise"));
    }
}
