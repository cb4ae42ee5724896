//! Strings inside JSON: where they end, what they say.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// A range of bytes of the scanned body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl Span {
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        // The scanner refuses bodies that do not fit.
        Self { start: start as u32, end: end as u32 }
    }

    /// The bytes of `body` in this range; empty if the span belongs to another body.
    pub fn of(self, body: &[u8]) -> &[u8] {
        body.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// Length in bytes.
    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether the range has no bytes.
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A JSON string in the scanned body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JsonStr {
    /// What stands between the quotes.
    pub span: Span,
    /// Bytes by which it gets shorter when its escapes are decoded: 0 if it has none, and at least one for each.
    pub(crate) shrinks: u32,
}

impl JsonStr {
    /// Text that stands in a body as it is read.
    pub(crate) const fn plain(span: Span) -> Self {
        Self { span, shrinks: 0 }
    }

    /// Whether it contains escapes.
    pub const fn is_escaped(self) -> bool {
        self.shrinks > 0
    }

    /// Length of the decoded text in bytes. It is known from the scan: nothing is decoded for it.
    pub const fn decoded_len(self) -> usize {
        self.span.len() - self.shrinks as usize
    }

    /// The decoded text; borrowed unless the string has escapes. A lone surrogate (`\ud800`) reads
    /// as U+FFFD.
    pub fn decode(self, body: &[u8]) -> Cow<'_, str> {
        let raw = self.span.of(body);
        if !self.is_escaped() {
            return String::from_utf8_lossy(raw);
        }
        let mut out = Vec::with_capacity(self.decoded_len());
        self.chunks(body, &mut |chunk| out.extend_from_slice(chunk));
        match String::from_utf8(out) {
            Ok(text) => Cow::Owned(text),
            Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        }
    }

    /// Gives the decoded bytes to `f` in order: text without escapes and long runs as they stand in
    /// `body`, short runs and escapes gathered to a few hundred bytes. No allocation.
    pub fn chunks(self, body: &[u8], f: &mut impl FnMut(&[u8])) {
        self.chunks_while(body, &mut |chunk| {
            f(chunk);
            true
        });
    }

    /// The same until `f` returns false, which ends it. A string without escapes comes in one piece.
    pub fn chunks_while(self, body: &[u8], f: &mut impl FnMut(&[u8]) -> bool) {
        let raw = self.span.of(body);
        if self.is_escaped() {
            decode(raw, f);
        } else if !raw.is_empty() {
            f(raw);
        }
    }

    /// Decodes into `buffer` as a key of at most its size; `None` if it is longer.
    pub(crate) fn short<'b>(self, body: &'b [u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        if !self.is_escaped() {
            return Some(self.span.of(body));
        }
        let mut used = Some(0);
        self.chunks(body, &mut |chunk| {
            used = used.and_then(|at| {
                let end = at + chunk.len();
                buffer.get_mut(at..end)?.copy_from_slice(chunk);
                Some(end)
            });
        });
        buffer.get(..used?)
    }
}

/// Decoded text is gathered up to this many bytes.
const GATHER: usize = 512;

/// Runs from this length on are worth a call of their own.
const LONG_RUN: usize = 256;

fn decode(mut raw: &[u8], f: &mut impl FnMut(&[u8]) -> bool) {
    let mut out = Gather { buffer: [0; GATHER], used: 0, wanted: true, f };
    while out.wanted {
        let (plain, rest) = raw.split_at(unescaped_len(raw));
        out.push(plain);
        if rest.is_empty() {
            break;
        }
        raw = out.push_escape(rest);
    }
    out.flush();
}

/// How many leading bytes of `raw` are before its first backslash.
#[inline]
fn unescaped_len(raw: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = raw[at..].first_chunk() {
        let hits = zeros(u64::from_le_bytes(*word) ^ repeat(b'\\'));
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += size_of_val(word);
        if at == SHORT_RUN {
            break;
        }
    }
    at + memchr(b'\\', &raw[at..]).unwrap_or(raw.len() - at)
}

struct Gather<'f, F> {
    buffer: [u8; GATHER],
    used: usize,
    /// `f` wants more.
    wanted: bool,
    f: &'f mut F,
}

