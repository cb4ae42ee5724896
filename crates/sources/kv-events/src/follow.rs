//! One endpoint's stream: subscribed, followed over gaps and restarts, subscribed again.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use weir_plan::KvEventSink;
use weir_pool::Endpoint;
use weir_prefix::{Sequence, Step};
use xxhash_rust::xxh64::xxh64;
use zeromq::{Socket, SocketEvent, SocketOptions, SocketRecv, SubSocket};

use crate::{
    counters::{Counters, Operation},
    message::{self, Live, Topic},
    replay,
    timing::Timing,
};

/// One endpoint's stream.
pub(crate) struct Stream {
    pub(crate) endpoint: Arc<Endpoint>,
    /// `tcp://host:port` of the live stream.
    pub(crate) address: String,
    /// The same for repetitions, if there are any.
    pub(crate) replay_address: Option<String>,
    pub(crate) topic_filter: String,
    pub(crate) sink: Arc<dyn KvEventSink>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) replays: Arc<Semaphore>,
    pub(crate) timing: Timing,
}

/// What is known of a stream over all of its subscriptions.
pub(crate) struct Known {
    sequence: Sequence,
    /// The model that the engine's topic names.
    model: Option<String>,
    /// Hash of the last batch applied: whether an engine is still the one it was.
    last_payload: u64,
    cooldown_until: Option<Instant>,
    cooldown: Duration,
}

/// Why a repetition ended before its end.
pub(crate) enum Interrupted {
    Failed(Operation),
    /// The engine is another one than before.
    Another,
}

