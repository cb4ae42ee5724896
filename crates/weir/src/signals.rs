//! Signals: the first asks to drain, the second to leave at once, SIGHUP to read the configuration again.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// Cancels `drain` at the first SIGINT or SIGTERM, and `now` at the second.
pub(crate) async fn watch(drain: CancellationToken, now: CancellationToken) -> Result<(), Failure> {
    let error = |error| Failure::new(format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(error)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(error)?;
    for token in [drain, now] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        token.cancel();
    }
    Ok(())
}

/// Fires at each SIGHUP.
pub(crate) fn hangups() -> Result<tokio::signal::unix::Signal, Failure> {
    signal(SignalKind::hangup()).map_err(|error| Failure::new(format!("cannot listen for SIGHUP: {error}")))
}
