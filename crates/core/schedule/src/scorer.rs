//! Scorers.

mod active_request;
mod context_length_aware;
mod endpoint_attribute;
mod header_label_affinity;
mod kv_cache_utilization;
mod latency;
mod load_aware;
mod lora_affinity;
mod mm_embeddings;
pub(crate) mod multicluster;
mod no_hit_lru;
mod prefix_cache;
mod queue;
mod running_requests;
mod token_load;

use std::sync::Arc;

use weir_api::Diagnostic;
use weir_plan::{Draft, ExtensionPoint, Parts, PluginContext, PluginType, PoolView, Scorer};
use weir_pool::EndpointState;

use crate::declare::NoParameters;

pub(crate) fn plugins() -> Vec<PluginType> {
    let mut all = vec![
        queue::plugin(),
        kv_cache_utilization::plugin(),
        running_requests::plugin(),
        prefix_cache::plugin(),
        prefix_cache::multicluster(),
        no_hit_lru::plugin(),
        lora_affinity::plugin(),
        active_request::plugin(),
        load_aware::plugin(),
        token_load::plugin(),
        context_length_aware::plugin(),
        endpoint_attribute::plugin(),
        header_label_affinity::plugin(),
        latency::plugin(),
        mm_embeddings::plugin(),
    ];
    all.extend(multicluster::plugins());
    all
}

const SCORER: &[ExtensionPoint] = &[ExtensionPoint::Scorer];

/// A scorer without parameters that needs nobody.
fn plain(context: &mut PluginContext<'_>, scorer: impl Scorer + 'static) -> Result<Draft, Diagnostic> {
    let NoParameters {} = context.params()?;
    Ok(scorer_only(scorer))
}

fn scorer_only(scorer: impl Scorer + 'static) -> Draft {
    Draft::ready(Parts { scorer: Some(Arc::new(scorer)), ..Parts::default() })
}

/// Scores the candidate with the smallest number 1, the one with the largest 0, all of them 1 if they are equal.
///
/// An engine that was never scraped while another one was counts as the largest: zeros that nobody reported are not idleness
/// (llm-d believes them). If none was ever scraped, as with engines that have no metrics page, `unscraped` stands in.
fn fewer_is_better(
    view: &PoolView<'_>,
    out: &mut [f64],
    reported: impl Fn(&EndpointState) -> u32,
    unscraped: impl Fn(&EndpointState) -> u64,
) {
    let blind = view.states().all(|state| state.age.is_none());
    let number = |state: &EndpointState| -> Option<u64> {
        if blind { Some(unscraped(state)) } else { state.age.map(|_| u64::from(reported(state))) }
    };
    let (mut least, mut most) = (u64::MAX, 0);
    for found in view.states().filter_map(number) {
        least = least.min(found);
        most = most.max(found);
    }
    if least >= most {
        out.fill(1.0);
        return;
    }
    let range = (most - least) as f64;
    for (score, state) in out.iter_mut().zip(view.states()) {
        *score = (most - number(state).unwrap_or(most)) as f64 / range;
    }
}
