//! What goes on between this process and the API server, for people: health pages, metrics, the log.

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use serde::Serialize;
use tracing::{info, warn};

/// Why a watch does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Trouble {
    /// The API server does not answer, or answers with an error of its own.
    Unreachable,
    /// The API server does not know who we are.
    Unauthorized,
    /// We may not.
    Forbidden,
    /// There is no such kind of object: its definition is not installed.
    Absent,
}

impl Trouble {
    /// For metrics and the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Absent => "absent",
        }
    }
}

/// How far a watch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WatchState {
    /// All objects are not known yet.
    Listing,
    /// All objects are known, and changes come.
    Watching,
    /// It does not work now; what was known stays in use.
    Failing(Trouble),
}

/// One watch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchStatus {
    /// What is watched, as `pods` or `inferencepools.inference.networking.k8s.io`.
    pub resource: String,
    /// Namespace.
    pub namespace: String,
    /// What restricts it, if anything: a name or a label selector.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// How far it has come.
    pub state: WatchState,
    /// What the API server said, while it does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Complete lists so far; more than one after a gap.
    pub lists: u64,
    /// Failures so far.
    pub failures: u64,
}

/// All watches of a process. Clones share.
#[derive(Clone, Default)]
pub struct Watches {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    list: Vec<(u64, WatchStatus)>,
    /// Whether the API server streams lists; found out once.
    no_streamed_lists: bool,
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watches").field(&self.inner.lock().list.len()).finish()
    }
}

impl Watches {
    /// Every watch now, in the order in which they began.
    pub fn list(&self) -> Vec<WatchStatus> {
        self.inner.lock().list.iter().map(|(_, status)| status.clone()).collect()
    }

    /// Watches that do not work although the object's kind is there, and those that could never list.
    pub fn failing(&self) -> Vec<WatchStatus> {
        let is_failing = |status: &WatchStatus| matches!(status.state, WatchState::Failing(why) if why != Trouble::Absent);
        self.inner.lock().list.iter().map(|(_, status)| status).filter(|one| is_failing(one)).cloned().collect()
    }

    pub(crate) fn begin(&self, resource: impl Into<String>, namespace: &str, filter: impl Into<String>) -> Watch {
        let mut inner = self.inner.lock();
        let id = inner.next;
        inner.next += 1;
        let status = WatchStatus {
            resource: resource.into(),
            namespace: namespace.to_owned(),
            filter: filter.into(),
            state: WatchState::Listing,
            error: None,
            lists: 0,
            failures: 0,
        };
        inner.list.push((id, status));
        Watch { id, all: self.clone() }
    }

    pub(crate) fn streams_lists(&self) -> bool {
        !self.inner.lock().no_streamed_lists
    }

    pub(crate) fn set_no_streamed_lists(&self) {
        self.inner.lock().no_streamed_lists = true;
    }
}

/// A watch's entry, for as long as it runs.
#[derive(Debug)]
pub(crate) struct Watch {
    id: u64,
    pub(crate) all: Watches,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.all.inner.lock().list.retain(|(id, _)| *id != self.id);
    }
}

impl Watch {
    fn change<R>(&self, change: impl FnOnce(&mut WatchStatus) -> R) -> Option<R> {
        self.all.inner.lock().list.iter_mut().find(|(id, _)| *id == self.id).map(|(_, status)| change(status))
    }

    /// All objects are known.
    pub(crate) fn listed(&self) {
        self.change(|status| status.lists += 1);
        self.works();
    }

    /// Changes come, or would.
    pub(crate) fn works(&self) {
        let recovered = self.change(|status| {
            let before = std::mem::replace(&mut status.state, WatchState::Watching);
            status.error = None;
            matches!(before, WatchState::Failing(_)).then(|| status.clone())
        });
        if let Some(WatchStatus { resource, namespace, filter, .. }) = recovered.flatten() {
            info!(resource, namespace, filter, "the API server answers again");
        }
    }

    /// It does not work. The same trouble is logged once.
    pub(crate) fn fails(&self, trouble: Trouble, error: String) {
        let news = self.change(|status| {
            status.failures += 1;
            let before = std::mem::replace(&mut status.state, WatchState::Failing(trouble));
            status.error = Some(error.clone());
            (before != status.state).then(|| status.clone())
        });
        let Some(WatchStatus { resource, namespace, filter, .. }) = news.flatten() else { return };
        match trouble {
            Trouble::Absent => info!(resource, namespace, "there is no such kind of object yet; it is looked for again"),
            Trouble::Forbidden => {
                warn!(resource, namespace, filter, error, "not allowed; grant get, list and watch to this service account");
            }
            Trouble::Unauthorized => warn!(resource, namespace, filter, error, "the API server does not accept our credentials"),
            Trouble::Unreachable => {
                warn!(resource, namespace, filter, error, "the API server does not answer; what it said last stays in use");
            }
        }
    }
}
