//! Reading a request and watching an answer allocate nothing once warm.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use weir_protocol::{Api, ModelRestore, ResponseWatch, RestoreForm, Scanned, Scanner, scan};

fn allocations(f: impl FnOnce()) -> u64 {
    allocation_counter::measure(f).count_total
}

fn chat() -> String {
    let turns: Vec<String> = (0..40)
        .map(|i| format!(r#"{{"role":"user","content":[{{"type":"text","text":"turn {i}\n{}"}}]}}"#, "word ".repeat(200)))
        .collect();
    format!(r#"{{"messages":[{}],"model":"m","tools":[{{"a":1}}]}}"#, turns.join(","))
}

#[test]
fn a_warm_scan_allocates_nothing() {
    let chat = chat();
    let ids = format!(r#"{{"token_ids":{:?},"sampling_params":{{"max_tokens":3}}}}"#, (0..500).collect::<Vec<u32>>());
    for (api, body) in [(Api::ChatCompletions, &chat), (Api::Messages, &chat), (Api::VllmGenerate, &ids)] {
        let body = body.as_bytes();
        let mut scanned = Scanned::default();
        scan(api, body, &mut scanned).unwrap();
        assert_eq!(allocations(|| scan(api, body, &mut scanned).unwrap()), 0, "{api:?}");
        let in_pieces = allocations(|| {
            let mut scanner = Scanner::reusing(api, std::mem::take(&mut scanned));
            (0..body.len()).step_by(1_000).for_each(|end| scanner.feed(&body[..end]).unwrap());
            scanner.finish(body).unwrap();
            scanned = scanner.into_scanned();
        });
        assert_eq!(in_pieces, 0, "{api:?}");
        let mut bytes = 0;
        assert_eq!(allocations(|| scanned.text_chunks(body, &mut |chunk| bytes += chunk.len())), 0);
    }
}

#[test]
fn a_chunk_of_a_stream_allocates_nothing() {
    let chunk = b"data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"}}],\"usage\":null}\n\n";
    let mut watch = ResponseWatch::new(Api::ChatCompletions, b"text/event-stream", false);
    assert_eq!(allocations(|| (0..100).for_each(|_| watch.feed(chunk))), 0);
    let named = b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"word \"}}\n\n";
    let mut watch = ResponseWatch::new(Api::Messages, b"text/event-stream", false);
    assert_eq!(allocations(|| (0..100).for_each(|_| watch.feed(named))), 0);
    assert_eq!(watch.events(), 100);
    // Cut amid a line, it is kept; from then on in the same memory.
    (0..10).for_each(|_| named.chunks(7).for_each(|piece| watch.feed(piece)));
    assert_eq!(allocations(|| (0..100).for_each(|_| named.chunks(7).for_each(|piece| watch.feed(piece)))), 0);
    let mut restore = ModelRestore::new(RestoreForm::Events, "served", "asked").unwrap();
    let chunk = Bytes::from_static(chunk);
    let mut seen = 0;
    assert_eq!(allocations(|| (0..100).for_each(|_| restore.feed(&chunk, &mut |bytes| seen += bytes.len()))), 0);
    assert_eq!(seen, 100 * chunk.len());
}
