//! Gives an answer the model name back that the client asked for.

use bytes::Bytes;

use crate::json::push_json_string;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreForm {
    /// One JSON document.
    Document,
    /// Server-sent events, each with a JSON document.
    Events,
}

/// Replaces the name of the model that served by the one that was asked for, in an answer that passes in pieces.
///
/// Only the value of a `model` key is touched, only where it is exactly the served name, and only where answers have it: at the top of
/// a document, and in the `response` (responses API) or `message` (Anthropic) at its top. White space does not matter, text that looks
/// like such a key is left alone, and every other byte passes as it is, at once: held back is at most the beginning of a model's name.
///
/// Cost: one step per byte outside of strings, `memchr` inside; allocates where it replaces.
#[derive(Debug, Clone)]
pub struct ModelRestore {
    form: RestoreForm,
    served: Box<str>,
    /// The value that is written instead, quotes included.
    asked: Bytes,
    line: Line,
    reader: Reader,
    /// A model's name that has begun, from its quote on.
    held: Vec<u8>,
}

/// Where a stream of events stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// So many bytes of `data:` have come.
    Start(usize),
    Data,
    /// A comment or another field.
    Other,
}

const DATA: &[u8] = b"data:";

/// Where a document stands. It is not checked: what is no JSON passes.
#[derive(Debug, Clone, Copy, Default)]
struct Reader {
    depth: u32,
    /// Inside a string: whether a backslash came last.
    string: Option<bool>,
    /// The next string is a key.
    key: bool,
    /// The key at depth 1 and 2, as far as it is of interest.
    keys: [Key; 2],
    /// The last byte of a key that may still become an interesting one.
    matched: Match,
    /// The container at depth 2 is an object.
    inner_object: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Other,
    Model,
    /// `response` or `message`
    Inner,
}

/// Which keys the bytes so far are the beginning of.
#[derive(Debug, Clone, Copy, Default)]
struct Match {
    len: usize,
    alive: [bool; 3],
}

const KEYS: [(&[u8], Key); 3] = [(b"model", Key::Model), (b"response", Key::Inner), (b"message", Key::Inner)];

impl Match {
    const fn new() -> Self {
        Self { len: 0, alive: [true; 3] }
    }

    fn push(&mut self, byte: u8) {
        for (alive, (name, _)) in self.alive.iter_mut().zip(KEYS) {
            *alive &= name.get(self.len) == Some(&byte);
        }
        self.len += 1;
    }

    fn key(self) -> Key {
        let found = self.alive.iter().zip(KEYS).find(|(alive, (name, _))| **alive && name.len() == self.len);
        found.map_or(Key::Other, |(_, (_, key))| key)
    }
}

/// What a byte is.
enum Step {
    Plain,
    /// The quote before a model's name.
    NameBegins,
}

impl Reader {
    fn step(&mut self, byte: u8) -> Step {
        match (self.string, byte) {
            (Some(true), _) => self.in_string(byte, false),
            (Some(false), b'"') => {
                self.string = None;
                if self.key
                    && let Some(slot) = self.keys.get_mut(self.depth.wrapping_sub(1) as usize)
                {
                    *slot = self.matched.key();
                }
            }
            (Some(false), b'\\') => self.in_string(byte, true),
            (Some(false), _) => self.in_string(byte, false),
            (None, b'"') => {
                if !self.key && self.is_model() {
                    return Step::NameBegins;
                }
                self.string = Some(false);
                self.matched = Match::new();
            }
            (None, b'{' | b'[') => {
                self.depth = self.depth.saturating_add(1);
                self.key = byte == b'{';
                if let Some(slot) = self.keys.get_mut(self.depth.wrapping_sub(1) as usize) {
                    *slot = Key::Other;
                }
                if self.depth == 2 {
                    self.inner_object = byte == b'{';
                }
            }
            (None, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                self.key = false;
            }
            (None, b':') => self.key = false,
            // Deeper than two, nobody asks what is a key.
            (None, b',') => self.key = self.depth == 1 || (self.depth == 2 && self.inner_object),
            (None, _) => {}
        }
        Step::Plain
    }

    fn in_string(&mut self, byte: u8, backslash: bool) {
        self.string = Some(backslash);
        if self.key {
            self.matched.push(byte);
        }
    }

