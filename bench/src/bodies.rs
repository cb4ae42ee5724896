//! What is asked and what is answered: the same bytes in every run and on both sides.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde_json::{Value, json};

pub(crate) const MODEL: &str = "bench-model";
/// The request header that tells the mock model server how to answer.
pub(crate) const ANSWER_HEADER: &str = "x-bench-answer";

const CONVERSATIONS: usize = 64;
const TURNS: usize = 4;
const SYSTEM_BYTES: usize = 1_500;
const TURN_BYTES: usize = 500;
const LARGE_PROMPTS: usize = 8;
const LARGE_BYTES: usize = 400_000;
const SSE_CHUNKS: usize = 32;
/// Nobody asks for more.
const MAX_CHUNKS: u32 = 100_000;
/// Bytes of text in a token: 4.3.
const TOKEN_BYTES: (usize, usize) = (43, 10);
/// About what the requests of one size come to together.
const SIZED_BYTES: usize = 16 << 20;
const JSON_BYTES: usize = 340;

/// How large the requests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// 64 conversations of 4 growing turns behind one system prompt: 2.1–3.7 KB.
    Chat,
    /// 400 KB prompts.
    Large,
}

/// How the mock model server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Answer {
    /// 340 B of JSON.
    Json,
    /// 32 chunks, usage and `[DONE]`, all at once.
    Sse,
    /// The same, the first after 20 ms, then 5 ms apart.
    Paced,
}

impl Answer {
    pub(crate) const ALL: [Self; 3] = [Self::Json, Self::Sse, Self::Paced];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Sse => "sse",
            Self::Paced => "paced",
        }
    }

    pub(crate) fn streams(self) -> bool {
        self != Self::Json
    }
}

/// An answer and how many chunks of content its stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) answer: Answer,
    pub(crate) chunks: usize,
}

impl Wanted {
    pub(crate) fn new(answer: Answer, chunks: Option<u32>) -> Self {
        Self { answer, chunks: chunks.map_or(SSE_CHUNKS, |chunks| chunks.min(MAX_CHUNKS) as usize) }
    }

    /// What [`ANSWER_HEADER`] says: `json`, or `paced:32`.
    pub(crate) fn to_header(self) -> String {
        format!("{}:{}", self.answer.name(), self.chunks)
    }

    pub(crate) fn from_header(value: Option<&[u8]>) -> Self {
        let text = value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        let (name, chunks) = text.split_once(':').unwrap_or((text, ""));
        let answer = Answer::ALL.into_iter().find(|answer| answer.name() == name).unwrap_or(Answer::Json);
        Self::new(answer, chunks.parse().ok())
    }

    /// The payload, event by event; JSON is one piece.
    pub(crate) fn pieces(self) -> Vec<String> {
        if self.answer.streams() { sse_events(self.chunks) } else { vec![json_answer()] }
    }
}

/// Requests of `prompt` tokens, of which the first `shared` are the same in all of them; at [`TOKEN_BYTES`] a token.
pub(crate) fn sized_bodies(prompt: usize, shared: usize, stream: bool) -> Vec<String> {
    let bytes = |tokens: usize| tokens * TOKEN_BYTES.0 / TOKEN_BYTES.1;
    // Large ones are few, so that what plays the clients stays small.
    let count = (SIZED_BYTES / bytes(prompt).max(1)).clamp(2, 64) as u64;
    let system = message("system", &prose(1, bytes(shared.min(prompt))));
    let own = bytes(prompt.saturating_sub(shared));
    (0..count).map(|seed| chat(vec![system.clone(), message("user", &prose(2_000 + seed, own))], stream)).collect()
}

/// The bodies of `shape`, in the order in which conversations grow.
pub(crate) fn bodies(shape: Shape, stream: bool) -> Vec<String> {
    match shape {
        Shape::Chat => chats(stream),
        Shape::Large => {
            (0..LARGE_PROMPTS as u64).map(|seed| chat(vec![message("user", &prose(1_000 + seed, LARGE_BYTES))], stream)).collect()
        }
    }
}

