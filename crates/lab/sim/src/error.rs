//! Errors as vLLM answers them.

use std::borrow::Cow;

use serde_json::json;
use weir_engine::Refused;

/// An HTTP status with the message of the error body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {message}")]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) message: Cow<'static, str>,
    pub(crate) param: Option<&'static str>,
}

impl ApiError {
    pub(crate) fn new(status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), param: None }
    }

    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, message)
    }

    pub(crate) fn no_model(name: &str) -> Self {
        Self { param: Some("model"), ..Self::new(404, format!("The model `{name}` does not exist.")) }
    }

    pub(crate) fn context(limit: u32, prompt: u32, output: u32) -> Self {
        let requested = u64::from(prompt) + u64::from(output);
        Self::bad_request(format!(
            "This model's maximum context length is {limit} tokens. However, you requested {requested} tokens ({prompt} in the \
             messages, {output} in the completion). Please reduce the length of the messages or completion"
        ))
    }

    pub(crate) fn refused(refused: Refused, prompt: u32, output: u32) -> Self {
        match refused {
            Refused::QueueFull => Self::new(429, "Failed to enqueue request, waiting requests queue is full"),
            Refused::ContextLength { limit, .. } => Self::context(limit, prompt, output),
            Refused::Empty => Self::bad_request("The prompt has no tokens"),
            _ => Self::new(500, "the kv cache does not have sufficient capacity to store this request"),
        }
    }

    /// The type that goes with a status.
    fn kind(status: u16) -> &'static str {
        match status {
            400 => "BadRequestError",
            401 => "AuthenticationError",
            403 => "PermissionDeniedError",
            404 => "NotFoundError",
            422 => "UnprocessableEntityError",
            429 => "RateLimitError",
            500.. => "InternalServerError",
            _ => "APIConnectionError",
        }
    }

    /// In the form of Anthropic's API.
    pub(crate) fn anthropic_body(&self) -> String {
        let kind = match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            503 => "overloaded_error",
            _ => "api_error",
        };
        json!({"type": "error", "error": {"type": kind, "message": self.message}}).to_string()
    }

    pub(crate) fn body(&self) -> String {
        json!({"error": {
            "message": self.message, "type": Self::kind(self.status), "param": self.param, "code": self.status,
        }})
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_the_status() {
        let expected = [
            (400, "BadRequestError"),
            (401, "AuthenticationError"),
            (403, "PermissionDeniedError"),
            (404, "NotFoundError"),
            (422, "UnprocessableEntityError"),
            (429, "RateLimitError"),
            (500, "InternalServerError"),
            (503, "InternalServerError"),
            (418, "APIConnectionError"),
        ];
        for (status, kind) in expected {
            assert_eq!(ApiError::kind(status), kind);
        }
    }

    #[test]
    fn body_has_all_four_fields() {
        let body = ApiError::no_model("x").body();
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            value,
            json!({"error": {"message": "The model `x` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}})
        );
    }
}
