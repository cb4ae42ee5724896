//! Heads on their way through, and what the gateway answers itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub, unused_imports)]
mod support;

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use parking_lot::Mutex;
use support::{Engine, Heard, OK, Rig, chat, get, pool_of, post, settings};
use tokio::io::AsyncWriteExt;
use weir_gateway::{ApiKeys, Cors, Upstream};

const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

/// An engine that remembers what it heard.
async fn listening(answer: &'static str) -> (Engine, Arc<Mutex<Vec<Heard>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&heard);
    let engine = Engine::answering(move |request| {
        keep.lock().push(request);
        answer.to_owned()
    })
    .await;
    (engine, heard)
}

#[tokio::test]
async fn a_request_passes_through() {
    let (engine, heard) = listening(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-private\r\nx-private: 1\r\nkeep-alive: timeout=5\r\nx-mine: 2\r\n\r\nok",
    )
    .await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    let head = "x-request-id: abc\r\nx-gateway-destination-endpoint: 1.2.3.4:5\r\nx-prefiller-host-port: 1.2.3.4:5\r\n\
                connection: keep-alive, x-hop\r\nx-hop: 1\r\nte: trailers\r\nauthorization: Bearer k\r\n";
    let answer = client.ask(&post("/v1/chat/completions?a=b", head, BODY)).await;
    assert_eq!((answer.status, answer.text()), (200, "ok"));
    assert_eq!(answer.header("x-request-id"), Some("abc"));
    assert_eq!(answer.header("x-weir-endpoint"), Some(engine.address.to_string().as_str()));
    assert_eq!(answer.header("x-mine"), Some("2"));
    assert_eq!((answer.header("x-private"), answer.header("keep-alive")), (None, None));

    let heard = heard.lock().remove(0);
    assert!(heard.head.starts_with("POST /v1/chat/completions?a=b HTTP/1.1\r\n"), "{}", heard.head);
    assert_eq!(heard.body, BODY.as_bytes());
    assert_eq!(heard.header("host"), Some(engine.address.to_string().as_str()));
    assert_eq!(heard.header("x-request-id"), Some("abc"));
    assert_eq!(heard.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(heard.header("x-forwarded-proto"), Some("http"));
    assert_eq!(heard.header("authorization"), Some("Bearer k"));
    assert_eq!(heard.header("content-length"), Some(BODY.len().to_string().as_str()));
    for gone in ["x-gateway-destination-endpoint", "x-prefiller-host-port", "x-hop", "te", "connection"] {
        assert_eq!(heard.header(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn requests_without_an_id_get_one() {
    let (engine, heard) = listening(OK).await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    let first = client.ask(&chat(false)).await;
    let second = client.ask(&chat(false)).await;
    let ids = [first.header("x-request-id").unwrap(), second.header("x-request-id").unwrap()];
    assert!(ids[0] != ids[1] && ids[0].len() == 36);
    assert_eq!(heard.lock()[0].header("x-request-id"), Some(ids[0]));
}

#[tokio::test]
async fn the_endpoint_can_stay_unnamed() {
    let (engine, _) = listening("HTTP/1.1 200 OK\r\nx-weir-endpoint: lie\r\ncontent-length: 0\r\n\r\n").await;
    let mut settings = settings();
    settings.endpoint_header = false;
    let rig = Rig::over(&[engine.address], settings).await;
    assert_eq!(rig.client().await.ask(&chat(false)).await.header("x-weir-endpoint"), None);
}

#[tokio::test]
async fn methods_and_paths_that_are_not_parsed_pass_through() {
    let (engine, heard) = listening(OK).await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    assert_eq!(client.ask(&get("/version", "")).await.status, 200);
    assert_eq!(client.ask(&post("/tokenize", "", "{}")).await.status, 200);
    assert_eq!(client.ask(&get("http://weir/v1/files?x=1", "")).await.status, 200);
    let lines: Vec<String> = heard.lock().iter().map(|heard| heard.head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["GET /version HTTP/1.1", "POST /tokenize HTTP/1.1", "GET /v1/files?x=1 HTTP/1.1"]);
}

#[tokio::test]
async fn an_answer_to_head_has_a_length_and_no_body() {
    let (engine, heard) = listening("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n").await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    for _ in 0..2 {
        client.send("HEAD /v1/files/x HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 11\r\n"), "{head}");
    }
    assert_eq!((heard.lock().len(), engine.connections()), (2, 1));
}

#[tokio::test]
async fn an_endpoints_url_may_have_a_path() {
    let (engine, heard) = listening(OK).await;
    let pool = weir_pool::Pool::new("p");
    let url = format!("http://{}/base", engine.address).parse().unwrap();
    pool.reconcile(&[weir_pool::EndpointSpec::new("e", url)]);
    let rig = Rig::with(Arc::new(pool), settings(), Upstream::default(), None).await;
    assert_eq!(rig.client().await.ask(&get("/version?a=1", "")).await.status, 200);
    assert!(heard.lock()[0].head.starts_with("GET /base/version?a=1 HTTP/1.1"));
}

#[tokio::test]
async fn some_paths_are_answered_here() {
    let (engine, heard) = listening(OK).await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    assert_eq!(client.ask(&get("/health", "")).await.status, 200);
    let models = client.ask(&get("/v1/models", "")).await;
    let list: serde_json::Value = serde_json::from_slice(&models.body).unwrap();
    assert_eq!(list["data"][0]["id"], "m");
    assert_eq!(client.ask(&get("/v1/models/m", "")).await.status, 200);
    let missing = client.ask(&get("/v1/models/other", "")).await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "model_not_found"));
    assert!(heard.lock().is_empty());
}

#[tokio::test]
async fn errors_have_the_form_of_the_api_that_was_called() {
    let (engine, heard) = listening(OK).await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let ask = async |path: &str, head: &str, body: &str| rig.client().await.ask(&post(path, head, body)).await;
    let answer = ask("/v1/messages", "", r#"{"model":"nope","max_tokens":1,"messages":[{"role":"user","content":"x"}]}"#).await;
    assert_eq!((answer.status, answer.header("x-weir-reason")), (404, Some("model_not_found")));
    let error: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!((&error["type"], &error["error"]["type"]), (&"error".into(), &"not_found_error".into()));
    let answer = ask("/v1/messages/count_tokens", "", "{").await;
    assert!(answer.text().starts_with(r#"{"type":"error","error":{"type":"invalid_request_error","message":"invalid JSON"#));
    let answer = ask("/v1/responses", "", "{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"));
    let answer = ask("/vllm.grpc.engine.VllmEngine/Generate", "content-type: application/grpc\r\n", "x").await;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("3")));
    assert_eq!(answer.header("grpc-message"), Some("gRPC needs HTTP/2."));
    assert!(heard.lock().is_empty());
}

#[tokio::test]
async fn bodies_that_come_in_pieces_are_read_while_they_come() {
    let (engine, heard) = listening(OK).await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let long = BODY.replace("hi", &"hello ".repeat(20_000));
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = |body: &str| -> String {
        let pieces =
            body.as_bytes().chunks(7_000).map(|piece| format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)));
        format!("{head}{}0\r\n\r\n", pieces.collect::<String>())
    };
    assert_eq!(rig.client().await.ask(&chunked(&long)).await.status, 200);
    assert_eq!(heard.lock().remove(0).body, long.as_bytes());
    let answer = rig.client().await.ask(&chunked(&long.replace("}]}", "}}"))).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_json"));
    let answer = rig.client().await.ask(&chunked(&long[..60_000])).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_json"));
    assert!(heard.lock().is_empty());
}

