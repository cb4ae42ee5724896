//! Asks an engine to repeat batches.

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};
use zeromq::{DealerSocket, Socket, SocketOptions, SocketRecv, SocketSend};

use crate::{
    counters::Operation,
    message::{self, Repeated},
    timing::{ATTEMPTS_WITHOUT_PROGRESS, Timing},
};

/// Shows `take` each batch from a number on, by topic (if it is told), number and payload, until the engine says that this was
/// all, or `take` wants no more. What breaks off is asked for again from where it broke off.
pub(crate) async fn fetch(
    address: &str,
    from: u64,
    timing: &Timing,
    take: &mut (impl FnMut(Option<Bytes>, u64, &Bytes) -> bool + Send),
) -> Result<(), Operation> {
    let deadline = Instant::now() + timing.replay_total;
    let (mut next, mut without_progress) = (from, 0);
    loop {
        let before = next;
        let attempt = timeout_at(deadline, attempt(address, &mut next, timing, take)).await;
        let failed = match attempt {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(operation)) => operation,
            Err(_) => return Err(Operation::ReplayNoProgress),
        };
        without_progress = if next == before { without_progress + 1 } else { 0 };
        if without_progress == ATTEMPTS_WITHOUT_PROGRESS {
            return Err(if failed == Operation::Receive { Operation::ReplayNoProgress } else { failed });
        }
        tokio::time::sleep(timing.replay_backoff).await;
    }
}

async fn attempt(
    address: &str,
    next: &mut u64,
    timing: &Timing,
    take: &mut (impl FnMut(Option<Bytes>, u64, &Bytes) -> bool + Send),
) -> Result<(), Operation> {
    let mut options = SocketOptions::default();
    options.connect_timeout(timing.connect);
    let mut socket = DealerSocket::with_options(options);
    socket.connect(address).await.map_err(|_| Operation::ReplayConnect)?;
    socket.send(message::request(*next)).await.map_err(|_| Operation::ReplaySend)?;
    loop {
        let received = timeout(timing.replay_idle, socket.recv()).await;
        let Ok(Ok(message)) = received else { return Err(Operation::Receive) };
        match message::repeated(message) {
            Some(Repeated::End) => return Ok(()),
            Some(Repeated::Batch { topic, number, payload }) => {
                if number < *next {
                    continue;
                }
                if !take(topic, number, &payload) {
                    return Ok(());
                }
                *next = number.saturating_add(1);
            }
            None => {}
        }
    }
}
