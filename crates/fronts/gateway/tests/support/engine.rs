//! A scripted engine.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::client::header;

/// Listens, and runs a script for each connection.
pub struct Engine {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request as the engine heard it.
#[derive(Debug)]
pub struct Heard {
    pub head: String,
    pub body: Vec<u8>,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// An engine's side of a connection.
pub struct Line {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    /// How many connections the engine had before this one.
    pub index: usize,
}

impl Engine {
    /// Runs `script` for every connection.
    pub async fn run<F, Fut>(script: F) -> Self
    where
        F: Fn(Line) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let script = Arc::new(script);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let line = Line { stream, buffer: Vec::new(), index: count.fetch_add(1, SeqCst) };
                let script = Arc::clone(&script);
                tokio::spawn(async move { script(line).await });
            }
        });
        Self { address, connections, task }
    }

    /// Answers every request with `answer` of it.
    pub async fn answering<F>(answer: F) -> Self
    where
        F: Fn(Heard) -> String + Send + Sync + 'static,
    {
        let answer = Arc::new(answer);
        Self::run(move |mut line| {
            let answer = Arc::clone(&answer);
            async move {
                loop {
                    let heard = line.hear().await?;
                    line.say(&answer(heard)).await?;
                }
            }
        })
        .await
    }

    /// Answers every request with this.
    pub async fn saying(text: &'static str) -> Self {
        Self::answering(move |_| text.to_owned()).await
    }

    /// An address at which nobody listens.
    pub async fn absent() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

impl Line {
    /// The next request; `None` if the gateway hung up.
    pub async fn hear(&mut self) -> Option<Heard> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let mut body = Vec::new();
        if let Some(length) = header(&head, "content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                self.more().await?;
            }
            body.extend(self.buffer.drain(..length));
        } else if header(&head, "transfer-encoding").is_some() {
            while !self.buffer.ends_with(b"0\r\n\r\n") {
                self.more().await?;
            }
            body.append(&mut self.buffer);
        }
        Some(Heard { head, body })
    }

    pub async fn more(&mut self) -> Option<usize> {
        let read = self.stream.read_buf(&mut self.buffer).await.ok()?;
        (read > 0).then_some(read)
    }

    pub async fn say(&mut self, text: &str) -> Option<()> {
        self.stream.write_all(text.as_bytes()).await.ok()
    }

    pub async fn chunk(&mut self, text: &str) -> Option<()> {
        self.say(&format!("{:x}\r\n{text}\r\n", text.len())).await
    }

    /// Closes with a reset instead of a proper end.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }
}

/// A small JSON answer.
pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}";
/// The head of a stream of events.
pub const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
