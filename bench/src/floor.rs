//! The floor: the least that an HTTP/1.1 pass-through proxy on hyper can cost.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{Request, Response, body::Body, body::Incoming, client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};

type Client = client::conn::http1::SendRequest<Full<Bytes>>;
type Answer = Response<Either<Full<Bytes>, Incoming>>;

pub(crate) async fn run(upstream: SocketAddr) -> crate::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let pool = Arc::new(Mutex::new(Vec::new()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let pool = Arc::clone(&pool);
        tokio::spawn(async move {
            let service = service_fn(|request| forward(request, upstream, &pool));
            let http = server::conn::http1::Builder::new();
            http.serve_connection(TokioIo::new(stream), service).await
        });
    }
}

async fn forward(request: Request<Incoming>, upstream: SocketAddr, pool: &Mutex<Vec<Client>>) -> crate::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = Full::new(body.collect().await?.to_bytes());
    let free = {
        let mut pool = pool.lock();
        pool.retain(|client| !client.is_closed());
        pool.iter().rposition(Client::is_ready).map(|at| pool.swap_remove(at))
    };
    let mut client = match free {
        Some(client) => client,
        None => {
            let stream = TcpStream::connect(upstream).await?;
            stream.set_nodelay(true)?;
            let (client, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            client
        }
    };
    let (head, body) = client.send_request(Request::from_parts(head, body)).await?.into_parts();
    let body = match body.size_hint().exact() {
        Some(_) => Either::Left(Full::new(body.collect().await?.to_bytes())),
        None => Either::Right(body),
    };
    pool.lock().push(client);
    Ok(Response::from_parts(head, body))
}
