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
    /// The screeners left nothing.
    #[error("the screeners {screeners} left none of {candidates} endpoints")]
    Screened {
        /// Their names.
        screeners: String,
        /// How many there were at first.
        candidates: usize,
    },
    /// An admitter refused the request, or the pool is saturated.
    #[error("{plugin}: {why}")]
    Denied {
        /// Who refused it.
        plugin: String,
        /// Why.
        why: String,
    },
    /// The client named a profile that does not exist.
    #[error("header {header}: no profile is named `{wanted}`")]
    UnknownProfile {
        /// The header.
        header: String,
        /// What it says.
        wanted: String,
    },
    /// The client wants its request served only where its prefix is cached.
    #[error("no endpoint holds the beginning of the prompt, and the request is to be served only by one that does")]
    NotCached,
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
            Self::NoEndpoints { .. } | Self::Screened { .. } => Outcome::from(Reason::NoEndpoints),
            Self::Filtered { .. } | Self::NoProfile { .. } | Self::Denied { .. } => Outcome::from(Reason::RejectedSaturated),
            Self::UnknownProfile { .. } => Outcome::from(Reason::InvalidRequest),
            Self::NotCached => Outcome::from(Reason::PreconditionFailed),
        }
    }
}
