//! Measures the CPU that scraping costs: `cargo run --release -p weir-engine-metrics --example scrape_cost -- [ENDPOINTS] [SECONDS]`.
//!
//! A child process serves the pages; only this process' CPU time counts, taken from `/proc`. Prints one line for each way to scrape and
//! each way to frame the page, and the time to decode one page.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;
use weir_engine_metrics::{EngineMappings, MonotonicClock, ScrapeOptions, Scraper};
use weir_pool::{EndpointSpec, EndpointUrl, Pool};

const PAGE: &str = include_str!("../../../../testdata/metrics/vllm.txt");

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, framing, load, count] = args.as_slice()
        && serve == "serve"
    {
        let page =
            if load == "idle" { PAGE.replace("} 17.0\n", "} 0.0\n").replace("} 3.0\n", "} 0.0\n") } else { PAGE.to_owned() };
        return serve_pages(framing, &page, count.parse().expect("a number"));
    }
    let number = |at: usize, default: u64| args.get(at).map_or(default, |text| text.parse().expect("a number"));
    let (endpoints, seconds) = (number(0, 100), number(1, 10));

    let engine = Arc::clone(EngineMappings::default().default_engine());
    let started = Instant::now();
    let rounds = 20_000;
    for _ in 0..rounds {
        std::hint::black_box(engine.decode(std::hint::black_box(PAGE.as_bytes())));
    }
    println!("decode: {} bytes in {:.1} µs", PAGE.len(), started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));

    for (framing, adaptive) in [("length", false), ("chunked", false), ("split", false), ("length", true), ("split", true)] {
        let mut server = Server(
            Command::new(std::env::current_exe().expect("own path"))
                .args(["serve", framing, if adaptive { "idle" } else { "busy" }, &endpoints.to_string()])
                .stdout(Stdio::piped())
                .spawn()
                .expect("the server starts"),
        );
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().expect("piped")).read_line(&mut line).expect("ports");
        let ports: Vec<u16> = line.split_whitespace().map(|port| port.parse().expect("a port")).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (scrapes, bytes, cpu, wall) = runtime.block_on(measure(&ports, adaptive, Duration::from_secs(seconds)));
        let kind = if adaptive { "adaptive, idle" } else { "fixed" };
        println!(
            "{kind:14} {framing:8} {endpoints} endpoints: {:7.1} scrapes/s, {:6.1} MB/s, {:.4} core, {:6.1} µs CPU per scrape",
            scrapes as f64 / wall,
            bytes as f64 / wall / 1e6,
            cpu / wall,
            cpu * 1e6 / scrapes as f64,
        );
    }
}

/// The child, which ends with its measurement however that ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn measure(ports: &[u16], adaptive: bool, time: Duration) -> (u64, u64, f64, f64) {
    let pool = Arc::new(Pool::new("bench"));
    let spec = |port: &u16| EndpointSpec::new(port.to_string(), EndpointUrl::http("127.0.0.1", *port));
    pool.reconcile(&ports.iter().map(spec).collect::<Vec<_>>());
    let scraper = Scraper::new(MonotonicClock::start().shared());
    scraper.set_pools(vec![(pool, ScrapeOptions { adaptive, ..ScrapeOptions::default() })]);
    let task = tokio::spawn({
        let scraper = scraper.clone();
        async move { scraper.run(CancellationToken::new()).await }
    });
    scraper.wait_first_round().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let totals = || scraper.totals().into_iter().next().expect("one pool");
    let (before, cpu_before, started) = (totals(), cpu_seconds(), Instant::now());
    tokio::time::sleep(time).await;
    let (after, cpu_after, wall) = (totals(), cpu_seconds(), started.elapsed().as_secs_f64());
    task.abort();
    assert_eq!(after.errors, 0, "scrapes failed");
    (after.scrapes - before.scrapes, after.bytes - before.bytes, cpu_after - cpu_before, wall)
}

/// CPU time of all threads of this process, to the nanosecond.
fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    let ran = |dir: std::fs::DirEntry| -> Option<f64> {
        let text = std::fs::read_to_string(dir.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    tasks.filter_map(|dir| ran(dir.ok()?)).sum::<f64>() / 1e9
}

#[tokio::main(flavor = "current_thread")]
async fn serve_pages(framing: &str, body: &str, count: usize) {
    let split = framing == "split";
    let page = if framing == "length" {
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    } else {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    let page: Arc<[u8]> = page.into_bytes().into();
    let mut ports = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        ports.push(listener.local_addr().expect("bound").port().to_string());
        let page = Arc::clone(&page);
        tasks.spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).expect("a socket");
                let mut request = [0; 1024];
                while let Ok(1..) = tcp.read(&mut request).await {
                    let models = request.starts_with(b"GET /v1/models");
                    let written = if models {
                        tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{\"data\":[{\"id\":\"a-model\"}]}").await
                    } else if split {
                        // As uvicorn does it: the head, the page and the end are written one by one.
                        let (head, rest) = page.split_at(page.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4);
                        let (body, end) = rest.split_at(rest.len() - 5);
                        async {
                            tcp.write_all(head).await?;
                            tcp.write_all(body).await?;
                            tcp.write_all(end).await
                        }
                        .await
                    } else {
                        tcp.write_all(&page).await
                    };
                    if written.is_err() {
                        break;
                    }
                }
            }
        });
    }
    println!("{}", ports.join(" "));
    tasks.join_all().await;
}
