//! Any messages in any order through the state machine of an external processing stream: no panic, one end, no byte invented.
//!
//! `fuzz/run 60 exchange`
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir_protocol_extproc::{
    Answer, BodyAnswer, BodyMode, CHUNK_BYTES, Closed, Decision, Exchange, Headers, Immediate, Modes, Number, Output,
};

struct Seen {
    passed: usize,
    done: u32,
    cut: bool,
    reported: bool,
}

fn drain(exchange: &mut Exchange, refuse: bool, seen: &mut Seen) {
    while let Some(output) = exchange.poll() {
        assert!(!seen.cut || matches!(output, Output::Done(_)), "an immediate answer is the last");
        match output {
            Output::Route if refuse => exchange.refuse(Immediate::default()),
            Output::Route => exchange.decided(Decision { destination: "10.0.0.1:1".into(), ..Decision::default() }),
            Output::Done(_) => seen.done += 1,
            Output::Answer(Answer::RequestBody(BodyAnswer::Streamed(chunk)) | Answer::ResponseBody(BodyAnswer::Streamed(chunk))) => {
                assert!(chunk.body.len() <= CHUNK_BYTES);
                seen.passed += chunk.body.len();
            }
            Output::Answer(Answer::Immediate(_)) => seen.cut = true,
            Output::Answer(Answer::Last(last, numbers)) => {
                assert!(!std::mem::replace(&mut seen.reported, true) && !numbers.is_empty());
                if let Answer::ResponseBody(BodyAnswer::Streamed(chunk)) = *last {
                    assert!(chunk.end_of_stream);
                    seen.passed += chunk.body.len();
                }
            }
            Output::Answer(_) => {}
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let [head, steps @ ..] = data else { return };
    let mode = |bits: u8| BodyMode::from_number(i32::from(bits) % 5).unwrap_or_default();
    let modes = Modes { request: mode(head & 7), response: mode((head >> 3) & 7), eager: head & 0x40 != 0 };
    let refuse = head & 0x80 != 0;
    let mut exchange = Exchange::new(modes, 1 << 16);
    let mut seen = Seen { passed: 0, done: 0, cut: false, reported: false };
    let mut came = 0;
    for step in steps.chunks(2) {
        let (eos, size) = (step[0] & 8 != 0, usize::from(step.get(1).copied().unwrap_or(0)) * 300);
        let piece = Bytes::from(vec![b'x'; size]);
        let result = match step[0] & 7 {
            0 => {
                let mut headers = Headers::default();
                headers.push(&step[1..], Bytes::copy_from_slice(&step[1..]));
                exchange.request_headers(headers, eos, step[0] & 16 != 0)
            }
            1 => {
                came += size;
                exchange.request_body(piece, eos)
            }
            2 => exchange.request_trailers(),
            3 => exchange.response_headers(eos, Vec::new()),
            4 => {
                came += size;
                exchange.response_body(piece, eos)
            }
            5 => exchange.response_trailers(),
            6 => {
                exchange.evict(Immediate::default());
                Ok(())
            }
            _ => {
                if exchange.is_too_large() {
                    exchange.refuse(Immediate::default());
                }
                exchange.report(vec![Number { namespace: "n".into(), name: "x".into(), value: size as i64 }]);
                Ok(())
            }
        };
        drain(&mut exchange, refuse, &mut seen);
        if result.is_err() {
            break;
        }
    }
    exchange.close(if head & 1 == 0 { Closed::ByProxy } else { Closed::Broken });
    drain(&mut exchange, refuse, &mut seen);
    assert_eq!(seen.done, 1);
    assert!(seen.passed <= came);
});
