//! The server: it starts, stops, and starts again where it was.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use axum::{Router, body::Body, extract::Request};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    access::ADMIN,
    http,
    store::{Store, Written},
};

/// What the server is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether watches stream lists (`sendInitialEvents`).
    pub streamed_lists: bool,
    /// Names that are tokens, too. `admin` is always one.
    pub users: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { streamed_lists: true, users: vec!["weir".to_owned()] }
    }
}

pub(crate) struct Shared {
    pub(crate) store: Mutex<Store>,
    options: Options,
    stop: Mutex<CancellationToken>,
    /// Requests on connections that are still open are refused.
    away: AtomicBool,
}

impl Shared {
    pub(crate) fn streams_lists(&self) -> bool {
        self.options.streamed_lists
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Relaxed)
    }

    pub(crate) fn knows(&self, user: &str) -> bool {
        user == ADMIN || self.options.users.iter().any(|one| one == user)
    }

    pub(crate) fn stopped(&self) -> CancellationToken {
        self.stop.lock().clone()
    }

    pub(crate) fn now(&self) -> String {
        jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// A running API server. It ends when it is dropped.
pub struct Fake {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fake").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.stop.lock().cancel();
        if let Some(task) = self.task.get_mut().take() {
            task.abort();
        }
    }
}

impl Fake {
    /// Starts on a free port of this machine.
    ///
    /// # Errors
    /// There is none.
    pub async fn start(options: Options) -> io::Result<Self> {
        Self::start_at("127.0.0.1:0", options).await
    }

    /// Starts on an address.
    ///
    /// # Errors
    /// It cannot be listened on.
    pub async fn start_at(address: &str, options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::new()),
            options,
            stop: Mutex::new(CancellationToken::new()),
            away: AtomicBool::new(false),
        });
        let address = listener.local_addr()?;
        let task = Mutex::new(Some(serve(&shared, listener)));
        Ok(Self { shared, address, task })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig for a user.
    pub fn kubeconfig(&self, user: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
             clusters: [{{name: c, cluster: {{server: \"{}\"}}}}], users: [{{name: u, user: {{token: {user}}}}}]}}",
            self.url()
        )
    }

    /// Ends every connection and accepts no more. What is stored stays; what happened is forgotten.
    pub async fn stop(&self) {
        self.shared.away.store(true, Relaxed);
        self.shared.stop.lock().cancel();
        let task = self.task.lock().take();
        if let Some(task) = task {
            // It was told to end.
            let _ = task.await;
        }
        self.shared.store.lock().forget();
    }

    /// Starts again, at the same address.
    ///
    /// # Errors
    /// Somebody else listens there now.
    pub async fn restart(&self) -> io::Result<()> {
        *self.shared.stop.lock() = CancellationToken::new();
        let listener = TcpListener::bind(self.address).await?;
        self.shared.away.store(false, Relaxed);
        *self.task.lock() = Some(serve(&self.shared, listener));
        Ok(())
    }

    /// Forgets every change so far, so that watches from before must list again.
    pub fn forget(&self) {
        self.shared.store.lock().forget();
    }

    /// A request of `admin`, without a socket: the status and the answer. Works while the server is stopped, too.
    pub async fn request(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = axum::http::Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {ADMIN}"))
            .header("content-type", "application/merge-patch+json")
            .body(Body::from(body.to_string()));
        let Ok(request) = request else { return (400, Value::Null) };
        let response = http::answer_always(Arc::clone(&self.shared), request).await;
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Requests that changed something, or tried to, so far.
    pub fn written(&self) -> Vec<Written> {
        self.shared.store.lock().written.clone()
    }
}

fn serve(shared: &Arc<Shared>, listener: TcpListener) -> JoinHandle<()> {
    let state = Arc::clone(shared);
    let routes = Router::new().fallback(move |request: Request| {
        let shared = Arc::clone(&state);
        async move { http::answer(shared, request).await }
    });
    let stop = shared.stopped();
    tokio::spawn(async move {
        let served = axum::serve(listener, routes);
        // Connections that idle are not waited for: they go with the task.
        stop.run_until_cancelled(async move { served.await }).await;
    })
}
