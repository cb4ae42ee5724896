use super::*;
use crate::segment::MediaKind;

fn scanned(api: Api, body: &str) -> Scanned {
    let mut out = Scanned::default();
    scan(api, body.as_bytes(), &mut out).unwrap_or_else(|e| panic!("{body}: {e}"));
    out
}

fn error(api: Api, body: &str) -> ScanError {
    scan(api, body.as_bytes(), &mut Scanned::default()).unwrap_err()
}

/// The prompt as one string, with everything that is no text in angle brackets.
fn rendered(api: Api, body: &str) -> String {
    let mut out = Vec::new();
    scanned(api, body).pieces(body.as_bytes(), &mut |piece| match piece {
        Piece::Bytes(bytes) => out.extend_from_slice(bytes),
        Piece::Media { kind, reference } => {
            let url = reference.decode(body.as_bytes());
            out.extend_from_slice(format!("<{kind:?} {url}>").as_bytes());
        }
        Piece::TokenIds(ids) => {
            out.extend_from_slice(format!("<{:?}>", ids.collect::<Vec<_>>()).as_bytes());
        }
        Piece::PromptBreak => out.extend_from_slice(b"<|>"),
    });
    String::from_utf8(out).unwrap()
}

/// Bytes in groups of four, little-endian, zero-padded: the estimate tokenizer.
fn estimate(text: &str) -> Vec<u32> {
    text.as_bytes().chunks(4).map(|chunk| chunk.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))).collect()
}

const CHAT: Api = Api::ChatCompletions;

#[test]
fn estimate_goldens() {
    let chat = rendered(CHAT, r#"{"messages":[{"role":"user","content":"Hello, world!"}]}"#);
    assert_eq!(chat, "userHello, world!");
    assert_eq!(estimate(&chat), [1919251317, 1819043144, 1998597231, 1684828783, 33]);
    let prompt = rendered(Api::Completions, r#"{"prompt":"hello"}"#);
    assert_eq!(estimate(&prompt), [1819043176, 111]);
}

#[test]
fn prompt_order_does_not_depend_on_key_order() {
    let body = r#"{"messages":[{"content":[{"text":"a\n","type":"text"},
        {"image_url":{"detail":"low","url":"https:\/\/x/y.png"},"type":"image_url"}, "b",
        {"type":"video_url","video_url":{"url":"v"}},{"type":"input_audio","input_audio":{"data":"QQ","format":"wav"}},
        {"type":"refusal","refusal":"no"}],"name":"n","role":"user"},
        {"role":"assistant","content":null,"tool_calls":[{"id":"1"}]},{"content":"c","role":"tool"}],
        "model":"m","tools":[ {"type":"function"} , {}],"max_tokens":5}"#;
    assert_eq!(
        rendered(CHAT, body),
        "[ {\"type\":\"function\"} , {}]usera\n<Image https://x/y.png>b<Video v><Audio QQ>assistanttoolc"
    );
    let out = scanned(CHAT, body);
    assert_eq!((out.tools(), out.messages(), out.prompts()), (2, 3, 1));
    assert!(matches!(out.segments()[0], Segment::Json(_)));
    assert!(
        out.segments()
            .iter()
            .any(|s| matches!(s, Segment::Media { kind: MediaKind::Image, reference } if reference.is_escaped()))
    );
}

#[test]
fn prompts_of_every_shape() {
    for (api, body, want, prompts) in [
        (Api::Completions, r#"{"prompt":["a","","b\t"]}"#, "a<|><|>b\t", 3),
        (Api::Completions, r#"{"prompt":[ 1, 20,4294967295 ]}"#, "<[1, 20, 4294967295]>", 1),
        (Api::Completions, r#"{"prompt":[[1,2],[],[3]]}"#, "<[1, 2]><|><[]><|><[3]>", 3),
        (Api::Embeddings, r#"{"input":"x"}"#, "x", 1),
        (Api::Embeddings, r#"{"input":[{"text":"x"},"y"]}"#, r#"{"text":"x"}<|>y"#, 2),
        (Api::Embeddings, r#"{"messages":[{"role":"user","content":"x"}],"input":null}"#, "userx", 1),
        (Api::Responses, r#"{"input":"hi","instructions":"be\n"}"#, r#""be\n""hi""#, 1),
        (Api::Responses, r#"{"input":[{"role":"user"}],"tools":[1],"instructions":null}"#, r#"[1][{"role":"user"}]"#, 1),
    ] {
        assert_eq!(rendered(api, body), want, "{body}");
        assert_eq!(scanned(api, body).prompts(), prompts, "{body}");
    }
}

/// An agent's request, as Anthropic's client writes it, with the system prompt and the tools behind the messages.
pub(super) const ANTHROPIC: &str = r#"{"max_tokens":64,"messages":[{"role":"user","content":"hi"},
    {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"x"},{"type":"text","text":"ok"},
     {"type":"tool_use","id":"t1","name":"get","input":{"a": 1}}]},
    {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"4\n"},
      {"type":"image","source":{"type":"base64","media_type":"image/png","data":"QQ=="}}]},
     {"type":"tool_result","tool_use_id":"t2","content":"plain"},
     {"type":"document","source":{"type":"text","media_type":"text/plain","data":"doc"}},
     {"type":"image","source":{"type":"url","url":"https://x/y.png"}},{"type":"redacted_thinking","data":"zz"}]}],
    "model":"claude","metadata":{"user_id":"me"},"stream":true,
    "system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=1; cch=77"},{"type":"text","text":"be brief"}],
    "tools":[{"name":"get","input_schema":{}}]}"#;