/// Turn-major: every conversation's first turn comes before any second one.
fn chats(stream: bool) -> Vec<String> {
    let system = message("system", &prose(1, SYSTEM_BYTES));
    let turn = |conversation: usize, turn: usize| {
        let mut messages = vec![system.clone()];
        for at in 0..=turn {
            let seed = (100 + conversation * TURNS + at) as u64;
            messages.push(message("user", &prose(seed, TURN_BYTES - 110)));
            if at < turn {
                messages.push(message("assistant", &prose(seed + 10_000, 110)));
            }
        }
        chat(messages, stream)
    };
    (0..TURNS).flat_map(|at| (0..CONVERSATIONS).map(move |conversation| (conversation, at))).map(|(c, t)| turn(c, t)).collect()
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn chat(messages: Vec<Value>, stream: bool) -> String {
    let mut body = json!({
        "model": MODEL,
        "messages": messages,
        "max_tokens": SSE_CHUNKS,
        "temperature": 0.7,
        "stream": stream,
    });
    if stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    body.to_string()
}

/// `length` bytes of words with the escapes that real prompts have (quotes and line ends).
pub(crate) fn prose(seed: u64, length: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        for _ in 0..random.usize(2..9) {
            text.push(char::from(random.u8(b'a'..=b'z')));
        }
        text.push_str(match random.u8(0..40) {
            0 => ".\n",
            1 => "\" ",
            _ => " ",
        });
    }
    text.truncate(length);
    text
}

fn json_answer() -> String {
    let with = |content: &str| {
        json!({
            "id": "chatcmpl-0123456789abcdef", "object": "chat.completion", "created": 1_700_000_000, "model": MODEL,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 600, "completion_tokens": 32, "total_tokens": 632},
        })
        .to_string()
    };
    let room = JSON_BYTES.saturating_sub(with("").len());
    with(&"y".repeat(room))
}

fn sse_events(chunks: usize) -> Vec<String> {
    let event = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": "chatcmpl-0123456789abcdef", "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": MODEL, "choices": choices, "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let mut word = String::new();
    let mut events: Vec<_> = (0..chunks)
        .map(|at| {
            word.clear();
            let _ = write!(word, "token{at:02} ");
            event(json!([{"index": 0, "delta": {"content": word}, "finish_reason": null}]), Value::Null)
        })
        .collect();
    events.push(event(json!([]), json!({"prompt_tokens": 600, "completion_tokens": chunks, "total_tokens": 600 + chunks})));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_promised() {
        let chats = bodies(Shape::Chat, false);
        assert_eq!(chats.len(), 256);
        let (least, most) = (chats[0].len(), chats[255].len());
        assert!((2_000..2_300).contains(&least) && (3_500..3_900).contains(&most), "{least}..{most}");
        assert!(bodies(Shape::Large, false).iter().all(|body| (400_000..440_000).contains(&body.len())));
        assert_eq!(Wanted::new(Answer::Json, None).pieces().concat().len(), JSON_BYTES);
        let sse = Wanted::new(Answer::Sse, None).pieces();
        assert_eq!(sse.len(), SSE_CHUNKS + 2);
        assert!((6_000..7_500).contains(&sse.concat().len()), "{}", sse.concat().len());
    }

    #[test]
    fn sized_requests_share_their_beginning() {
        let some = sized_bodies(1_000, 900, false);
        assert_eq!(some.len(), 64);
        assert!(some.iter().all(|body| (4_300..4_700).contains(&body.len())), "{}", some[0].len());
        assert_eq!(some[0][..3_900], some[1][..3_900]);
        assert_ne!(some[0], some[1]);
        assert_eq!(sized_bodies(1_000_000, 0, false).len(), 3);
    }

    #[test]
    fn an_answer_is_wanted_by_a_header() {
        let wanted = Wanted::new(Answer::Paced, Some(1_000));
        assert_eq!(Wanted::from_header(Some(wanted.to_header().as_bytes())), wanted);
        assert_eq!(Wanted::from_header(Some(b"sse")), Wanted::new(Answer::Sse, None));
        assert_eq!(Wanted::from_header(None), Wanted::new(Answer::Json, None));
        assert_eq!(wanted.pieces().len(), 1_002);
    }

    #[test]
    fn a_turn_extends_the_turn_before() {
        let chats: Vec<Value> = bodies(Shape::Chat, true).iter().map(|body| serde_json::from_str(body).unwrap()).collect();
        let messages = |at: usize| chats[at]["messages"].as_array().unwrap();
        assert!(messages(64).starts_with(messages(0)));
        assert_eq!(messages(0)[0], messages(63)[0], "one system prompt");
        assert_ne!(messages(0)[1], messages(1)[1]);
    }
}
