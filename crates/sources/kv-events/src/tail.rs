//! One stream as it comes, for whoever wants to look at it.

use std::time::Duration;

use zeromq::{Socket, SocketOptions, SocketRecv, SubSocket};

use crate::message::{self, Live};

/// The stream cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct TailError {
    address: String,
    reason: String,
}

/// A subscription to one publisher.
pub struct Tail {
    socket: SubSocket,
    address: String,
}

impl Tail {
    /// Subscribes to what `tcp://host:port` publishes under topics that begin with `topic_filter`.
    ///
    /// # Errors
    /// Nobody is there within `timeout`.
    pub async fn connect(address: &str, topic_filter: &str, timeout: Duration) -> Result<Self, TailError> {
        let failed = |error: zeromq::ZmqError| TailError { address: address.to_owned(), reason: error.to_string() };
        let mut options = SocketOptions::default();
        options.connect_timeout(timeout);
        let mut socket = SubSocket::with_options(options);
        socket.subscribe(topic_filter).await.map_err(failed)?;
        socket.connect(address).await.map_err(failed)?;
        Ok(Self { socket, address: address.to_owned() })
    }

    /// The next batch. Messages of another form are skipped.
    ///
    /// # Errors
    /// The publisher is gone.
    pub async fn next(&mut self) -> Result<Live, TailError> {
        loop {
            let received = self.socket.recv().await;
            let message = received.map_err(|error| TailError { address: self.address.clone(), reason: error.to_string() })?;
            if let Some(live) = message::live(message) {
                return Ok(live);
            }
        }
    }
}
