//! The scanner against serde_json: the same requests, the same verdicts.

use fastrand::Rng;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::*;

const SEED: u64 = 0x5eed;

fn word(rng: &mut Rng) -> String {
    const PIECES: [&str; 16] = [
        "a",
        "\"",
        "\\",
        "\n",
        "\u{1}",
        "é",
        "漢字",
        "😀",
        "\"model\":",
        "{}[],:",
        "/",
        " ",
        "\u{7f}",
        "\u{2028}",
        "a longer stretch of plain text that fills wide blocks",
        "\\u0041",
    ];
    (0..rng.usize(..8)).map(|_| PIECES[rng.usize(..PIECES.len())]).collect()
}

fn any(rng: &mut Rng, depth: u32) -> Value {
    match rng.u8(..if depth > 0 { 8 } else { 6 }) {
        0 => Value::Null,
        1 => rng.bool().into(),
        2 => rng.u64(..).into(),
        3 => rng.i32(..).into(),
        4 => json!(f64::from(rng.i32(-50..50)) / 4.0),
        5 => word(rng).into(),
        6 => (0..rng.usize(..4)).map(|_| any(rng, depth - 1)).collect(),
        _ => Value::Object((0..rng.usize(..4)).map(|_| (word(rng), any(rng, depth - 1))).collect()),
    }
}

fn content(rng: &mut Rng) -> Value {
    match rng.u8(..6) {
        0 => Value::Null,
        1 => any(rng, 2),
        2 => (0..rng.usize(..4))
            .map(|_| match rng.u8(..4) {
                0 => json!({"type": "text", "text": word(rng)}),
                1 => json!({"type": "image_url", "image_url": {"url": word(rng), "detail": any(rng, 1)}}),
                2 => json!({"text": word(rng), "other": any(rng, 2)}),
                _ => word(rng).into(),
            })
            .collect(),
        _ => word(rng).into(),
    }
}

/// A request that is usually valid, with fields in random order.
fn request(rng: &mut Rng, api: Api) -> Vec<(String, Value)> {
    let mut fields = vec![];
    let mut maybe = |rng: &mut Rng, name: &str, value: Value| {
        if rng.u8(..3) > 0 {
            fields.push((name.to_owned(), value));
        }
    };
    let (model, stream, limit) = (word(rng), rng.bool(), any(rng, 1));
    maybe(rng, "model", model.into());
    maybe(rng, "stream", stream.into());
    maybe(rng, "max_tokens", limit);
    for _ in 0..rng.usize(..3) {
        let (key, value) = (word(rng), any(rng, 3));
        maybe(rng, &key, value);
    }
    let tools = (0..rng.usize(..3)).map(|_| any(rng, 2)).collect();
    maybe(rng, "tools", tools);
    let prompt = match api {
        Api::ChatCompletions => (0..rng.usize(1..5))
            .map(|_| {
                let mut message = Map::new();
                message.insert("role".into(), word(rng).into());
                message.insert("content".into(), content(rng));
                message.insert(word(rng), any(rng, 2));
                Value::Object(message)
            })
            .collect(),
        _ if rng.bool() => format!("p{}", word(rng)).into(),
        _ => (0..rng.usize(1..4)).map(|_| Value::from(word(rng))).collect(),
    };
    fields.push((api.prompt_field().into(), prompt));
    rng.shuffle(&mut fields);
    // A repeated key: the first one must not matter.
    if rng.u8(..4) == 0 {
        let (key, value) = fields[rng.usize(..fields.len())].clone();
        let other = if key == "stream" { json!(true) } else { value };
        fields.insert(0, (key, other));
    }
    fields
}

fn write_string(rng: &mut Rng, text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' | '\0'..='\u{1f}' => out.push_str(&unicode(c)),
            '/' if rng.bool() => out.push_str("\\/"),
            c if rng.u8(..12) == 0 => out.push_str(&unicode(c)),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn unicode(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

fn space(rng: &mut Rng, out: &mut String) {
    out.push_str(["", "", "", " ", "\n\t", "\r\n  "][rng.usize(..6)]);
}

/// Writes JSON with random white space and escapes.
fn write(rng: &mut Rng, value: &Value, out: &mut String) {
    space(rng, out);
    match value {
        Value::String(text) => write_string(rng, text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                write(rng, item, out);
            }
            space(rng, out);
            out.push(']');
        }
        Value::Object(fields) => write_fields(rng, fields.iter(), out),
        other => out.push_str(&other.to_string()),
    }
    space(rng, out);
}

fn write_fields<'v>(rng: &mut Rng, fields: impl Iterator<Item = (&'v String, &'v Value)>, out: &mut String) {
    out.push('{');
    space(rng, out);
    for (i, (key, value)) in fields.enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        space(rng, out);
        write_string(rng, key, out);
        space(rng, out);
        out.push(':');
        write(rng, value, out);
    }
    space(rng, out);
    out.push('}');
}

