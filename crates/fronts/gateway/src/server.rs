//! Listens, accepts, and ends in good order.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use arc_swap::ArcSwap;
use http::HeaderValue;
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use weir_fronts::{AccessLog, accept};

use crate::{
    metrics::Metrics,
    service::{Peer, Shared, serve},
    settings::Live,
    watch::{Order, Roster, Watch, Watched},
    wire::{Wire, tune},
};

/// What hyper holds of one connection's bytes at most: large prompts come in few reads.
const READ_BYTES: usize = 512 * 1024;
/// Headers that hyper parses without an allocation, and at most unless told otherwise.
const HYPER_HEADERS: usize = 100;
/// HTTP/2 windows: a long prompt should not wait for window updates.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// An address that is listened on.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// TLS, or cleartext.
    pub tls: Option<Arc<ServerConfig>>,
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

/// The HTTP front.
pub struct Gateway {
    shared: Arc<Shared>,
}

impl Gateway {
    /// A gateway that does what `live` says at the time of each request, with metrics in `registry` and a line for each request in `log`.
    pub fn new(live: Arc<ArcSwap<Live>>, registry: &mut Registry, log: AccessLog) -> Self {
        Self { shared: Arc::new(Shared::new(live, Metrics::register(registry), log)) }
    }

    /// Serves until `shutdown`; then accepts nothing more, lets requests end for up to `drain`, and breaks off the rest.
    pub async fn serve(self, listeners: Vec<Listener>, shutdown: CancellationToken, drain: Duration) {
        let connections = TaskTracker::new();
        let roster = Arc::new(Roster::default());
        let room = Arc::new(Semaphore::new(self.shared.live.load().settings.limits.connections.min(Semaphore::MAX_PERMITS)));
        let accepting: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let server = Server {
                    shared: Arc::clone(&self.shared),
                    tls: listener.tls,
                    shutdown: shutdown.clone(),
                    roster: Arc::clone(&roster),
                };
                let (room, shutdown, connections) = (Arc::clone(&room), shutdown.clone(), connections.clone());
                tokio::spawn(async move {
                    let serve = |stream, address| server.clone().connection(stream, address);
                    accept(&listener.socket, &room, &shutdown, &connections, serve).await;
                })
            })
            .collect();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.patrol(&roster) => {}
        }
        roster.order_all(Order::Finish);
        self.shared.draining.store(true, Relaxed);
        for task in accepting {
            // It ends by itself at shutdown; a panic in it is its own report.
            let _ = task.await;
        }
        connections.close();
        if timeout(drain, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "requests did not end in time; breaking them off");
            roster.order_all(Order::Cut);
            connections.wait().await;
        }
    }

    /// Looks after connections for ever.
    async fn patrol(&self, roster: &Roster) {
        loop {
            let timeouts = self.shared.live.load().settings.timeouts;
            sleep(timeouts.header).await;
            roster.look(timeouts.header, timeouts.idle.max(timeouts.header), timeouts.total);
        }
    }
}

/// Serves connections of one listener.
#[derive(Clone)]
struct Server {
    shared: Arc<Shared>,
    tls: Option<Arc<ServerConfig>>,
    shutdown: CancellationToken,
    roster: Arc<Roster>,
}

impl Server {
    async fn connection(self, stream: TcpStream, address: SocketAddr) {
        let metrics = Arc::clone(&self.shared.metrics);
        metrics.connections.inc();
        self.talk(stream, address).await;
        metrics.connections.dec();
    }

    async fn talk(self, stream: TcpStream, address: SocketAddr) {
        let live = self.shared.live.load_full();
        let (limits, timeouts) = (live.settings.limits, live.settings.timeouts);
        drop(live);
        let https = self.tls.is_some();
        let begin = async {
            tune(&stream)?;
            match &self.tls {
                None => {
                    let h2 = begins_as_h2(&stream).await?;
                    Ok((Wire::Plain(stream), h2))
                }
                Some(config) => {
                    let stream = TlsAcceptor::from(Arc::clone(config)).accept(stream).await?;
                    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    Ok((Wire::Tls(Box::new(TlsStream::from(stream))), h2))
                }
            }
        };
        let begun: Result<io::Result<_>, _> = tokio::select! {
            begun = timeout(timeouts.header, begin) => begun,
            () = self.shutdown.cancelled() => return,
        };
        let (wire, h2) = match begun {
            Ok(Ok(begun)) => begun,
            Ok(Err(error)) => return tracing::debug!(%address, %error, "a connection did not begin"),
            Err(_) => return tracing::debug!(%address, "a connection did not begin in time"),
        };

        let member = self.roster.join();
        let watch = &member.watch;
        let text = address.ip().to_canonical().to_string();
        let address = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let peer = Arc::new(Peer { shared: Arc::clone(&self.shared), address, https, watch: Arc::clone(watch) });
        let io = TokioIo::new(Watched { wire, watch: Arc::clone(watch) });
        let service = service_fn(move |request| {
            let peer = Arc::clone(&peer);
            async move { Ok::<_, Infallible>(serve(peer, request).await) }
        });
        let ended = if h2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(limits.streams)
                .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW);
            let connection = builder.serve_connection(io, service);
            Self::drive(connection, http2::Connection::graceful_shutdown, &member.watch).await
        } else {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(READ_BYTES.max(limits.header_bytes));
            if limits.headers > HYPER_HEADERS {
                builder.max_headers(limits.headers);
            }
            let connection = builder.serve_connection(io, service);
            Self::drive(connection, http1::Connection::graceful_shutdown, &member.watch).await
        };
        if let Err(error) = ended {
            tracing::debug!(%text, %error, "a connection ended in error");
        }
    }

    /// Polls a connection to its end, and does what it is told.
    async fn drive<C>(connection: C, finish: fn(Pin<&mut C>), watch: &Watch) -> hyper::Result<()>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = std::pin::pin!(connection);
        let mut done = Order::None;
        let mut listening = false;
        std::future::poll_fn(|cx| {
            if !listening {
                watch.listen(cx.waker());
                listening = true;
            }
            let order = watch.orders();
            if order != done {
                // Being told takes the waker away.
                listening = false;
                watch.listen(cx.waker());
                done = order;
                match order {
                    Order::None => {}
                    Order::Finish => finish(connection.as_mut()),
                    Order::Cut => return Poll::Ready(Ok(())),
                }
            }
            connection.as_mut().poll(cx)
        })
        .await
    }
}

/// Whether a cleartext connection begins with HTTP/2's preface. Looks without taking.
async fn begins_as_h2(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8; 4] = b"PRI ";
    let mut begin = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut begin).await?;
        if seen == 0 || seen == PREFACE.len() || begin[..seen] != PREFACE[..seen] {
            return Ok(begin[..seen] == *PREFACE);
        }
        // Part of it: peeking again would return at once.
        sleep(Duration::from_millis(5)).await;
    }
}
