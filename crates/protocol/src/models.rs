//! The list of models, `GET /v1/models`.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A model or adapter that a server offers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[non_exhaustive]
pub struct ModelCard {
    /// The name that requests use.
    pub id: String,
    /// The base model, if this is an adapter (LoRA).
    #[serde(default)]
    pub parent: Option<String>,
    /// Where the weights come from: a repository or path.
    #[serde(default)]
    pub root: Option<String>,
    /// The most tokens of prompt and answer together.
    #[serde(default)]
    pub max_model_len: Option<u64>,
}

impl ModelCard {
    /// A card with a name and nothing else.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }
}

/// A list of models could not be read.
#[derive(Debug, thiserror::Error)]
#[error("not a list of models: {0}")]
pub struct ModelsError(#[from] serde_json::Error);

#[derive(Deserialize)]
struct List {
    data: Vec<ModelCard>,
}

/// Reads an answer to `GET /v1/models`. Fields that are not in [`ModelCard`] are ignored.
///
/// # Errors
/// Anything but an object whose `data` is a list of objects with a string `id`.
pub fn parse_models(body: &[u8]) -> Result<Vec<ModelCard>, ModelsError> {
    Ok(serde_json::from_slice::<List>(body)?.data)
}

#[derive(Serialize)]
struct CardOut<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    root: Cow<'a, str>,
    parent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_model_len: Option<u64>,
}

#[derive(Serialize)]
struct ListOut<'a> {
    object: &'static str,
    data: Vec<CardOut<'a>>,
}

impl<'a> CardOut<'a> {
    fn new(card: &'a ModelCard, created: u64) -> Self {
        Self {
            id: &card.id,
            object: "model",
            created,
            owned_by: "weir",
            root: Cow::Borrowed(card.root.as_deref().unwrap_or(&card.id)),
            parent: card.parent.as_deref(),
            max_model_len: card.max_model_len,
        }
    }
}

/// Writes a list of models in OpenAI's form, in the order given. `created` is in Unix seconds.
pub fn render_models(cards: &[ModelCard], created: u64) -> Bytes {
    let data = cards.iter().map(|card| CardOut::new(card, created)).collect();
    json(&ListOut { object: "list", data })
}

/// Writes one model, the answer to `GET /v1/models/{id}`.
pub fn render_model(card: &ModelCard, created: u64) -> Bytes {
    json(&CardOut::new(card, created))
}

fn json(value: &impl Serialize) -> Bytes {
    // Strings and numbers in structs cannot fail to serialize.
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vllm_list_survives() {
        let body = br#"{"object":"list","data":[
            {"id":"m","object":"model","created":1,"owned_by":"vllm","root":"/models/m","parent":null,"max_model_len":4096,
             "permission":[{"id":"p"}]},
            {"id":"lora","object":"model","root":"/l","parent":"m"}]}"#;
        let cards = parse_models(body).unwrap();
        assert_eq!(cards[0].max_model_len, Some(4096));
        assert_eq!(cards[1].parent.as_deref(), Some("m"));
        assert_eq!(parse_models(&render_models(&cards, 7)).unwrap(), cards);
        assert_eq!(
            render_model(&ModelCard::new("x"), 7),
            r#"{"id":"x","object":"model","created":7,"owned_by":"weir","root":"x","parent":null}"#
        );
    }

    #[test]
    fn other_documents_are_refused() {
        for body in ["", "[]", "{}", r#"{"data":[{"root":"x"}]}"#, r#"{"data":[{"id":1}]}"#, "<html>"] {
            assert!(parse_models(body.as_bytes()).is_err(), "{body}");
        }
        assert_eq!(parse_models(br#"{"data":[]}"#).unwrap(), []);
    }
}
