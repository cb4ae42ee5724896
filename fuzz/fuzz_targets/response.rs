//! An answer in pieces is read as the whole is, and memory is bounded. Input: API and form, length of the pieces, body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_protocol::{Api, ResponseWatch, Usage};

fn watched(api: Api, kind: &[u8], body: &[u8], piece: usize) -> (u64, Option<Usage>) {
    let mut watch = ResponseWatch::new(api, kind, false);
    body.chunks(piece.max(1)).for_each(|piece| watch.feed(piece));
    let usage = watch.finish();
    (watch.events(), usage)
}

fuzz_target!(|input: &[u8]| {
    let [api, piece, body @ ..] = input else { return };
    let kind: &[u8] = [&b"text/event-stream"[..], b"application/json", b"application/grpc"][usize::from(*api) / 16 % 3];
    let api = Api::ALL[usize::from(*api) % Api::ALL.len()];
    assert_eq!(watched(api, kind, body, usize::from(*piece)), watched(api, kind, body, usize::MAX));
});
