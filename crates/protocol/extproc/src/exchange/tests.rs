//! Whatever a proxy sends, in whatever pieces.

use fastrand::Rng;

use super::*;
use crate::{BodyAnswer, BodyMode, CHUNK_BYTES};

const MODES: [BodyMode; 5] =
    [BodyMode::None, BodyMode::Streamed, BodyMode::Buffered, BodyMode::BufferedPartial, BodyMode::FullDuplex];

/// What the machine put out, and what its answers amount to.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Bodies that the model server and the client get.
    request: Vec<u8>,
    response: Vec<u8>,
    request_ended: u32,
    response_ended: u32,
    /// Answers by kind, in order, the same kind in a row once.
    kinds: Vec<&'static str>,
    routed: Vec<Option<Vec<u8>>>,
    done: Vec<Completion>,
    /// What was said with the last answer to the response.
    numbers: Vec<Number>,
}

/// A piece that was sent and waits for its answer, in modes that answer each.
type Waiting = VecDeque<Vec<u8>>;

struct Rig {
    exchange: Exchange,
    modes: Modes,
    seen: Seen,
    request: Waiting,
    response: Waiting,
    replacement: Option<Vec<Bytes>>,
    refuse: bool,
}

impl Rig {
    fn new(modes: Modes) -> Self {
        let exchange = Exchange::new(modes, 1 << 20);
        let (request, response) = (Waiting::new(), Waiting::new());
        Self { exchange, modes, seen: Seen::default(), request, response, replacement: None, refuse: false }
    }

    fn drain(&mut self) {
        while let Some(output) = self.exchange.poll() {
            match output {
                Output::Route => {
                    self.seen.routed.push(self.exchange.request().body.map(|body| body.to_vec()));
                    if self.refuse {
                        self.exchange.refuse(Immediate::default());
                    } else {
                        let body = self.replacement.clone();
                        self.exchange.decided(Decision { destination: "[::1]:8000".into(), body, ..Decision::default() });
                    }
                }
                Output::Done(completion) => self.seen.done.push(completion),
                Output::Answer(answer) => self.note(answer),
            }
        }
    }

    fn note(&mut self, answer: Answer) {
        let seen = &mut self.seen;
        let kind = match answer {
            Answer::RequestHeaders(_) => "request headers",
            Answer::ResponseHeaders(_) => "response headers",
            Answer::RequestBody(body) => {
                apply(body, self.modes.request, &mut self.request, &mut seen.request, &mut seen.request_ended);
                "request body"
            }
            Answer::ResponseBody(body) => {
                apply(body, self.modes.response, &mut self.response, &mut seen.response, &mut seen.response_ended);
                "response body"
            }
            Answer::RequestTrailers => "request trailers",
            Answer::ResponseTrailers => "response trailers",
            Answer::Immediate(_) => "immediate",
            Answer::Last(last, numbers) => {
                seen.numbers.extend(numbers);
                return self.note(*last);
            }
        };
        if seen.kinds.last() != Some(&kind) || !kind.ends_with("body") {
            seen.kinds.push(kind);
        }
    }
}

/// Does to a body what a proxy does.
fn apply(answer: BodyAnswer, mode: BodyMode, waiting: &mut Waiting, out: &mut Vec<u8>, ended: &mut u32) {
    match answer {
        BodyAnswer::Streamed(chunk) => {
            assert_eq!(mode, BodyMode::FullDuplex);
            assert!(chunk.body.len() <= CHUNK_BYTES);
            assert_eq!(*ended, 0, "nothing follows the end");
            out.extend_from_slice(&chunk.body);
            *ended += u32::from(chunk.end_of_stream);
        }
        BodyAnswer::Continue | BodyAnswer::Headers(_) => {
            assert_ne!(mode, BodyMode::FullDuplex);
            out.extend(waiting.pop_front().expect("an answer without a message"));
        }
        BodyAnswer::Replace(body, _) => {
            waiting.pop_front().expect("an answer without a message");
            out.extend_from_slice(&body);
        }
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// With its last piece.
    Last,
    /// With an empty message.
    Empty,
    /// With trailers.
    Trailers,
}

/// A body cut at random.
fn cut(body: &[u8], rng: &mut Rng) -> Vec<Bytes> {
    let mut rest = body;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let longest = [1, 7, 1000, 100_000][rng.usize(..4)];
        let (piece, more) = rest.split_at(rng.usize(1..=longest).min(rest.len()));
        pieces.push(Bytes::copy_from_slice(piece));
        rest = more;
        if rng.u8(..) < 20 {
            pieces.push(Bytes::new());
        }
    }
    pieces
}

