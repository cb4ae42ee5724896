//! A kind of object, listed and watched without end.
//!
//! Lists are streamed by the watch itself where the server does that, else they are listed page by page. A watch that ends is opened
//! again where it ended; one whose place the server has forgotten is listed anew, and its reader is told so: [`Event::Began`]. Errors
//! never end it: they are waited out, and reported in [`Watches`](crate::Watches).

use std::{collections::VecDeque, fmt, time::Duration};

use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use kube::{
    Api, Resource,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use crate::watches::{Trouble, Watch};

/// Objects in one page of a list.
const PAGE: u32 = 500;
/// Shortest and longest wait after a failure.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a kind that does not exist is looked for.
const ABSENT_PAUSE: Duration = Duration::from_secs(5);
/// A server that does not know streamed lists sends objects and then nothing that ends the list.
const PATIENCE: Duration = Duration::from_secs(20);
/// The server ends a watch after so many seconds, give or take a fifth, so that not all come back at once.
const WATCH_SECONDS: u32 = 290;

/// What happened.
#[derive(Debug)]
pub(crate) enum Event<K> {
    /// A list begins: what was known may be outdated, and stays until it is complete.
    Began,
    /// An object of the list.
    Listed(K),
    /// The list is complete: what it did not hold is gone.
    Complete,
    /// An object is new or changed.
    Applied(K),
    /// An object is gone, or the selector does not select it any more.
    Deleted(K),
    /// It does not work now, in another way than before. What was known stays.
    Failing(Trouble),
}

impl<K> Event<K> {
    pub(crate) fn map<T>(self, change: impl FnOnce(K) -> T) -> Event<T> {
        match self {
            Self::Began => Event::Began,
            Self::Listed(one) => Event::Listed(change(one)),
            Self::Complete => Event::Complete,
            Self::Applied(one) => Event::Applied(change(one)),
            Self::Deleted(one) => Event::Deleted(change(one)),
            Self::Failing(trouble) => Event::Failing(trouble),
        }
    }
}

/// What restricts the objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) labels: Option<String>,
    pub(crate) fields: Option<String>,
}

/// Events of a kind of object, without end. Dropping a call of `next` loses nothing.
pub(crate) fn follow<K>(api: Api<K>, filter: Filter, watch: Watch) -> BoxStream<'static, Event<K>>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
{
    let start = Follow { api, filter, watch, phase: Phase::Begin, failures: 0, trouble: None, last_version: None };
    stream::unfold(start, |mut follow| async move {
        let event = follow.next().await;
        Some((event, follow))
    })
    .boxed()
}

struct Follow<K> {
    api: Api<K>,
    filter: Filter,
    watch: Watch,
    phase: Phase<K>,
    /// Since it worked last.
    failures: u32,
    /// What the reader was told of last.
    trouble: Option<Trouble>,
    /// The newest version that was seen: a list must not be older.
    last_version: Option<String>,
}

type Changes<K> = BoxStream<'static, kube::Result<WatchEvent<K>>>;

enum Phase<K> {
    Begin,
    /// A list that the watch streams.
    Streamed(Changes<K>),
    /// A list in pages.
    Paged {
        items: VecDeque<K>,
        next: Option<String>,
        version: String,
    },
    /// Between two watches.
    Open(String),
    Watching(String, Changes<K>),
}

impl<K> Follow<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
{
    async fn next(&mut self) -> Event<K> {
        loop {
            if let Some(event) = self.step().await {
                return event;
            }
        }
    }

    /// One step; most give an event.
    async fn step(&mut self) -> Option<Event<K>> {
        match std::mem::replace(&mut self.phase, Phase::Begin) {
            Phase::Begin => self.begin().await,
            Phase::Streamed(changes) => self.streamed(changes).await,
            Phase::Paged { mut items, next, version } => {
                if let Some(item) = items.pop_front() {
                    self.phase = Phase::Paged { items, next, version };
                    return Some(Event::Listed(item));
                }
                match next {
                    Some(token) => self.page(Some(token)).await,
                    None => {
                        self.complete();
                        self.phase = Phase::Open(version);
                        Some(Event::Complete)
                    }
                }
            }
            Phase::Open(version) => self.open(version).await,
            Phase::Watching(version, changes) => self.watching(version, changes).await,
        }
    }

    async fn begin(&mut self) -> Option<Event<K>> {
        if !self.watch.all.streams_lists() {
            return self.page(None).await;
        }
        let params = self.watch_params().initial_events();
        let version = self.last_version.clone().unwrap_or_else(|| "0".to_owned());
        match self.api.watch(&params, &version).await {
            Ok(changes) => {
                self.phase = Phase::Streamed(changes.boxed());
                Some(Event::Began)
            }
            Err(error) if is_unsupported(&error) => {
                self.watch.all.set_no_streamed_lists();
                None
            }
            Err(error) => self.failed(&error).await,
        }
    }

    async fn streamed(&mut self, mut changes: Changes<K>) -> Option<Event<K>> {
        let Ok(change) = timeout(PATIENCE, changes.next()).await else {
            self.watch.all.set_no_streamed_lists();
            return None;
        };
        match change {
            Some(Ok(WatchEvent::Added(item) | WatchEvent::Modified(item))) => {
                self.phase = Phase::Streamed(changes);
                Some(Event::Listed(item))
            }
            Some(Ok(WatchEvent::Bookmark(mark))) if mark.metadata.annotations.contains_key("k8s.io/initial-events-end") => {
                self.complete();
                self.last_version = Some(mark.metadata.resource_version.clone());
                self.phase = Phase::Watching(mark.metadata.resource_version, changes);
                Some(Event::Complete)
            }
            Some(Ok(WatchEvent::Bookmark(_) | WatchEvent::Deleted(_))) => {
                self.phase = Phase::Streamed(changes);
                None
            }
            Some(Ok(WatchEvent::Error(status))) => self.failed(&kube::Error::Api(status)).await,
            Some(Err(error)) => self.failed(&error).await,
            None => pause(PAUSE).await,
        }
    }

