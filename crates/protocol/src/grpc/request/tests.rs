use super::*;
use crate::{Piece, scan};

/// A length-delimited field.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], varint(content.len() as u64), content.to_vec()].concat()
}

fn number(field: u8, value: u64) -> Vec<u8> {
    [vec![field << 3], varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

fn prompt(api: Api, body: &[u8]) -> (String, Scanned) {
    let mut out = Scanned::default();
    scan(api, body, &mut out).unwrap();
    let mut text = String::new();
    out.pieces(body, &mut |piece| match piece {
        Piece::Bytes(bytes) => text.push_str(std::str::from_utf8(bytes).unwrap()),
        Piece::TokenIds(ids) => text.push_str(&format!("{:?}", ids.collect::<Vec<_>>())),
        other => text.push_str(&format!("{other:?}")),
    });
    (text, out)
}

fn error(api: Api, body: &[u8]) -> String {
    scan(api, body, &mut Scanned::default()).unwrap_err().to_string()
}

#[test]
fn vllm_generate() {
    let ids: Vec<u8> = [1, 300, u64::from(u32::MAX)].into_iter().flat_map(varint).collect();
    let tokenized = [bytes(1, b"hi"), bytes(2, &ids), number(2, 9)].concat();
    let params = [number(8, 17), number(14, 1), number(15, 2), [0x0d, 0, 0, 0, 0].to_vec()].concat();
    let message = [bytes(1, b"id"), bytes(2, &tokenized), bytes(4, &params), number(5, 1), bytes(99 >> 3, b"?")].concat();
    let (text, out) = prompt(Api::VllmGrpcGenerate, &framed(&message));
    assert_eq!(text, "[1, 300, 4294967295][9]");
    assert_eq!((out.max_tokens(), out.n(), out.ignore_eos(), out.stream(), out.prompts()), (Some(17), Some(2), true, true, 1));
    let (text, out) = prompt(Api::VllmGrpcGenerate, &framed(&[bytes(2, &tokenized), bytes(3, "né".as_bytes())].concat()));
    assert_eq!((text.as_str(), out.stream(), out.model(b"")), ("né", false, None));
    let (text, _) = prompt(Api::VllmGrpcGenerate, &framed(&[bytes(3, b"x"), bytes(2, &tokenized)].concat()));
    assert_eq!(text, "[1, 300, 4294967295][9]");
    assert_eq!(prompt(Api::VllmGrpcEmbed, &framed(&bytes(2, &bytes(2, &[5])))).0, "[5]");
}

#[test]
fn vertex_carries_openai_requests() {
    let json = br#" {"model":"m","messages":[{"role":"user","content":"hi\n"}],"max_tokens":3} "#;
    let message = [bytes(1, b"projects/p"), bytes(2, &[bytes(1, b"application/json"), bytes(2, json)].concat())].concat();
    let body = framed(&message);
    let (text, out) = prompt(Api::VertexChatCompletions, &body);
    assert_eq!((text.as_str(), out.max_tokens(), out.model(&body).as_deref()), ("userhi\n", Some(3), Some("m")));
    let inner = bytes(2, br#"{"input":"x","stream":true}"#);
    let (text, out) = prompt(Api::VertexRawPredict, &framed(&bytes(2, &inner)));
    assert_eq!((text.as_str(), out.stream()), ("\"x\"", true));
}

#[test]
fn what_cannot_be_read_is_named() {
    let generate = Api::VllmGrpcGenerate;
    assert_eq!(error(generate, &[1, 0, 0, 0, 0]), "compressed gRPC payload is not supported");
    for body in [&b""[..], &[0, 0, 0], &[0, 0, 0, 0, 9, 1], &[0, 0, 0, 0, 0, 0]] {
        assert_eq!(error(generate, body), "the body is not one whole gRPC message", "{body:?}");
    }
    assert_eq!(error(generate, &framed(&[0x12, 0x09])), "malformed protobuf message at byte 5");
    assert_eq!(error(generate, &framed(&bytes(2, &bytes(2, &[0x80])))), "malformed protobuf message at byte 9");
    assert_eq!(error(generate, &framed(&bytes(3, &[0xff]))), "malformed protobuf message at byte 7");
    let missing = "invalid generate request: must have valid input field: it is missing";
    for message in [vec![], bytes(1, b"id"), bytes(3, b""), bytes(2, &bytes(1, b"text"))] {
        assert_eq!(error(generate, &framed(&message)), missing, "{message:?}");
    }
    let vertex = Api::VertexChatCompletions;
    assert_eq!(
        error(vertex, &framed(&bytes(1, b"e"))),
        "invalid chat completions request: must have valid http_body field: it is missing"
    );
    assert_eq!(error(vertex, &framed(&bytes(2, &bytes(2, b"{]")))), "invalid JSON: unexpected character at byte 10");
}
