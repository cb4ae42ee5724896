//! A body that is kept until it is complete.

use bytes::{Bytes, BytesMut};

/// A body without a known length begins with a buffer of this size.
const FIRST_BYTES: usize = 16 * 1024;
/// An announced length is believed up to this size: pages that nothing is written to are not there.
const TRUSTED_BYTES: u64 = 8 << 20;
/// Beyond that, up to so many times what has come.
const TRUSTED_TIMES: u64 = 4;

/// What came of a body so far.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// The only piece, or nothing.
    first: Bytes,
    /// All pieces, if there are several.
    all: BytesMut,
    /// Messages that they came in.
    pub(crate) messages: u32,
    /// Length that was announced.
    pub(crate) announced: Option<u64>,
}

impl Gathered {
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.messages += 1;
        if piece.is_empty() {
            return;
        }
        if self.len() == 0 {
            // One piece is the usual case and is not copied.
            self.first = piece;
            return;
        }
        if self.all.is_empty() {
            // An announcement costs the client nothing: beyond what is believed, memory follows what really arrives.
            let announced = self.announced.map_or(FIRST_BYTES, |length| length.min(TRUSTED_BYTES) as usize);
            self.all.reserve(announced.max(self.first.len() + piece.len()));
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        let (have, needed) = (self.all.len(), self.all.len() + piece.len());
        if needed > self.all.capacity() {
            let announced = self.announced.unwrap_or(0).min(have as u64 * TRUSTED_TIMES) as usize;
            self.all.reserve(announced.max(needed) - have);
        }
        self.all.extend_from_slice(&piece);
    }

    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    /// What came so far.
    pub(crate) fn so_far(&self) -> &[u8] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }

    /// Puts the pieces together. More may follow.
    pub(crate) fn join(&mut self) {
        if !self.all.is_empty() {
            self.first = std::mem::take(&mut self.all).freeze();
        }
    }

    /// What [`Gathered::join`] put together.
    pub(crate) fn whole(&self) -> &Bytes {
        &self.first
    }

    pub(crate) fn take(&mut self) -> Bytes {
        self.join();
        std::mem::take(&mut self.first)
    }
}
