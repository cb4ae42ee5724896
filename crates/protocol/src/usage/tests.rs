use super::{sse::SseUsage, *};
use crate::api::Api;

/// Events, usage and whether `[DONE]` came.
type Seen = (u64, Option<Usage>, bool);

fn watched(body: &[u8], mut next_len: impl FnMut() -> usize) -> Seen {
    let mut sse = SseUsage::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at(next_len().clamp(1, rest.len()));
        sse.feed(chunk);
        rest = tail;
    }
    let usage = sse.finish();
    (sse.events(), usage, sse.done())
}

fn whole(body: &str) -> Seen {
    watched(body.as_bytes(), || usize::MAX)
}

fn usage(prompt_tokens: u64, completion_tokens: u64, cached_tokens: Option<u64>) -> Option<Usage> {
    let total_tokens = prompt_tokens + completion_tokens;
    Some(Usage { prompt_tokens, completion_tokens, total_tokens, cached_tokens })
}

fn tail(body: &str, chunk: usize) -> Option<Usage> {
    let mut tail = JsonUsageTail::new();
    body.as_bytes().chunks(chunk).for_each(|chunk| tail.feed(chunk));
    tail.finish()
}

const FULL: &str =
    r#""usage":{"prompt_tokens":10,"total_tokens":15,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":8}}"#;

#[test]
fn the_last_usage_of_a_stream() {
    let chunk = r#"{"choices":[{"delta":{"content":"hi"}}],"usage":null}"#;
    for (body, want) in [
        (format!("data: {chunk}\n\ndata: {{{FULL}}}\n\ndata: [DONE]\n\n"), (2, usage(10, 5, Some(8)), true)),
        (format!("data:{chunk}\r\n\r\ndata:{{{FULL},\"x\":1}}\r\n\r\ndata:[DONE]\r\n\r\n"), (2, usage(10, 5, Some(8)), true)),
        // Several data lines are one document.
        (
            "data: {\"usage\":\ndata: {\"prompt_tokens\":\"3\",\ndata:\"completion_tokens\":4}}\n\n".into(),
            (1, usage(3, 4, None), false),
        ),
        // Later ones are merged in, and a broken one is not.
        (
            format!("data: {{{FULL}}}\n\ndata: {{\"usage\":{{\"prompt_tokens\":1}}}}\n\ndata: {{\"usage\":{{\n\n"),
            (3, usage(1, 5, Some(8)), false),
        ),
        // No blank line at the end, comments, other fields.
        (format!(": ping\nevent: x\nid: 1\ndata: {{{FULL}}}"), (1, usage(10, 5, Some(8)), false)),
        // A text that looks like usage, a nested one, a string.
        (
            format!("data: {{\"t\":\"{}\",\"c\":{{{FULL}}},\"d\":\"usage\"}}\n\n", FULL.replace('"', "\\\"")),
            (1, None, false),
        ),
        // The responses API.
        (
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"usage\":{\"input_tokens\":7,\
             \"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":2,\"total_tokens\":9}}}\n\n"
                .into(),
            (1, usage(7, 2, Some(0)), false),
        ),
        (String::new(), (0, None, false)),
        ("{\"error\":1}".into(), (0, None, false)),
    ] {
        assert_eq!(whole(&body), want, "{body}");
    }
}

#[test]
fn chunk_borders_make_no_difference() {
    let mut rng = fastrand::Rng::with_seed(11);
    let lines = [
        "data: ",
        "data:",
        "data",
        "\n",
        "\n\n",
        "\r\n",
        "\r\n\r\n",
        ": ping\n",
        "event: message\n",
        "[DONE]",
        "{",
        "}",
        FULL,
        "{\"usage\":",
        "{\"prompt_tokens\": 3 }",
        "\"usage\"",
        "\\",
        " ",
        "data: {\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"choices\":[]}\n\n",
    ];
    let mut found = 0;
    for _ in 0..5_000 {
        let body: String = (0..rng.usize(..30)).map(|_| lines[rng.usize(..lines.len())]).collect();
        let want = whole(&body);
        found += u32::from(want.1.is_some());
        let most = 1 + rng.usize(..20);
        assert_eq!(watched(body.as_bytes(), || rng.usize(1..=most)), want, "{body:?}");
    }
    assert!(found > 1_000, "{found}");
}