pub(super) fn document(rng: &mut Rng, api: Api) -> String {
    let fields = request(rng, api);
    let mut out = String::new();
    write_fields(rng, fields.iter().map(|(key, value)| (key, value)), &mut out);
    out
}

/// Text of a chat or of prompts, read from the tree.
fn text_of(api: Api, tree: &Value) -> String {
    if api != Api::ChatCompletions {
        return match &tree[api.prompt_field()] {
            Value::String(text) => text.clone(),
            list => list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect(),
        };
    }
    let mut out = String::new();
    for message in tree["messages"].as_array().unwrap() {
        out.push_str(message["role"].as_str().unwrap_or_default());
        match &message["content"] {
            Value::String(text) => out.push_str(text),
            Value::Array(parts) => {
                for part in parts.iter().filter(|part| part["image_url"].is_null()) {
                    out.push_str(part.as_str().or(part["text"].as_str()).unwrap_or_default());
                }
            }
            _ => {}
        }
    }
    out
}

fn count_of(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|n| *n >= 0.0 && n.fract() == 0.0).map(|n| n as u64))
}

#[test]
fn random_requests_read_like_a_tree() {
    let mut rng = Rng::with_seed(SEED);
    let (mut out, mut text) = (Scanned::default(), Vec::new());
    for round in 0..20_000 {
        let api = [Api::ChatCompletions, Api::Completions, Api::Embeddings][round % 3];
        let body = document(&mut rng, api);
        let tree: Value = serde_json::from_str(&body).unwrap();
        scan(api, body.as_bytes(), &mut out).unwrap_or_else(|e| panic!("{body}: {e}"));
        let model = tree["model"].as_str().filter(|model| !model.is_empty());
        assert_eq!(out.model(body.as_bytes()).as_deref(), model, "{body}");
        assert_eq!(out.stream(), tree["stream"].as_bool().unwrap_or(false), "{body}");
        text.clear();
        for segment in out.segments().iter().filter(|segment| matches!(segment, Segment::Text(_))) {
            segment.pieces(body.as_bytes(), &mut |piece| match piece {
                Piece::Bytes(bytes) => text.extend_from_slice(bytes),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(String::from_utf8_lossy(&text), text_of(api, &tree), "{body}");
        if api != Api::Embeddings {
            assert_eq!(out.max_tokens(), count_of(&tree["max_tokens"]), "{body}");
        }
        if api == Api::ChatCompletions {
            let tools = tree["tools"].as_array().map_or(0, Vec::len);
            assert_eq!(out.tools() as usize, tools, "{body}");
            if let Some(Segment::Json(span)) = out.segments().first() {
                let raw: Value = serde_json::from_slice(span.of(body.as_bytes())).unwrap();
                assert_eq!(raw, tree["tools"], "{body}");
            } else {
                assert_eq!(tools, 0, "{body}");
            }
        }
        let spliced = crate::splice_model(&body.clone().into(), &out, "new/\"m").concat();
        assert_eq!(serde_json::from_slice::<Value>(&spliced).unwrap()["model"], "new/\"m", "{body}");
    }
}

/// Damaged documents: never a panic, and the same verdict on well-formedness. Lone surrogates
/// pass in both, for serde_json does not decode what it ignores.
#[test]
fn damaged_requests_are_judged_like_serde_does() {
    let mut rng = Rng::with_seed(SEED + 1);
    let mut out = Scanned::default();
    let (mut good, mut bad) = (0, 0);
    for round in 0..30_000 {
        let api = [Api::ChatCompletions, Api::Completions, Api::Responses][round % 3];
        let mut body = document(&mut rng, api).into_bytes();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..body.len());
            if body.len() < 2 {
                break;
            }
            match rng.u8(..6) {
                0 => body[at] = rng.u8(..),
                1 => body[at] ^= 1 << rng.u8(..8),
                2 => body[at] = *rng.choice(b"{}[]\",:\\u0123 truefalsn-.eE").unwrap(),
                3 => drop(body.remove(at)),
                4 => body.insert(at, *rng.choice(b"{}[]\",:\\u0 \x00\x80").unwrap()),
                _ => body.truncate(at.max(1)),
            }
        }
        let verdict = scan(api, &body, &mut out);
        let well_formed = std::str::from_utf8(&body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        let text = String::from_utf8_lossy(&body);
        match verdict {
            Ok(()) => {
                assert!(well_formed, "accepted: {text}");
                out.pieces(&body, &mut |_| {});
                good += 1;
            }
            Err(error) if error.code() == "invalid_json" && error.kind != ScanErrorKind::NotAnObject => {
                assert!(!well_formed, "refused ({error}): {text}");
                assert!(error.offset <= body.len());
                bad += 1;
            }
            // A request that is refused for its fields is read no further.
            Err(error) => assert!(error.offset <= body.len()),
        }
        // What was found belongs to no other body, but reading it there must not panic.
        let other = &body[..body.len() / 2];
        out.pieces(other, &mut |_| {});
        drop((out.model(other), out.user(other)));
    }
    assert!(good > 3_000 && bad > 10_000, "{good} {bad}");
}
