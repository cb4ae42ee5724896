//! The names of the pools that a label selector selects.

use std::collections::BTreeSet;

use kube::{
    Api, Client, ResourceExt,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    PoolGroup, Watches,
    follow::{Event, Filter, follow, next},
};

/// Keeps the names of the pools of a namespace that a label selector selects. `None` until they are known.
#[derive(Debug)]
pub struct PoolsWatch {
    names: watch::Receiver<Option<BTreeSet<String>>>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl PoolsWatch {
    /// Begins to follow the cluster, and returns at once.
    pub fn start(
        client: Client,
        watches: &Watches,
        namespace: &str,
        group: PoolGroup,
        selector: &str,
        cancel: &CancellationToken,
    ) -> Self {
        let (sender, names) = watch::channel(None);
        let cancel = cancel.child_token();
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group.name(), group.version(), "InferencePool"));
        let watch = watches.begin(format!("inferencepools.{}", group.name()), namespace, selector);
        let api = Api::namespaced_with(client, namespace, &kind);
        let mut events = Some(follow(api, Filter { labels: Some(selector.to_owned()), fields: None }, watch));
        let task = tokio::spawn({
            let cancel = cancel.clone();
            async move {
                let mut staged = BTreeSet::new();
                while let Some(event) = cancel.run_until_cancelled(next(&mut events)).await {
                    take(event, &mut staged, &sender);
                }
            }
        });
        Self { names, cancel, task }
    }

    /// The names, and when they change.
    pub fn names(&self) -> watch::Receiver<Option<BTreeSet<String>>> {
        self.names.clone()
    }

    /// Stops following, and waits until that has happened.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        // It ends by being cancelled; a panic in it was reported by the runtime.
        let _ = (&mut self.task).await;
    }
}

impl Drop for PoolsWatch {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn take(event: Event<DynamicObject>, staged: &mut BTreeSet<String>, names: &watch::Sender<Option<BTreeSet<String>>>) {
    let change = |change: &dyn Fn(&mut BTreeSet<String>) -> bool| {
        names.send_if_modified(|names| names.as_mut().is_some_and(change));
    };
    match event {
        Event::Began => staged.clear(),
        Event::Listed(object) => {
            staged.insert(object.name_any());
        }
        Event::Complete => {
            let new = Some(std::mem::take(staged));
            names.send_if_modified(|names| {
                let news = *names != new;
                *names = new;
                news
            });
        }
        Event::Applied(object) => change(&|names| names.insert(object.name_any())),
        Event::Deleted(object) => change(&|names| names.remove(&object.name_any())),
        Event::Failing(_) => {}
    }
}
