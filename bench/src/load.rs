//! A load generator: every connection asks again as soon as it has its whole answer, or at its turn of a fixed rate.
//!
//! Cost: two system calls and some 5 µs a request, so that the proxy saturates first.
//! Checks of each answer its status, its length, and for streams the end marker.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{
    bodies::{ANSWER_HEADER, Answer, Shape, Wanted, bodies, sized_bodies},
    wire::{Conn, response_head},
};

/// Answers that take longer than this past the end of the run count as errors.
const GRACE: Duration = Duration::from_secs(10);
const END_OF_STREAM: &[u8] = b"data: [DONE]\n\n";

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[arg(long)]
    pub(crate) target: SocketAddr,
    #[arg(long, value_enum, default_value = "chat")]
    pub(crate) shape: Shape,
    #[arg(long, value_enum, default_value = "json")]
    pub(crate) answer: Answer,
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub(crate) connections: u16,
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// The path of the requests.
    #[arg(long, default_value = "/v1/chat/completions")]
    pub(crate) path: String,
    /// Requests of so many tokens, instead of a shape.
    #[arg(long)]
    pub(crate) prompt_tokens: Option<usize>,
    /// How many of those are the same in every request.
    #[arg(long, default_value_t = 0)]
    pub(crate) shared_tokens: usize,
    /// Chunks of content in a streamed answer, 32 unless told otherwise.
    #[arg(long)]
    pub(crate) output_tokens: Option<u32>,
    /// Requests a second of all connections together; without it as many as there can be.
    #[arg(long)]
    pub(crate) per_second: Option<u32>,
}

/// What one run measured; latencies of right answers only.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Until the first byte of the body.
    pub(crate) first_byte_p50_us: f64,
    pub(crate) first_byte_p99_us: f64,
}

pub(crate) async fn run(args: &Args) -> crate::Result<()> {
    println!("{}", serde_json::to_string(&measure(args).await?)?);
    Ok(())
}

async fn measure(args: &Args) -> crate::Result<Report> {
    let started = Instant::now();
    let turns = args.per_second.filter(|rate| *rate > 0).map(|rate| Turns {
        started,
        apart: Duration::from_secs(1) / rate,
        connections: u32::from(args.connections),
    });
    let run = Arc::new(Run { plan: Plan::new(args), tally: Mutex::new(Tally::new()?), turns });
    let until = started + Duration::from_secs_f64(args.seconds.clamp(0.05, 600.0));
    let mut connections = JoinSet::new();
    for at in 0..args.connections {
        let (run, target) = (Arc::clone(&run), args.target);
        connections.spawn(async move { run.keep_asking(target, usize::from(at), until).await });
    }
    let all = async {
        while let Some(one) = connections.join_next().await {
            one??;
        }
        crate::Result::Ok(())
    };
    let in_time = tokio::time::timeout_at((until + GRACE).into(), all).await;
    let mut tally = run.tally.lock();
    match in_time {
        Ok(result) => result?,
        Err(_) => tally.wrong(connections.len() as u64, "no whole answer within 10 s of the end"),
    }
    Ok(tally.report(started.elapsed().as_secs_f64()))
}

/// What the connections of one run share.
struct Run {
    plan: Plan,
    tally: Mutex<Tally>,
    turns: Option<Turns>,
}

/// A fixed rate: connections take turns.
struct Turns {
    started: Instant,
    apart: Duration,
    connections: u32,
}

impl Turns {
    /// When a connection asks for the `step`-th time. One that is late asks at once.
    fn of(&self, connection: usize, step: usize) -> Instant {
        let first = self.apart * u32::try_from(connection).unwrap_or(u32::MAX);
        self.started + first + self.apart * self.connections * u32::try_from(step).unwrap_or(u32::MAX)
    }
}

