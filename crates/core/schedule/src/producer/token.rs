//! `token-producer`: the prompt as tokens. Estimated: four bytes of text are one token.

mod estimate;
mod image_size;
mod params;

use std::sync::Arc;

use weir_api::Diagnostic;
use weir_plan::{DataKey, Deprecation, Draft, ExtensionPoint, Parts, PluginContext, PluginType};

use self::{estimate::Estimate, params::Params};
use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    PluginType {
        deprecated: &[Deprecation { alias: "tokenizer", since: "0.9", removed_in: "0.11" }],
        ..beta::<Params>(
            "token-producer",
            &[ExtensionPoint::DataProducer],
            "Gives the prompt as tokens; estimated as four bytes of text each, images and videos by their size.",
            draft,
        )
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let backends = [params.estimate.is_some(), params.vllm.is_some(), params.uds_tokenizer_config.is_some()];
    if backends.into_iter().filter(|set| *set).count() > 1 {
        return Err(context.error("only one of 'estimate', 'vllm', or 'udsTokenizerConfig' may be set"));
    }
    let has_model = params.model_name.as_deref().is_some_and(|name| !name.is_empty());
    if params.estimate.is_none() && backends != [false; 3] && !has_model {
        return Err(context.error("'modelName' must be specified"));
    }
    if params.estimate.is_none() && (has_model || backends != [false; 3]) {
        context.warn("tokenizing by `vllm` or `udsTokenizerConfig` is not yet active: tokens are estimated");
    }
    let estimate = params.estimate.unwrap_or_default();
    estimate.check().map_err(|(field, message)| context.error_at(field, format!("{field} {message}")))?;
    let stream = Arc::new(Estimate::new(&estimate));
    Ok(Draft::wired(Vec::new(), vec![DataKey::TokenizedPrompt], |_| {
        Ok(Parts { prompt_stream: Some(stream), ..Parts::default() })
    }))
}

#[cfg(test)]
mod tests;
