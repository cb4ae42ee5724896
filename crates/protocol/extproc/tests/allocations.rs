//! What a stream allocates in the state machine: a gate that does not depend on how fast or busy the machine is.
#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;
use weir_protocol_extproc::{Answer, BodyAnswer, BodyMode, Closed, Decision, Exchange, Headers, Modes, Output};

/// From the headers of a small request in one piece to the end of its response, the destination's text included.
const PER_REQUEST: u64 = 9;

const FULL_DUPLEX: Modes = Modes { request: BodyMode::FullDuplex, response: BodyMode::FullDuplex, eager: false };

fn allocations(f: impl FnOnce()) -> u64 {
    allocation_counter::measure(f).count_total
}

fn headers() -> Headers {
    let mut headers = Headers::with_capacity(4);
    for (name, value) in [(":method", "POST"), (":path", "/v1/completions"), ("content-length", "100"), ("x-request-id", "r")] {
        headers.push(name.as_bytes(), Bytes::from_static(value.as_bytes()));
    }
    headers
}

/// Takes everything that is put out; returns the bytes of bodies.
fn drain(exchange: &mut Exchange) -> usize {
    let mut bytes = 0;
    while let Some(output) = exchange.poll() {
        match output {
            Output::Route => exchange.decided(Decision { destination: "10.0.0.1:8000".to_owned(), ..Decision::default() }),
            Output::Answer(
                Answer::RequestBody(BodyAnswer::Streamed(chunk)) | Answer::ResponseBody(BodyAnswer::Streamed(chunk)),
            ) => {
                bytes += chunk.body.len();
            }
            Output::Answer(_) | Output::Done(_) => {}
        }
    }
    bytes
}

#[test]
fn a_request_stays_within_its_allocations() {
    let body = Bytes::from_static(&[b'x'; 1_000]);
    let heads: Vec<Headers> = (0..100).map(|_| headers()).collect();
    let used = allocations(|| {
        for head in heads {
            let mut exchange = Exchange::new(FULL_DUPLEX, 1 << 20);
            exchange.request_headers(head, false, true).unwrap();
            exchange.request_body(body.clone(), false).unwrap();
            exchange.request_body(Bytes::new(), true).unwrap();
            assert_eq!(drain(&mut exchange), body.len());
            exchange.response_headers(false, Vec::new()).unwrap();
            exchange.response_body(body.clone(), true).unwrap();
            assert_eq!(drain(&mut exchange), body.len());
            exchange.close(Closed::ByProxy);
        }
    });
    assert_eq!(used / 100, PER_REQUEST);
}

#[test]
fn a_piece_that_passes_allocates_nothing() {
    let mut exchange = Exchange::new(FULL_DUPLEX, 1 << 20);
    exchange.request_headers(headers(), false, false).unwrap();
    exchange.response_headers(false, Vec::new()).unwrap();
    drain(&mut exchange);
    let (short, long) = (Bytes::from(vec![b'x'; 200]), Bytes::from(vec![b'x'; 200_000]));
    let mut bytes = 0;
    let mut pass = |piece: &Bytes| {
        exchange.response_body(piece.clone(), false).unwrap();
        bytes += drain(&mut exchange);
    };
    // The first long piece is cut into more chunks than the queue had room for, and the first copy of `Bytes` counts itself.
    pass(&long);
    pass(&short);
    let used = allocations(|| {
        for _ in 0..100 {
            pass(&short);
            pass(&long);
        }
    });
    assert_eq!((used, bytes), (0, 101 * 200_200));
}

/// A body in many pieces is copied into one buffer.
#[test]
fn a_long_body_is_put_together_in_few_allocations() {
    let piece = Bytes::from_static(&[b'x'; 32 * 1024]);
    for (announced, most) in [("33554432", 2), ("4194304", 1)] {
        let mut exchange = Exchange::new(FULL_DUPLEX, 64 << 20);
        let mut head = Headers::with_capacity(4);
        head.push(b":path", Bytes::from_static(b"/v1/completions"));
        head.push(b"content-length", Bytes::from_static(announced.as_bytes()));
        exchange.request_headers(head, false, true).unwrap();
        let length: usize = announced.parse().unwrap();
        let used = allocations(|| {
            for _ in 0..length / piece.len() {
                exchange.request_body(piece.clone(), false).unwrap();
            }
        });
        assert!(used <= most, "{announced}: {used}");
        assert_eq!(exchange.gathering().unwrap().len(), length);
    }
}
