//! Keeps one pool's endpoints equal to what its source lists.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use weir_pool::{EndpointSpec, Pool};

use crate::{
    FileWatch,
    names::{Names, Resolver, system},
    parse::parse,
};

/// Largest endpoints file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// How often names that never resolved are tried again.
const RETRY: Duration = Duration::from_secs(5);
/// All names are looked up again every so many times `RETRY`: every 30 s.
const RENEW_EVERY: u32 = 6;

/// Where a pool's endpoints come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A fixed list.
    Static(Vec<EndpointSpec>),
    /// A file in llm-d's `file-discovery` format.
    File {
        /// Where it is.
        path: PathBuf,
        /// Whether changes of it are followed.
        watch: bool,
    },
}

/// Why endpoints could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is larger than 1 MiB.
    #[error("{} is larger than 1 MiB", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// An edit left the file without any content: most likely it is being written.
    #[error("{} is empty; a list of no endpoints is written `endpoints: []`", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file's content is wrong.
    #[error("{report}")]
    Invalid {
        /// What is wrong and where, for people.
        report: String,
    },
}

/// What a source listed last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceState {
    /// Grows when the set of endpoints changes.
    pub revision: u64,
    /// Why the newest edit of the source is not in use; `None` if it is.
    pub error: Option<String>,
}

/// Keeps a pool up to date until it is dropped; the endpoints stay.
#[derive(Debug)]
pub struct Discovery {
    state: watch::Receiver<SourceState>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Discovery {
    /// Reads the source once, resolves host names, makes the pool's endpoints equal to what is listed, and goes on doing so in a task.
    ///
    /// Endpoints that are gone drain. A name that does not resolve is tried again, its endpoint has no addresses until then.
    ///
    /// # Errors
    /// The file cannot be read, or anything in it is wrong; then nothing was changed. Later edits with errors change nothing either, and
    /// are reported in the log and in [`Discovery::state`].
    pub async fn start(pool: Arc<Pool>, source: Source, cancel: CancellationToken) -> Result<Self, DiscoveryError> {
        Self::start_with(pool, source, cancel, system()).await
    }

    pub(crate) async fn start_with(
        pool: Arc<Pool>,
        source: Source,
        cancel: CancellationToken,
        resolver: Resolver,
    ) -> Result<Self, DiscoveryError> {
        let (specs, file) = match source {
            Source::Static(specs) => (specs, None),
            Source::File { path, watch } => {
                // Watched before it is read, so that no edit falls in between.
                let file = if watch { Some((FileWatch::new([path.clone()]).await, path.clone())) } else { None };
                (parse_file(&path, &read(&path).await?)?, file)
            }
        };
        let (sender, state) = watch::channel(SourceState::default());
        let mut follower = Follower { pool, names: Names::new(resolver), state: sender };
        follower.apply(&specs).await;
        let cancel = cancel.child_token();
        let task = tokio::spawn({
            let cancel = cancel.clone();
            async move {
                cancel.run_until_cancelled(follower.follow(file)).await;
            }
        });
        Ok(Self { state, cancel, task })
    }

    /// Tells when the set of endpoints changed, or an edit was refused.
    pub fn state(&self) -> watch::Receiver<SourceState> {
        self.state.clone()
    }

    /// Stops following the source, and waits until that has happened.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        // It ends by being cancelled; a panic in it was reported by the runtime.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

struct Follower {
    pool: Arc<Pool>,
    names: Names,
    state: watch::Sender<SourceState>,
}

impl Follower {
    async fn follow(mut self, mut file: Option<(FileWatch, PathBuf)>) {
        let mut retry = interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        retry.reset();
        let mut ticks = 0;
        loop {
            tokio::select! {
                () = changed(&mut file) => {
                    if let Some((_, path)) = &file {
                        self.reload(path).await;
                    }
                }
                _ = retry.tick() => {
                    ticks += 1;
                    if ticks % RENEW_EVERY == 0 {
                        self.names.renew().await;
                    } else {
                        self.names.retry().await;
                    }
                    self.names.publish(&self.pool.load().endpoints);
                }
            }
        }
    }

    async fn reload(&mut self, path: &Path) {
        match reread(path).await {
            Ok(specs) => {
                let changed = self.apply(&specs).await;
                let recovered = self.state.borrow().error.is_some();
                if changed || recovered {
                    info!(pool = self.pool.name(), file = %path.display(), endpoints = specs.len(), "endpoints reloaded");
                }
                self.state.send_if_modified(|state| state.error.take().is_some());
            }
            Err(refused) => {
                let text = refused.to_string();
                let news = self.state.send_if_modified(|state| {
                    let news = state.error.as_deref() != Some(&text);
                    state.error = Some(text.clone());
                    news
                });
                if news {
                    let pool = self.pool.name();
                    error!(pool, file = %path.display(), "endpoints not reloaded, the previous ones stay in use: {text}");
                }
            }
        }
    }

    /// Returns whether the set of endpoints changed.
    async fn apply(&mut self, specs: &[EndpointSpec]) -> bool {
        self.names.learn(specs).await;
        let before = self.pool.load().generation;
        let report = self.pool.reconcile(specs);
        let snapshot = self.pool.snapshot();
        self.names.publish(&snapshot.endpoints);
        for endpoint in &report.removed {
            info!(pool = self.pool.name(), endpoint = endpoint.id(), "the endpoint was removed and drains");
        }
        let changed = snapshot.generation != before;
        if changed {
            self.state.send_modify(|state| state.revision += 1);
        }
        changed
    }
}

async fn changed(file: &mut Option<(FileWatch, PathBuf)>) {
    match file {
        Some((watch, _)) => watch.changed().await,
        None => std::future::pending().await,
    }
}

async fn read(path: &Path) -> Result<String, DiscoveryError> {
    let failed = |error| DiscoveryError::Read { path: path.to_owned(), error };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(DiscoveryError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| failed(io::Error::other(error)))
}

fn parse_file(path: &Path, text: &str) -> Result<Vec<EndpointSpec>, DiscoveryError> {
    parse(path, text).map_err(|report| DiscoveryError::Invalid { report })
}

async fn reread(path: &Path) -> Result<Vec<EndpointSpec>, DiscoveryError> {
    let text = read(path).await?;
    if text.trim().is_empty() {
        return Err(DiscoveryError::Empty { path: path.to_owned() });
    }
    parse_file(path, &text)
}

#[cfg(test)]
mod tests;
