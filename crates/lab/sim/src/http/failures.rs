//! Errors on demand: a header, or a percentage of requests.

use fastrand::Rng;
use http::HeaderMap;

use crate::{
    config::{FailureKind, SimConfig},
    error::ApiError,
};

/// `X-Return-Error: 503` asks for that status.
pub(super) fn demanded(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get("x-return-error") else { return Ok(()) };
    let code = value.to_str().ok().and_then(|text| text.trim().parse::<u16>().ok()).filter(|code| (200..1000).contains(code));
    Err(match code {
        Some(code) => ApiError::new(code, format!("Simulated error triggered by X-Return-Error header (code {code})")),
        None => ApiError::bad_request(format!("Invalid X-Return-Error header value {value:?}")),
    })
}

/// Fails a share of the requests in one of the configured ways.
pub(super) fn injected(config: &SimConfig, rng: &mut Rng) -> Result<(), ApiError> {
    if rng.u8(1..=100) > config.failure_percent {
        return Ok(());
    }
    let kinds: &[FailureKind] = if config.failure_kinds.is_empty() { &FailureKind::ALL } else { &config.failure_kinds };
    let model = config.display_name();
    let with = |status, param, message: String| ApiError { param, ..ApiError::new(status, message) };
    Err(match kinds[rng.usize(0..kinds.len())] {
        FailureKind::RateLimit => with(
            429,
            None,
            format!(
                "Rate limit reached for {model} in organization org-xxx on requests per min (RPM): Limit 3, Used 3, Requested 1."
            ),
        ),
        FailureKind::InvalidApiKey => with(401, None, "Incorrect API key provided.".to_owned()),
        FailureKind::ContextLength => with(
            400,
            Some("messages"),
            "This model's maximum context length is 4096 tokens. However, your messages resulted in 4500 tokens.".to_owned(),
        ),
        FailureKind::ServerError => with(503, None, "The server is overloaded or not ready yet.".to_owned()),
        FailureKind::InvalidRequest => {
            with(400, Some("model"), "Invalid request: missing required parameter 'model'.".to_owned())
        }
        FailureKind::ModelNotFound => with(404, Some("model"), format!("The model '{model}-nonexistent' does not exist")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_and_the_kinds_are_kept() {
        let mut rng = Rng::with_seed(3);
        let mut config = SimConfig::new("m");
        assert!((0..1000).all(|_| injected(&config, &mut rng).is_ok()));
        config.failure_percent = 20;
        let failed = (0..10_000).filter(|_| injected(&config, &mut rng).is_err()).count();
        assert!((1850..2150).contains(&failed), "{failed}");
        config.failure_percent = 100;
        let mut statuses: Vec<u16> = (0..1000).map(|_| injected(&config, &mut rng).unwrap_err().status).collect();
        statuses.sort_unstable();
        statuses.dedup();
        assert_eq!(statuses, [400, 401, 404, 429, 503]);
        config.failure_kinds = vec![FailureKind::RateLimit];
        assert!((0..100).all(|_| injected(&config, &mut rng).unwrap_err().status == 429));
    }
}