#[test]
fn anthropic_messages() {
    let out = scanned(Api::Messages, ANTHROPIC);
    let body = ANTHROPIC.as_bytes();
    assert_eq!(
        rendered(Api::Messages, ANTHROPIC),
        "[{\"name\":\"get\",\"input_schema\":{}}]be briefuserhiassistanthmokget{\"a\": 1}user4\n<Image QQ==>plaindoc<Image https://x/y.png>"
    );
    assert_eq!((out.model(body).as_deref(), out.user(body).as_deref()), (Some("claude"), Some("me")));
    assert_eq!((out.max_tokens(), out.stream(), out.tools(), out.messages()), (Some(64), true, 1, 3));
    let plain = r#"{"messages":[{"content":"b","role":"user"}],"system":"a","system":"s"}"#;
    assert_eq!(rendered(Api::Messages, plain), "suserb");
    let twice = r#"{"messages":[{"role":"u","content":[{"type":"text","text":"a"},{"content":"x","content":[{"text":"y"}]}]}]}"#;
    assert_eq!(rendered(Api::Messages, twice), "uay");
}

#[test]
fn sections_are_put_in_order_whatever_came_first() {
    for body in [
        r#"{"tools":[1],"system":"s","messages":[{"role":"u"}]}"#,
        r#"{"messages":[{"role":"u"}],"system":"s","tools":[1]}"#,
        r#"{"messages":[{"role":"u"}],"tools":[1],"system":"s"}"#,
        r#"{"system":"s","messages":[{"role":"u"}],"tools":[1]}"#,
        r#"{"system":"x","tools":[2,3],"messages":[{"role":"y"},{"role":"z"}],"tools":[1],"messages":[{"role":"u"}],"system":"s"}"#,
    ] {
        assert_eq!(rendered(Api::Messages, body), "[1]su", "{body}");
    }
}

