//! A request's place in the engine, held by the connection that waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use weir_engine::RequestId;

use super::Worker;

/// How far a sequence is. Written by whoever advances the engine, read without a lock.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    produced: AtomicU32,
    cached: AtomicU32,
    finished: AtomicBool,
    waker: AtomicWaker,
}

impl Progress {
    pub(super) fn started(&self, cached_tokens: u32) {
        self.cached.store(cached_tokens, Ordering::Relaxed);
    }

    pub(super) fn produced(&self, tokens: u32) {
        self.produced.store(tokens, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// Dropping it before the end cancels the request.
#[derive(Debug)]
pub(crate) struct Ticket {
    worker: Arc<Worker>,
    id: RequestId,
    progress: Arc<Progress>,
}

impl Ticket {
    pub(super) fn new(worker: Arc<Worker>, id: RequestId, progress: Arc<Progress>) -> Self {
        Self { worker, id, progress }
    }

    /// Tokens produced so far.
    pub(crate) fn produced(&self) -> u32 {
        self.progress.produced.load(Ordering::Acquire)
    }

    /// Prompt tokens that came from the cache; known with the first token.
    pub(crate) fn cached(&self) -> u32 {
        self.progress.cached.load(Ordering::Relaxed)
    }

    /// Ready with the number of tokens when there are more than `seen`.
    pub(crate) fn poll_more(&self, seen: u32, cx: &mut Context<'_>) -> Poll<u32> {
        if self.produced() > seen {
            return Poll::Ready(self.produced());
        }
        self.progress.waker.register(cx.waker());
        match self.produced() {
            more if more > seen => Poll::Ready(more),
            _ => Poll::Pending,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.worker.close(self.id, self.progress.finished.load(Ordering::Acquire));
    }
}
