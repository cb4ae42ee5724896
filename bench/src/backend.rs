//! The mock model server: any number of ports, one thread, every answer computed at start.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep_until},
};

use crate::{
    bodies::{ANSWER_HEADER, Answer, MODEL, Wanted},
    page,
    wire::{self, Conn},
};

const FIRST_CHUNK: Duration = Duration::from_millis(20);
const CHUNK_GAP: Duration = Duration::from_millis(5);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many servers, each on a port of its own; the addresses are printed on one line.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    count: u16,
}

pub(crate) async fn run(args: &Args) -> crate::Result<()> {
    let state = Arc::new(State::new());
    let mut addresses = Vec::new();
    let mut servers = tokio::task::JoinSet::new();
    for _ in 0..args.count {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(listener.local_addr()?.to_string());
        servers.spawn(accept(listener, Arc::clone(&state)));
    }
    println!("{}", addresses.join(" "));
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}

async fn accept(listener: TcpListener, state: Arc<State>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let state = Arc::clone(&state);
        // Owned by its peer: ends when the peer closes, and with the process.
        tokio::spawn(async move { serve(stream, &state).await });
    }
}

/// Answers as bytes on the wire, heads included.
struct State {
    json: Vec<u8>,
    /// By number of chunks; made when first asked for.
    streams: Mutex<HashMap<usize, Arc<Stream>>>,
    models: Vec<u8>,
    metrics: Vec<u8>,
    health: Vec<u8>,
    missing: Vec<u8>,
    scrapes: AtomicU64,
    posts: AtomicU64,
}

struct Stream {
    whole: Vec<u8>,
    writes: Vec<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum Route {
    Generate(Wanted),
    Models,
    Metrics,
    Health,
    Stats,
    Missing,
}

impl Route {
    fn of(path: &str, headers: &[httparse::Header<'_>]) -> Self {
        match path {
            "/v1/models" => Self::Models,
            "/metrics" => Self::Metrics,
            "/health" | "/version" => Self::Health,
            "/bench/stats" => Self::Stats,
            _ if path.starts_with("/v1/") => Self::Generate(Wanted::from_header(wire::header(headers, ANSWER_HEADER))),
            _ => Self::Missing,
        }
    }
}

async fn serve(stream: TcpStream, state: &State) -> io::Result<()> {
    let mut conn = Conn::new(stream)?;
    loop {
        let (framing, route) = conn.head(|bytes| wire::request_head(bytes, Route::of)).await?;
        conn.body(framing, |_| ()).await?;
        match route {
            Route::Generate(wanted) => {
                state.posts.fetch_add(1, Relaxed);
                match wanted.answer {
                    Answer::Json => conn.write(&state.json).await?,
                    Answer::Sse => conn.write(&state.stream(wanted).whole).await?,
                    Answer::Paced => pace(&mut conn, &state.stream(wanted).writes).await?,
                }
            }
            Route::Metrics => {
                state.scrapes.fetch_add(1, Relaxed);
                conn.write(&state.metrics).await?;
            }
            Route::Models => conn.write(&state.models).await?,
            Route::Health => conn.write(&state.health).await?,
            Route::Stats => conn.write(&state.stats()).await?,
            Route::Missing => conn.write(&state.missing).await?,
        }
    }
}

async fn pace(conn: &mut Conn, writes: &[Vec<u8>]) -> io::Result<()> {
    let mut due = Instant::now() + FIRST_CHUNK;
    for bytes in writes {
        sleep_until(due).await;
        conn.write(bytes).await?;
        due += CHUNK_GAP;
    }
    Ok(())
}

impl State {
    fn new() -> Self {
        let models = format!(
            r#"{{"object":"list","data":[{{"id":"{MODEL}","object":"model","created":1700000000,"owned_by":"vllm","root":"{MODEL}","max_model_len":262144}}]}}"#
        );
        Self {
            json: sized("200 OK", "application/json", &Wanted::new(Answer::Json, None).pieces().concat()),
            streams: Mutex::default(),
            models: sized("200 OK", "application/json", &models),
            metrics: sized("200 OK", "text/plain; version=0.0.4; charset=utf-8", &page::vllm_page()),
            health: sized("200 OK", "application/json", "{}"),
            missing: sized("404 Not Found", "application/json", r#"{"error":{"message":"no such path"}}"#),
            scrapes: AtomicU64::new(0),
            posts: AtomicU64::new(0),
        }
    }

    fn stream(&self, wanted: Wanted) -> Arc<Stream> {
        let mut streams = self.streams.lock();
        let make = || {
            let writes = paced_writes(wanted);
            Arc::new(Stream { whole: writes.concat(), writes })
        };
        Arc::clone(streams.entry(wanted.chunks).or_insert_with(make))
    }

    fn stats(&self) -> Vec<u8> {
        let body = serde_json::json!({"scrapes": self.scrapes.load(Relaxed), "posts": self.posts.load(Relaxed)});
        sized("200 OK", "application/json", &body.to_string())
    }
}

fn sized(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// One write an event, each an HTTP chunk; the head goes with the first, usage and end with the last.
fn paced_writes(wanted: Wanted) -> Vec<Vec<u8>> {
    let chunk = |event: &str| format!("{:x}\r\n{event}\r\n", event.len());
    let mut writes: Vec<String> = Vec::new();
    for event in wanted.pieces() {
        match writes.last_mut() {
            None => writes.push(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n{}",
                chunk(&event)
            )),
            Some(last) if !event.contains("delta") => last.push_str(&chunk(&event)),
            Some(_) => writes.push(chunk(&event)),
        }
    }
    if let Some(last) = writes.last_mut() {
        last.push_str("0\r\n\r\n");
    }
    writes.into_iter().map(String::into_bytes).collect()
}
