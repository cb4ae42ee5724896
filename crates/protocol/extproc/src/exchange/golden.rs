//! Replays the exchanges in `testdata/extproc`; its README says how they are written.

use std::{fmt::Write as _, path::Path};

use super::*;
use crate::{BodyAnswer, BodyMode, Mutation};

#[test]
fn recorded_exchanges_are_answered_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/extproc");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    assert!(files.len() >= 28, "{}", files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(replay(&text), text, "{}", path.display());
    }
}

/// The exchange with its answers replaced by those of the machine.
fn replay(text: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut out = String::new();
    let mut exchange = None;
    // How requests to be routed are to be answered stands in the line that shows them.
    while let Some(line) = lines.next() {
        if let Some(modes) = line.strip_prefix("modes ") {
            exchange = Some(Exchange::new(modes_of(modes), 1 << 20));
        } else if let Some(event) = line.strip_prefix("<- ") {
            writeln!(out, "{line}").unwrap();
            let exchange = exchange.as_mut().unwrap();
            happen(exchange, event);
            let mut answers = Vec::new();
            while let Some(next) = lines.peek().filter(|next| next.starts_with("-> ")) {
                answers.push((*next).to_owned());
                lines.next();
            }
            let verdict = answers.iter().find_map(|line| line.strip_prefix("-> route ")).unwrap_or_default();
            while let Some(output) = exchange.poll() {
                writeln!(out, "-> {}", shown(exchange, output, verdict)).unwrap();
            }
            continue;
        }
        writeln!(out, "{line}").unwrap();
    }
    out
}

fn modes_of(text: &str) -> Modes {
    let words: Vec<_> = text.split(' ').collect();
    let mode = |word: &str| match word {
        "full" => BodyMode::FullDuplex,
        "streamed" => BodyMode::Streamed,
        "buffered" => BodyMode::Buffered,
        "partial" => BodyMode::BufferedPartial,
        "none" => BodyMode::None,
        _ => panic!("{word}"),
    };
    Modes { request: mode(words[0]), response: mode(words[1]), eager: words.get(2) == Some(&"eager") }
}

fn happen(exchange: &mut Exchange, event: &str) {
    let words: Vec<_> = event.split(' ').collect();
    let eos = words.contains(&"eos=1");
    let body = || Bytes::from(vec![b'x'; words[1].parse().unwrap()]);
    if let Some(value) = words.iter().find_map(|word| word.strip_prefix("cost=")) {
        let value = value.parse().unwrap();
        exchange.report(vec![Number { namespace: "envoy.lb".into(), name: "cost".into(), value }]);
    }
    match words[0] {
        "request_headers" => {
            let headers = headers(&words);
            if headers.request_id().is_none() {
                exchange.set_request_id(HeaderValue::from_static("new"));
            }
            exchange.request_headers(headers, eos, !words.contains(&"unread")).unwrap();
        }
        "request_body" => exchange.request_body(body(), eos).unwrap(),
        "request_trailers" => exchange.request_trailers().unwrap(),
        "response_headers" => {
            let set = vec![(HeaderName::from_static("x-test"), HeaderValue::from_static("1"))];
            exchange.response_headers(eos, set).unwrap();
        }
        "response_body" => exchange.response_body(body(), eos).unwrap(),
        "response_trailers" => exchange.response_trailers().unwrap(),
        "closed" => exchange.close(Closed::ByProxy),
        "broken" => exchange.close(Closed::Broken),
        "evict" => exchange.evict(Immediate { status: 429, ..Immediate::default() }),
        other => panic!("{other}"),
    }
}

fn headers(words: &[&str]) -> Headers {
    let mut headers = Headers::default();
    for word in &words[1..] {
        if let Some((name, value)) = word.rsplit_once('=').filter(|(name, _)| *name != "eos") {
            headers.push(name.as_bytes(), Bytes::copy_from_slice(value.as_bytes()));
        }
    }
    headers
}

fn shown(exchange: &mut Exchange, output: Output, verdict: &str) -> String {
    match output {
        Output::Answer(Answer::RequestHeaders(mutation)) => format!("request_headers{}", changes(&mutation)),
        Output::Answer(Answer::ResponseHeaders(mutation)) => format!("response_headers{}", changes(&mutation)),
        Output::Answer(Answer::RequestBody(answer)) => format!("request_body {}", body(&answer)),
        Output::Answer(Answer::ResponseBody(answer)) => format!("response_body {}", body(&answer)),
        Output::Answer(Answer::RequestTrailers) => "request_trailers".into(),
        Output::Answer(Answer::ResponseTrailers) => "response_trailers".into(),
        Output::Answer(Answer::Immediate(answer)) => format!("immediate {}", answer.status),
        Output::Answer(Answer::Last(last, numbers)) => {
            let last = shown(exchange, Output::Answer(*last), verdict);
            let number = |one: &Number| format!(" {}/{}={}", one.namespace, one.name, one.value);
            format!("{last} metadata{}", numbers.iter().map(number).collect::<String>())
        }
        Output::Route => {
            let shown = exchange.request().body.map_or("-".into(), |body| body.len().to_string());
            let mut decision = Decision { destination: "10.0.0.1:8000".into(), ..Decision::default() };
            if verdict == "refused" {
                exchange.refuse(Immediate { status: 503, ..Immediate::default() });
                return "route refused".into();
            }
            if let Some(length) = verdict.strip_prefix("replaced ") {
                decision.body = Some(vec![vec![b'y'; length.parse().unwrap()].into()]);
                exchange.decided(decision);
                return format!("route {verdict}");
            }
            exchange.decided(decision);
            format!("route {shown}")
        }
        Output::Done(completion) => match completion {
            Completion::Complete => "done complete",
            Completion::ClientGone => "done client gone",
            Completion::Broken => "done broken",
            Completion::Evicted => "done evicted",
            Completion::Refused => "done refused",
        }
        .into(),
    }
}

fn changes(mutation: &Mutation) -> String {
    let mut out = String::new();
    for (place, (name, value)) in mutation.set.iter().enumerate() {
        write!(out, "{} {name}={}", if place == 0 { " set" } else { "" }, value.to_str().unwrap()).unwrap();
    }
    for (place, name) in mutation.remove.iter().enumerate() {
        write!(out, "{} {name}", if place == 0 { " remove" } else { "" }).unwrap();
    }
    if mutation.clear_route_cache {
        out.push_str(" clear");
    }
    let told = mutation.set.iter().find(|(name, _)| name == "x-gateway-destination-endpoint").map(|(_, value)| value);
    let metadata = mutation.destination.as_ref().map(|one| one.endpoints.as_str());
    assert_eq!(told.map(|value| value.to_str().unwrap()), metadata, "header and metadata say the same");
    out
}

fn body(answer: &BodyAnswer) -> String {
    match answer {
        BodyAnswer::Continue => "continue".into(),
        BodyAnswer::Headers(mutation) => format!("continue{}", changes(mutation)),
        BodyAnswer::Replace(body, mutation) => {
            format!("replace {}{}", body.len(), mutation.as_ref().map_or_else(String::new, |one| changes(one)))
        }
        BodyAnswer::Streamed(chunk) => format!("{} eos={}", chunk.body.len(), u8::from(chunk.end_of_stream)),
    }
}