impl Stream {
    /// Follows the stream until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let mut known = Known {
            sequence: Sequence::new(self.replay_address.is_some()),
            model: None,
            last_payload: 0,
            cooldown_until: None,
            cooldown: self.timing.cooldown,
        };
        let mut again = false;
        let stopped = async {
            loop {
                if again {
                    self.counters.reconnections.fetch_add(1, Relaxed);
                }
                again = true;
                let Err(operation) = self.session(&mut known).await;
                self.counters.failed(operation);
                self.following(false);
                tracing::debug!(endpoint = self.endpoint.id(), address = self.address, %operation, "KV events: subscription ended");
                tokio::time::sleep(self.timing.reconnect).await;
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = stopped => {}
        }
        self.following(false);
    }

    fn following(&self, yes: bool) {
        self.counters.connected.store(yes, Relaxed);
        self.sink.following(self.endpoint.serial(), yes);
    }

    /// One subscription, until it fails.
    async fn session(&self, known: &mut Known) -> Result<Infallible, Operation> {
        let mut options = SocketOptions::default();
        options.connect_timeout(self.timing.connect);
        let mut socket = SubSocket::with_options(options);
        let mut monitor = socket.monitor();
        socket.subscribe(&self.topic_filter).await.map_err(|_| Operation::Subscribe)?;
        socket.connect(&self.address).await.map_err(|_| Operation::Connect)?;
        self.learn_model(known).await;
        self.resume(known).await;
        self.following(true);
        loop {
            tokio::select! {
                event = monitor.next() => {
                    if matches!(event, Some(SocketEvent::Disconnected(_)) | None) {
                        return Err(Operation::Receive);
                    }
                }
                received = socket.recv() => {
                    let message = received.map_err(|_| Operation::Receive)?;
                    self.counters.messages.fetch_add(1, Relaxed);
                    if let Some(live) = message::live(message) {
                        self.live(known, live).await;
                    }
                }
            }
        }
    }

    /// Repetitions of engines before vLLM 0.26 tell no topic, and what they say belongs to a model all the same: the endpoint's own,
    /// which is known once its models were listed.
    async fn learn_model(&self, known: &mut Known) {
        let listed = async {
            let mut tick = tokio::time::interval(self.timing.look);
            loop {
                tick.tick().await;
                if let Some(model) = self.endpoint.models().first() {
                    return model.clone();
                }
            }
        };
        if known.model.is_none() && self.replay_address.is_some() {
            known.model = tokio::time::timeout(self.timing.models, listed).await.ok();
        }
    }

    /// The subscription stands: what was said before, and while it did not, is asked for.
    async fn resume(&self, known: &mut Known) {
        let Some(address) = &self.replay_address else { return };
        if let Some(last) = known.sequence.last()
            && !known.sequence.is_partial()
        {
            // From the last one on: if that is another than it was, so is the engine.
            match self.replay(address, known, last, Some(known.last_payload)).await {
                Ok(()) => return,
                Err(Interrupted::Failed(operation)) => return self.replay_failed(known, operation),
                Err(Interrupted::Another) => {
                    self.sink.clear(self.endpoint.serial());
                    self.counters.restarts.fetch_add(1, Relaxed);
                }
            }
        }
        if known.sequence.opened().is_some() || known.sequence.last().is_some() {
            known.sequence.restart_from_beginning();
            if let Err(Interrupted::Failed(operation)) = self.replay(address, known, 0, None).await {
                self.replay_failed(known, operation);
            }
        }
    }

    async fn live(&self, known: &mut Known, live: Live) {
        let Live { topic, number, payload } = live;
        let topic = Topic::of(&topic);
        if !topic.model.is_empty() && known.model.as_deref() != Some(topic.model) {
            known.model = Some(topic.model.to_owned());
        }
        let mut step = known.sequence.live(number);
        let cooling = known.cooldown_until.is_some_and(|until| Instant::now() < until);
        let mut from = match step {
            Step::Replay { from } => Some(from),
            _ => None,
        };
        if from.is_none() && known.sequence.is_partial() && !cooling {
            // What could not be repeated before is asked for again.
            known.sequence.restart_from_beginning();
            from = Some(0);
        }
        if let Some(from) = from {
            let complete = match &self.replay_address {
                Some(address) if !cooling => match self.replay(address, known, from, None).await {
                    Ok(()) => true,
                    Err(Interrupted::Failed(operation)) => {
                        self.replay_failed(known, operation);
                        false
                    }
                    Err(Interrupted::Another) => false,
                },
                _ => false,
            };
            step = known.sequence.after_replay(number, complete);
        }
        self.apply(known, step, &payload);
    }

    /// Asks the engine to repeat what it has from a number on, and applies it. With `same`, the first batch must be that one.
    async fn replay(&self, address: &str, known: &mut Known, from: u64, same: Option<u64>) -> Result<(), Interrupted> {
        let Ok(_permit) = self.replays.try_acquire() else { return Err(Interrupted::Failed(Operation::ReplayCapacity)) };
        self.counters.replays.fetch_add(1, Relaxed);
        let mut expected = same;
        let mut another = false;
        let mut take = |topic: Option<Bytes>, number: u64, payload: &Bytes| {
            if let Some(hash) = expected.take()
                && (number != from || hash != xxh64(payload, 0))
            {
                another = true;
                return false;
            }
            if let Some(topic) = &topic
                && !Topic::of(topic).model.is_empty()
            {
                known.model = Some(Topic::of(topic).model.to_owned());
            }
            self.counters.messages.fetch_add(1, Relaxed);
            let step = known.sequence.replayed(number);
            self.apply(known, step, payload);
            true
        };
        let done = replay::fetch(address, from, &self.timing, &mut take).await;
        if another || (done.is_ok() && expected.is_some()) {
            return Err(Interrupted::Another);
        }
        done.map_err(Interrupted::Failed)?;
        (known.cooldown, known.cooldown_until) = (self.timing.cooldown, None);
        self.count(known);
        Ok(())
    }

    fn replay_failed(&self, known: &mut Known, operation: Operation) {
        self.counters.failed(operation);
        known.cooldown_until = Some(Instant::now() + known.cooldown);
        known.cooldown = (known.cooldown * 2).min(self.timing.cooldown_max);
        tracing::debug!(endpoint = self.endpoint.id(), %operation, "KV events: not repeated");
    }

    fn apply(&self, known: &mut Known, step: Step, payload: &Bytes) {
        let serial = self.endpoint.serial();
        match step {
            Step::Drop | Step::Replay { .. } => return,
            Step::ClearAndApply => self.sink.clear(serial),
            Step::Apply => {}
        }
        known.last_payload = xxh64(payload, 0);
        self.sink.batch(serial, known.model.as_deref().unwrap_or_default(), payload);
        self.count(known);
    }

    fn count(&self, known: &Known) {
        self.counters.gaps.store(known.sequence.gaps(), Relaxed);
        self.counters.lost.store(known.sequence.lost(), Relaxed);
        self.counters.restarts.fetch_max(known.sequence.restarts(), Relaxed);
    }
}
