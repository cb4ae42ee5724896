//! `precise-prefix-cache-scorer`: the old name of producer and scorer together.

use std::sync::Arc;

use weir_plan::{Column, DataSet, ExtensionPoint, PluginType, PoolView, RequestView, Scorer};

use super::params::Params;
use crate::declare::beta;

pub(super) fn plugin() -> PluginType {
    beta::<Params>(
        "precise-prefix-cache-scorer",
        &[ExtensionPoint::Scorer, ExtensionPoint::DataProducer, ExtensionPoint::PreRequest],
        "Producer and scorer in one. Superseded: use `precise-prefix-cache-producer` and `prefix-cache-scorer`.",
        |context| {
            let params: Params = context.params()?;
            params.check(context, true)?;
            context.warn(
                "plugin type `precise-prefix-cache-scorer` is superseded; write `precise-prefix-cache-producer` and \
                 `prefix-cache-scorer` with `prefixMatchInfoProducerName`",
            );
            Ok(super::wired(context, params, true))
        },
    )
}

pub(super) fn score_by(column: Column) -> Arc<dyn Scorer> {
    Arc::new(PreciseScorer { column })
}

struct PreciseScorer {
    column: Column,
}

impl Scorer for PreciseScorer {
    fn reads(&self) -> DataSet {
        DataSet::PREFIX
    }

    /// The share of the prompt's blocks that an endpoint holds.
    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        for (i, score) in out.iter_mut().enumerate() {
            let (matched, total) = view.prefix(self.column, i);
            *score = if total == 0 { 0.0 } else { f64::from(matched) / f64::from(total) };
        }
    }
}
