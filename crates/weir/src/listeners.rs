//! Opening ports, with errors that say what to do.

use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::failure::Failure;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Listens on `address`. `what` names the listener, `how` says how to choose another port.
pub(crate) fn bind(address: SocketAddr, what: &str, how: &str) -> Result<TcpListener, Failure> {
    open(address).map_err(|error| {
        let failure = Failure::new(format!("cannot listen on {address} for {what}: {error}"));
        match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                failure.with_help(format!("another process uses that port; {how} chooses another, and 0 any free one"))
            }
            std::io::ErrorKind::PermissionDenied => {
                failure.with_help(format!("ports below 1024 need privileges; {how} chooses another"))
            }
            std::io::ErrorKind::AddrNotAvailable => {
                failure.with_help("this machine has no such address; 0.0.0.0 means all of its addresses")
            }
            _ => failure,
        }
    })
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_is_explained() {
        let first = bind(([127, 0, 0, 1], 0).into(), "clients", "--port").unwrap();
        let error = bind(first.local_addr().unwrap(), "clients", "--port").unwrap_err().to_string();
        assert!(error.contains("for clients") && error.contains("another process") && error.contains("--port"), "{error}");
    }
}