#[test]
fn long_lines_count_but_are_not_searched() {
    let long = format!("data: {{\"x\":\"{}\",{FULL}}}\n\n", "x".repeat(70_000));
    let body = format!("{long}data: {{}}\n\n");
    for chunk in [usize::MAX, 1_000, 65_537] {
        assert_eq!(watched(body.as_bytes(), || chunk), (2, None, false), "{chunk}");
    }
    let fits = format!("data: {{\"x\":\"{}\",{FULL}}}\n\n", "x".repeat(60_000));
    for chunk in [usize::MAX, 1_000] {
        assert_eq!(watched(fits.as_bytes(), || chunk), (1, usage(10, 5, Some(8)), false), "{chunk}");
    }
    let mut sse = SseUsage::new();
    (0..10_000).for_each(|_| sse.feed(&[b'x'; 1_000]));
    assert!(sse.held_bytes() <= 256 * 1024, "{}", sse.held_bytes());
}

#[test]
fn usage_at_the_end_of_a_document() {
    let filler = "y".repeat(70_000);
    for (body, want) in [
        (format!("{{\"choices\":[],{FULL}}}"), usage(10, 5, Some(8))),
        (format!("{{{FULL}, \"a\" : null, \"b\":[{{}}] }}\n"), usage(10, 5, Some(8))),
        (format!("{{\"text\":\"{filler}\",{FULL}}}"), usage(10, 5, Some(8))),
        (format!("{{{FULL},\"text\":\"{filler}\"}}"), None),
        (format!("{{{FULL},\"usage\":{{\"prompt_tokens\":2,\"completion_tokens\":1}}}}"), usage(2, 1, None)),
        (format!("{{\"choices\":[{{{FULL}}}]}}"), None),
        (format!("{{{FULL},\"choices\":[{{\"usage\":{{\"prompt_tokens\":1}}}}]}}"), usage(10, 5, Some(8))),
        (format!("{{\"text\":\"{}\"}}", FULL.replace('"', "\\\"")), None),
        (format!("{{\"text\":\"{filler}{}}}\"}}", FULL.replace('"', "\\\"")), None),
        (format!("{{\"text\":\"\\{FULL}}}"), None),
        ("{\"usage\":null}".into(), None),
        ("{\"usage\"".into(), None),
        (format!("{{{FULL}"), None),
        (String::new(), None),
    ] {
        for chunk in [7, 1_000, 65_536, 65_537, 1_000_000] {
            assert_eq!(tail(&body, chunk), want, "{} in {chunk}", &body[..body.len().min(200)]);
        }
    }
}

#[test]
fn a_cut_before_the_key_may_hide_a_backslash() {
    // The tail starts exactly at the quote that belongs to the text.
    let text = "\"usage\":{\"prompt_tokens\":1}}";
    let body = format!("{{\"text\":\"{}\\{text}{}", "y".repeat(70_000), " ".repeat(65_536 - text.len()));
    assert!(body.ends_with(' ') && body.len() > 65_536);
    assert_eq!(tail(&body, 100), None);
}

fn watch(api: Api, kind: &str, body: &[u8], chunk: usize) -> (u64, Option<Usage>) {
    let mut watch = ResponseWatch::new(api, kind.as_bytes(), false);
    body.chunks(chunk).for_each(|chunk| watch.feed(chunk));
    let usage = watch.finish();
    (watch.events(), usage)
}

const EVENTS: &str = "Text/Event-Stream; charset=utf-8";
const JSON: &str = "application/json";
const GRPC: &str = "application/grpc+proto";

