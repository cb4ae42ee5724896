use super::*;

const SERVED: &str = "backend-01";
const ASKED: &str = "gpt-4-\"proxy\"";

fn restored(form: RestoreForm, answer: &str, mut next_len: impl FnMut() -> usize) -> String {
    let mut restore = ModelRestore::new(form, SERVED, ASKED).unwrap();
    let (mut out, mut rest) = (Vec::new(), Bytes::copy_from_slice(answer.as_bytes()));
    while !rest.is_empty() {
        let piece = rest.split_to(next_len().clamp(1, rest.len()));
        restore.feed(&piece, &mut |bytes| {
            assert!(!bytes.is_empty());
            out.extend_from_slice(&bytes);
        });
        assert!(restore.held.len() <= restore.longest() + 1);
    }
    restore.finish(&mut |bytes| out.extend_from_slice(&bytes));
    String::from_utf8(out).unwrap()
}

fn whole(form: RestoreForm, answer: &str) -> String {
    restored(form, answer, || usize::MAX)
}

/// What is expected stands in the answer as `MODEL`.
fn check(form: RestoreForm, answers: &[&str]) {
    let mut rng = fastrand::Rng::with_seed(31);
    for answer in answers {
        let given = answer.replace("MODEL", "\"backend-01\"");
        let want = answer.replace("MODEL", "\"gpt-4-\\\"proxy\\\"\"");
        assert_eq!(whole(form, &given), want);
        for cut in 1..given.len() {
            let mut lens = [cut, usize::MAX].into_iter();
            assert_eq!(restored(form, &given, || lens.next().unwrap()), want, "cut at {cut}");
        }
        for most in [1, 2, 9] {
            assert_eq!(restored(form, &given, || rng.usize(1..=most)), want, "{most}");
        }
    }
}

#[test]
fn documents() {
    check(
        RestoreForm::Document,
        &[
            r#"{"model":MODEL}"#,
            "{ \"id\":\"x\" , \"model\" :\n MODEL , \"choices\":[{\"model\":\"backend-01\",\"text\":\"\\\"model\\\":\\\"backend-01\\\"\"}]}",
            r#"{"a":{"model":"backend-01"},"b":["model","backend-01"],"model":MODEL,"model":MODEL}"#,
            r#"{"object":"response","response":{"x":[{"model":"backend-01"}],"model":MODEL},"message":["model",{"model":"backend-01"}]}"#,
            r#"{"model":"backend-012","message":{"model":MODEL}}"#,
            r#"{"model":"backend","models":"backend-01","mode":"backend-01","model ":"backend-01"}"#,
            r#"{"x\"model":"backend-01","y":"\\","model":MODEL}"#,
            r#"{"model":null,"model":["backend-01"]}"#,
            r#"["model","backend-01"]"#,
            r#"{"model":"a\"b","z":1}"#,
            "{\"model\":\"cut-o",
            "not json at all \" { model",
            "",
        ],
    );
    // However the served name is written.
    assert_eq!(whole(RestoreForm::Document, r#"{"model":"backend\u002d01"}"#), r#"{"model":"gpt-4-\"proxy\""}"#);
    let long = format!("{{\"model\":\"{}\",\"x\":{{}}}}", "y".repeat(500));
    assert_eq!(whole(RestoreForm::Document, &long), long);
}

#[test]
fn streams() {
    check(
        RestoreForm::Events,
        &[
            "data: {\"id\":1,\"model\":MODEL,\"choices\":[]}\n\ndata:{\"model\":MODEL}\r\n\r\ndata: [DONE]\n\n",
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"role\":\"assistant\",\"model\":MODEL}}\n\n",
            ": {\"model\":\"backend-01\"}\nid: 7\ndata: {\"model\":\ndata: MODEL}\n\n",
            "data: {\"type\":\"response.created\",\"response\":{\"model\":MODEL}}\n\n",
            // An event that is cut off leaves no trace in the next.
            "data: {\"a\":{\"b\n\ndata: {\"model\":MODEL}\n\n",
            "data: {\"a\":\"b\n\ndata: {\"model\":MODEL}\n\n",
            "data: {\"model\":\"bro\n\ndata: {\"model\":MODEL}\n\n",
        ],
    );
}

#[test]
fn nothing_to_do() {
    assert!(ModelRestore::new(RestoreForm::Document, "a", "a").is_none());
    assert!(ModelRestore::new(RestoreForm::Document, "", "a").is_none());
    assert!(ModelRestore::new(RestoreForm::Document, "a", "").is_none());
}
