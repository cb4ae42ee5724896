//! gRPC requests and answers: no input panics, and every cut of an answer gives the same. Input: API, length of the pieces, body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_protocol::{Api, Piece, ResponseWatch, Scanned, scan};

const APIS: [Api; 4] = [Api::VllmGrpcGenerate, Api::VllmGrpcEmbed, Api::VertexChatCompletions, Api::VertexRawPredict];

fuzz_target!(|input: &[u8]| {
    let [api, piece, message @ ..] = input else { return };
    let api = APIS[usize::from(*api) % APIS.len()];
    // A right length lets the fuzzer get to the message.
    let body = [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat();
    let mut out = Scanned::default();
    if scan(api, &body, &mut out).is_ok() {
        out.pieces(&body, &mut |piece| {
            if let Piece::TokenIds(ids) = piece {
                let left = ids.left();
                assert!(left <= body.len());
                assert_eq!(ids.count(), left);
            }
        });
    }
    let watched = |piece: usize| {
        let mut watch = ResponseWatch::new(api, b"application/grpc", false);
        body.chunks(piece.max(1)).for_each(|piece| watch.feed(piece));
        let usage = watch.finish();
        (watch.events(), usage)
    };
    assert_eq!(watched(usize::from(*piece)), watched(usize::MAX));
});
