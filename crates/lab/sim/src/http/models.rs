//! `/v1/models` and LoRA adapters.

use http::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_engine::AdapterId;

use super::{Body, json_response, parse, text};
use crate::{error::ApiError, worker::Worker};

impl Worker {
    /// The name to show and the adapter of a requested model; no name means the base model.
    pub(super) fn resolve(&self, name: Option<&str>) -> Result<(String, AdapterId), ApiError> {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok((self.config.display_name().to_owned(), AdapterId::BASE));
        };
        if self.config.names().iter().any(|known| known == name) {
            return Ok((self.config.display_name().to_owned(), AdapterId::BASE));
        }
        match self.adapters(|adapters| adapters.find(name)) {
            Some(id) => Ok((name.to_owned(), id)),
            None => Err(ApiError::no_model(name)),
        }
    }
}

pub(super) fn list(worker: &Worker) -> Response<Body> {
    let config = &worker.config;
    let model = |id: &str, root: &str, parent: Option<&str>| {
        json!({
            "id": id, "object": "model", "created": worker.created_unix, "owned_by": "vllm",
            "root": root, "parent": parent, "max_model_len": config.max_model_len,
        })
    };
    let mut data: Vec<Value> = config.names().iter().map(|name| model(name, &config.model, None)).collect();
    worker.adapters(|adapters| {
        for adapter in adapters.loaded() {
            let root = if adapter.path.is_empty() { &adapter.name } else { &adapter.path };
            data.push(model(&adapter.name, root, Some(config.display_name())));
        }
    });
    json_response(&json!({"object": "list", "data": data}))
}

#[derive(Deserialize)]
struct Lora {
    lora_name: String,
    #[serde(default)]
    lora_path: String,
}

pub(super) fn load_lora(worker: &Worker, body: &[u8]) -> Result<Response<Body>, ApiError> {
    let Lora { lora_name, lora_path } = parse(body)?;
    if lora_name.is_empty() {
        return Err(ApiError::bad_request("Both 'lora_name' and 'lora_path' must be provided."));
    }
    if worker.config.names().contains(&lora_name) || !worker.adapters(|adapters| adapters.load(&lora_name, &lora_path)) {
        let message = format!("The lora adapter '{lora_name}' has already been loaded.");
        return Err(ApiError::bad_request(message));
    }
    Ok(text(200, "text/plain; charset=utf-8", format!("Success: LoRA adapter '{lora_name}' added successfully.")))
}

pub(super) fn unload_lora(worker: &Worker, body: &[u8]) -> Result<Response<Body>, ApiError> {
    let Lora { lora_name, .. } = parse(body)?;
    if !worker.unload_adapter(&lora_name) {
        return Err(ApiError::new(404, format!("The lora adapter '{lora_name}' cannot be found.")));
    }
    Ok(text(200, "text/plain; charset=utf-8", format!("Success: LoRA adapter '{lora_name}' removed successfully.")))
}
