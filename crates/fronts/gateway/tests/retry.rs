//! Failures before the first byte: who is tried next, how often, and who is left alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub, unused_imports)]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use support::{EVENTS, Engine, OK, Rig, chat, pool_of, post, settings};
use weir_gateway::Upstream;
use weir_pool::{BreakerConfig, BreakerState};

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
const WRONG: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\nwrong";

/// Hears a request and resets the connection.
async fn resetting() -> Engine {
    Engine::run(|mut line| async move {
        line.hear().await?;
        line.reset();
        None
    })
    .await
}

/// Asks until the endpoint that fails had its turn; all must be served.
async fn all_are_served(rig: &Rig) {
    let mut client = rig.client().await;
    for _ in 0..100 {
        let answer = client.ask(&chat(false)).await;
        assert_eq!((answer.status, answer.text()), (200, "{\"ok\":true}"));
        if rig.metric("weir_retries_total{pool=\"p\"}") > 1 {
            return;
        }
    }
    panic!("the endpoint that fails was never tried");
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_replaced() {
    let good = Engine::saying(OK).await;
    all_are_served(&Rig::over(&[Engine::absent().await, good.address], settings()).await).await;
}

#[tokio::test]
async fn an_endpoint_that_breaks_off_is_replaced() {
    let (bad, good) = (resetting().await, Engine::saying(OK).await);
    all_are_served(&Rig::over(&[bad.address, good.address], settings()).await).await;
}

#[tokio::test]
async fn an_endpoint_that_says_it_cannot_serve_is_replaced() {
    for busy in [BUSY, "HTTP/1.1 502 x\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 504 x\r\ncontent-length: 0\r\n\r\n"] {
        let (bad, good) = (Engine::saying(busy).await, Engine::saying(OK).await);
        all_are_served(&Rig::over(&[bad.address, good.address], settings()).await).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_is_silent_is_replaced() {
    let silent = Engine::run(|mut line| async move {
        line.hear().await?;
        line.more().await.map(drop)
    })
    .await;
    let good = Engine::saying(OK).await;
    let mut settings = settings();
    settings.timeouts.first_byte = Duration::from_millis(100);
    all_are_served(&Rig::over(&[silent.address, good.address], settings).await).await;
}

#[tokio::test]
async fn a_head_alone_is_no_first_byte() {
    let early = Engine::run(|mut line| async move {
        line.hear().await?;
        line.say(EVENTS).await?;
        line.reset();
        None
    })
    .await;
    let good = Engine::saying(OK).await;
    all_are_served(&Rig::over(&[early.address, good.address], settings()).await).await;
}

#[tokio::test]
async fn what_the_client_did_wrong_is_not_tried_again() {
    let first = Engine::saying(WRONG).await;
    let second = Engine::saying(WRONG).await;
    let rig = Rig::over(&[first.address, second.address], settings()).await;
    let mut client = rig.client().await;
    for _ in 0..10 {
        let answer = client.ask(&chat(false)).await;
        assert_eq!((answer.status, answer.text(), answer.header("x-weir-reason")), (400, "wrong", None));
    }
    assert_eq!(rig.metric("weir_retries_total{pool=\"p\"}"), 0);
    for index in 0..2 {
        assert_eq!(rig.endpoint(index).health.breaker.state(weir_pool::Time::ZERO), BreakerState::Closed);
    }
}

#[tokio::test]
async fn the_last_failure_is_explained() {
    let (one, two) = (Engine::saying(BUSY).await, Engine::saying(BUSY).await);
    let rig = Rig::over(&[one.address, two.address], settings()).await;
    let answer = rig.client().await.ask(&chat(false)).await;
    assert_eq!((answer.status, answer.text()), (503, "busy"), "the engine's own words");
    assert_eq!(answer.header("x-weir-reason"), Some("upstream_unavailable"));
    assert!(answer.header("x-weir-endpoint").is_some());

    let rig = Rig::over(&[Engine::absent().await, Engine::absent().await], settings()).await;
    let answer = rig.client().await.ask(&chat(false)).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_connect_failed"));
    assert_eq!(answer.header("x-weir-reason"), Some("upstream_connect_failed"));
    assert_eq!(rig.endpoint(0).ledger.requests() + rig.endpoint(1).ledger.requests(), 0);
}

#[tokio::test]
async fn no_endpoint_is_said_with_a_time_to_come_back() {
    let rig = Rig::over(&[], settings()).await;
    let answer = rig.client().await.ask(&chat(false)).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_endpoints"));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn retries_are_bounded_by_attempts_and_budget() {
    let asked = Arc::new(AtomicUsize::new(0));
    let mut engines = Vec::new();
    for _ in 0..5 {
        let asked = Arc::clone(&asked);
        engines.push(
            Engine::answering(move |_| {
                asked.fetch_add(1, SeqCst);
                BUSY.to_owned()
            })
            .await,
        );
    }
    let addresses: Vec<_> = engines.iter().map(|engine| engine.address).collect();
    let upstream =
        Upstream { breaker: BreakerConfig { consecutive_failures: 0, ..BreakerConfig::default() }, ..Upstream::default() };
    let rig = Rig::with(pool_of(&addresses, "http"), settings(), upstream.clone(), None).await;
    assert_eq!(rig.client().await.ask(&chat(false)).await.status, 503);
    assert_eq!(asked.swap(0, SeqCst), 3, "three attempts");

    let mut poor = settings();
    poor.retry.ratio = 0.0;
    poor.retry.min_per_second = 0;
    let rig = Rig::with(pool_of(&addresses, "http"), poor, upstream, None).await;
    let answer = rig.client().await.ask(&chat(false)).await;
    assert_eq!((answer.status, answer.header("x-weir-reason")), (503, Some("retry_budget_exhausted")));
    assert_eq!(asked.load(SeqCst), 1);
    assert_eq!(rig.metric("weir_gateway_retry_budget_exhausted_total"), 1);
}

#[tokio::test]
async fn a_connection_that_died_while_it_rested_is_not_the_endpoints_fault() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    // Serves one request a connection, and notices the second one only to break it off.
    let engine = Engine::run(move |mut line| {
        let count = Arc::clone(&count);
        async move {
            line.hear().await?;
            count.fetch_add(1, SeqCst);
            line.say(OK).await?;
            line.hear().await?;
            line.reset();
            None
        }
    })
    .await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    for _ in 0..4 {
        assert_eq!(client.ask(&chat(false)).await.status, 200);
    }
    assert_eq!(served.load(SeqCst), 4);
    assert_eq!(rig.metric("weir_retries_total{pool=\"p\"}"), 0);
    assert_eq!(rig.metric("weir_gateway_upstream_stale_total"), 3);
}

#[tokio::test]
async fn a_connection_that_is_closed_while_it_rests_is_not_used() {
    let engine = Engine::run(|mut line| async move {
        line.hear().await?;
        line.say(OK).await
    })
    .await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    for _ in 0..3 {
        assert_eq!(client.ask(&chat(false)).await.status, 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(engine.connections(), 3);
    assert_eq!(rig.metric("weir_gateway_upstream_reused_total"), 0);
}

#[tokio::test]
async fn a_failing_endpoint_is_left_alone_and_tried_again_with_one_request() {
    let broken = Arc::new(AtomicUsize::new(1));
    let (state, asked) = (Arc::clone(&broken), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let engine = Engine::answering(move |_| {
        count.fetch_add(1, SeqCst);
        if state.load(SeqCst) == 1 { "HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n".to_owned() } else { OK.to_owned() }
    })
    .await;
    let breaker =
        BreakerConfig { consecutive_failures: 3, open_for: Duration::from_millis(100), max_open_for: Duration::from_millis(100) };
    let rig = Rig::with(pool_of(&[engine.address], "http"), settings(), Upstream { breaker, ..Upstream::default() }, None).await;
    let mut client = rig.client().await;
    for _ in 0..3 {
        assert_eq!(client.ask(&chat(false)).await.status, 500, "a 500 is passed on, not tried elsewhere");
    }
    assert_eq!(client.ask(&chat(false)).await.code(), "no_endpoints", "open");
    assert_eq!(asked.load(SeqCst), 3);
    broken.store(0, SeqCst);
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(client.ask(&chat(false)).await.status, 200, "half open");
    assert_eq!(client.ask(&chat(false)).await.status, 200, "closed");
}

#[tokio::test]
async fn a_body_that_is_passed_on_while_it_arrives_is_sent_once() {
    let bad = resetting().await;
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    let good = Engine::answering(move |heard| {
        count.fetch_add(heard.body.len(), SeqCst);
        OK.to_owned()
    })
    .await;
    let large = "x".repeat(300_000);
    let small = "x".repeat(1000);

    // Small ones are kept, so they can be sent again.
    let rig = Rig::over(&[bad.address, good.address], settings()).await;
    assert_eq!(rig.client().await.ask(&post("/v1/audio/transcriptions", "", &small)).await.status, 200);
    assert_eq!(rig.client().await.ask(&post("/v1/audio/transcriptions", "", &small)).await.status, 200);
    assert_eq!(heard.swap(0, SeqCst), 2000);

    let rig = Rig::over(&[bad.address], settings()).await;
    let answer = rig.client().await.ask(&post("/v1/audio/transcriptions", "", &large)).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_reset"));
    assert_eq!(rig.metric("weir_retries_total{pool=\"p\"}"), 0);

    let rig = Rig::over(&[good.address], settings()).await;
    assert_eq!(rig.client().await.ask(&post("/v1/audio/transcriptions", "", &large)).await.status, 200);
    assert_eq!(heard.load(SeqCst), 300_000);
}
