use super::{sse::SseUsage, *};

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
        // The last one counts, and a broken one does not.
        (
            format!("data: {{{FULL}}}\n\ndata: {{\"usage\":{{\"prompt_tokens\":1}}}}\n\ndata: {{\"usage\":{{\n\n"),
            (3, usage(1, 0, None), false),
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
    let filler = "y".repeat(20_000);
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
        for chunk in [1, 7, 1_000, 8_192, 8_193, 1_000_000] {
            assert_eq!(tail(&body, chunk), want, "{} in {chunk}", &body[..body.len().min(200)]);
        }
    }
}

#[test]
fn a_cut_before_the_key_may_hide_a_backslash() {
    // The tail starts exactly at the quote that belongs to the text.
    let text = "\"usage\":{\"prompt_tokens\":1}}";
    let body = format!("{{\"text\":\"{}\\{text}{}", "y".repeat(9_000), " ".repeat(8_192 - text.len()));
    assert!(body.ends_with(' ') && body.len() > 8_192);
    assert_eq!(tail(&body, 100), None);
}
