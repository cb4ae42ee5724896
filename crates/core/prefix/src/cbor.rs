//! The little of CBOR (RFC 8949, deterministic encoding) that block hashes are taken of.

/// Takes the encoded bytes.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

const UNSIGNED: u8 = 0x00;
const BYTES: u8 = 0x40;
const TEXT: u8 = 0x60;
const ARRAY: u8 = 0x80;
const MAP: u8 = 0xa0;
const NULL: u8 = 0xf6;

pub(crate) fn unsigned(sink: &mut impl Sink, value: u64) {
    head(sink, UNSIGNED, value);
}

pub(crate) fn text(sink: &mut impl Sink, text: &str) {
    head(sink, TEXT, text.len() as u64);
    sink.put(text.as_bytes());
}

pub(crate) fn bytes(sink: &mut impl Sink, bytes: &[u8]) {
    head(sink, BYTES, bytes.len() as u64);
    sink.put(bytes);
}

/// An array of `len` values, which follow.
pub(crate) fn array(sink: &mut impl Sink, len: usize) {
    head(sink, ARRAY, len as u64);
}

/// A map of `len` pairs, which follow.
pub(crate) fn map(sink: &mut impl Sink, len: usize) {
    head(sink, MAP, len as u64);
}

pub(crate) fn null(sink: &mut impl Sink) {
    sink.put(&[NULL]);
}

pub(crate) fn tokens(sink: &mut impl Sink, tokens: &[u32]) {
    array(sink, tokens.len());
    for token in tokens {
        unsigned(sink, u64::from(*token));
    }
}

/// Kind and number in the fewest bytes.
fn head(sink: &mut impl Sink, kind: u8, value: u64) {
    let wide = value.to_be_bytes();
    match value {
        0..=23 => sink.put(&[kind | wide[7]]),
        24..=0xff => sink.put(&[kind | 24, wide[7]]),
        0x100..=0xffff => sink.put(&[kind | 25, wide[6], wide[7]]),
        0x1_0000..=0xffff_ffff => sink.put(&[kind | 26, wide[4], wide[5], wide[6], wide[7]]),
        _ => {
            let mut full = [kind | 27; 9];
            full[1..].copy_from_slice(&wide);
            sink.put(&full);
        }
    }
}
