//! What a worker says of its KV cache: ZeroMQ messages as vLLM sends them, and the repetition of past ones.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use weir_engine::{AdapterId, KvChange};
use weir_prefix::{BatchWriter, EventLayout, StoredBlocks};
use zeromq::{PubSocket, RouterSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

use crate::{config::SimConfig, worker::Worker};

/// Where and how a worker says what happens to its cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEventsConfig {
    /// Where the events go: `tcp://*:PORT` listens, `tcp://HOST:PORT` connects.
    pub endpoint: String,
    /// Where past batches can be asked for; it listens there.
    pub replay_endpoint: Option<String>,
    /// Batches that are kept for that.
    pub replay_queue: usize,
    /// Most events of a batch.
    pub batch_size: usize,
    /// How they are written.
    pub layout: EventLayout,
}

impl Default for KvEventsConfig {
    fn default() -> Self {
        Self {
            endpoint: "tcp://*:5557".to_owned(),
            replay_endpoint: None,
            replay_queue: 1_024,
            batch_size: 16,
            layout: EventLayout::Lists,
        }
    }
}

impl KvEventsConfig {
    /// The same, so many ports further.
    #[must_use]
    pub fn shifted(&self, by: u16) -> Self {
        let shift = |address: &str| match address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(port))) if port > 0 => format!("{host}:{}", port.saturating_add(by)),
            _ => address.to_owned(),
        };
        Self { endpoint: shift(&self.endpoint), replay_endpoint: self.replay_endpoint.as_deref().map(shift), ..self.clone() }
    }
}

/// How long until a receiver that cannot be reached is tried again.
const RETRY: Duration = Duration::from_secs(1);

type Kept = Arc<Mutex<VecDeque<(u64, Bytes)>>>;

/// The sockets of one worker.
pub(crate) struct Publisher {
    config: KvEventsConfig,
    topic: Bytes,
    live: Option<PubSocket>,
    kept: Kept,
    replaying: Option<JoinHandle<()>>,
    rank: u32,
    /// Batches are numbered from 1 on, as in llm-d's simulator.
    next: u64,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if let Some(replaying) = &self.replaying {
            replaying.abort();
        }
    }
}

impl Publisher {
    /// Opens the sockets that listen.
    pub(crate) async fn open(config: KvEventsConfig, sim: &SimConfig, addr: SocketAddr) -> io::Result<Self> {
        let failed = |what: &str, error: zeromq::ZmqError| io::Error::new(io::ErrorKind::AddrInUse, format!("{what}: {error}"));
        let mut live = None;
        if let Some(address) = listens(&config.endpoint) {
            let mut socket = PubSocket::new();
            socket.bind(&address).await.map_err(|error| failed(&address, error))?;
            live = Some(socket);
        }
        let kept = Kept::default();
        let topic = Bytes::from(format!("kv@{}:{}@{}", pod_ip(sim, addr.ip()), addr.port(), sim.model));
        let mut replaying = None;
        if let Some(endpoint) = &config.replay_endpoint {
            let address = listens(endpoint).unwrap_or_else(|| endpoint.clone());
            let mut socket = RouterSocket::new();
            socket.bind(&address).await.map_err(|error| failed(&address, error))?;
            replaying = Some(tokio::spawn(replay(socket, topic.clone(), Arc::clone(&kept))));
        }
        Ok(Self { config, topic, live, kept, replaying, rank: sim.engine_index, next: 1 })
    }

