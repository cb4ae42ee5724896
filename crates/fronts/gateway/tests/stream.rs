//! Streams: passed on as they come, cancelled with their client, ended honestly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub, unused_imports)]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use support::{EVENTS, Engine, Rig, chat, settings};
use tokio::sync::mpsc;

#[tokio::test]
async fn an_event_reaches_the_client_before_the_next_one_exists() {
    let (next, gate) = mpsc::channel::<()>(1);
    let gate = Arc::new(tokio::sync::Mutex::new(gate));
    let engine = Engine::run(move |mut line| {
        let gate = Arc::clone(&gate);
        async move {
            line.hear().await?;
            line.say(EVENTS).await?;
            for i in 0..3 {
                gate.lock().await.recv().await?;
                line.chunk(&format!("data: {i}\n\n")).await?;
            }
            line.say("0\r\n\r\n").await
        }
    })
    .await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    client.send(&chat(true)).await;
    next.send(()).await.unwrap();
    let head = client.head().await;
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    for i in 0..3 {
        assert_eq!(client.chunk().await.unwrap(), format!("data: {i}\n\n").as_bytes());
        if i < 2 {
            next.send(()).await.unwrap();
        }
    }
    assert_eq!(client.chunk().await.unwrap(), b"");
    rig.until("the request is settled", |rig| rig.endpoint(0).ledger.requests() == 0).await;
    assert_eq!(rig.metric("weir_gateway_requests_total{class=\"2xx\"}"), 1);
}

#[tokio::test]
async fn a_short_burst_of_events_does_not_wait_for_acknowledgements() {
    let engine = Engine::run(|mut line| async move {
        loop {
            line.hear().await?;
            line.say(EVENTS).await?;
            for i in 0..32 {
                line.chunk(&format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"token {i}\"}}}}]}}\n\n")).await?;
            }
            line.chunk("data: [DONE]\n\n").await?;
            line.say("0\r\n\r\n").await?;
        }
    })
    .await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    let mut took = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let answer = client.ask(&chat(true)).await;
        took.push(start.elapsed());
        assert!(answer.complete && answer.text().ends_with("data: [DONE]\n\n"));
        assert_eq!(answer.text().matches("data: ").count(), 33);
    }
    took.sort();
    // With Nagle's algorithm against delayed acknowledgements it would be above 40 ms.
    assert!(took[10] < Duration::from_millis(20), "{took:?}");
    assert_eq!(engine.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let gone = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&gone);
    let engine = Engine::run(move |mut line| {
        let seen = Arc::clone(&seen);
        async move {
            line.hear().await?;
            line.say(EVENTS).await?;
            line.chunk("data: 1\n\n").await?;
            let end = line.more().await;
            seen.store(end.is_none(), SeqCst);
            None
        }
    })
    .await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    client.send(&chat(true)).await;
    client.head().await;
    assert_eq!(rig.endpoint(0).ledger.requests(), 1);
    drop(client);
    rig.until("the ledger is empty", |rig| rig.endpoint(0).ledger.requests() == 0).await;
    rig.until("the engine sees the end", |_| gone.load(SeqCst)).await;
    assert_eq!(rig.metric("weir_gateway_requests_total{class=\"client_gone\"}"), 1);
    assert_eq!(rig.metric("weir_gateway_requests_in_flight"), 0);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_byte_cancels_its_request() {
    let gone = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&gone);
    let engine = Engine::run(move |mut line| {
        let seen = Arc::clone(&seen);
        async move {
            line.hear().await?;
            let end = line.more().await;
            seen.store(end.is_none(), SeqCst);
            None
        }
    })
    .await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    client.send(&chat(false)).await;
    rig.until("the request is under way", |rig| rig.endpoint(0).ledger.requests() == 1).await;
    drop(client);
    rig.until("the engine sees the end", |_| gone.load(SeqCst)).await;
    rig.until("the ledger is empty", |rig| rig.endpoint(0).ledger.requests() == 0).await;
}

/// Streams two pieces, the second one given, and dies.
async fn dying(second: &'static str, head: &'static str) -> Engine {
    Engine::run(move |mut line| async move {
        line.hear().await?;
        line.say(head).await?;
        line.chunk("data: 1\n\n").await?;
        line.chunk(second).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        line.reset();
        None
    })
    .await
}

#[tokio::test]
async fn an_engine_that_dies_ends_the_stream_with_an_error_event() {
    for (second, between) in [("data: 2\n\n", ""), ("data: {\"half", "\n\n")] {
        let engine = dying(second, EVENTS).await;
        let rig = Rig::over(&[engine.address], settings()).await;
        let mut client = rig.client().await;
        let answer = client.ask(&chat(true)).await;
        let told = answer.text().strip_prefix("data: 1\n\n").unwrap().strip_prefix(second).unwrap();
        let event = told.strip_prefix(between).unwrap().strip_prefix("data: ").unwrap();
        let error: serde_json::Value = serde_json::from_str(event.trim()).unwrap();
        assert_eq!(error["error"]["code"], "upstream_reset");
        assert!(event.ends_with("}\n\n") && !told.contains("[DONE]"));
        assert!(answer.complete, "the chunked body ends properly after the event");
        assert_eq!(rig.metric("weir_gateway_broken_streams_total"), 1);
        assert_eq!(rig.endpoint(0).ledger.requests(), 0);
    }
}

#[tokio::test]
async fn a_broken_answer_that_is_no_event_stream_is_broken_off() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let engine = dying("2", head).await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let answer = rig.client().await.ask(&chat(false)).await;
    assert!(!answer.complete, "{answer:?}");

    let short = Engine::run(|mut line| async move {
        line.hear().await?;
        line.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345").await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        None
    })
    .await;
    let rig = Rig::over(&[short.address], settings()).await;
    let answer = rig.client().await.ask(&chat(false)).await;
    assert!(!answer.complete, "{answer:?}");
}

#[tokio::test]
async fn a_stream_that_stands_still_ends_in_a_timeout() {
    let engine = Engine::run(|mut line| async move {
        line.hear().await?;
        line.say(EVENTS).await?;
        for _ in 0..6 {
            line.chunk("data: 1\n\n").await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        line.more().await.map(drop)
    })
    .await;
    let mut settings = settings();
    settings.timeouts.idle = Duration::from_millis(200);
    let rig = Rig::over(&[engine.address], settings).await;
    let start = Instant::now();
    let answer = rig.client().await.ask(&chat(true)).await;
    assert_eq!(answer.text().matches("data: 1").count(), 6, "a stream that moves lives longer than the limit");
    assert!(answer.text().contains("\"code\":\"idle_timeout\""), "{}", answer.text());
    assert!(start.elapsed() > Duration::from_millis(440), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_stream_that_never_ends_ends_in_a_timeout() {
    let engine = Engine::run(|mut line| async move {
        line.hear().await?;
        line.say(EVENTS).await?;
        loop {
            line.chunk("data: 1\n\n").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut settings = settings();
    settings.timeouts.total = Duration::from_millis(300);
    let rig = Rig::over(&[engine.address], settings).await;
    let answer = rig.client().await.ask(&chat(true)).await;
    assert!(answer.text().contains("\"code\":\"total_timeout\""), "{}", answer.text());
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let body: &'static str = "0123456789abcdef".repeat(1 << 16).leak();
    let engine = Engine::answering(move |_| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    for _ in 0..3 {
        let answer = client.ask(&chat(false)).await;
        assert!(answer.complete && answer.text() == body);
    }
    assert_eq!(engine.connections(), 1);
    assert_eq!(rig.metric("weir_gateway_body_bytes_total{direction=\"out\"}"), 3 << 20);
}
