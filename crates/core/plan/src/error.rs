//! Why a request could not be given an endpoint.

use weir_api::{Outcome, Reason};

/// Why a request could not be given an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickError {
    /// Nothing to choose from.
    #[error("no endpoint of the pool is ready ({known} known)")]
    NoEndpoints {
        /// Endpoints that the pool knows, none of which may be given requests.
        known: usize,
    },
    /// The profile's filters left nothing.
    #[error("profile {profile}: filter {filter} left none of {candidates} endpoints")]
    Filtered {
        /// The profile.
        profile: String,
        /// The filter that removed the last one.
        filter: String,
        /// How many there were at first.
        candidates: usize,
    },
    /// The profile handler ran no profile.
    #[error("the profile handler {handler} ran no profile")]
    NoProfile {
        /// The handler.
        handler: String,
    },
}

impl PickError {
    /// What the client is told: status, stable reason, whether another try may help.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoEndpoints { .. } => Outcome::from(Reason::NoEndpoints),
            Self::Filtered { .. } | Self::NoProfile { .. } => Outcome::from(Reason::RejectedSaturated),
        }
    }
}
