//! What a worker says of its cache, heard by a ZeroMQ subscriber, against what the worker answers.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tokio::time::timeout;
use weir_prefix::{Batch, Event, EventLayout, Tier};
use weir_sim::{KvEventsConfig, SimConfig, SimHandle};
use zeromq::{DealerSocket, Socket, SocketRecv, SocketSend, SubSocket, ZmqMessage};

use crate::support::{post, send, timed, worker};

/// A free port, to be taken at once.
fn free() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Heard {
    /// The engine's names of blocks that it has.
    blocks: HashSet<u64>,
    tokens: usize,
    removed: usize,
    cleared: bool,
    last: u64,
}

fn hear(heard: &mut Heard, number: u64, payload: &[u8]) {
    heard.last = number;
    for event in Batch::read(payload).unwrap() {
        match event.unwrap() {
            Event::Stored(stored) => {
                assert_eq!((stored.block_tokens, stored.tier), (8, Tier::Gpu));
                assert_eq!(stored.tokens.len(), stored.hashes.len() * 8);
                assert!(stored.parent.is_none_or(|parent| heard.blocks.contains(&parent)));
                heard.blocks.extend(stored.hashes.iter());
                heard.tokens += stored.tokens.len();
            }
            Event::Removed(removed) => removed.hashes.iter().for_each(|hash| {
                heard.removed += 1;
                assert!(heard.blocks.remove(&hash));
            }),
            Event::Cleared => {
                heard.blocks.clear();
                heard.cleared = true;
            }
        }
    }
}

async fn complete(sim: &SimHandle, prompt: &[u32]) -> u64 {
    let body = json!({"model": "m", "prompt": prompt, "max_tokens": 1, "ignore_eos": true});
    let reply = send(sim.addr(), post("/v1/completions", &body.to_string())).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
}

#[tokio::test]
async fn a_subscriber_knows_what_the_cache_holds_and_past_batches_are_repeated() {
    for layout in [EventLayout::Lists, EventLayout::MapEvents] {
        let (live, replay) = (free(), free());
        let events = KvEventsConfig {
            endpoint: format!("tcp://*:{live}"),
            replay_endpoint: Some(format!("tcp://*:{replay}")),
            batch_size: 3,
            layout,
            ..KvEventsConfig::default()
        };
        let sim = worker(SimConfig { kv_events: Some(events), ..timed(0, 0).sized(8, 8, 4) }).await;
        let mut heard = Heard { blocks: HashSet::new(), tokens: 0, removed: 0, cleared: false, last: 0 };
        let prompt: Vec<u32> = (1..=40).collect();
        assert_eq!(complete(&sim, &prompt).await, 0);
        // The first batch was said before anybody listened: it is asked for.
        let mut dealer = DealerSocket::new();
        dealer.connect(&format!("tcp://127.0.0.1:{replay}")).await.unwrap();
        let ask = || {
            let mut ask = ZmqMessage::from(Bytes::new());
            ask.push_back(Bytes::copy_from_slice(&0_u64.to_be_bytes()));
            ask
        };
        // The worker says it a moment after it has answered.
        while heard.last == 0 {
            dealer.send(ask()).await.unwrap();
            loop {
                let frames = timeout(Duration::from_secs(5), dealer.recv()).await.unwrap().unwrap().into_vec();
                let [empty, topic, number, payload] = &frames[..] else { panic!("{frames:?}") };
                assert!(empty.is_empty());
                let number = u64::from_be_bytes(number[..].try_into().unwrap());
                if number == u64::MAX {
                    assert!(topic.is_empty() && payload.is_empty());
                    break;
                }
                assert_eq!(&topic[..], format!("kv@127.0.0.1:{}@m", sim.addr().port()).as_bytes());
                assert_eq!(number, heard.last + 1);
                hear(&mut heard, number, payload);
            }
        }
        assert_eq!((heard.blocks.len(), heard.tokens, heard.last), (5, 40, 1));

        let mut socket = SubSocket::new();
        socket.subscribe("kv@").await.unwrap();
        socket.connect(&format!("tcp://127.0.0.1:{live}")).await.unwrap();
        // Another prompt pushes some of the first out; what is heard says how much of it is left.
        let other: Vec<u32> = (101..=140).collect();
        let mut rounds = 0;
        while heard.removed == 0 {
            rounds += 1;
            let fresh: Vec<u32> = other.iter().map(|token| token + rounds * 1_000).collect();
            complete(&sim, &fresh).await;
            while let Ok(message) = timeout(Duration::from_millis(200), socket.recv()).await {
                let frames = message.unwrap().into_vec();
                let number = u64::from_be_bytes(frames[1][..].try_into().unwrap());
                if number != heard.last + 1 {
                    // The subscription stood a moment too late: asked for again from the beginning.
                    panic!("a batch was missed: {number} after {}", heard.last);
                }
                hear(&mut heard, number, &frames[2]);
            }
        }
        assert!(heard.blocks.len() <= 8);
        sim.stop().await;
    }
}