#[test]
fn anthropic_reports_prompt_and_answer_apart() {
    let stream = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":1000,\
                  \"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":800,\"output_tokens\":0}}}\n\n\
                  event: ping\ndata: {\"type\":\"ping\"}\n\n\
                  event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":200}}\n\n\
                  event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let document = r#"{"id":"m","content":[{"type":"text","text":"x"}],"usage":{"input_tokens":1000,"cache_read_input_tokens":800,"output_tokens":200}}"#;
    for chunk in [1, 10, 1_000_000] {
        assert_eq!(watch(Api::Messages, EVENTS, stream.as_bytes(), chunk), (4, usage(1000, 200, Some(800))), "{chunk}");
        assert_eq!(watch(Api::Messages, JSON, document.as_bytes(), chunk), (0, usage(1000, 200, Some(800))), "{chunk}");
    }
}

#[test]
fn sglang_reports_at_its_last_event() {
    let event = |tokens: u32, reason: &str| {
        format!(
            "data: {{\"text\":\"x\",\"meta_info\":{{\"prompt_tokens\":9,\"completion_tokens\":{tokens},\"cached_tokens\":4,\"finish_reason\":{reason}}}}}\n\n"
        )
    };
    let stream = [event(1, "null"), event(2, "null"), event(3, "{\"type\":\"length\"}"), "data: [DONE]\n\n".to_owned()].concat();
    assert_eq!(watch(Api::SglangGenerate, EVENTS, stream.as_bytes(), 7), (3, usage(9, 3, Some(4))));
    assert_eq!(watch(Api::SglangGenerate, EVENTS, &stream.as_bytes()[..stream.len() / 2], 7).1, None);
    let document = r#"{"text":"x","meta_info":{"finish_reason":{"type":"stop"},"prompt_tokens":9,"completion_tokens":3}}"#;
    assert_eq!(watch(Api::SglangGenerate, JSON, document.as_bytes(), 7), (0, usage(9, 3, None)));
}

#[test]
fn grpc_messages_report_in_fields() {
    let framed = |message: &[u8]| [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat();
    // chunk {token_ids, prompt_tokens: 5, completion_tokens: 1}, then complete {prompt_tokens: 5, completion_tokens: 300, cached_tokens: 4}
    let chunk = framed(&[0x0a, 7, 0x0a, 1, 42, 0x10, 5, 0x18, 1]);
    let complete = framed(&[0x12, 7, 0x18, 5, 0x20, 0xac, 0x02, 0x28, 4]);
    let body = [chunk.clone(), chunk, complete].concat();
    for size in [1, 4, 1_000] {
        assert_eq!(watch(Api::VllmGrpcGenerate, GRPC, &body, size), (3, usage(5, 300, Some(4))), "{size}");
    }
    let embed = framed(&[0x0a, 4, 0, 0, 128, 63, 0x10, 6, 0x18, 1]);
    assert_eq!(watch(Api::VllmGrpcEmbed, GRPC, &embed, 3), (1, usage(6, 0, None)));
    let http_body = |data: &[u8]| framed(&[&[0x12, data.len() as u8][..], data].concat());
    let document = http_body(br#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#);
    assert_eq!(watch(Api::VertexChatCompletions, GRPC, &document, 9), (1, usage(3, 4, None)));
    let stream =
        [http_body(b"data: {\"a\":1}\n\nda"), http_body(b"ta: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n")]
            .concat();
    assert_eq!(watch(Api::VertexRawPredict, GRPC, &stream, 9), (2, usage(3, 4, None)));
    let mut rng = fastrand::Rng::with_seed(23);
    for _ in 0..5_000 {
        let noise: Vec<u8> = (0..rng.usize(..60)).map(|_| rng.u8(..20)).collect();
        watch(Api::VllmGrpcGenerate, GRPC, &noise, 1 + rng.usize(..9));
    }
}

#[test]
fn what_cannot_be_read_is_passed_over() {
    let body = format!("{{{FULL}}}");
    assert_eq!(watch(Api::ChatCompletions, "text/html", body.as_bytes(), 9), (0, None));
    let mut encoded = ResponseWatch::new(Api::ChatCompletions, JSON.as_bytes(), true);
    encoded.feed(body.as_bytes());
    assert_eq!(encoded.finish(), None);
    assert!(!ResponseWatch::blind().is_stream());
}