#[tokio::test]
async fn keys_are_checked_and_kept() {
    let (engine, heard) = listening(OK).await;
    let mut settings = settings();
    settings.keys = Some(ApiKeys::new(["sk-1"]));
    let upstream = Upstream { authorization: Some(HeaderValue::from_static("Bearer engine")), ..Upstream::default() };
    let rig = Rig::with(pool_of(&[engine.address], "http"), settings.clone(), upstream, None).await;
    let mut client = rig.client().await;
    for wrong in ["", "authorization: Bearer sk-2\r\n"] {
        let answer = client.ask(&get("/version", wrong)).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(answer.header("x-weir-reason"), Some("unauthorized"));
    }
    assert_eq!(client.ask(&get("/health", "")).await.status, 200, "for load balancers");
    assert_eq!(client.ask(&get("/version", "authorization: Bearer sk-1\r\n")).await.status, 200);
    assert_eq!(heard.lock()[0].header("authorization"), Some("Bearer engine"));

    let rig = Rig::over(&[engine.address], settings).await;
    assert_eq!(rig.client().await.ask(&get("/version", "authorization: Bearer sk-1\r\n")).await.status, 200);
    assert_eq!(heard.lock()[1].header("authorization"), None, "a key for us is not for engines");
}

#[tokio::test]
async fn limits_are_told() {
    let (engine, heard) = listening(OK).await;
    let mut settings = settings();
    settings.limits.body_bytes = 100_000;
    settings.limits.header_bytes = 10_000;
    settings.timeouts.idle = Duration::from_millis(100);
    let rig = Rig::over(&[engine.address], settings).await;

    for path in ["/v1/chat/completions", "/v1/files"] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100001\r\n\r\n");
        let answer = rig.client().await.ask(&head).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"), "announced, {path}");

        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
        let body = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000)).repeat(2);
        let answer = rig.client().await.ask(&(head + &body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"), "streamed, {path}");
    }
    let answer = rig.client().await.ask(&get("/version", &format!("x-long: {}\r\n", "x".repeat(10_000)))).await;
    assert_eq!((answer.status, answer.code().as_str()), (431, "headers_too_large"));
    let many: String = (0..200).map(|i| format!("x-{i}: 1\r\n")).collect();
    assert_eq!(rig.client().await.ask(&get("/version", &many)).await.status, 431);

    let mut slow = rig.client().await;
    let answer = slow.ask("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{").await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));

    assert_eq!(rig.client().await.ask("what is this\r\n\r\n").await.status, 400);
    let answer = rig.client().await.ask(&get("/x", "connection: upgrade\r\nupgrade: websocket\r\n")).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"));
    assert!(heard.lock().is_empty());
}

