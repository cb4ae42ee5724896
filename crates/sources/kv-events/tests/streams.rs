//! Streams over real sockets: what arrives at the plugin of what a publisher said, missed parts and restarts included.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use weir_kv_events::{KvEvents, Timing};
use weir_plan::{KvEventSink, KvEventSource};
use weir_pool::{EndpointSpec, EndpointUrl, Pool};
use zeromq::{Endpoint, PubSocket, RouterSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

/// What a plugin was told.
#[derive(Default)]
struct Recorder {
    told: Mutex<Vec<String>>,
    news: Notify,
}

impl Recorder {
    fn tell(&self, what: String) {
        self.told.lock().push(what);
        self.news.notify_waiters();
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().clone()
    }

    /// Waits until so much was told.
    async fn wait(&self, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let waiting = async {
            loop {
                let news = self.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if enough(&self.told()) {
                    return self.told();
                }
                news.await;
            }
        };
        timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("only {:?}", self.told()))
    }
}

impl KvEventSink for Recorder {
    fn batch(&self, endpoint: u32, model: &str, payload: &[u8]) {
        self.tell(format!("{endpoint} {model} {}", String::from_utf8_lossy(payload)));
    }

    fn clear(&self, endpoint: u32) {
        self.tell(format!("{endpoint} clear"));
    }

    fn gone(&self, endpoint: u32) {
        self.tell(format!("{endpoint} gone"));
    }

    fn following(&self, endpoint: u32, yes: bool) {
        self.tell(format!("{endpoint} {}", if yes { "follows" } else { "ends" }));
    }
}

fn port(endpoint: &Endpoint) -> u16 {
    match endpoint {
        Endpoint::Tcp(_, port) => *port,
        other => panic!("{other}"),
    }
}

/// An engine's two sockets.
struct Engine {
    live: PubSocket,
    port: u16,
    replay_port: u16,
    /// Batches that it repeats, by number.
    kept: Arc<Mutex<Vec<u64>>>,
    /// Numbers that were asked for.
    asked: Arc<Mutex<Vec<u64>>>,
    replaying: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    New,
    Old,
    /// Answers nothing.
    Silent,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.replaying.abort();
    }
}

const TOPIC: &str = "kv@10.0.0.1:8000@m";

impl Engine {
    async fn start(dialect: Dialect, kept: impl IntoIterator<Item = u64>) -> Self {
        Self::start_at("tcp://127.0.0.1:0", "tcp://127.0.0.1:0", dialect, kept).await
    }

    async fn start_at(live_at: &str, replay_at: &str, dialect: Dialect, kept: impl IntoIterator<Item = u64>) -> Self {
        let mut live = PubSocket::new();
        let port = port(&live.bind(live_at).await.unwrap());
        let mut router = RouterSocket::new();
        let replay_port = self::port(&router.bind(replay_at).await.unwrap());
        let kept = Arc::new(Mutex::new(kept.into_iter().collect::<Vec<u64>>()));
        let asked = Arc::<Mutex<Vec<u64>>>::default();
        let (batches, questions) = (Arc::clone(&kept), Arc::clone(&asked));
        let replaying = tokio::spawn(async move {
            while let Ok(question) = router.recv().await {
                let [who, _, from] = <[Bytes; 3]>::try_from(question.into_vec()).unwrap();
                let from = u64::from_be_bytes(from[..].try_into().unwrap());
                questions.lock().push(from);
                if dialect == Dialect::Silent {
                    continue;
                }
                let numbers: Vec<u64> = batches.lock().iter().copied().filter(|number| *number >= from).collect();
                for number in numbers.into_iter().map(Some).chain([None]) {
                    let mut frames = vec![who.clone(), Bytes::new()];
                    if dialect == Dialect::New {
                        frames.push(number.map_or(Bytes::new(), |_| Bytes::from_static(TOPIC.as_bytes())));
                    }
                    frames.push(Bytes::copy_from_slice(&number.unwrap_or(u64::MAX).to_be_bytes()));
                    frames.push(number.map_or(Bytes::new(), |number| Bytes::from(format!("b{number}"))));
                    router.send(ZmqMessage::try_from(frames).unwrap()).await.unwrap();
                }
            }
        });
        Self { live, port, replay_port, kept, asked, replaying }
    }

    /// Says a batch until the plugin heard of it, or of one behind it: who listens may not be there yet. Repetitions are dropped.
    async fn say(&mut self, number: u64, recorder: &Recorder) -> Vec<String> {
        let before = recorder.told().len();
        let end = format!(" b{number}");
        for _ in 0..200 {
            let frames = vec![
                Bytes::from_static(TOPIC.as_bytes()),
                Bytes::copy_from_slice(&number.to_be_bytes()),
                Bytes::from(format!("b{number}")),
            ];
            self.live.send(ZmqMessage::try_from(frames).unwrap()).await.unwrap();
            let heard = recorder.wait(|told| told[before..].iter().any(|one| one.ends_with(&end)));
            if let Ok(told) = timeout(Duration::from_millis(50), heard).await {
                return told[before..].to_vec();
            }
        }
        panic!("b{number} was not heard: {:?}", recorder.told())
    }
}

