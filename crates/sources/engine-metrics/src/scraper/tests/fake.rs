//! A small HTTP server that answers as a test wants, in every framing.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length,
    Chunked,
    /// Chunks of 1,000 bytes, written in pieces of 700.
    Pieces,
    UntilClose,
    Never,
}

pub(super) struct Request {
    pub(super) path: String,
    pub(super) port: u16,
    head: String,
}

impl Request {
    pub(super) fn has(&self, line: &str) -> bool {
        self.head.lines().any(|found| found.eq_ignore_ascii_case(line))
    }
}

pub(super) struct Reply {
    status: u16,
    body: String,
    framing: Framing,
}

pub(super) fn reply(status: u16, body: &str) -> Reply {
    Reply { status, body: body.to_owned(), framing: Framing::Length }
}

impl Reply {
    pub(super) fn framed(self, framing: Framing) -> Self {
        Self { framing, ..self }
    }

    /// What to write, in pieces; whether the connection stays open; `None` to never answer.
    fn bytes(&self) -> Option<(Vec<u8>, usize, bool)> {
        let start = format!("HTTP/1.1 {} Status\r\n", self.status);
        let chunk = |body: &str| format!("{:x}\r\n{body}\r\n", body.len());
        let body = &self.body;
        let whole = usize::MAX;
        Some(match self.framing {
            Framing::Length => (format!("{start}Content-Length: {}\r\n\r\n{body}", body.len()).into(), whole, true),
            Framing::Chunked => {
                (format!("{start}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk(body)).into(), whole, true)
            }
            Framing::Pieces => {
                let chunks: String =
                    body.as_bytes().chunks(1000).map(|piece| chunk(std::str::from_utf8(piece).unwrap())).collect();
                (format!("{start}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into(), 700, true)
            }
            Framing::UntilClose => (format!("{start}\r\n{body}").into(), whole, false),
            Framing::Never => return None,
        })
    }
}

type Answer = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    open: AtomicUsize,
    requests: AtomicUsize,
}

pub(super) struct Fake {
    pub(super) port: u16,
    counts: Arc<Counts>,
    /// A connection closes when this changes.
    close: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Fake {
    pub(super) async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(0, answer).await
    }

    pub(super) async fn start_at(port: u16, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(port, Arc::new(answer), None).await
    }

    /// The server, and the client's settings to trust it.
    pub(super) async fn start_tls(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Self, Arc<ClientConfig>) {
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        (Self::listen(0, Arc::new(answer), Some(TlsAcceptor::from(Arc::new(server)))).await, Arc::new(client))
    }

    async fn listen(port: u16, answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts = Arc::new(Counts::default());
        let close = watch::Sender::new(0);
        let task = tokio::spawn({
            let (counts, close) = (Arc::clone(&counts), close.clone());
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((tcp, _)) = listener.accept().await {
                    counts.connections.fetch_add(1, SeqCst);
                    counts.open.fetch_add(1, SeqCst);
                    let (counts, answer, tls, mut close) =
                        (Arc::clone(&counts), Arc::clone(&answer), tls.clone(), close.subscribe());
                    connections.spawn(async move {
                        let serve = async {
                            match tls {
                                Some(tls) => serve(tls.accept(tcp).await.unwrap(), port, &counts, &answer).await,
                                None => serve(tcp, port, &counts, &answer).await,
                            }
                        };
                        tokio::select! { () = serve => {}, _ = close.changed() => {} }
                        counts.open.fetch_sub(1, SeqCst);
                    });
                }
            }
        });
        Self { port, counts, close, task }
    }

    pub(super) fn connections(&self) -> usize {
        self.counts.connections.load(SeqCst)
    }

    pub(super) fn open_connections(&self) -> usize {
        self.counts.open.load(SeqCst)
    }

    pub(super) fn requests(&self) -> usize {
        self.counts.requests.load(SeqCst)
    }

    pub(super) fn close_connections(&self) {
        self.close.send_modify(|count| *count += 1);
    }

    /// Closes the listener and every connection.
    pub(super) async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, port: u16, counts: &Counts, answer: &Answer) {
    let mut received = Vec::new();
    loop {
        while !received.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read_buf(&mut received).await, Ok(1..)) {
                return;
            }
        }
        counts.requests.fetch_add(1, SeqCst);
        let head = String::from_utf8(std::mem::take(&mut received)).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let Some((bytes, piece, stay)) = answer(&Request { path, port, head }).bytes() else {
            return std::future::pending().await;
        };
        for piece in bytes.chunks(piece) {
            if stream.write_all(piece).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
        if !stay {
            return;
        }
    }
}