/// The messages of a body, as a proxy in this mode sends them.
fn messages(body: &[u8], mode: BodyMode, ending: Ending, rng: &mut Rng) -> Vec<(Bytes, bool)> {
    let pieces = match mode {
        BodyMode::None => return Vec::new(),
        BodyMode::Buffered | BodyMode::BufferedPartial => vec![Bytes::copy_from_slice(body)],
        BodyMode::Streamed | BodyMode::FullDuplex => cut(body, rng),
    };
    let mut messages: Vec<_> = pieces.into_iter().map(|piece| (piece, false)).collect();
    let one_message = matches!(mode, BodyMode::Buffered | BodyMode::BufferedPartial);
    match ending {
        Ending::Last if !messages.is_empty() => messages.last_mut().unwrap().1 = true,
        Ending::Empty if one_message => messages[0].1 = true,
        Ending::Last | Ending::Empty => messages.push((Bytes::new(), true)),
        Ending::Trailers => {}
    }
    messages
}

fn cost() -> Number {
    Number { namespace: "envoy.lb".into(), name: "cost".into(), value: 7 }
}

fn request_head() -> Headers {
    let mut headers = Headers::default();
    headers.push(b":path", "/v1/completions".into());
    headers
}

fn head_with_length(length: usize) -> Headers {
    let mut headers = request_head();
    headers.push(b"content-length", length.to_string().into());
    headers
}

#[derive(Clone)]
struct Case {
    modes: Modes,
    wanted: bool,
    says_length: bool,
    body: Vec<u8>,
    answer: Vec<u8>,
    ending: Ending,
    answer_ending: Ending,
    replacement: Option<Vec<Bytes>>,
}

/// Plays a whole exchange, cut at random.
fn play(case: &Case, rng: &mut Rng) -> Seen {
    let mut rig = Rig::new(case.modes);
    rig.replacement = case.replacement.clone();
    let head = if case.says_length { head_with_length(case.body.len()) } else { request_head() };
    rig.exchange.request_headers(head, false, case.wanted).unwrap();
    rig.drain();
    for (body, end) in messages(&case.body, case.modes.request, case.ending, rng) {
        rig.request.push_back(body.to_vec());
        rig.exchange.request_body(body, end).unwrap();
        rig.drain();
    }
    if case.ending == Ending::Trailers {
        rig.exchange.request_trailers().unwrap();
        rig.drain();
    }
    rig.exchange.report(vec![cost()]);
    rig.exchange.response_headers(false, Vec::new()).unwrap();
    for (body, end) in messages(&case.answer, case.modes.response, case.answer_ending, rng) {
        rig.response.push_back(body.to_vec());
        rig.exchange.response_body(body, end).unwrap();
        rig.drain();
    }
    if case.answer_ending == Ending::Trailers {
        rig.exchange.response_trailers().unwrap();
    }
    rig.drain();
    rig.exchange.close(Closed::ByProxy);
    rig.drain();
    let answered = |waiting: &Waiting, mode| mode == BodyMode::FullDuplex || waiting.is_empty();
    assert!(answered(&rig.request, case.modes.request), "every message of the request has its answer");
    assert!(answered(&rig.response, case.modes.response), "every message of the response has its answer");
    rig.seen
}

