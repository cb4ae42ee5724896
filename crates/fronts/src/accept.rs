//! Accepting connections.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// After an error of `accept`, such as too many open files: others may close theirs meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `stop` is cancelled, each once `room` has a permit for it, and runs `serve` for each as a task of
/// `connections`. The permit is given back when that task ends.
pub async fn accept<S, F>(
    socket: &TcpListener,
    room: &Arc<Semaphore>,
    stop: &CancellationToken,
    connections: &TaskTracker,
    serve: S,
) where
    S: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let next = async || {
        let permit = Arc::clone(room).acquire_owned().await.ok()?;
        match socket.accept().await {
            Ok((stream, address)) => Some((permit, stream, address)),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                None
            }
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = next() => accepted,
        };
        match accepted {
            Some((permit, stream, address)) => {
                let serving = serve(stream, address);
                connections.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
            None => sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::mpsc,
    };

    use super::*;

    #[tokio::test]
    async fn there_is_room_for_so_many_and_none_after_the_end() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (room, stop, connections) = (Arc::new(Semaphore::new(1)), CancellationToken::new(), TaskTracker::new());
        let (begun, mut beginnings) = mpsc::channel(8);
        let accepting = tokio::spawn({
            let (room, stop, connections) = (Arc::clone(&room), stop.clone(), connections.clone());
            async move {
                let serve = |mut stream: TcpStream, _| {
                    let begun = begun.clone();
                    async move {
                        begun.send(()).await.unwrap();
                        let mut byte = [0];
                        // Until the client goes.
                        while stream.read(&mut byte).await.unwrap_or(0) > 0 {
                            stream.write_all(&byte).await.unwrap();
                        }
                    }
                };
                accept(&socket, &room, &stop, &connections, serve).await;
            }
        });
        let mut first = TcpStream::connect(address).await.unwrap();
        beginnings.recv().await.unwrap();
        let second = TcpStream::connect(address).await.unwrap();
        // The first is served, and the second waits: its turn cannot have come before this answer.
        first.write_all(b"x").await.unwrap();
        first.read_exact(&mut [0]).await.unwrap();
        assert!(beginnings.try_recv().is_err());
        drop(first);
        beginnings.recv().await.unwrap();
        stop.cancel();
        accepting.await.unwrap();
        assert_eq!(connections.len(), 1);
        drop(second);
        connections.close();
        connections.wait().await;
        assert_eq!(room.available_permits(), 1);
    }
}