    async fn page(&mut self, next: Option<String>) -> Option<Event<K>> {
        let first = next.is_none();
        let mut params = ListParams::default().limit(PAGE);
        params.label_selector.clone_from(&self.filter.labels);
        params.field_selector.clone_from(&self.filter.fields);
        params.continue_token = next;
        match self.api.list(&params).await {
            Ok(list) => {
                let version = list.metadata.resource_version.unwrap_or_default();
                self.last_version = Some(version.clone());
                let next = list.metadata.continue_.filter(|token| !token.is_empty());
                self.phase = Phase::Paged { items: list.items.into(), next, version };
                first.then_some(Event::Began)
            }
            Err(error) => self.failed(&error).await,
        }
    }

    async fn open(&mut self, version: String) -> Option<Event<K>> {
        match self.api.watch(&self.watch_params(), &version).await {
            Ok(changes) => {
                self.works();
                self.phase = Phase::Watching(version, changes.boxed());
                None
            }
            Err(error) => {
                if is_transient(&error) {
                    self.phase = Phase::Open(version);
                }
                self.failed(&error).await
            }
        }
    }

    async fn watching(&mut self, version: String, mut changes: Changes<K>) -> Option<Event<K>> {
        match changes.next().await {
            Some(Ok(WatchEvent::Added(item) | WatchEvent::Modified(item))) => {
                let version = self.newer(&item, version);
                self.phase = Phase::Watching(version, changes);
                Some(Event::Applied(item))
            }
            Some(Ok(WatchEvent::Deleted(item))) => {
                let version = self.newer(&item, version);
                self.phase = Phase::Watching(version, changes);
                Some(Event::Deleted(item))
            }
            Some(Ok(WatchEvent::Bookmark(mark))) => {
                self.last_version = Some(mark.metadata.resource_version.clone());
                self.phase = Phase::Watching(mark.metadata.resource_version, changes);
                None
            }
            // Mostly that the server has forgotten the version: the list begins anew.
            Some(Ok(WatchEvent::Error(status))) => self.failed(&kube::Error::Api(status)).await,
            Some(Err(error)) => {
                self.phase = Phase::Open(version);
                self.failed(&error).await
            }
            None => {
                self.phase = Phase::Open(version);
                // Servers that end watches at once must not be hammered.
                pause(PAUSE).await
            }
        }
    }

    fn watch_params(&self) -> WatchParams {
        let fifth = WATCH_SECONDS / 5;
        WatchParams {
            label_selector: self.filter.labels.clone(),
            field_selector: self.filter.fields.clone(),
            timeout: Some(WATCH_SECONDS - fastrand::u32(..fifth)),
            ..WatchParams::default()
        }
    }

    fn newer(&mut self, item: &K, version: String) -> String {
        let version = item.meta().resource_version.clone().unwrap_or(version);
        self.last_version = Some(version.clone());
        version
    }

    fn complete(&mut self) {
        (self.failures, self.trouble) = (0, None);
        self.watch.listed();
    }

    fn works(&mut self) {
        (self.failures, self.trouble) = (0, None);
        self.watch.works();
    }

    /// Reports an error and waits. The phase is what comes next.
    async fn failed(&mut self, error: &kube::Error) -> Option<Event<K>> {
        if is_gone(error) {
            // A list that must not be older than a forgotten version never comes.
            self.last_version = None;
            return pause(PAUSE.mul_f64(fastrand::f64())).await;
        }
        let trouble = trouble(error);
        self.watch.fails(trouble, text(error));
        let wait = match trouble {
            Trouble::Absent => ABSENT_PAUSE,
            _ => PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE),
        };
        self.failures = self.failures.saturating_add(1);
        // The reader hears of it before the wait, not after.
        if self.trouble.replace(trouble) != Some(trouble) {
            return Some(Event::Failing(trouble));
        }
        pause(wait.mul_f64(0.75 + fastrand::f64() / 2.0)).await
    }
}

async fn pause<K>(pause: Duration) -> Option<Event<K>> {
    sleep(pause).await;
    None
}

fn status(error: &kube::Error) -> Option<&kube::core::Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// The server refuses to stream lists, and would list.
fn is_unsupported(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| matches!(status.code, 400 | 422))
}

/// The server has forgotten the version, or never knew it.
fn is_gone(error: &kube::Error) -> bool {
    status(error).is_some_and(|status| {
        status.code == 410
            || status.reason == "Expired"
            || status.reason == "Gone"
            || status.message.contains("Too large resource version")
    })
}

/// Worth another try with the same version.
fn is_transient(error: &kube::Error) -> bool {
    !is_gone(error) && status(error).is_none_or(|status| matches!(status.code, 401 | 403 | 429 | 500..))
}

fn trouble(error: &kube::Error) -> Trouble {
    match status(error).map(|status| status.code) {
        Some(401) => Trouble::Unauthorized,
        Some(403) => Trouble::Forbidden,
        Some(404) => Trouble::Absent,
        _ => Trouble::Unreachable,
    }
}

/// An error with all its causes.
fn text(error: &kube::Error) -> String {
    if let Some(status) = status(error) {
        return format!("{} ({})", status.message, status.code);
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The next event of a stream that may not be there: then there is never one.
pub(crate) async fn next<K>(stream: &mut Option<impl Stream<Item = Event<K>> + Unpin>) -> Event<K> {
    match stream {
        Some(stream) => match stream.next().await {
            Some(event) => event,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
