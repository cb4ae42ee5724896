//! What became of the last reload.

use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde_json::{Value, json};

/// Counted and dated, for `/debug/state`, the log and metrics.
#[derive(Debug, Default)]
pub(crate) struct ReloadStatus {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    applied: u64,
    refused: u64,
    last: Option<(SystemTime, Result<(), String>)>,
}

impl ReloadStatus {
    /// A change took effect.
    pub(crate) fn applied(&self) {
        let mut inner = self.inner.lock();
        inner.applied += 1;
        inner.last = Some((SystemTime::now(), Ok(())));
    }

    /// A change was refused; everything stays as it was.
    pub(crate) fn refused(&self, why: &str) {
        let mut inner = self.inner.lock();
        inner.refused += 1;
        inner.last = Some((SystemTime::now(), Err(why.to_owned())));
    }

    pub(crate) fn describe(&self) -> Value {
        let inner = self.inner.lock();
        let last = inner.last.as_ref().map(|(at, result)| {
            let at = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            json!({"atUnixSeconds": at, "ok": result.is_ok(), "error": result.as_ref().err()})
        });
        json!({"applied": inner.applied, "refused": inner.refused, "last": last})
    }

    /// Applied and refused so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.applied, inner.refused)
    }
}
