//! Notices that files changed: by an edit, a rename over them, removal and re-creation, or a symbolic link that was turned.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsString,
    fs::Metadata,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tracing::warn;

/// A change is reported after this long without another event.
const QUIET: Duration = Duration::from_millis(50);
/// Unless events never cease.
const MAX_DELAY: Duration = Duration::from_secs(1);
/// Files are looked at this often even without events: network file systems send none.
const POLL: Duration = Duration::from_secs(5);
/// And this often if the system gives no events at all.
const POLL_ALONE: Duration = Duration::from_secs(1);
/// Longest chain of symbolic links that is followed.
const MAX_LINKS: usize = 8;

/// What distinguishes two states of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    identity: (u64, u64),
    modified: Option<SystemTime>,
    changed: (i64, i64),
    len: u64,
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> ((u64, u64), (i64, i64)) {
    use std::os::unix::fs::MetadataExt;
    ((metadata.dev(), metadata.ino()), (metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> ((u64, u64), (i64, i64)) {
    ((0, 0), (0, 0))
}

/// Shared with the thread that receives events.
#[derive(Debug, Default)]
struct Seen {
    /// Names of the files and of the links to them.
    names: Mutex<HashSet<OsString>>,
    /// An event named one of them.
    certain: AtomicBool,
}

/// Watches a few files, existing or not. Made before the first reading, it misses nothing.
#[derive(Debug)]
pub struct FileWatch {
    paths: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    /// Directories that are watched, by their real path, and which directory that was then.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    seen: Arc<Seen>,
    events: mpsc::Receiver<()>,
    /// Keeps the channel open without a watcher.
    _sender: mpsc::Sender<()>,
    stamps: Vec<Option<Stamp>>,
    /// A file is another than the one last reported.
    news: bool,
    /// An event came, or there is news, and it was not reported yet.
    pending: bool,
}

impl FileWatch {
    /// Begins to watch.
    pub async fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let (sender, events) = mpsc::channel(1);
        let seen = Arc::new(Seen::default());
        let watcher = notify::recommended_watcher({
            let (sender, seen) = (sender.clone(), Arc::clone(&seen));
            move |event| on_event(&event, &seen, &sender)
        });
        let watcher = match watcher {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                warn!(%error, "no file events from the system; files are checked once a second");
                None
            }
        };
        let mut watch = Self {
            paths: paths.into_iter().collect(),
            watcher,
            watched: BTreeMap::new(),
            seen,
            events,
            _sender: sender,
            stamps: Vec::new(),
            news: false,
            pending: false,
        };
        watch.look().await;
        watch.news = false;
        watch
    }

    /// Waits until one of the files changed, and has been left alone for a moment. Loses nothing if it is dropped half way.
    pub async fn changed(&mut self) {
        loop {
            if !self.pending {
                let poll = if self.watched.is_empty() { POLL_ALONE } else { POLL };
                let event = timeout(poll, self.events.recv()).await.is_ok();
                if !event {
                    self.look().await;
                    if !self.news {
                        continue;
                    }
                }
            }
            self.pending = true;
            let first = Instant::now();
            while timeout(QUIET, self.events.recv()).await.is_ok() && first.elapsed() < MAX_DELAY {}
            self.look().await;
            self.pending = false;
            // Both are taken, whichever it was.
            if self.seen.certain.swap(false, Relaxed) | std::mem::take(&mut self.news) {
                return;
            }
        }
    }

    /// Looks at all files, and watches the directories that they are in now.
    async fn look(&mut self) {
        let mut dirs = BTreeMap::new();
        let mut names = HashSet::new();
        let mut stamps = Vec::with_capacity(self.paths.len());
        for path in &self.paths {
            follow(path, &mut dirs, &mut names).await;
            stamps.push(tokio::fs::metadata(path).await.ok().map(|metadata| {
                let (identity, changed) = identity(&metadata);
                Stamp { identity, modified: metadata.modified().ok(), changed, len: metadata.len() }
            }));
        }
        *self.seen.names.lock() = names;
        if let Some(watcher) = &mut self.watcher {
            let gone = self.watched.iter().filter(|(dir, id)| dirs.get(*dir) != Some(*id));
            for (dir, _) in gone {
                // It may be gone for good; then so is its watch.
                let _ = watcher.unwatch(dir);
            }
            dirs.retain(|dir, id| self.watched.get(dir) == Some(id) || watcher.watch(dir, RecursiveMode::NonRecursive).is_ok());
            self.watched = dirs;
        }
        self.news |= stamps != self.stamps;
        self.stamps = stamps;
    }
}

/// Notes the directory and the name of `path`, and of everything that it links to.
async fn follow(path: &Path, dirs: &mut BTreeMap<PathBuf, (u64, u64)>, names: &mut HashSet<OsString>) {
    let mut path = path.to_owned();
    for _ in 0..=MAX_LINKS {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if let (Ok(dir), Ok(metadata)) = (tokio::fs::canonicalize(&parent).await, tokio::fs::metadata(&parent).await) {
            dirs.insert(dir, identity(&metadata).0);
        }
        names.extend(path.file_name().map(ToOwned::to_owned));
        match tokio::fs::read_link(&path).await {
            Ok(target) => path = parent.join(target),
            Err(_) => return,
        }
    }
}

fn on_event(event: &notify::Result<Event>, seen: &Seen, sender: &mpsc::Sender<()>) {
    let certain = match event {
        Ok(event) => {
            if let EventKind::Access(kind) = event.kind
                && kind != AccessKind::Close(AccessMode::Write)
            {
                return;
            }
            let names = seen.names.lock();
            event.need_rescan() || event.paths.iter().any(|path| path.file_name().is_some_and(|name| names.contains(name)))
        }
        Err(_) => true,
    };
    if certain {
        seen.certain.store(true, Relaxed);
    }
    // Full is as good: an event is waiting already.
    let _ = sender.try_send(());
}

/// Watches files in a task of its own; a message for each change, several changes in one if nobody takes it. The task ends when the
/// receiver goes.
pub async fn watch_files(paths: impl IntoIterator<Item = PathBuf>) -> mpsc::Receiver<()> {
    let mut watch = FileWatch::new(paths).await;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = watch.changed() => {
                    let _ = sender.try_send(());
                }
            }
        }
    });
    receiver
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
