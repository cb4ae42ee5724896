//! Split points are what such a parser gets wrong, so every message is sent in pieces of each size.

use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::*;

async fn read_in_pieces(message: &'static [u8], piece: usize) -> io::Result<(u16, Vec<u8>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut conn = Conn::connect(listener.local_addr()?).await?;
    let (mut peer, _) = listener.accept().await?;
    let writer = tokio::spawn(async move {
        for part in message.chunks(piece) {
            peer.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let head = conn.head(response_head).await?;
    let mut body = Vec::new();
    conn.body(head.framing, |data| body.extend_from_slice(data)).await?;
    writer.await.unwrap();
    assert!(conn.is_drained(), "nothing left behind");
    Ok((head.status, body))
}

#[tokio::test]
async fn lengths_and_chunks_survive_any_split() {
    let sized = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nt: v\r\n\r\n";
    for piece in 1..=chunked.len() {
        assert_eq!(read_in_pieces(sized, piece).await.unwrap(), (200, b"hello".to_vec()));
        assert_eq!(read_in_pieces(chunked, piece).await.unwrap(), (503, b"hello".to_vec()));
    }
}

#[tokio::test]
async fn a_short_body_is_an_error() {
    let message = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello";
    let error = read_in_pieces(message, message.len()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_request_head_gives_path_header_and_framing() {
    let bytes = b"POST /v1/x HTTP/1.1\r\nX-Bench: paced\r\nContent-Length: 7\r\n\r\n";
    let pick = |path: &str, headers: &[httparse::Header<'_>]| (path.to_owned(), header(headers, "x-bench").map(<[u8]>::to_vec));
    let (length, (framing, (path, value))) = request_head(bytes, pick).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    assert_eq!((framing, path.as_str()), (Framing::Length(7), "/v1/x"));
    assert_eq!(value.as_deref(), Some(&b"paced"[..]));
    assert!(request_head(&bytes[..20], pick).unwrap().is_none());
}