    const fn is_model(&self) -> bool {
        match self.depth {
            1 => matches!(self.keys[0], Key::Model),
            2 => self.inner_object && matches!((self.keys[0], self.keys[1]), (Key::Inner, Key::Model)),
            _ => false,
        }
    }

    /// Bytes of `rest` that change nothing: the inside of a string that is no key.
    fn run(&self, rest: &[u8]) -> usize {
        // A line end, too: in a stream of events it ends a string that a server broke off.
        if self.string == Some(false) && !self.key { memchr::memchr3(b'"', b'\\', b'\n', rest).unwrap_or(rest.len()) } else { 0 }
    }
}

impl ModelRestore {
    /// Writes `asked` where an answer of this form says `served`. `None` if there is nothing to be done.
    pub fn new(form: RestoreForm, served: &str, asked: &str) -> Option<Self> {
        if served == asked || served.is_empty() || asked.is_empty() {
            return None;
        }
        let mut value = Vec::with_capacity(asked.len() + 2);
        push_json_string(&mut value, asked);
        let line = if form == RestoreForm::Events { Line::Start(0) } else { Line::Data };
        Some(Self { form, served: served.into(), asked: value.into(), line, reader: Reader::default(), held: Vec::new() })
    }

    /// The next piece of the answer; what may be sent on goes to `out`, in order.
    pub fn feed(&mut self, piece: &Bytes, out: &mut impl FnMut(Bytes)) {
        // Bytes before `sent` are sent or held.
        let (mut sent, mut at) = (0, 0);
        while at < piece.len() {
            if !self.held.is_empty() {
                let byte = piece[at];
                self.held.push(byte);
                at += 1;
                if byte == b'"' && !ends_in_backslash(&self.held[..self.held.len() - 1]) {
                    out(self.name());
                    sent = at;
                } else if byte < b' ' || self.held.len() > self.longest() {
                    self.let_go(out);
                    sent = at;
                }
                continue;
            }
            if self.line == Line::Data {
                at += self.reader.run(&piece[at..]);
                let Some(&byte) = piece.get(at) else { break };
                if byte == b'\n' && self.form == RestoreForm::Events {
                    self.line = Line::Start(0);
                } else if let Step::NameBegins = self.reader.step(byte) {
                    if sent < at {
                        out(piece.slice(sent..at));
                    }
                    self.held.push(byte);
                }
            } else {
                self.field(piece[at]);
            }
            at += 1;
        }
        if self.held.is_empty() && sent < piece.len() {
            out(piece.slice(sent..));
        }
    }

    /// The answer has ended.
    pub fn finish(&mut self, out: &mut impl FnMut(Bytes)) {
        if !self.held.is_empty() {
            out(Bytes::from(std::mem::take(&mut self.held)));
        }
    }

    /// A byte of a line that is not known to be data.
    fn field(&mut self, byte: u8) {
        self.line = match (self.line, byte) {
            // A blank line ends the event, and its document.
            (Line::Start(0), b'\n') => {
                self.reader = Reader::default();
                Line::Start(0)
            }
            (Line::Start(0), b'\r') => Line::Start(0),
            (_, b'\n') => Line::Start(0),
            (Line::Start(seen), _) if DATA.get(seen) == Some(&byte) => {
                if seen + 1 == DATA.len() {
                    Line::Data
                } else {
                    Line::Start(seen + 1)
                }
            }
            _ => Line::Other,
        };
    }

    /// A name that is complete, as it is to be sent.
    fn name(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        let is_served = if held.contains(&b'\\') {
            serde_json::from_slice::<String>(&held).is_ok_and(|name| *name == *self.served)
        } else {
            held.get(1..held.len() - 1) == Some(self.served.as_bytes())
        };
        if is_served { self.asked.clone() } else { held.into() }
    }

    /// Longest form of the served name: every UTF-16 unit as an escape.
    fn longest(&self) -> usize {
        self.served.len() * 6 + 2
    }

    /// What was held is no name that anybody looks for: it is an ordinary string, which goes on.
    fn let_go(&mut self, out: &mut impl FnMut(Bytes)) {
        let held = std::mem::take(&mut self.held);
        self.reader.string = Some(ends_in_backslash(&held[1..]));
        if held.ends_with(b"\n") && self.form == RestoreForm::Events {
            self.line = Line::Start(0);
        }
        out(Bytes::from(held));
    }
}

/// Whether the next byte is escaped.
fn ends_in_backslash(text: &[u8]) -> bool {
    text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests;