struct Following {
    events: KvEvents,
    recorder: Arc<Recorder>,
    pool: Arc<Pool>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn timing() -> Timing {
    Timing {
        reconnect: Duration::from_millis(50),
        replay_idle: Duration::from_millis(200),
        replay_backoff: Duration::from_millis(5),
        cooldown: Duration::from_millis(50),
        models: Duration::from_millis(50),
        look: Duration::from_millis(10),
        ..Timing::default()
    }
}

fn spec(port: u16) -> EndpointSpec {
    EndpointSpec::new(format!("e{port}"), EndpointUrl::http("127.0.0.1", port))
}

fn follow(engine: &Engine, replays: bool) -> Following {
    let recorder = Arc::<Recorder>::default();
    let pool = Arc::new(Pool::new("p"));
    pool.reconcile(&[spec(8_000)]);
    let source = KvEventSource {
        zmq_endpoint: String::new(),
        topic_filter: "kv@".to_owned(),
        discover: true,
        socket_port: engine.port,
        replay_port: replays.then_some(engine.replay_port),
        sink: recorder.clone(),
    };
    start(pool, recorder, source)
}

fn start(pool: Arc<Pool>, recorder: Arc<Recorder>, source: KvEventSource) -> Following {
    let events = KvEvents::new(timing());
    events.set_pools([(Arc::clone(&pool), vec![source])]);
    let stop = CancellationToken::new();
    let task = tokio::spawn({
        let (events, stop) = (events.clone(), stop.clone());
        async move { events.run(stop).await }
    });
    Following { events, recorder, pool, stop, task }
}

impl Following {
    async fn end(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(5), self.task).await.expect("it ends").unwrap();
    }
}

fn batches(told: &[String]) -> Vec<&str> {
    told.iter().filter_map(|one| one.rsplit_once(' ')).map(|(_, what)| what).filter(|what| what.starts_with('b')).collect()
}

#[tokio::test]
async fn history_then_the_live_stream_and_gaps_in_both_dialects() {
    for dialect in [Dialect::New, Dialect::Old] {
        let mut engine = Engine::start(dialect, 0..3).await;
        let following = follow(&engine, true);
        let told = following.recorder.wait(|told| told.iter().any(|one| one == "0 follows")).await;
        assert_eq!(batches(&told), ["b0", "b1", "b2"]);
        engine.kept.lock().push(3);
        let told = engine.say(3, &following.recorder).await;
        assert_eq!(told, ["0 m b3"]);
        // 4 and 5 are missed; what showed it is not applied twice.
        engine.kept.lock().extend([4, 5, 6]);
        assert_eq!(batches(&engine.say(6, &following.recorder).await), ["b4", "b5", "b6"]);
        assert_eq!(engine.say(7, &following.recorder).await, ["0 m b7"]);
        assert_eq!(*engine.asked.lock(), [0, 4]);
        let stats = following.events.stats();
        assert_eq!((stats[0].gaps, stats[0].lost, stats[0].replays, stats[0].connected), (1, 0, 2, true));
        assert_eq!((stats[0].pool.as_str(), stats[0].endpoint.as_str()), ("p", "127.0.0.1:8000"));
        following.end().await;
    }
}

#[tokio::test]
async fn history_that_starts_late_starves_nobody() {
    let mut engine = Engine::start(Dialect::New, 40..42).await;
    let following = follow(&engine, true);
    let told = following.recorder.wait(|told| told.iter().any(|one| one == "0 follows")).await;
    assert_eq!(told[..3], ["0 clear", "0 m b40", "0 m b41"]);
    // The batches between are not kept any more: what they said of removals is unknown.
    *engine.kept.lock() = vec![50];
    assert_eq!(engine.say(50, &following.recorder).await, ["0 clear", "0 m b50"]);
    assert_eq!(engine.say(51, &following.recorder).await, ["0 m b51"]);
    following.end().await;
}