impl Run {
    async fn keep_asking(&self, target: SocketAddr, offset: usize, until: Instant) -> crate::Result<()> {
        let mut conn = None;
        // Connections start at different bodies, and each goes through all of them.
        for step in 0.. {
            let at = (offset * 67 + step) % self.plan.requests.len();
            if let Some(turns) = &self.turns {
                tokio::time::sleep_until(turns.of(offset, step).into()).await;
            }
            let asked = Instant::now();
            if asked >= until {
                break;
            }
            let asking = async {
                let conn = match &mut conn {
                    Some(conn) => conn,
                    none => none.insert(Conn::connect(target).await?),
                };
                self.plan.ask(conn, at).await
            };
            match asking.await {
                Ok(first_byte) => self.tally.lock().right(asked.elapsed(), first_byte.duration_since(asked))?,
                Err(error) => {
                    conn = None;
                    self.tally.lock().wrong(1, &error.to_string());
                    // A target that refuses at once must not turn this into a busy loop.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        Ok(())
    }
}

/// The requests as bytes on the wire, and what a right answer looks like.
struct Plan {
    requests: Vec<Vec<u8>>,
    expected_bytes: usize,
    streams: bool,
}

impl Plan {
    fn new(args: &Args) -> Self {
        let wanted = Wanted::new(args.answer, args.output_tokens);
        let (path, answer, streams) = (&args.path, wanted.to_header(), args.answer.streams());
        let bodies = match args.prompt_tokens {
            Some(tokens) => sized_bodies(tokens, args.shared_tokens, streams),
            None => bodies(args.shape, streams),
        };
        let request = |body: String| {
            let length = body.len();
            format!(
                "POST {path} HTTP/1.1\r\nhost: bench.local\r\ncontent-type: application/json\r\naccept: */*\r\n\
                 authorization: Bearer none\r\n{ANSWER_HEADER}: {answer}\r\ncontent-length: {length}\r\n\r\n{body}"
            )
            .into_bytes()
        };
        Self {
            requests: bodies.into_iter().map(request).collect(),
            expected_bytes: wanted.pieces().iter().map(String::len).sum(),
            streams,
        }
    }

    /// Sends request `at` and returns when the first byte of its body came.
    async fn ask(&self, conn: &mut Conn, at: usize) -> crate::Result<Instant> {
        conn.write(&self.requests[at]).await?;
        let head = conn.head(response_head).await?;
        if head.status != 200 {
            return Err(format!("status {}", head.status).into());
        }
        let (mut bytes, mut first_byte) = (0, None);
        let mut tail = [0; END_OF_STREAM.len()];
        conn.body(head.framing, |data| {
            first_byte.get_or_insert_with(Instant::now);
            bytes += data.len();
            if self.streams {
                keep_tail(&mut tail, data);
            }
        })
        .await?;
        if bytes != self.expected_bytes {
            return Err(format!("{bytes} bytes where {} belong", self.expected_bytes).into());
        }
        if self.streams && tail != END_OF_STREAM {
            return Err("stream without its end marker".into());
        }
        if !conn.is_drained() {
            return Err("bytes after the end of the answer".into());
        }
        first_byte.ok_or_else(|| "empty answer".into())
    }
}

/// Leaves the last bytes seen in `tail`.
fn keep_tail(tail: &mut [u8], data: &[u8]) {
    let keep = tail.len().saturating_sub(data.len());
    let from_data = tail.len() - keep;
    tail.copy_within(from_data.., 0);
    tail[keep..].copy_from_slice(&data[data.len() - from_data..]);
}

struct Tally {
    total: Histogram<u64>,
    first_byte: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    fn new() -> crate::Result<Self> {
        // Nanoseconds, up to two minutes, within 0.1 %.
        let histogram = || Histogram::new_with_bounds(100, 120_000_000_000, 3);
        Ok(Self { total: histogram()?, first_byte: histogram()?, errors: 0, first_error: None })
    }

    fn right(&mut self, total: Duration, first_byte: Duration) -> crate::Result<()> {
        self.total.record(nanos(total))?;
        self.first_byte.record(nanos(first_byte))?;
        Ok(())
    }

    fn wrong(&mut self, count: u64, why: &str) {
        self.errors += count;
        self.first_error.get_or_insert_with(|| why.to_owned());
    }

    fn report(&self, seconds: f64) -> Report {
        let us = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Report {
            requests: self.total.len(),
            errors: self.errors,
            first_error: self.first_error.clone(),
            seconds,
            per_second: self.total.len() as f64 / seconds,
            p50_us: us(&self.total, 0.5),
            p99_us: us(&self.total, 0.99),
            first_byte_p50_us: us(&self.first_byte, 0.5),
            first_byte_p99_us: us(&self.first_byte, 0.99),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).clamp(100, 120_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_evenly_apart() {
        let turns = Turns { started: Instant::now(), apart: Duration::from_micros(100), connections: 4 };
        let all: Vec<_> = (0..3).flat_map(|step| (0..4).map(move |at| (at, step))).map(|(at, step)| turns.of(at, step)).collect();
        assert_eq!(all[0], turns.started);
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] == turns.apart));
    }

    #[test]
    fn tail_is_the_last_bytes_in_any_split() {
        let data = b"0123456789abcdef";
        for split in 0..=data.len() {
            let mut tail = [0; 5];
            keep_tail(&mut tail, &data[..split]);
            keep_tail(&mut tail, &data[split..]);
            assert_eq!(&tail, b"bcdef", "split at {split}");
        }
    }
}