fn random_body(longest: usize, rng: &mut Rng) -> Vec<u8> {
    let length = if rng.bool() { rng.usize(..20) } else { rng.usize(..longest) };
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

#[test]
fn every_cut_of_a_request_gives_the_same_answer() {
    let mut rng = Rng::with_seed(0xE11);
    for _ in 0..1_000 {
        let ending = |rng: &mut Rng| [Ending::Last, Ending::Empty, Ending::Trailers][rng.usize(..3)];
        let modes = Modes { request: MODES[rng.usize(..5)], response: MODES[rng.usize(..5)], eager: rng.bool() };
        let mut body = random_body(200_000, &mut rng);
        if modes.request != BodyMode::FullDuplex && body.is_empty() {
            body.push(b'x');
        }
        let replacement = rng.bool().then(|| cut(&random_body(100_000, &mut rng), &mut rng));
        let (wanted, says_length) = (rng.u8(..) < 200, rng.bool());
        let answer = random_body(100_000, &mut rng);
        let (ending, answer_ending) = (ending(&mut rng), ending(&mut rng));
        let mut case = Case { modes, wanted, says_length, body, answer, ending, answer_ending, replacement };
        let reads = wanted
            && match modes.request {
                BodyMode::FullDuplex | BodyMode::Buffered => true,
                BodyMode::Streamed => modes.eager && says_length && case.body.len() <= 16 * 1024,
                BodyMode::BufferedPartial => ending != Ending::Trailers,
                BodyMode::None => false,
            };
        if !reads {
            // What has not been read is not replaced.
            case.replacement = None;
        }
        let first = play(&case, &mut rng);
        let second = play(&case, &mut rng);
        assert_eq!(first, second, "{modes:?} {ending:?}");
        let sent = case.replacement.as_ref().map_or(case.body.clone(), |pieces| pieces.concat());
        if modes.request != BodyMode::None {
            assert_eq!(first.request, sent, "{modes:?} {ending:?}");
        }
        if modes.response != BodyMode::None {
            assert_eq!(first.response, case.answer);
        }
        let shows_end = modes.response != BodyMode::None || answer_ending == Ending::Trailers;
        assert_eq!(first.numbers, if shows_end { vec![cost()] } else { Vec::new() }, "{modes:?} {answer_ending:?}");
        if modes.request == BodyMode::FullDuplex {
            assert_eq!(first.request_ended, u32::from(ending != Ending::Trailers));
        }
        assert_eq!(first.routed, [reads.then(|| case.body.clone())], "{modes:?} {ending:?}");
        assert_eq!(first.done, [Completion::Complete], "{modes:?}");
        for direction in ["request", "response"] {
            let mine: Vec<_> = first.kinds.iter().filter_map(|kind| kind.strip_prefix(direction)).collect();
            let ranks: Vec<_> =
                mine.iter().map(|kind| [" headers", " body", " trailers"].iter().position(|one| one == kind)).collect();
            assert!(ranks.is_sorted_by(|one, next| one < next) && ranks[0] == Some(0), "{mine:?}");
        }
    }
}

/// Any messages at all, also those that may not come: no panic, one end, and a body that passed is never longer than what came.
#[test]
fn any_order_ends_once() {
    let mut rng = Rng::with_seed(0xE12);
    let mut ends = std::collections::HashMap::new();
    for _ in 0..20_000 {
        let modes = Modes { request: MODES[rng.usize(..5)], response: MODES[rng.usize(..5)], eager: rng.bool() };
        let mut rig = Rig::new(modes);
        rig.refuse = rng.u8(..) < 30;
        let mut violated = false;
        let mut came = (0, 0);
        for step in 0..rng.usize(..12) {
            let piece = Bytes::from(vec![b'x'; rng.usize(..200)]);
            let eos = rng.u8(..) < 60;
            // Most of the time in a sensible order, so that the later states are reached.
            let kind = if rng.u8(..) < 200 { (step / 2).min(6) } else { rng.usize(..8) };
            let result = match kind {
                0 => rig.exchange.request_headers(request_head(), eos, rng.bool()),
                1 => {
                    came.0 += piece.len();
                    rig.request.push_back(piece.to_vec());
                    rig.exchange.request_body(piece, eos)
                }
                2 => rig.exchange.request_trailers(),
                3 => rig.exchange.response_headers(eos, Vec::new()),
                4 | 5 => {
                    came.1 += piece.len();
                    rig.response.push_back(piece.to_vec());
                    rig.exchange.response_body(piece, eos)
                }
                6 => rig.exchange.response_trailers(),
                _ => {
                    rig.exchange.evict(Immediate::default());
                    Ok(())
                }
            };
            rig.drain();
            violated |= result.is_err();
            if violated {
                break;
            }
        }
        rig.exchange.close(if rng.bool() { Closed::ByProxy } else { Closed::Broken });
        rig.drain();
        assert_eq!(rig.seen.done.len(), 1);
        assert!(rig.seen.request.len() <= came.0 && rig.seen.response.len() <= came.1);
        assert!(rig.seen.routed.len() <= 1);
        let cut = rig.seen.kinds.iter().position(|kind| *kind == "immediate");
        assert!(cut.is_none_or(|at| at + 1 == rig.seen.kinds.len()), "{:?}", rig.seen.kinds);
        *ends.entry(format!("{:?} {}", rig.seen.done[0], rig.seen.routed.len())).or_insert(0) += 1;
    }
    for end in ["Complete 0", "Complete 1", "ClientGone 0", "ClientGone 1", "Broken 0", "Broken 1", "Evicted 1", "Refused 1"] {
        assert!(ends.contains_key(end), "{end} was not tried: {ends:?}");
    }
}

#[test]
fn a_body_that_is_too_large_is_known_before_it_is_kept() {
    let mut exchange = Exchange::new(Modes::default(), 100);
    exchange.request_headers(head_with_length(101), false, true).unwrap();
    assert!(exchange.is_too_large());
    exchange.refuse(Immediate::default());
    assert_eq!(exchange.poll(), Some(Output::Answer(Answer::Immediate(Box::default()))));
    assert_eq!(exchange.poll(), Some(Output::Done(Completion::Refused)));
    assert!(exchange.is_over());
    exchange.request_body("late".into(), true).unwrap();
    assert_eq!(exchange.poll(), None);

    let mut exchange = Exchange::new(Modes::default(), 100);
    exchange.request_headers(request_head(), false, true).unwrap();
    exchange.request_body(vec![0; 100].into(), false).unwrap();
    assert!(!exchange.is_too_large());
    exchange.request_body(vec![0; 1].into(), false).unwrap();
    assert!(exchange.is_too_large());

    // What passes is not kept.
    let mut exchange = Exchange::new(Modes::default(), 100);
    exchange.request_headers(request_head(), false, false).unwrap();
    assert_eq!(exchange.poll(), Some(Output::Route));
    exchange.decided(Decision::default());
    exchange.request_body(vec![0; 1000].into(), false).unwrap();
    assert!(!exchange.is_too_large());
}

#[test]
fn a_single_piece_is_not_copied() {
    let body = Bytes::from(vec![b'x'; 1000]);
    let mut exchange = Exchange::new(Modes::default(), 1 << 20);
    exchange.request_headers(request_head(), false, true).unwrap();
    exchange.request_body(body.clone(), false).unwrap();
    exchange.request_body(Bytes::new(), true).unwrap();
    assert_eq!(exchange.poll(), Some(Output::Route));
    assert_eq!(exchange.request().body.unwrap().as_ptr(), body.as_ptr());
    exchange.decided(Decision::default());
    assert!(matches!(exchange.poll(), Some(Output::Answer(Answer::RequestHeaders(_)))));
    let Some(Output::Answer(Answer::RequestBody(BodyAnswer::Streamed(chunk)))) = exchange.poll() else { panic!() };
    assert_eq!(chunk.body.as_ptr(), body.as_ptr());
    let piece = Bytes::from(vec![b'y'; 10]);
    exchange.response_headers(false, Vec::new()).unwrap();
    exchange.poll();
    exchange.response_body(piece.clone(), false).unwrap();
    let Some(Output::Answer(Answer::ResponseBody(BodyAnswer::Streamed(chunk)))) = exchange.poll() else { panic!() };
    assert_eq!(chunk.body.as_ptr(), piece.as_ptr());
}