#[tokio::test]
async fn an_engine_that_starts_anew_is_known_by_its_numbers_or_by_its_last_batch() {
    let mut engine = Engine::start(Dialect::New, 0..4).await;
    let following = follow(&engine, true);
    following.recorder.wait(|told| told.iter().any(|one| one == "0 follows")).await;
    engine.kept.lock().push(4);
    assert_eq!(engine.say(4, &following.recorder).await, ["0 m b4"]);
    // It counts anew although nobody noticed that it was away.
    *engine.kept.lock() = vec![0, 1];
    assert_eq!(engine.say(1, &following.recorder).await, ["0 clear", "0 m b0", "0 m b1"]);
    // It goes, and comes back without what it said last: what it held is gone, whether or not it says anything.
    let (live_at, replay_at) = (format!("tcp://127.0.0.1:{}", engine.port), format!("tcp://127.0.0.1:{}", engine.replay_port));
    drop(engine);
    following.recorder.wait(|told| told.last().is_some_and(|one| one == "0 ends")).await;
    let before = following.recorder.told().len();
    let _engine = Engine::start_at(&live_at, &replay_at, Dialect::New, [0]).await;
    let told = following.recorder.wait(|told| told[before..].iter().any(|one| one == "0 follows")).await;
    assert_eq!(told[before..].iter().filter(|one| *one != "0 ends").collect::<Vec<_>>()[..2], ["0 clear", "0 clear"]);
    assert!(told[before..].iter().any(|one| one == "0 m b0"));
    assert!(following.events.stats()[0].reconnections > 0);
    following.end().await;
}

#[tokio::test]
async fn an_engine_that_is_still_the_one_it_was_keeps_what_it_held() {
    let engine = Engine::start(Dialect::New, 0..4).await;
    let following = follow(&engine, true);
    following.recorder.wait(|told| told.iter().any(|one| one == "0 follows")).await;
    let (live_at, replay_at) = (format!("tcp://127.0.0.1:{}", engine.port), format!("tcp://127.0.0.1:{}", engine.replay_port));
    drop(engine);
    following.recorder.wait(|told| told.last().is_some_and(|one| one == "0 ends")).await;
    let before = following.recorder.told().len();
    let _engine = Engine::start_at(&live_at, &replay_at, Dialect::New, 0..6).await;
    let told = following.recorder.wait(|told| told[before..].iter().any(|one| one == "0 follows")).await;
    // Only the connection was lost, and two batches with it.
    assert_eq!(told[before..].iter().filter(|one| *one != "0 ends").collect::<Vec<_>>(), ["0 m b4", "0 m b5", "0 follows"]);
    following.end().await;
}

#[tokio::test]
async fn a_peer_that_repeats_nothing_is_asked_three_times_and_keeps_nobody_waiting() {
    let mut engine = Engine::start(Dialect::Silent, []).await;
    let following = follow(&engine, true);
    following.recorder.wait(|told| told.iter().any(|one| one == "0 follows")).await;
    assert_eq!(*engine.asked.lock(), [0, 0, 0]);
    let told = engine.say(9, &following.recorder).await;
    assert_eq!(told, ["0 clear", "0 m b9"]);
    let stats = following.events.stats();
    assert!(stats[0].errors.iter().any(|(operation, _)| operation.to_string() == "replay-no-progress"), "{stats:?}");
    following.end().await;
}

#[tokio::test]
async fn without_repetition_everything_is_applied_as_it_comes() {
    let mut engine = Engine::start(Dialect::Silent, []).await;
    let following = follow(&engine, false);
    assert_eq!(engine.say(5, &following.recorder).await.last().unwrap(), "0 m b5");
    assert_eq!(engine.say(8, &following.recorder).await, ["0 m b8"]);
    assert_eq!(engine.say(2, &following.recorder).await, ["0 clear", "0 m b2"]);
    assert_eq!(following.events.stats()[0].gaps, 1);
    // An endpoint that goes is told of, once its stream has ended.
    following.pool.reconcile(&[]);
    let told = following.recorder.wait(|told| told.last().is_some_and(|one| one == "0 gone")).await;
    assert_eq!(told[told.len() - 2..], ["0 ends", "0 gone"]);
    assert!(following.events.stats().is_empty());
    following.end().await;
}

#[tokio::test]
async fn engines_that_connect_are_known_by_their_topic() {
    let recorder = Arc::<Recorder>::default();
    let pool = Arc::new(Pool::new("p"));
    pool.reconcile(&[EndpointSpec::new("a", EndpointUrl::http("10.0.0.1", 8_000))]);
    // A free port, taken again at once.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let source = KvEventSource {
        zmq_endpoint: format!("tcp://127.0.0.1:{free}"),
        topic_filter: "kv@".to_owned(),
        discover: false,
        socket_port: 0,
        replay_port: None,
        sink: recorder.clone(),
    };
    let following = start(pool, Arc::clone(&recorder), source);
    let mut live = PubSocket::new();
    live.connect(&format!("tcp://127.0.0.1:{free}")).await.unwrap();
    let publish = async {
        for number in 0_u64.. {
            for topic in ["kv@10.0.0.9:1@m", TOPIC] {
                let frames =
                    vec![Bytes::from(topic), Bytes::copy_from_slice(&number.to_be_bytes()), Bytes::from(format!("b{number}"))];
                live.send(ZmqMessage::try_from(frames).unwrap()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let told = tokio::select! {
        () = publish => unreachable!(),
        told = recorder.wait(|told| batches(told).len() > 2) => told,
    };
    assert_eq!(told[0], "0 follows");
    assert!(told[1..].iter().all(|one| one.starts_with("0 m b")), "{told:?}");
    following.end().await;
}
