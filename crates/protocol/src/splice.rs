//! Rewrites of a body that touch only the bytes that change.

use bytes::Bytes;

use crate::{json::push_json_string, scan::Scanned};

/// `body` with another model: three pieces to send one after the other, of which only the middle
/// one is new. A body without a model gets one as its first field.
///
/// Of a repeated `model` key the last one is rewritten, which is the one that readers go by.
pub fn splice_model(body: &Bytes, scanned: &Scanned, model: &str) -> [Bytes; 3] {
    let mut middle = Vec::with_capacity(model.len() + 16);
    let (start, end) = match scanned.model_span() {
        Some(span) => {
            push_json_string(&mut middle, model);
            (span.start as usize, span.end as usize)
        }
        None => {
            let (behind_brace, fields) = scanned.fields();
            middle.extend_from_slice(b"\"model\":");
            push_json_string(&mut middle, model);
            if fields {
                middle.push(b',');
            }
            (behind_brace, behind_brace)
        }
    };
    let (start, end) = (start.min(body.len()), end.min(body.len()));
    [body.slice(..start), Bytes::from(middle), body.slice(end..)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::Api, scan::scan};

    fn spliced(body: &str, model: &str) -> String {
        let body = Bytes::from(body.to_owned());
        let mut scanned = Scanned::default();
        scan(Api::Completions, &body, &mut scanned).unwrap();
        String::from_utf8(splice_model(&body, &scanned, model).concat()).unwrap()
    }

    #[test]
    fn only_the_model_changes() {
        for (body, model, want) in [
            (r#"{"model":"a", "prompt":"x"}"#, "bc", r#"{"model":"bc", "prompt":"x"}"#),
            (r#" {"prompt":"x","model":""}"#, "b", r#" {"prompt":"x","model":"b"}"#),
            (r#"{"mod\u0065l":"a\n","prompt":"x"}"#, "b", r#"{"mod\u0065l":"b","prompt":"x"}"#),
            (r#"{"prompt":"x"}"#, "q\"\\é", r#"{"model":"q\"\\é","prompt":"x"}"#),
            (r#"{"model":"a","model":"b","prompt":"x"}"#, "c", r#"{"model":"a","model":"c","prompt":"x"}"#),
        ] {
            assert_eq!(spliced(body, model), want);
        }
    }

    #[test]
    fn a_null_model_is_replaced() {
        let text = spliced(r#"{"model":null,"prompt":"x"}"#, "b");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["model"], "b", "{text}");
    }
}
