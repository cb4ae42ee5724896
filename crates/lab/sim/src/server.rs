//! A worker's listener and connections.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::service::service_fn;
use hyper_util::{
    rt::TokioIo,
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{config::SimConfig, events::Publisher, http, worker::Worker};

/// How long requests in flight may take after [`SimHandle::stop`].
const DRAIN: Duration = Duration::from_secs(30);
/// How long connections may take to close after that.
const CLOSE: Duration = Duration::from_secs(5);

/// A running worker. Dropping it kills it.
#[derive(Debug)]
pub struct SimHandle {
    addr: SocketAddr,
    worker: Arc<Worker>,
    stop: CancellationToken,
    kill: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// Starts a worker that listens on `addr`; port 0 takes a free one.
///
/// # Errors
/// When the configuration is not valid ([`io::ErrorKind::InvalidInput`]) or the address cannot be bound.
pub async fn start(config: SimConfig, addr: SocketAddr) -> io::Result<SimHandle> {
    config.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    let publisher = match &config.kv_events {
        Some(events) => Some(Publisher::open(events.clone(), &config, addr).await?),
        None => None,
    };
    let worker = Arc::new(Worker::new(config, addr.port()));
    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    let server = Server { worker: Arc::clone(&worker), kill: kill.clone(), killed: Arc::default() };
    let published = Arc::clone(&worker);
    let publishing = async move {
        match publisher {
            Some(publisher) => publisher.run(published).await,
            None => std::future::pending().await,
        }
    };
    // What is said of the cache ends with the worker.
    let running = server.run(listener, stop.clone());
    let task = tokio::spawn(async move {
        tokio::select! {
            () = running => {}
            () = publishing => {}
        }
    });
    Ok(SimHandle { addr, worker, stop, kill, task: Some(task) })
}

impl SimHandle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What its engine reports now.
    pub fn stats(&self) -> weir_engine::Stats {
        self.worker.stats()
    }

    /// Refuses new generations with 503, waits for those in flight (at most 30 s), then closes.
    pub async fn stop(self) {
        self.stop.cancel();
        self.join().await;
    }

    /// Asks for what [`Self::stop`] does, without waiting.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Vanishes as a crashed process would: all connections are reset. The address is free when this returns.
    pub async fn kill(self) {
        self.kill.cancel();
        self.join().await;
    }

    /// Waits until it has stopped.
    pub async fn join(mut self) {
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the worker's task failed");
        }
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}

struct Server {
    worker: Arc<Worker>,
    kill: CancellationToken,
    killed: Arc<AtomicBool>,
}

impl Server {
    async fn run(self, listener: TcpListener, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        let graceful = GracefulShutdown::new();
        let drained = async {
            stop.cancelled().await;
            let _ = tokio::time::timeout(DRAIN, self.worker.drain()).await;
        };
        tokio::select! {
            biased;
            () = self.kill.cancelled() => {}
            () = drained => {}
            () = Arc::clone(&self.worker).drive() => {}
            () = self.accept(&listener, &mut connections, &graceful) => {}
        }
        drop(listener);
        if !self.kill.is_cancelled() {
            tokio::select! {
                () = self.kill.cancelled() => {}
                // What was still running after the drain goes on while its connection closes.
                () = Arc::clone(&self.worker).drive() => {}
                _ = tokio::time::timeout(CLOSE, graceful.shutdown()) => {}
            }
        }
        self.killed.store(self.kill.is_cancelled(), Ordering::Relaxed);
        // Streams of HTTP/2 live in tasks of their own, which end with this.
        self.kill.cancel();
        connections.shutdown().await;
    }

    async fn accept(&self, listener: &TcpListener, connections: &mut JoinSet<()>, graceful: &GracefulShutdown) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) => self.serve(stream, connections, graceful),
                Err(error) => {
                    // Out of descriptors: others may close theirs meanwhile.
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, connections: &mut JoinSet<()>, graceful: &GracefulShutdown) {
        // Two small writes in a row would otherwise wait for the peer's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let io = TokioIo::new(Resettable { stream, killed: Arc::clone(&self.killed) });
        let worker = Arc::clone(&self.worker);
        let service = service_fn(move |request| {
            let worker = Arc::clone(&worker);
            async move { Ok::<_, std::convert::Infallible>(http::handle(worker, request).await) }
        });
        let builder = auto::Builder::new(Tasks(self.kill.clone()));
        let connection = graceful.watch(builder.serve_connection(io, service).into_owned());
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection");
            }
        });
    }
}

/// Runs the streams of HTTP/2 until the worker is gone.
#[derive(Clone)]
struct Tasks(CancellationToken);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let kill = self.0.clone();
        tokio::spawn(async move { kill.run_until_cancelled(future).await });
    }
}

/// A socket that resets its peer when it is dropped after a kill, as the kernel does for a process that dies with unread data.
struct Resettable {
    stream: TcpStream,
    killed: Arc<AtomicBool>,
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.killed.load(Ordering::Relaxed) {
            let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
