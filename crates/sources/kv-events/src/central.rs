//! One socket to which engines connect.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tokio_util::sync::CancellationToken;
use weir_plan::KvEventSink;
use weir_pool::Pool;
use weir_prefix::{Sequence, Step};
use zeromq::{Socket, SocketRecv, SubSocket};

use crate::{
    counters::{Counters, Operation},
    message::{self, Live, Topic},
    timing::Timing,
};

/// Who speaks is told by the topic: `ip:port` of an endpoint of the pool.
pub(crate) struct Central {
    pub(crate) pool: Arc<Pool>,
    pub(crate) address: String,
    pub(crate) topic_filter: String,
    pub(crate) sink: Arc<dyn KvEventSink>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) timing: Timing,
}

impl Central {
    /// Listens until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let stopped = async {
            loop {
                let Err(operation) = self.session().await;
                self.counters.failed(operation);
                self.counters.connected.store(false, Relaxed);
                tracing::warn!(address = self.address, %operation, "KV events: nobody can connect");
                tokio::time::sleep(self.timing.reconnect).await;
                self.counters.reconnections.fetch_add(1, Relaxed);
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = stopped => {}
        }
    }

    async fn session(&self) -> Result<Infallible, Operation> {
        let mut socket = SubSocket::new();
        socket.subscribe(&self.topic_filter).await.map_err(|_| Operation::Subscribe)?;
        socket.bind(&self.address).await.map_err(|_| Operation::Bind)?;
        self.counters.connected.store(true, Relaxed);
        let mut sequences: HashMap<u32, Sequence> = HashMap::new();
        loop {
            // An engine that leaves is no failure of the socket.
            let Ok(message) = socket.recv().await else {
                tokio::task::yield_now().await;
                continue;
            };
            self.counters.messages.fetch_add(1, Relaxed);
            if let Some(live) = message::live(message) {
                self.live(&mut sequences, &live);
            }
        }
    }

    fn live(&self, sequences: &mut HashMap<u32, Sequence>, live: &Live) {
        let topic = Topic::of(&live.topic);
        let snapshot = self.pool.load();
        let Some(endpoint) = snapshot.endpoints.iter().find(|one| one.authority() == topic.pod) else { return };
        let serial = endpoint.serial();
        if !sequences.contains_key(&serial) {
            sequences.retain(|serial, _| snapshot.endpoints.iter().any(|one| one.serial() == *serial));
        }
        let sequence = sequences.entry(serial).or_insert_with(|| {
            self.sink.following(serial, true);
            Sequence::new(false)
        });
        match sequence.live(live.number) {
            Step::Drop | Step::Replay { .. } => return,
            Step::ClearAndApply => self.sink.clear(serial),
            Step::Apply => {}
        }
        self.sink.batch(serial, topic.model, &live.payload);
    }
}
