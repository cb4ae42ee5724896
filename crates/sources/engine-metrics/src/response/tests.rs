use super::*;

const LIMIT: usize = 1000;

/// Feeds `text` in pieces of `step` bytes; what comes out, with the body's bytes.
fn read(text: &[u8], step: usize) -> Result<Option<(Response, Vec<u8>)>, ResponseError> {
    let mut reader = ResponseReader::new(LIMIT);
    let mut buffer = Vec::new();
    for piece in text.chunks(step) {
        buffer.extend_from_slice(piece);
        if let Some(response) = reader.advance(&mut buffer)? {
            let body = buffer[response.body.clone()].to_vec();
            return Ok(Some((response, body)));
        }
    }
    Ok(None)
}

/// Status, body and reusability, the same whatever pieces it comes in.
fn whole(text: &str) -> (u16, String, bool) {
    let mut answers = [1, 2, 3, 7, 50, 10_000].map(|step| {
        let (response, body) = read(text.as_bytes(), step).unwrap().unwrap();
        (response.status, String::from_utf8(body).unwrap(), response.keep_alive)
    });
    answers.sort();
    assert_eq!(answers[0], answers[5]);
    answers[0].clone()
}

fn refused(text: &str) -> ResponseError {
    let error = read(text.as_bytes(), 10_000).unwrap_err();
    assert_eq!(read(text.as_bytes(), 1).unwrap_err(), error);
    error
}

#[test]
fn a_body_of_known_length() {
    let text = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(whole(text), (200, "hello".to_owned(), true));
    assert_eq!(whole("HTTP/1.1 204 No Content\r\n\r\n"), (204, String::new(), true));
    assert_eq!(whole("HTTP/1.1 404 Not Found\r\ncontent-length:0\r\n\r\n"), (404, String::new(), true));
}

#[test]
fn chunks_are_put_together() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n";
    assert_eq!(whole(&format!("{head}5\r\nhello\r\n0\r\n\r\n")), (200, "hello".to_owned(), true));
    let several = format!("{head}1;x=y\r\nh\r\nA\r\nello hello\r\n00000004\r\n you\r\n0\r\nTrailer: x\r\n\r\n");
    assert_eq!(whole(&several), (200, "hello hello you".to_owned(), true));
    assert_eq!(whole(&format!("{head}0\r\n\r\n")), (200, String::new(), true));
}

#[test]
fn when_the_connection_can_be_used_again() {
    let reusable = |version: &str, header: &str| whole(&format!("HTTP/{version} 200 OK\r\n{header}Content-Length: 0\r\n\r\n")).2;
    assert!(reusable("1.1", ""));
    assert!(!reusable("1.1", "Connection: x, Close\r\n"));
    assert!(!reusable("1.0", ""));
    assert!(reusable("1.0", "Connection: keep-alive\r\n"));
    let excess = read(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", 1000).unwrap().unwrap().0;
    assert!(!excess.keep_alive);
}

#[test]
fn a_body_until_the_connection_closes() {
    let mut reader = ResponseReader::new(LIMIT);
    let mut buffer = b"HTTP/1.1 200 OK\r\n\r\nhel".to_vec();
    assert_eq!(reader.advance(&mut buffer), Ok(None));
    buffer.extend_from_slice(b"lo");
    assert_eq!(reader.advance(&mut buffer), Ok(None));
    assert_eq!(buffer[reader.closed().unwrap().body], *b"hello");
}

#[test]
fn an_early_close_is_an_error() {
    for text in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    ] {
        let mut reader = ResponseReader::new(LIMIT);
        assert_eq!(reader.advance(&mut text.as_bytes().to_vec()), Ok(None));
        assert_eq!(reader.closed(), Err(ResponseError::CutOff), "{text:?}");
    }
}

#[test]
fn interim_answers_are_passed_over() {
    assert_eq!(
        whole("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"),
        (200, "a".to_owned(), true)
    );
}

#[test]
fn what_is_refused() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for text in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(),
        format!("{chunked}x\r\n"),
        format!("{chunked}\r\n"),
        format!("{chunked}-1\r\n"),
        format!("{chunked}123456789\r\n"),
        format!("{chunked}1\r\nabc"),
        format!("{chunked}1;{}", "x".repeat(300)),
    ] {
        assert_eq!(refused(&text), ResponseError::Malformed, "{text:?}");
    }
    assert_eq!(refused("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"), ResponseError::TooLarge(LIMIT));
    assert_eq!(refused(&format!("{chunked}3e9\r\n")), ResponseError::TooLarge(LIMIT));
    assert_eq!(refused(&format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1001))), ResponseError::TooLarge(LIMIT));
    let many = "1\r\na\r\n".repeat(400);
    assert_eq!(refused(&format!("{chunked}{many}")), ResponseError::TooLarge(LIMIT));
    assert_eq!(refused(&format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000))), ResponseError::Malformed);
}

#[test]
fn any_bytes_at_all() {
    let mut random = fastrand::Rng::with_seed(7);
    let seeds = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nhello",
    ];
    for _ in 0..3000 {
        let mut text = seeds[random.usize(..3)].as_bytes().to_vec();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..text.len());
            text[at] = if random.bool() { random.u8(..) } else { b"0fF;\r\n:"[random.usize(..7)] };
        }
        if let Ok(Some((_, body))) = read(&text, random.usize(1..20)) {
            assert!(body.len() <= text.len());
        }
    }
}
