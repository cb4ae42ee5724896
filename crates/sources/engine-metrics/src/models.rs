//! Reads `/v1/models`.

use serde::Deserialize;

/// Most models that are taken from one list.
const MAX_MODELS: usize = 4096;

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

/// Names of models and adapters; adapters are entries of their own. `None` if it is no such list.
pub(crate) fn parse(body: &[u8]) -> Option<Vec<String>> {
    let list: List = serde_json::from_slice(body).ok()?;
    Some(list.data.into_iter().take(MAX_MODELS).map(|model| model.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_real_servers() {
        let vllm = br#"{"object":"list","data":[{"id":"Qwen/Qwen3-0.6B","object":"model","created":1758438123,"owned_by":"vllm","root":"Qwen/Qwen3-0.6B","parent":null,"max_model_len":40960,"permission":[{"id":"modelperm-1"}]},{"id":"sql-adapter","object":"model","created":1758438123,"owned_by":"vllm","root":"/adapters/sql","parent":"Qwen/Qwen3-0.6B"}]}"#;
        assert_eq!(parse(vllm), Some(vec!["Qwen/Qwen3-0.6B".to_owned(), "sql-adapter".to_owned()]));
        let llama =
            br#"{"models":[{"name":"m.gguf"}],"object":"list","data":[{"id":"m.gguf","object":"model","owned_by":"llamacpp"}]}"#;
        assert_eq!(parse(llama), Some(vec!["m.gguf".to_owned()]));
    }

    #[test]
    fn anything_else_is_no_list() {
        for body in ["", "{}", "[]", "{\"data\":{}}", "{\"data\":[{}]}", "<html>"] {
            assert_eq!(parse(body.as_bytes()), None, "{body}");
        }
    }
}
