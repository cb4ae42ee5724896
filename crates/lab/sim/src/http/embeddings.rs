//! `/v1/embeddings`: deterministic vectors.

use http::{HeaderMap, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Body, failures, json_response, parse, request::Prompts};
use crate::{error::ApiError, json::base64, worker::Worker};

#[derive(Deserialize)]
struct Embeddings {
    model: Option<String>,
    input: Prompts,
    dimensions: Option<u32>,
    encoding_format: Option<String>,
}

/// Longest vector that is made.
const MAX_DIMENSIONS: u32 = 65_536;

pub(super) fn embeddings(worker: &Worker, headers: &HeaderMap, body: &[u8]) -> Result<Response<Body>, ApiError> {
    if worker.is_stopping() {
        return Err(ApiError::new(503, "server is shutting down"));
    }
    let request: Embeddings = parse(body)?;
    failures::demanded(headers)?;
    let (model, _) = worker.resolve(request.model.as_deref())?;
    let dimensions = request.dimensions.unwrap_or(worker.config.embedding_dimensions);
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return Err(ApiError::bad_request(format!("dimensions must be between 1 and {MAX_DIMENSIONS}")));
    }
    let as_base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => return Err(ApiError::bad_request(format!("encoding_format {other:?} is neither float nor base64"))),
    };
    let inputs = request.input.read("input")?;
    let mut tokens = 0;
    let mut data: Vec<Value> = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.iter().enumerate() {
        if input.ids.len() > worker.config.max_model_len as usize {
            return Err(ApiError::context(worker.config.max_model_len, input.ids.len() as u32, 0));
        }
        tokens += input.ids.len();
        let vector = vector(&input.ids, dimensions);
        let embedding = if as_base64 {
            json!(base64(&vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()))
        } else {
            json!(vector)
        };
        data.push(json!({"object": "embedding", "index": index, "embedding": embedding}));
    }
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json_response(&json!({"object": "list", "data": data, "model": model, "usage": usage})))
}

/// Token ids folded into −1..1, repeated at a coarser scale up to the length.
fn vector(ids: &[u32], dimensions: u32) -> Vec<f32> {
    let fold = |id: u32, modulus: u32| 2.0 * (id % modulus) as f32 / modulus as f32 - 1.0;
    let value = |i: usize| match ids.get(i) {
        Some(&id) => fold(id, 1024),
        None => ids.get(i % ids.len().max(1)).map_or(0.0, |&id| fold(id, 256)),
    };
    (0..dimensions as usize).map(value).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn vector_of_the_reference() {
        let expected = [-0.998_046_875, -0.996_093_75, -0.414_062_5, -0.992_187_5, -0.984_375];
        assert_eq!(super::vector(&[1, 2, 300], 5).into_iter().map(f64::from).collect::<Vec<_>>(), expected);
        assert_eq!(super::vector(&[], 2), [0.0, 0.0]);
    }
}
