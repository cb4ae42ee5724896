//! However a body is cut while it arrives, the result is that of the whole.

use fastrand::Rng;

use super::{against_serde::document, *};

/// What a reader that gets the body in pieces finds.
fn fed(api: Api, body: &[u8], mut next_len: impl FnMut() -> usize) -> Result<Scanned, ScanError> {
    let mut scanner = Scanner::new(api);
    let mut end = 0;
    while end < body.len() {
        end = (end + next_len().max(1)).min(body.len());
        scanner.feed(&body[..end])?;
    }
    scanner.finish(body)?;
    Ok(scanner.into_scanned())
}

fn whole(api: Api, body: &[u8]) -> Result<Scanned, ScanError> {
    let mut out = Scanned::default();
    scan(api, body, &mut out).map(|()| out)
}

const REQUESTS: [(Api, &str); 9] = [
    (Api::Messages, super::tests::ANTHROPIC),
    (
        Api::ChatCompletions,
        r#"{"messages":[{"role":"u","content":[{"type":"text","text":"é\ud83d\ude00\u00e9\\"},{"type":"image_url","image_url":{"url":"h:\/\/x"}}]}],"tools":[{"a":[1.5e-3,true]}],"model":"m"}"#,
    ),
    (Api::Completions, r#"{"prompt":[[1,22,4294967295],[3]],"max_tokens":1e1,"stream":false}"#),
    (Api::VllmGenerate, r#"{"token_ids":[0,10,200],"sampling_params":{"max_tokens":7,"x":[{}]},"stream":true,"cache_salt":"s"}"#),
    (Api::SglangGenerate, r#"{"input_ids":[1,2],"extra_key":"k","sampling_params":{"max_new_tokens":3}}"#),
    (Api::Responses, r#"{"tools":[{}],"input":[{"role":"user","content":"x"}],"instructions":"be","model":"m"}"#),
    (Api::Conversations, r#"{"items":[{"type":"message"}]}"#),
    (Api::Embeddings, r#"{"input":["",{"text":"y"}],"model":null}"#),
    (Api::ImageGenerations, r#"{"prompt":"a weir","n":2}"#),
];

#[test]
fn two_pieces_cut_anywhere() {
    for (api, body) in REQUESTS {
        let body = body.as_bytes();
        let want = whole(api, body);
        assert!(want.is_ok(), "{want:?}");
        for cut in 1..body.len() {
            let mut lens = [cut, usize::MAX / 2].into_iter();
            assert_eq!(fed(api, body, || lens.next().unwrap()), want, "{api:?} at {cut}");
        }
        assert_eq!(fed(api, body, || 1), want, "{api:?}");
        // Cut off anywhere, it is an error that does not depend on the pieces either.
        for end in 0..body.len() {
            let want = whole(api, &body[..end]);
            assert!(want.is_err(), "{api:?} up to {end}");
            assert_eq!(fed(api, &body[..end], || 1), want, "{api:?} up to {end}");
        }
    }
}

#[test]
fn random_and_damaged_bodies_in_random_pieces() {
    let mut rng = Rng::with_seed(0xc4a2);
    let (mut good, mut bad) = (0, 0);
    for round in 0..8_000 {
        let (api, mut body) = if round % 4 == 0 {
            let (api, body) = REQUESTS[rng.usize(..REQUESTS.len())];
            (api, body.as_bytes().to_vec())
        } else {
            let api = [Api::ChatCompletions, Api::Completions, Api::Responses][round % 3];
            (api, document(&mut rng, api).into_bytes())
        };
        if round % 3 == 0 {
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..body.len());
                match rng.u8(..5) {
                    0 => body[at] = rng.u8(..),
                    1 => body[at] = *rng.choice(b"{}[]\",:\\u0123 truefalsn-.eE\x80\xe9\xf0").unwrap(),
                    2 if body.len() > 1 => drop(body.remove(at)),
                    3 => body.insert(at, *rng.choice(b"{}[]\",:\\u0 \x00\x80\xe9").unwrap()),
                    _ => body.truncate(at.max(1)),
                }
            }
        }
        let want = whole(api, &body);
        if want.is_ok() {
            good += 1
        } else {
            bad += 1
        }
        for most in [1, 3, 40] {
            let found = fed(api, &body, || rng.usize(1..=most));
            assert_eq!(found, want, "{api:?} {}", String::from_utf8_lossy(&body));
        }
    }
    assert!(good > 3_000 && bad > 1_500, "{good} {bad}");
}
