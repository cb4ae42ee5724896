//! Giving an answer its model name back: every cut gives the same, and without a `model` key nothing changes. Input: form, length of
//! the pieces, body.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir_protocol::{ModelRestore, RestoreForm};

fn restored(form: RestoreForm, body: &[u8], piece: usize) -> Vec<u8> {
    let mut restore = ModelRestore::new(form, "served", "asked").expect("the names differ");
    let mut out = Vec::new();
    for piece in body.chunks(piece.max(1)) {
        restore.feed(&Bytes::copy_from_slice(piece), &mut |bytes| out.extend_from_slice(&bytes));
    }
    restore.finish(&mut |bytes| out.extend_from_slice(&bytes));
    out
}

fuzz_target!(|input: &[u8]| {
    let [form, piece, body @ ..] = input else { return };
    let form = if form % 2 == 0 { RestoreForm::Document } else { RestoreForm::Events };
    let whole = restored(form, body, usize::MAX);
    assert_eq!(restored(form, body, usize::from(*piece)), whole);
    if !body.windows(5).any(|window| window == b"model") {
        assert_eq!(whole, body);
    }
});
