//! A request's body in pieces gives what the whole gives, and nothing panics. Input: API, length of the pieces, body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_protocol::{Api, Piece, Scanned, Scanner, Segment, scan, splice_model};

fuzz_target!(|input: &[u8]| {
    let [api, piece, body @ ..] = input else { return };
    let api = Api::ALL[usize::from(*api) % Api::ALL.len()];
    let mut whole = Scanned::default();
    let verdict = scan(api, body, &mut whole);

    let mut scanner = Scanner::new(api);
    let fed = (|| {
        for end in (0..body.len()).step_by(usize::from(*piece).max(1)) {
            scanner.feed(&body[..end])?;
        }
        scanner.finish(body)
    })();
    assert_eq!(fed, verdict);
    if let Err(error) = verdict {
        assert!(error.offset <= body.len());
        return;
    }
    assert_eq!(scanner.into_scanned(), whole);
    let mut text = 0;
    whole.text_chunks(body, &mut |bytes| text += bytes.len());
    assert!(text <= body.len());
    for segment in whole.segments() {
        let mut length = 0;
        segment.pieces(body, &mut |piece| match piece {
            Piece::Bytes(bytes) => length += bytes.len(),
            Piece::TokenIds(ids) => assert_eq!(ids.left(), ids.count()),
            _ => {}
        });
        if let Segment::Text(string) = segment {
            assert_eq!(length, string.decoded_len());
        }
    }
    if api.rewrites_model() {
        let spliced = splice_model(&bytes::Bytes::copy_from_slice(body), &whole, "another \"model\"").concat();
        let mut again = Scanned::default();
        scan(api, &spliced, &mut again).expect("a rewrite keeps a request valid");
        assert_eq!(again.model(&spliced).as_deref(), Some("another \"model\""));
    }
});
