//! Usage at the end of an answer in one piece.

use memchr::memmem;

use super::{Report, Usage};
use crate::json::{Cursor, Result};

/// How much of the end is kept. Servers report usage last, or followed by a few nulls, or by the ids of the cache blocks that a
/// prefill left for another worker.
const TAIL: usize = 64 * 1024;

/// How many places are tried, from the end.
const TRIES: usize = 8;

/// Keeps the end of a JSON body and reads the top-level `usage` from it.
///
/// A body is not read as a whole, and a usage more than 64 KiB before its end is not found.
#[derive(Debug, Clone, Default)]
pub struct JsonUsageTail {
    report: Report,
    /// Up to twice the tail, so that moving it costs little.
    kept: Vec<u8>,
    /// Whether bytes before `kept` were dropped.
    cut: bool,
}

impl JsonUsageTail {
    /// Starts at the beginning of a body.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn of(report: Report) -> Self {
        Self { report, ..Self::default() }
    }

    /// The next bytes of the body.
    pub fn feed(&mut self, chunk: &[u8]) {
        if chunk.len() >= TAIL {
            self.cut |= !self.kept.is_empty() || chunk.len() > TAIL;
            self.kept.clear();
            self.kept.extend_from_slice(&chunk[chunk.len() - TAIL..]);
            return;
        }
        if self.kept.len() + chunk.len() > 2 * TAIL {
            let surplus = self.kept.len() - TAIL;
            self.kept.drain(..surplus);
            self.cut = true;
        }
        self.kept.extend_from_slice(chunk);
    }

    /// The usage, once the whole body was fed.
    pub fn finish(&self) -> Option<Usage> {
        let start = self.kept.len().saturating_sub(TAIL);
        let cut = self.cut || start > 0;
        let tail = &self.kept[start..];
        memmem::rfind_iter(tail, self.report.key())
            .filter_map(|at| self.report.object_behind(tail, at, cut))
            .take(TRIES)
            .find_map(|at| last_fields(tail, at).ok().flatten())
    }
}

/// Reads the usage object at `at` and checks that from there to the end only fields of the same
/// object follow, and that it is the outermost.
fn last_fields(tail: &[u8], at: usize) -> Result<Option<Usage>> {
    let mut cursor = Cursor::starting(tail, at);
    let usage = Usage::read(&mut cursor, 2)?;
    cursor.object_rest(|cursor, _| cursor.skip(1).map(drop))?;
    cursor.end()?;
    Ok(usage)
}
