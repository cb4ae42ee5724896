//! Who may do what, as the API server says: somebody with a token (`TokenReview`, `SubjectAccessReview`), or we ourselves
//! (`SelfSubjectAccessReview`).

use std::{collections::HashMap, time::Duration};

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{
        NonResourceAttributes, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
        SubjectAccessReviewSpec,
    },
};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

/// An answer is used again for so long.
const FRESH: Duration = Duration::from_secs(60);
/// And for so long while the API server does not answer.
const STALE: Duration = Duration::from_secs(600);
/// Answers that are kept.
const KEPT: usize = 1024;

/// What somebody may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They may.
    Allowed,
    /// Nobody knows who they are.
    Unknown,
    /// They may not.
    Forbidden,
    /// The API server does not say.
    NoAnswer,
}

/// Asks the API server who may read which path. Answers are kept for a minute.
pub struct Reviewer {
    client: Client,
    /// By token and path.
    known: Mutex<HashMap<(String, String), (Access, Instant)>>,
}

impl std::fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviewer").finish_non_exhaustive()
    }
}

impl Reviewer {
    /// Asks by this client.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Whether who bears this token may `get` this path.
    pub async fn may_get(&self, token: &str, path: &str) -> Access {
        let key = (token.to_owned(), path.to_owned());
        let known = self.known.lock().get(&key).copied();
        if let Some((access, _)) = known.filter(|(_, at)| at.elapsed() < FRESH) {
            return access;
        }
        match self.ask(token, path).await {
            Ok(access) => {
                let mut all = self.known.lock();
                if all.len() >= KEPT {
                    all.retain(|_, (_, at)| at.elapsed() < FRESH);
                }
                if all.len() >= KEPT {
                    all.clear();
                }
                all.insert(key, (access, Instant::now()));
                access
            }
            Err(error) => {
                warn!(path, %error, "the API server does not say who may read this");
                known.filter(|(_, at)| at.elapsed() < STALE).map_or(Access::NoAnswer, |(access, _)| access)
            }
        }
    }

    async fn ask(&self, token: &str, path: &str) -> kube::Result<Access> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let tokens: Api<TokenReview> = Api::all(self.client.clone());
        let status = tokens.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else { return Ok(Access::Unknown) };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                groups: user.groups,
                uid: user.uid,
                extra: user.extra,
                non_resource_attributes: Some(NonResourceAttributes {
                    path: Some(path.to_owned()),
                    verb: Some("get".to_owned()),
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let allowed = reviews.create(&PostParams::default(), &review).await?.status.is_some_and(|status| status.allowed);
        Ok(if allowed { Access::Allowed } else { Access::Forbidden })
    }
}

/// Something that this process may or may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// `get`, `list`, …
    pub verb: &'static str,
    /// API group.
    pub group: &'static str,
    /// Plural.
    pub resource: &'static str,
    /// Subresource, or nothing.
    pub subresource: &'static str,
}

/// Whether we may do something in a namespace.
///
/// # Errors
/// The API server does not say.
pub async fn may(client: &Client, namespace: &str, right: Right) -> Result<bool, kube::Error> {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let attributes = ResourceAttributes {
        namespace: text(namespace),
        verb: text(right.verb),
        group: text(right.group),
        resource: text(right.resource),
        subresource: text(right.subresource),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..SelfSubjectAccessReviewSpec::default() },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    Ok(reviews.create(&PostParams::default(), &review).await?.status.is_some_and(|status| status.allowed))
}
