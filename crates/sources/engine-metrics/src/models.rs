//! Reads `/v1/models`.

use serde::Deserialize;
use weir_pool::ListedModel;

/// Most models that are taken from one list.
const MAX_MODELS: usize = 4096;

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    #[serde(default)]
    object: Option<String>,
    #[serde(default)]
    created: Option<f64>,
    #[serde(default)]
    owned_by: Option<String>,
    #[serde(default)]
    parent: Option<String>,
}

/// Models and adapters; adapters are entries of their own. `None` if it is no such list.
pub(crate) fn parse(body: &[u8]) -> Option<Vec<ListedModel>> {
    let list: List = serde_json::from_slice(body).ok()?;
    let listed = |model: Model| ListedModel {
        id: model.id,
        object: model.object.unwrap_or_default(),
        created: model.created.map_or(0, |seconds| seconds as i64),
        owned_by: model.owned_by.unwrap_or_default(),
        parent: model.parent,
    };
    Some(list.data.into_iter().take(MAX_MODELS).map(listed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(body: &[u8]) -> Option<Vec<String>> {
        Some(parse(body)?.into_iter().map(|one| one.id).collect())
    }

    #[test]
    fn lists_of_real_servers() {
        let vllm = br#"{"object":"list","data":[{"id":"Qwen/Qwen3-0.6B","object":"model","created":1758438123,"owned_by":"vllm","root":"Qwen/Qwen3-0.6B","parent":null,"max_model_len":40960,"permission":[{"id":"modelperm-1"}]},{"id":"sql-adapter","object":"model","created":1758438123,"owned_by":"vllm","root":"/adapters/sql","parent":"Qwen/Qwen3-0.6B"}]}"#;
        assert_eq!(ids(vllm), Some(vec!["Qwen/Qwen3-0.6B".to_owned(), "sql-adapter".to_owned()]));
        let adapter = &parse(vllm).unwrap()[1];
        assert_eq!(
            (adapter.parent.as_deref(), adapter.created, adapter.owned_by.as_str()),
            (Some("Qwen/Qwen3-0.6B"), 1_758_438_123, "vllm")
        );
        let llama =
            br#"{"models":[{"name":"m.gguf"}],"object":"list","data":[{"id":"m.gguf","object":"model","owned_by":"llamacpp"}]}"#;
        assert_eq!(ids(llama), Some(vec!["m.gguf".to_owned()]));
    }

    #[test]
    fn anything_else_is_no_list() {
        for body in ["", "{}", "[]", "{\"data\":{}}", "{\"data\":[{}]}", "<html>"] {
            assert_eq!(parse(body.as_bytes()), None, "{body}");
        }
    }
}