impl<F: FnMut(&[u8]) -> bool> Gather<'_, F> {
    fn flush(&mut self) {
        if self.used > 0 {
            self.wanted = self.wanted && (self.f)(&self.buffer[..self.used]);
            self.used = 0;
        }
    }

    fn make_room(&mut self, len: usize) {
        if self.used + len > GATHER {
            self.flush();
        }
    }

    fn push(&mut self, run: &[u8]) {
        if run.len() >= LONG_RUN {
            self.flush();
            self.wanted = self.wanted && (self.f)(run);
            return;
        }
        self.make_room(run.len());
        self.buffer[self.used..self.used + run.len()].copy_from_slice(run);
        self.used += run.len();
    }

    /// Appends what the escape at the start of `raw` stands for; returns what follows it.
    fn push_escape<'r>(&mut self, raw: &'r [u8]) -> &'r [u8] {
        let (decoded, taken) = escape(raw);
        self.make_room(4);
        self.used += decoded.encode_utf8(&mut self.buffer[self.used..]).len();
        &raw[taken..]
    }
}

/// Decodes the escape at the start of `raw`; returns the character and the bytes it took.
fn escape(raw: &[u8]) -> (char, usize) {
    let plain = match raw.get(1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'u') => return unicode_escape(raw),
        Some(&other) => char::from(other),
        None => return (char::REPLACEMENT_CHARACTER, raw.len()),
    };
    (plain, 2)
}

fn unicode_escape(raw: &[u8]) -> (char, usize) {
    let Some(first) = hex4(raw.get(2..6)) else {
        return (char::REPLACEMENT_CHARACTER, raw.len().min(2));
    };
    if let (0xd800..0xdc00, Some(b"\\u")) = (first, raw.get(6..8))
        && let Some(second @ 0xdc00..0xe000) = hex4(raw.get(8..12))
    {
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

/// What the escapes read so far take off a string, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shrinkage {
    pub(super) bytes: u32,
    /// Offset behind the last escape, if that was the first half of a surrogate pair.
    half: usize,
}

impl Shrinkage {
    pub(super) const NONE: Self = Self { bytes: 0, half: usize::MAX };

    /// `\n` and the like: two bytes become one.
    pub(super) fn short(&mut self) {
        self.bytes += 1;
    }

    /// `\uXXXX` at offset `at` of the body. A lone surrogate reads as U+FFFD.
    pub(super) fn unicode(&mut self, at: usize, code: u32) {
        let completes = self.half == at && (0xdc00..0xe000).contains(&code);
        self.half = if (0xd800..0xdc00).contains(&code) { at + 6 } else { usize::MAX };
        // Of six bytes; the second half of a pair adds one to the three that its first half counted as.
        self.bytes += match code {
            _ if completes => 5,
            0..0x80 => 5,
            0x80..0x800 => 4,
            _ => 3,
        };
    }
}

pub(super) fn hex4(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |code, &digit| Some(code << 4 | char::from(digit).to_digit(16)?))
}

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// How many leading bytes of `text` a JSON string may hold as they are: stops at a quote, a
/// backslash or a control character, or at the end.
#[inline]
pub(super) fn plain_len(text: &[u8]) -> usize {
    // Most runs are short: cheaper to look through than to call somebody who is fast in long ones.
    let mut at = 0;
    while let Some(word) = text[at..].first_chunk() {
        let hits = special(u64::from_le_bytes(*word));
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += size_of_val(word);
        if at == SHORT_RUN {
            return long_plain_len(text);
        }
    }
    at + text[at..].iter().take_while(|&&b| b >= 0x20 && b != b'"' && b != b'\\').count()
}

/// Runs up to this length are looked through word by word.
const SHORT_RUN: usize = 64;

/// The same for text whose first [`SHORT_RUN`] bytes are plain.
#[inline(never)]
fn long_plain_len(text: &[u8]) -> usize {
    let mut at = SHORT_RUN;
    loop {
        // Looked at twice, so in pieces that stay in the nearest cache.
        let piece = &text[at..text.len().min(at + PIECE)];
        let run = memchr2(b'"', b'\\', piece).unwrap_or(piece.len());
        // Compiles to vector minima.
        if piece[..run].iter().fold(u8::MAX, |least, &b| least.min(b)) < 0x20 {
            return at + piece[..run].iter().take_while(|&&b| b >= 0x20).count();
        }
        at += run;
        if run < piece.len() || at == text.len() {
            return at;
        }
    }
}