#[test]
fn engines_own_requests() {
    let generate = r#"{"token_ids":[1,2],"sampling_params":{"max_tokens":5,"ignore_eos":true},"features":{"mm_hashes":{}},
        "cache_salt":"s","stream":true,"model":"m"}"#;
    let out = scanned(Api::VllmGenerate, generate);
    assert_eq!(rendered(Api::VllmGenerate, generate), "<[1, 2]>");
    assert_eq!((out.max_tokens(), out.ignore_eos(), out.stream(), out.prompts()), (Some(5), true, true, 1));
    assert_eq!(out.cache_salt(generate.as_bytes()).as_deref(), Some("s"));
    let sglang = r#"{"input_ids":[7],"extra_key":"k","sampling_params":{"max_new_tokens":9},"stream":true}"#;
    let out = scanned(Api::SglangGenerate, sglang);
    assert_eq!(rendered(Api::SglangGenerate, sglang), "<[7]>");
    assert_eq!((out.max_tokens(), out.cache_salt(sglang.as_bytes()).as_deref()), (Some(9), Some("k")));
    assert_eq!(rendered(Api::SglangGenerate, r#"{"text":["a","b"],"sampling_params":[{}]}"#), "a<|>b");
    assert_eq!(rendered(Api::ImageGenerations, r#"{"prompt":"a weir","n":2}"#), "a weir");
    assert_eq!(rendered(Api::Conversations, r#"{"items":[{"type":"message"}]}"#), r#"[{"type":"message"}]"#);
}

#[test]
fn what_is_not_computed_has_no_prompt() {
    let chat = r#"{"model":"m","messages":[{"role":"u","content":"x"}]}"#;
    for api in [Api::ChatCompletionsRender, Api::CountTokens] {
        let out = scanned(api, chat);
        assert_eq!((out.segments(), out.model(chat.as_bytes()).as_deref()), (&[][..], Some("m")), "{api:?}");
    }
    assert_eq!(scanned(Api::CompletionsRender, r#"{"prompt":"x"}"#).segments(), []);
    // Anthropic's own servers judge what is counted.
    scanned(Api::CountTokens, r#"{"model":"m"}"#);
    assert_eq!(error(Api::CompletionsRender, "{}").param(), Some("prompt"));
}

#[test]
fn scalars() {
    let body = r#"{"m\u006fdel":"org\/m\u00e9","stream":true,"n":2,"max_tokens":7,"user":"u","cache_salt":"s",
        "max_completion_tokens":16.0,"ignore_eos":true,"stream_options":{"include_usage":true,"x":[]},
        "messages":[{"role":"user","content":"say \"model\": \"other\", \"stream\": false"}]}"#;
    let bytes = body.as_bytes();
    let out = scanned(CHAT, body);
    assert_eq!(out.model(bytes).as_deref(), Some("org/mé"));
    assert_eq!(out.user(bytes).as_deref(), Some("u"));
    assert_eq!(out.cache_salt(bytes).as_deref(), Some("s"));
    assert!(out.stream() && out.include_usage() && out.ignore_eos());
    assert_eq!((out.n(), out.max_tokens()), (Some(2), Some(16)));
    let out = scanned(Api::Responses, r#"{"input":"x","max_output_tokens":0,"max_tokens":9}"#);
    assert_eq!(out.max_tokens(), Some(0));
}

#[test]
fn counts_that_are_not_whole_numbers_are_unset() {
    for (value, want) in [
        ("12", Some(12)),
        ("1.2e1", Some(12)),
        ("-0", Some(0)),
        ("1e400", None),
        ("99999999999999999999999", Some(u64::MAX)),
        ("-1", None),
        ("1.5", None),
        ("\"12\"", None),
        ("null", None),
        ("[1]", None),
    ] {
        let out = scanned(Api::Completions, &format!(r#"{{"prompt":"x","max_tokens":{value}}}"#));
        assert_eq!(out.max_tokens(), want, "{value}");
    }
}

#[test]
fn the_last_of_repeated_keys_counts() {
    let body = r#"{"model":"a","messages":[{"role":"x","content":"1"}],"tools":[{}],"stream":true,"max_tokens":1,
        "model":"b","messages":[{"role":"u","content":"2","role":"v","content":"3"}],"tools":[],"stream":null,"max_tokens":null}"#;
    assert_eq!(rendered(CHAT, body), "v3");
    let out = scanned(CHAT, body);
    assert_eq!(out.model(body.as_bytes()).as_deref(), Some("b"));
    assert_eq!((out.stream(), out.max_tokens(), out.tools(), out.messages()), (false, None, 0, 1));
    let again = error(CHAT, r#"{"messages":[{}],"messages":null}"#);
    assert!(matches!(again.kind, ScanErrorKind::Missing { .. }));
}

#[test]
fn a_reused_result_forgets() {
    let mut out = scanned(CHAT, r#"{"model":"m","stream":true,"tools":[1],"messages":[{"role":"a"}]}"#);
    scan(Api::Completions, br#"{"prompt":"x"}"#, &mut out).unwrap();
    assert_eq!(out.model(b""), None);
    assert_eq!((out.stream(), out.tools(), out.messages(), out.segments().len()), (false, 0, 0, 1));
    for body in [r#"{"model":"","prompt":"x"}"#, r#"{"model":null,"prompt":"x"}"#] {
        assert_eq!(scanned(Api::Completions, body).model(body.as_bytes()), None);
    }
}

#[test]
fn malformed_json_is_located() {
    use ScanErrorKind::*;
    let deep = |n: usize| format!("{{\"prompt\":\"x\",\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    for (body, offset, kind) in [
        ("", 0, UnexpectedEnd),
        ("  ", 2, UnexpectedEnd),
        ("{", 1, UnexpectedEnd),
        ("{\"a\"", 4, UnexpectedEnd),
        ("{\"a\":1,}", 7, UnexpectedByte),
        ("{\"a\":[1,]}", 8, UnexpectedByte),
        ("{\"a\":[1}}", 7, UnexpectedByte),
        ("{a:1}", 1, UnexpectedByte),
        ("{\"a\":01}", 6, UnexpectedByte),
        ("{\"a\":1.}", 7, UnexpectedByte),
        ("{\"a\":-}", 6, UnexpectedByte),
        ("{\"a\":tru}", 8, UnexpectedByte),
        ("{\"a\":tru", 8, UnexpectedEnd),
        ("{\"a\":+1}", 5, UnexpectedByte),
        ("{\"a\":\"b", 7, UnterminatedString),
        ("{\"a\":\"b\\", 7, UnterminatedString),
        ("{\"a\":\"\\x\"}", 6, BadEscape),
        ("{\"a\":\"\\u12g4\"}", 6, BadEscape),
        ("{\"a\":\"\n\"}", 6, ControlCharacter),
        ("{\"prompt\":\"x\"} {", 15, TrailingData),
        ("[1]", 0, NotAnObject),
        ("\"x\"", 0, NotAnObject),
        ("[1", 2, UnexpectedEnd),
        (&deep(128), 145, TooDeep),
    ] {
        let error = error(Api::Completions, body);
        assert_eq!((error.offset, error.kind), (offset, kind), "{body}");
        assert!(error.to_string().starts_with("invalid JSON: "), "{error}");
    }
    scanned(Api::Completions, &deep(127));
    let error = scan(CHAT, b"{\"a\":\"\xff\"}", &mut Scanned::default()).unwrap_err();
    assert_eq!((error.offset, error.kind), (6, InvalidUtf8));
}

#[test]
fn validation_names_api_and_field() {
    for (api, body, want) in [
        (CHAT, "{}", "invalid chat completions request: must have valid messages field: it is missing"),
        (CHAT, r#"{"messages":null}"#, "invalid chat completions request: must have valid messages field: it is missing"),
        (
            CHAT,
            r#"{"messages":[]}"#,
            "invalid chat completions request: must have valid messages field: it is empty (at byte 12)",
        ),
        (
            CHAT,
            r#"{"messages":"x"}"#,
            "invalid chat completions request: must have valid messages field: expected a list of messages (at byte 12)",
        ),
        (
            CHAT,
            r#"{"messages":["x"]}"#,
            "invalid chat completions request: must have valid messages field: expected a list of objects (at byte 13)",
        ),
        (
            Api::Completions,
            r#"{"prompt":""}"#,
            "invalid completions request: must have valid prompt field: it is empty (at byte 10)",
        ),
        (
            Api::Completions,
            r#"{"prompt":[1,"a"]}"#,
            "invalid completions request: must have valid prompt field: expected a string, a list of strings or token ids (at byte 13)",
        ),
        (
            Api::Completions,
            r#"{"prompt":[-1]}"#,
            "invalid completions request: must have valid prompt field: expected token ids (whole numbers from 0 to 4294967295) (at byte 11)",
        ),
        (
            Api::Completions,
            r#"{"prompt":[4294967296]}"#,
            "invalid completions request: must have valid prompt field: expected token ids (whole numbers from 0 to 4294967295) (at byte 11)",
        ),
        (
            Api::Completions,
            r#"{"model":7,"prompt":"x"}"#,
            "invalid completions request: must have valid model field: expected a string (at byte 9)",
        ),
        (
            Api::Completions,
            r#"{"stream":"yes","prompt":"x"}"#,
            "invalid completions request: must have valid stream field: expected a boolean (at byte 10)",
        ),
        (
            Api::Responses,
            r#"{"input":{}}"#,
            "invalid responses request: must have valid input field: expected a string or a list (at byte 9)",
        ),
        (Api::Embeddings, r#"{"messages":null}"#, "invalid embeddings request: must have valid input field: it is missing"),
        (Api::Messages, r#"{"system":"x"}"#, "invalid messages request: must have valid messages field: it is missing"),
        (
            Api::Conversations,
            r#"{"items":"x"}"#,
            "invalid conversations request: must have valid items field: expected a list (at byte 9)",
        ),
        (
            Api::ImageGenerations,
            r#"{"prompt":[1]}"#,
            "invalid images generations request: must have valid prompt field: expected a string (at byte 10)",
        ),
        (
            Api::VllmGenerate,
            r#"{"token_ids":"x"}"#,
            "invalid generate request: must have valid token_ids field: expected a list of token ids (at byte 13)",
        ),
        (
            Api::VllmGenerate,
            r#"{"token_ids":[[1]]}"#,
            "invalid generate request: must have valid token_ids field: expected a list of token ids (at byte 14)",
        ),
        (Api::SglangGenerate, "{}", "invalid generate request: must have valid input_ids field: it is missing"),
        (Api::SglangGenerate, r#"{"text":""}"#, "invalid generate request: must have valid text field: it is empty (at byte 8)"),
    ] {
        assert_eq!(error(api, body).to_string(), want, "{body}");
    }
}
