//! Why a request goes nowhere.

use std::time::Duration;

use weir_api::{Outcome, Reason};
use weir_plan::PickError;
use weir_protocol::{ScanError, ScanErrorKind};

/// A request that is answered without an endpoint.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Status, stable reason, and whether another try may help.
    pub outcome: Outcome,
    /// For the client, one or two sentences.
    pub message: String,
    /// The field of the request that is wrong.
    pub param: Option<&'static str>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

/// Ready endpoints can appear any time; a second is the slowest scrape.
const COME_BACK: Duration = Duration::from_secs(1);

impl Refusal {
    /// A refusal with the reason's own status.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let outcome = Outcome::from(reason);
        let retry_after = matches!(outcome.status, 429 | 503).then_some(COME_BACK);
        Self { outcome, message: message.into(), param: None, retry_after }
    }

    /// No parser takes what is sent to `path`.
    pub fn no_parser(path: &str) -> Self {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let shown: String = path.chars().take(256).collect();
        Self::new(Reason::NoParser, format!("No parser of this pool reads requests to `{shown}`."))
    }

    pub(crate) fn unknown_model(model: &str) -> Self {
        let shown: String = model.chars().take(256).collect();
        Self { param: Some("model"), ..Self::new(Reason::ModelNotFound, format!("The model `{shown}` does not exist.")) }
    }

    pub(crate) fn no_model() -> Self {
        Self {
            param: Some("model"),
            ..Self::new(Reason::InvalidRequest, "`model` is missing, and several pools could serve the request.")
        }
    }
}

impl From<PickError> for Refusal {
    fn from(error: PickError) -> Self {
        let outcome = error.outcome();
        let retry_after = matches!(outcome.status, 429 | 503).then_some(COME_BACK);
        Self { outcome, message: error.to_string(), param: None, retry_after }
    }
}

impl From<ScanError> for Refusal {
    fn from(error: ScanError) -> Self {
        let reason = match error.kind {
            ScanErrorKind::TooLarge => Reason::BodyTooLarge,
            ScanErrorKind::Missing { .. }
            | ScanErrorKind::Empty { .. }
            | ScanErrorKind::WrongType { .. }
            | ScanErrorKind::NotAnObject
            | ScanErrorKind::TooDeep
            | ScanErrorKind::CompressedMessage
            | ScanErrorKind::CutMessage
            | ScanErrorKind::MalformedMessage => Reason::InvalidRequest,
            _ => Reason::InvalidJson,
        };
        Self { param: error.param(), ..Self::new(reason, error.to_string()) }
    }
}
