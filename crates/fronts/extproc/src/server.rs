//! Listens, accepts, and ends in good order.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use arc_swap::ArcSwap;
use hyper::{rt::Executor, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use weir_fronts::{AccessLog, accept};

use crate::{
    Health, Limits, Live,
    metrics::Metrics,
    service::{Front, Services},
};

/// HTTP/2 windows: a long prompt should not wait for window updates, and one request not for another; but what has come of a prompt
/// should still be in the processor's cache when it is read.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// How long a peer may take to answer when it is asked whether it is still there.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// `envoy.service.ext_proc.v3.ExternalProcessor`
    Processing,
    /// `grpc.health.v1.Health`
    Health,
    /// Both.
    Both,
}

/// An address that is listened on.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// TLS, or cleartext.
    pub tls: Option<Arc<ServerConfig>>,
    /// What is served there.
    pub serves: Serves,
}

impl Listener {
    /// Where it listens.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// How the server ends once it is told to.
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    /// New requests are still served for so long, while health checks say that they should go elsewhere; less if no proxy is
    /// connected any more.
    pub lame_duck: Duration,
    /// Requests under way get so long to end after that.
    pub drain: Duration,
}

/// The external processing front.
pub struct ExtProc {
    front: Arc<Front>,
    health: Health,
    limits: Limits,
}

impl fmt::Debug for ExtProc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtProc").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl ExtProc {
    /// A server that does what `live` says at the time of each request, with metrics in `registry` and a line for each request in `log`.
    pub fn new(live: Arc<ArcSwap<Live>>, health: Health, limits: Limits, registry: &mut Registry, log: AccessLog) -> Self {
        let metrics = Arc::new(Metrics::register(registry));
        Self { front: Arc::new(Front { live, metrics, log }), health, limits }
    }

    /// Serves until `shutdown` is cancelled, then ends as `end` says.
    pub async fn serve(self, listeners: Vec<Listener>, shutdown: CancellationToken, end: Shutdown) {
        let proxies = TaskTracker::new();
        let (closing, cut) = (CancellationToken::new(), CancellationToken::new());
        let room = Arc::new(Semaphore::new(self.limits.connections.min(Semaphore::MAX_PERMITS)));
        let accepting = TaskTracker::new();
        let tasks = TaskTracker::new();
        for listener in listeners {
            // Health checks keep no proxy's request: they do not delay the end.
            let connections = if listener.serves == Serves::Health { TaskTracker::new() } else { proxies.clone() };
            let server = Server {
                services: Services::new(&self.front, &self.health, listener.serves, &self.limits),
                limits: self.limits,
                metrics: Arc::clone(&self.front.metrics),
                tls: listener.tls,
                tasks: tasks.clone(),
                closing: closing.clone(),
                cut: cut.clone(),
            };
            let (room, closing) = (Arc::clone(&room), closing.clone());
            accepting.spawn(async move {
                let serve = |stream, address| server.clone().connection(stream, address);
                accept(&listener.socket, &room, &closing, &connections, serve).await;
            });
        }
        accepting.close();
        shutdown.cancelled().await;
        self.health.drain();
        proxies.close();
        let _ = timeout(end.lame_duck, proxies.wait()).await;
        closing.cancel();
        accepting.wait().await;
        tasks.close();
        if timeout(end.drain, proxies.wait()).await.is_err() {
            tracing::warn!(connections = proxies.len(), "external processing streams did not end in time; breaking them off");
        }
        cut.cancel();
        proxies.wait().await;
        tasks.wait().await;
    }
}

/// Serves connections of one listener.
#[derive(Clone)]
struct Server {
    services: Services,
    limits: Limits,
    metrics: Arc<Metrics>,
    tls: Option<Arc<ServerConfig>>,
    /// Everything that connections start.
    tasks: TaskTracker,
    /// No new requests.
    closing: CancellationToken,
    /// Nothing any more.
    cut: CancellationToken,
}

/// Runs a connection's streams as tasks that somebody waits for. They end with their connection, for nothing else keeps them.
#[derive(Clone)]
struct Tasks(TaskTracker);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

impl Server {
    async fn connection(self, stream: TcpStream, address: SocketAddr) {
        self.metrics.connections.inc();
        if let Err(error) = self.talk(stream).await {
            tracing::debug!(%address, %error, "a proxy's connection ended in error");
        }
        self.metrics.connections.dec();
    }

    async fn talk(&self, stream: TcpStream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        match &self.tls {
            None => self.drive(stream).await,
            Some(config) => {
                let stream = tokio::select! {
                    stream = timeout(self.limits.handshake, TlsAcceptor::from(Arc::clone(config)).accept(stream)) => stream??,
                    () = self.closing.cancelled() => return Ok(()),
                };
                self.drive(stream).await
            }
        }
    }

    async fn drive(&self, io: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut builder = http2::Builder::new(Tasks(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            // A request that is answered at once may still be on its way: what comes of it then is no attack, and no reason to close
            // a proxy's connection with all of its streams.
            .max_local_error_reset_streams(None)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(self.limits.keep_alive)
            .keep_alive_timeout(PING_TIMEOUT);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), self.services.clone()));
        tokio::select! {
            ended = in_turn(connection.as_mut()) => return Ok(ended?),
            () = self.closing.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            ended = in_turn(connection) => Ok(ended?),
            () = self.cut.cancelled() => Ok(()),
        }
    }
}

/// Polls a connection only after the tasks that are ready before it. The runtime prefers a task that was just woken, so without this
/// every stream's answer would leave in a write of its own, and writing costs more than all else that is done for a small request.
async fn in_turn<F: Future>(mut connection: Pin<&mut F>) -> F::Output {
    let mut waited = false;
    poll_fn(|cx| {
        waited = !waited;
        if waited {
            // A task that wakes itself goes to the end of the queue.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        connection.as_mut().poll(cx)
    })
    .await
}
