//! Watches: what happened, and then what happens.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{
    http::Asked,
    selector::Selector,
    server::Shared,
    store::{Change, Refusal, Resource},
};

/// How often a watch without news says how far it is.
const BOOKMARK_EVERY: Duration = Duration::from_secs(1);

struct Watch {
    shared: Arc<Shared>,
    resource: Resource,
    namespace: Option<String>,
    selector: Selector,
    version: u64,
    bookmarks: bool,
    /// Lines that are ready.
    ready: VecDeque<Value>,
    end: Instant,
    stop: CancellationToken,
    over: bool,
}

pub(crate) fn stream(
    shared: &Arc<Shared>,
    asked: &Asked,
) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + Send + use<>, Refusal> {
    let store = shared.store.lock();
    store.kind(&asked.resource)?;
    let streamed = asked.query("sendInitialEvents") == "true";
    if streamed && !shared.streams_lists() {
        let message =
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        return Err(Refusal::new(422, "Invalid", message));
    }
    let seconds: u64 = asked.query("timeoutSeconds").parse().unwrap_or(300);
    let mut watch = Watch {
        shared: Arc::clone(shared),
        resource: asked.resource.clone(),
        namespace: asked.namespace.clone(),
        selector: asked.selector(),
        version: asked.query("resourceVersion").parse().unwrap_or(0),
        bookmarks: asked.query("allowWatchBookmarks") == "true",
        ready: VecDeque::new(),
        end: Instant::now() + Duration::from_secs(seconds),
        stop: shared.stopped(),
        over: false,
    };
    if streamed || watch.version == 0 {
        let all = store.all(&asked.resource).map(|(_, one)| one);
        let lines: Vec<Value> = all.filter(|one| watch.selects(one)).map(|one| json!({"type": "ADDED", "object": one})).collect();
        watch.ready.extend(lines);
        watch.version = store.version();
        if streamed {
            let mut mark = watch.bookmark();
            mark["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
            watch.ready.push_back(mark);
        }
    }
    drop(store);
    Ok(stream::unfold(watch, |mut watch| async move {
        let mut line = watch.next().await?.to_string();
        line.push('\n');
        Some((Ok(Bytes::from(line)), watch))
    }))
}

impl Watch {
    async fn next(&mut self) -> Option<Value> {
        let mut changes = self.shared.store.lock().changes();
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            changes.borrow_and_update();
            let found = self.shared.store.lock().after(&self.resource, self.version);
            match found {
                Ok(found) => {
                    for change in found {
                        self.version = change.version;
                        self.ready.extend(self.line(&change));
                    }
                }
                Err(refusal) => {
                    self.ready.push_back(json!({"type": "ERROR", "object": refusal.status()}));
                    self.over = true;
                }
            }
            if !self.ready.is_empty() {
                continue;
            }
            let bookmark = Instant::now() + BOOKMARK_EVERY;
            tokio::select! {
                () = self.stop.cancelled() => return None,
                waited = timeout_at(bookmark.min(self.end), changes.changed()) => {
                    if waited.is_err() && Instant::now() >= self.end {
                        return None;
                    }
                    if waited.is_err() && self.bookmarks {
                        self.version = self.version.max(self.shared.store.lock().version());
                        return Some(self.bookmark());
                    }
                }
            }
        }
    }

    fn selects(&self, object: &Value) -> bool {
        let namespace = self.namespace.as_ref();
        namespace.is_none_or(|namespace| object["metadata"]["namespace"] == **namespace) && self.selector.matches(object)
    }

    /// An object that is not selected any more is as good as deleted.
    fn line(&self, change: &Change) -> Option<Value> {
        let was = change.before.as_ref().filter(|one| self.selects(one));
        let is = change.after.as_ref().filter(|one| self.selects(one));
        let (kind, object) = match (was, is) {
            (None, None) => return None,
            (None, Some(object)) => ("ADDED", object.clone()),
            (Some(_), Some(object)) => ("MODIFIED", object.clone()),
            (Some(object), None) => {
                let mut object = object.clone();
                object["metadata"]["resourceVersion"] = json!(change.version.to_string());
                ("DELETED", object)
            }
        };
        Some(json!({"type": kind, "object": object}))
    }

    fn bookmark(&self) -> Value {
        let Resource { group, version, .. } = &self.resource;
        let api = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
        let metadata = json!({"resourceVersion": self.version.to_string()});
        json!({"type": "BOOKMARK", "object": {"kind": "Bookmark", "apiVersion": api, "metadata": metadata}})
    }
}