const PIECE: usize = 4096;

/// The high bit of each byte that is a quote, a backslash or below 0x20. Only the lowest set bit
/// is exact: the subtraction may carry into bytes above it.
const fn special(word: u64) -> u64 {
    // Flipping bit 1 moves the quote to 0x20 and keeps the control characters below it.
    let quote_or_control = (word ^ repeat(2)).wrapping_sub(repeat(0x21));
    let backslash = (word ^ repeat(b'\\')).wrapping_sub(repeat(1));
    (quote_or_control | backslash) & !word & repeat(0x80)
}

/// The high bit of each byte that is zero; only the lowest set bit is exact.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(repeat(1)) & !word & repeat(0x80)
}

/// Appends `text` as a JSON string with its quotes.
pub(crate) fn push_json_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let plain = plain_len(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(&byte) = rest.get(plain) else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        rest = &rest[plain + 1..];
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Cursor;

    /// The string that stands in quotes.
    fn inner(quoted: &[u8]) -> JsonStr {
        Cursor::new(quoted).string().unwrap()
    }

    #[test]
    fn plain_len_agrees_with_a_byte_loop() {
        let mut rng = fastrand::Rng::with_seed(7);
        let slow = |s: &[u8]| s.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\').unwrap_or(s.len());
        for byte in 0..=255 {
            for at in 0..80 {
                let mut text = [b'a'; 100];
                text[at] = byte;
                assert_eq!(plain_len(&text), slow(&text), "byte {byte} at {at}");
            }
        }
        for _ in 0..20_000 {
            let len = rng.usize(..100);
            let text: Vec<u8> = (0..len).map(|_| if rng.u8(..50) == 0 { rng.u8(..) } else { rng.u8(0x1e..) }).collect();
            assert_eq!(plain_len(&text), slow(&text), "{text:?}");
        }
    }

    #[test]
    fn written_strings_read_back() {
        for text in ["", "a\"b\\c", "\u{0}\u{1f}\n\r\t\u{7f}", "é😀 long enough for a wide block \""] {
            let mut out = Vec::new();
            push_json_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            let inner = inner(&out);
            assert_eq!(inner.decode(&out), text);
        }
    }

    #[test]
    fn runs_of_every_length_decode() {
        let mut rng = fastrand::Rng::with_seed(9);
        for _ in 0..3_000 {
            let mut raw = String::from("\"");
            for _ in 0..rng.usize(1..12) {
                let most = [4, 20, 80, 700][rng.usize(..4)];
                (0..rng.usize(..most)).for_each(|_| raw.push(rng.alphanumeric()));
                raw.push_str(["\\n", "\\u00e9", "\\ud83d\\ude00", "\\\\", "é"][rng.usize(..5)]);
            }
            raw.push('"');
            let text = inner(raw.as_bytes());
            text.chunks(raw.as_bytes(), &mut |chunk| assert!(!chunk.is_empty()));
            let decoded = text.decode(raw.as_bytes());
            assert_eq!(decoded, serde_json::from_str::<String>(&raw).unwrap());
            assert_eq!(text.decoded_len(), decoded.len());
            let (enough, mut begin) = (rng.usize(..decoded.len().max(1)), Vec::new());
            text.chunks_while(raw.as_bytes(), &mut |chunk| {
                assert!(begin.len() <= enough);
                begin.extend_from_slice(chunk);
                begin.len() <= enough
            });
            assert!(decoded.as_bytes().starts_with(&begin) && (begin.len() > enough || begin.len() == decoded.len()));
        }
    }

    #[test]
    fn surrogates() {
        for (raw, want) in [
            (r"\ud83d\ude00!", "😀!"),
            (r"\ud83d", "\u{fffd}"),
            (r"\ud83dx", "\u{fffd}x"),
            (r"\ude00\ud83d\ude00", "\u{fffd}😀"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
            (r"\/\u0041", "/A"),
        ] {
            let quoted = format!("\"{raw}\"");
            let s = inner(quoted.as_bytes());
            assert_eq!(s.decode(quoted.as_bytes()), want, "{raw}");
            assert_eq!(s.decoded_len(), want.len(), "{raw}");
        }
    }
}