#[tokio::test]
async fn a_client_may_ask_before_it_sends_its_body() {
    let (engine, heard) = listening(OK).await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut client = rig.client().await;
    client.send("POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 24\r\n\r\n").await;
    let mut line = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut line).await.unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.stream.write_all(br#"{"model":"m","input":""} "#.get(..24).unwrap()).await.unwrap();
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(heard.lock()[0].header("expect"), None);
}

#[tokio::test]
async fn web_pages_may_call_if_their_origin_is_listed() {
    let (engine, _) = listening(OK).await;
    let mut settings = settings();
    let closed = Rig::over(&[engine.address], settings.clone()).await;
    let page = "origin: https://chat.example\r\n";
    let answer = closed.client().await.ask(&get("/health", page)).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);

    settings.cors = Some(Cors::new(["https://chat.example"]));
    settings.keys = Some(ApiKeys::new(["k"]));
    let rig = Rig::over(&[engine.address], settings).await;
    let mut client = rig.client().await;
    let question = "access-control-request-method: POST\r\naccess-control-request-headers: authorization\r\n";
    let ask = |origin: &str| format!("OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{origin}{question}\r\n");
    let answer = client.ask(&ask(page)).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://chat.example"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization"));
    let answer = client.ask(&ask("origin: https://evil.example\r\n")).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, None));
    let answer = client.ask(&get("/version", page)).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some("https://chat.example")));
}
