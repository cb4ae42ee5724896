//! `mm-embeddings-cache-scorer`: prefers endpoints that encoded the request's images before.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{Column, DataKey, DataSet, Draft, Need, Parts, PluginContext, PluginType, PoolView, RequestView, Scorer};

use super::SCORER;
use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "mm-embeddings-cache-scorer",
        SCORER,
        "Prefers endpoints that encoded the request's images, videos and sounds before: the share of their tokens.",
        draft,
    )
}

/// Which match.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Name of the `mm-embeddings-cache-producer`.
    producer_name: Option<String>,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let need = Need::required(DataKey::EncoderCacheMatchInfo, params.producer_name.as_deref().filter(|name| !name.is_empty()));
    let from = need.producer.clone();
    let missing = context.error(format!("`{from}` produces no matches"));
    Ok(Draft::wired(vec![need], Vec::new(), move |wiring| {
        let column = wiring.encoder_column(&from).ok_or(missing)?;
        Ok(Parts { scorer: Some(Arc::new(MmEmbeddings { column })), ..Parts::default() })
    }))
}

struct MmEmbeddings {
    column: Column,
}

impl Scorer for MmEmbeddings {
    fn reads(&self) -> DataSet {
        DataSet::ENCODER_CACHE
    }

    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let Some(found) = view.attributes().encoder(self.column) else { return };
        let total = found.total_tokens();
        if total == 0 {
            return;
        }
        for (i, score) in out.iter_mut().enumerate() {
            *score = found.matched_tokens.get(view.index(i)).copied().unwrap_or(0) as f64 / total as f64;
        }
    }
}
