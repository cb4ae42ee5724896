//! Time, disconnects, shutdown, kill, and the command.

use std::time::{Duration, Instant};

use crate::support::{call, get, open, post, send, series, timed, until, worker};
use http_body_util::BodyExt as _;
use serde_json::json;
use weir_sim::{SimConfig, run_cli, start};

fn stream(tokens: u32) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    let body = json!({"model": "m", "prompt": "a", "max_tokens": tokens, "ignore_eos": true, "stream": true});
    post("/v1/completions", &body.to_string())
}

#[tokio::test]
async fn mean_inter_token_latency_of_one_millisecond_is_kept() {
    let sim = worker(timed(5, 1)).await;
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let addr = sim.addr();
        tasks.push(tokio::spawn(async move {
            let (_sender, response) = open(addr, stream(400)).await;
            let mut body = response.into_body();
            let (mut first, mut last, mut chunks) = (None, Instant::now(), 0);
            while let Some(frame) = body.frame().await {
                let data = frame.unwrap().into_data().unwrap();
                last = Instant::now();
                first.get_or_insert(last);
                chunks += data.windows(7).filter(|window| window == b"data: {").count();
            }
            assert_eq!(chunks, 401);
            last.duration_since(first.unwrap()).as_secs_f64() * 1e3 / 399.0
        }));
    }
    let mut sum = 0.0;
    for task in tasks {
        sum += task.await.unwrap();
    }
    let mean_ms = sum / 20.0;
    assert!((0.9..1.1).contains(&mean_ms), "{mean_ms}");
    let page = get(&sim, "/metrics").await.text;
    let gap_s =
        series(&page, "vllm:inter_token_latency_seconds_sum", "") / series(&page, "vllm:inter_token_latency_seconds_count", "");
    assert!((gap_s - 0.001).abs() < 1e-9, "the engine's own times are exact: {gap_s}");
}

#[tokio::test]
async fn a_stream_begins_with_its_first_token() {
    let sim = worker(timed(60, 30)).await;
    let began = Instant::now();
    let (_sender, response) = open(sim.addr(), stream(2)).await;
    assert!(began.elapsed() >= Duration::from_millis(60));
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(!first.ends_with(b"[DONE]\n\n"), "nothing waits for the end");
    while let Some(frame) = body.frame().await {
        frame.unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(90));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_requests() {
    let sim = worker(timed(1, 50)).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(open(sim.addr(), stream(4000)).await);
    }
    assert_eq!(sim.stats().running, 3);
    held.pop();
    until("the stream's place is free", || sim.stats().running == 2).await;
    drop(held);
    until("all are free", || sim.stats().running == 0).await;

    // Before the first byte, too.
    let sim = worker(timed(60_000, 1)).await;
    let waiting = tokio::spawn(send(sim.addr(), stream(5)));
    until("it runs", || sim.stats().running == 1).await;
    waiting.abort();
    until("its place is free", || sim.stats().running == 0).await;
    let page = get(&sim, "/metrics").await.text;
    assert_eq!(series(&page, "vllm:request_success_total", "finished_reason=\"abort\""), 1.0);
}

#[tokio::test]
async fn stopping_finishes_what_runs_and_refuses_the_rest() {
    let sim = worker(timed(1, 10)).await;
    let addr = sim.addr();
    let (_sender, response) = open(addr, stream(30)).await;
    sim.begin_stop();
    let refused = async {
        loop {
            let reply = call(&sim, "/v1/completions", json!({"model": "m", "prompt": "a", "max_tokens": 1})).await;
            if reply.status == 503 {
                return reply;
            }
        }
    };
    let reply = tokio::time::timeout(Duration::from_millis(250), refused).await.expect("refused while the stream runs");
    assert_eq!(reply.json()["error"]["message"], "server is shutting down");
    assert_eq!(get(&sim, "/health/ready").await.status, 503);
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert!(text.ends_with(b"data: [DONE]\n\n"));
    tokio::time::timeout(Duration::from_secs(3), sim.join()).await.unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_killed_worker_resets_its_streams_and_frees_its_address() {
    let sim = worker(timed(1, 5)).await;
    let addr = sim.addr();
    let (_sender, response) = open(addr, stream(4000)).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(1), sim.kill()).await.unwrap();
    let end = async {
        loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                other => return other.map(|frame| frame.map(|_| ())),
            }
        }
    };
    let end = tokio::time::timeout(Duration::from_secs(1), end).await.unwrap();
    assert!(matches!(end, Some(Err(_))), "the stream breaks: {end:?}");
    let again = start(SimConfig::new("m"), addr).await.unwrap();
    assert_eq!(get(&again, "/health").await.status, 200);
}

#[tokio::test]
async fn http_2_without_tls_works_and_leaves_with_its_connection() {
    use hyper::client::conn::http2;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let sim = worker(timed(1, 20)).await;
    let stream_socket = tokio::net::TcpStream::connect(sim.addr()).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream_socket)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = stream(3000);
    *request.uri_mut() = "http://sim/v1/completions".parse().unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(sim.stats().running, 1);
    drop(body);
    until("a reset stream is cancelled", || sim.stats().running == 0).await;
    connection.abort();
}

#[tokio::test]
async fn the_command_prints_its_addresses_and_drains() {
    let mut out = Vec::new();
    let args = ["--model", "m", "--port", "0", "--count", "3", "--host", "127.0.0.1", "--enforce-eager"];
    run_cli(args.map(Into::into).into(), &mut out, async {}).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert!(text.lines().all(|line| line.starts_with("weir sim: m on http://127.0.0.1:")), "{text}");

    let mut help = Vec::new();
    run_cli(vec!["--help".into()], &mut help, async {}).await.unwrap();
    assert!(String::from_utf8(help).unwrap().contains("weir sim --model NAME"));

    let busy = worker(SimConfig::new("m")).await;
    let port = busy.addr().port().to_string();
    let args = ["--model", "m", "--host", "127.0.0.1", "--port", &port].map(Into::into).into();
    let error = run_cli(args, &mut Vec::new(), async {}).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{error}");
}