    /// Says what happens, until cancelled.
    pub(crate) async fn run(mut self, worker: Arc<Worker>) {
        while self.live.is_none() {
            let mut socket = PubSocket::new();
            match socket.connect(&self.config.endpoint).await {
                Ok(()) => self.live = Some(socket),
                Err(error) => {
                    tracing::debug!(endpoint = self.config.endpoint, %error, "KV events: nobody there");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        loop {
            let changes = worker.kv_changes().await;
            for some in changes.chunks(self.config.batch_size.max(1)) {
                let mut batch = BatchWriter::new(self.config.layout);
                for change in some {
                    self.write(&mut batch, &worker, change);
                }
                let payload = Bytes::from(batch.finish(unix_seconds(), self.rank));
                self.say(payload).await;
            }
        }
    }

    fn write(&self, batch: &mut BatchWriter, worker: &Worker, change: &KvChange) {
        match change {
            KvChange::Stored { adapter, hashes, parent, tokens } => {
                let name = worker.adapters(|adapters| adapters.name(*adapter));
                batch.stored(&StoredBlocks {
                    hashes,
                    parent: *parent,
                    tokens,
                    block_tokens: worker.config.block_size,
                    lora_id: (*adapter != AdapterId::BASE).then_some(u64::from(adapter.0)),
                    lora_name: name.as_deref(),
                    medium: "GPU",
                    ..StoredBlocks::default()
                });
            }
            KvChange::Removed { hash } => batch.removed(&[*hash], "GPU", None),
            KvChange::Cleared => batch.cleared(),
        }
    }

    async fn say(&mut self, payload: Bytes) {
        let number = self.next;
        self.next += 1;
        {
            let mut kept = self.kept.lock();
            kept.push_back((number, payload.clone()));
            while kept.len() > self.config.replay_queue {
                kept.pop_front();
            }
        }
        let frames = vec![self.topic.clone(), Bytes::copy_from_slice(&number.to_be_bytes()), payload];
        if let (Some(live), Ok(message)) = (&mut self.live, ZmqMessage::try_from(frames))
            && let Err(error) = live.send(message).await
        {
            tracing::debug!(%error, "KV events: not sent");
        }
    }
}

/// Answers requests for past batches: each from the number that is asked for, then a mark that this was all.
async fn replay(mut socket: RouterSocket, topic: Bytes, kept: Kept) {
    while let Ok(question) = socket.recv().await {
        let Ok([who, _, from]) = <[Bytes; 3]>::try_from(question.into_vec()) else { continue };
        let Some(from) = from.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)) else { continue };
        let batches: Vec<(u64, Bytes)> = kept.lock().iter().filter(|(number, _)| *number >= from).cloned().collect();
        let end = (u64::MAX, Bytes::new());
        for (number, payload) in batches.into_iter().chain([end]) {
            let topic = if number == u64::MAX { Bytes::new() } else { topic.clone() };
            let frames = vec![who.clone(), Bytes::new(), topic, Bytes::copy_from_slice(&number.to_be_bytes()), payload];
            let Ok(message) = ZmqMessage::try_from(frames) else { return };
            if socket.send(message).await.is_err() {
                break;
            }
        }
    }
}

/// The address to listen on, if an endpoint means that.
fn listens(endpoint: &str) -> Option<String> {
    (endpoint.contains('*') || endpoint.contains("::")).then(|| endpoint.replace("://*:", "://0.0.0.0:"))
}

fn pod_ip(sim: &SimConfig, listening: IpAddr) -> String {
    match &sim.pod.ip {
        Some(ip) => ip.clone(),
        None if listening.is_unspecified() => "127.0.0.1".to_owned(),
        None => listening.to_string(),
    }
}

fn unix_seconds() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_one_process_use_the_ports_that_follow() {
        let config = KvEventsConfig { replay_endpoint: Some("tcp://*:6000".to_owned()), ..KvEventsConfig::default() };
        let third = config.shifted(2);
        assert_eq!((third.endpoint.as_str(), third.replay_endpoint.as_deref()), ("tcp://*:5559", Some("tcp://*:6002")));
        let free = KvEventsConfig { endpoint: "tcp://*:0".to_owned(), ..config };
        assert_eq!(free.shifted(2).endpoint, "tcp://*:0");
        assert_eq!(listens("tcp://*:5557").as_deref(), Some("tcp://0.0.0.0:5557"));
        assert_eq!(listens("tcp://10.0.0.1:5557"), None);
    }
}
