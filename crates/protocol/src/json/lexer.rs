//! A validating reader that is fed: it reads what has arrived, and goes on later where it stopped.
//!
//! No recursion on data, a limit on depth. It wants all bytes so far at each call, from the first one on, and reads each of
//! them once (a cut escape or literal of a few bytes twice).

use super::{
    MAX_DEPTH, Result,
    text::{JsonStr, Shrinkage, Span, hex4, plain_len},
};
use crate::scan::{ScanError, ScanErrorKind as Kind};

/// The type of a value, as its first byte tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

/// A value without parts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scalar {
    Text(JsonStr),
    Other(Span),
}

/// What is told about a document.
pub(crate) trait Visitor {
    /// A value begins at `at`. For an object or an array: whether to tell what is in it.
    fn begin(&mut self, value: Type, at: usize) -> Result<bool>;
    /// The key of the value that comes next.
    fn key(&mut self, body: &[u8], key: JsonStr);
    /// The scalar that was begun last is complete.
    fn scalar(&mut self, body: &[u8], scalar: Scalar) -> Result<()>;
    /// The innermost object or array that was begun is complete; `end` is the offset behind it.
    fn end(&mut self, body: &[u8], end: usize) -> Result<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    FirstElement,
    FirstKey,
    Key,
    Colon,
    /// Behind a value.
    After,
    InString,
    InKey,
    InNumber(Number),
    InWord(&'static [u8]),
}

/// What of a number was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Number {
    const fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::Exponent)
    }
}

/// The reader's place in a document.
#[derive(Debug, Clone)]
pub(crate) struct Lexer {
    at: usize,
    state: State,
    /// Open containers, and one bit for each, the innermost lowest: 1 = object.
    depth: u32,
    kinds: u128,
    /// Depth of the container about whose inside nothing is told; 0: there is none.
    quiet: u32,
    /// Where the string, number or word begins that is being read; a string behind its quote.
    start: usize,
    /// Of that string.
    shrinkage: Shrinkage,
}

impl Default for Lexer {
    fn default() -> Self {
        Self::starting(0)
    }
}

impl Lexer {
    /// A document that begins at offset `at` of the body.
    pub(crate) const fn starting(at: usize) -> Self {
        Self { at, state: State::Value, depth: 0, kinds: 0, quiet: 0, start: at, shrinkage: Shrinkage::NONE }
    }

    #[cold]
    fn fail(&self, kind: Kind) -> Box<ScanError> {
        Box::new(ScanError { offset: self.at, kind })
    }

    /// Reads on to the end of `body`, which is everything so far.
    pub(crate) fn run(&mut self, body: &[u8], visitor: &mut impl Visitor) -> Result<()> {
        loop {
            match self.state {
                State::InString => {
                    let Some(text) = self.string(body)? else { return Ok(()) };
                    self.state = State::After;
                    if self.quiet == 0 {
                        visitor.scalar(body, Scalar::Text(text))?;
                    }
                }
                State::InKey => {
                    let Some(key) = self.string(body)? else { return Ok(()) };
                    self.state = State::Colon;
                    if self.quiet == 0 {
                        visitor.key(body, key);
                    }
                }
                State::InNumber(number) => {
                    if !self.number(body, number)? {
                        return Ok(());
                    }
                    self.other(body, visitor)?;
                }
                State::InWord(word) => {
                    if !self.word(body, word)? {
                        return Ok(());
                    }
                    self.other(body, visitor)?;
                }
                _ => {
                    while let Some(b' ' | b'\n' | b'\r' | b'\t') = body.get(self.at) {
                        self.at += 1;
                    }
                    let Some(&byte) = body.get(self.at) else { return Ok(()) };
                    self.punctuation(byte, body, visitor)?;
                }
            }
        }
    }

    /// Nothing follows `body`: the document must be complete.
    pub(crate) fn finish(&mut self, body: &[u8], visitor: &mut impl Visitor) -> Result<()> {
        match self.state {
            State::InNumber(number) if number.may_end() && self.depth == 0 => self.other(body, visitor),
            State::After if self.depth == 0 => Ok(()),
            State::InString | State::InKey => Err(self.fail(Kind::UnterminatedString)),
            _ => {
                self.at = body.len();
                Err(self.fail(Kind::UnexpectedEnd))
            }
        }
    }

    fn other(&mut self, body: &[u8], visitor: &mut impl Visitor) -> Result<()> {
        self.state = State::After;
        if self.quiet == 0 { visitor.scalar(body, Scalar::Other(Span::new(self.start, self.at))) } else { Ok(()) }
    }

    #[inline]
    fn punctuation(&mut self, byte: u8, body: &[u8], visitor: &mut impl Visitor) -> Result<()> {
        let in_object = self.kinds & 1 == 1;
        match (self.state, byte) {
            (State::After, _) if self.depth == 0 => return Err(self.fail(Kind::TrailingData)),
            (State::After, b',') => self.state = if in_object { State::Key } else { State::Value },
            (State::After, b'}') if in_object => return self.close(body, visitor),
            (State::After, b']') if !in_object => return self.close(body, visitor),
            (State::Colon, b':') => self.state = State::Value,
            (State::Key | State::FirstKey, b'"') => self.open_string(State::InKey),
            (State::FirstKey, b'}') | (State::FirstElement, b']') => return self.close(body, visitor),
            (State::Value | State::FirstElement, _) => return self.begin(byte, visitor),
            _ => return Err(self.fail(Kind::UnexpectedByte)),
        }
        self.at += 1;
        Ok(())
    }

    fn open_string(&mut self, state: State) {
        self.state = state;
        self.start = self.at + 1;
        self.shrinkage = Shrinkage::NONE;
    }

    fn begin(&mut self, byte: u8, visitor: &mut impl Visitor) -> Result<()> {
        let (value, state) = match byte {
            b'"' => (Type::String, State::InString),
            b'{' => (Type::Object, State::FirstKey),
            b'[' => (Type::Array, State::FirstElement),
            b't' => (Type::True, State::InWord(b"true")),
            b'f' => (Type::False, State::InWord(b"false")),
            b'n' => (Type::Null, State::InWord(b"null")),
            b'-' => (Type::Number, State::InNumber(Number::Minus)),
            b'0' => (Type::Number, State::InNumber(Number::Zero)),
            b'1'..=b'9' => (Type::Number, State::InNumber(Number::Digits)),
            _ => return Err(self.fail(Kind::UnexpectedByte)),
        };
        let container = matches!(value, Type::Object | Type::Array);
        if container && self.depth == MAX_DEPTH {
            return Err(self.fail(Kind::TooDeep));
        }
        let tell = self.quiet > 0 || visitor.begin(value, self.at)?;
        match value {
            Type::String => self.open_string(state),
            Type::Object | Type::Array => {
                self.depth += 1;
                self.kinds = self.kinds << 1 | u128::from(value == Type::Object);
                if !tell {
                    self.quiet = self.depth;
                }
                self.state = state;
            }
            _ => {
                self.start = self.at;
                self.state = state;
                // A word is compared from its first byte on.
                if value != Type::Number {
                    return Ok(());
                }
            }
        }
        self.at += 1;
        Ok(())
    }

    fn close(&mut self, body: &[u8], visitor: &mut impl Visitor) -> Result<()> {
        if self.quiet == self.depth {
            self.quiet = 0;
        }
        self.depth -= 1;
        self.kinds >>= 1;
        self.at += 1;
        self.state = State::After;
        if self.quiet == 0 { visitor.end(body, self.at) } else { Ok(()) }
    }

    /// The string, once its closing quote is there.
    fn string(&mut self, body: &[u8]) -> Result<Option<JsonStr>> {
        loop {
            let rest = &body[self.at..];
            self.at += plain_len(rest);
            match body.get(self.at) {
                Some(b'"') => {
                    let span = Span::new(self.start, self.at);
                    self.at += 1;
                    return Ok(Some(JsonStr { span, shrinks: self.shrinkage.bytes }));
                }
                Some(b'\\') => match escape(&body[self.at + 1..]) {
                    Escape::Short => {
                        self.shrinkage.short();
                        self.at += 2;
                    }
                    Escape::Unicode(code) => {
                        self.shrinkage.unicode(self.at, code);
                        self.at += 6;
                    }
                    Escape::Cut => return Ok(None),
                    Escape::Bad => return Err(self.fail(Kind::BadEscape)),
                },
                Some(_) => return Err(self.fail(Kind::ControlCharacter)),
                None => return Ok(None),
            }
        }
    }

    /// Whether the number's end is there.
    fn number(&mut self, body: &[u8], mut number: Number) -> Result<bool> {
        use Number::{Digits, E, Exponent, Fraction, Minus, Point, Sign, Zero};
        for &byte in &body[self.at..] {
            number = match (number, byte) {
                (Minus | Digits, b'1'..=b'9') | (Digits, b'0') => Digits,
                (Minus, b'0') => Zero,
                (Zero | Digits, b'.') => Point,
                (Point | Fraction, b'0'..=b'9') => Fraction,
                (Zero | Digits | Fraction, b'e' | b'E') => E,
                (E, b'+' | b'-') => Sign,
                (E | Sign | Exponent, b'0'..=b'9') => Exponent,
                _ if number.may_end() => return Ok(true),
                _ => return Err(self.fail(Kind::UnexpectedByte)),
            };
            self.at += 1;
        }
        self.state = State::InNumber(number);
        Ok(false)
    }

    /// Whether all of the word is there.
    fn word(&mut self, body: &[u8], word: &[u8]) -> Result<bool> {
        let arrived = &body[self.start..];
        let same = arrived.iter().zip(word).take_while(|(a, b)| a == b).count();
        self.at = self.start + same;
        if same < word.len() && same < arrived.len() {
            return Err(self.fail(Kind::UnexpectedByte));
        }
        Ok(same == word.len())
    }
}

enum Escape {
    /// One byte behind the backslash.
    Short,
    /// A `u` and four digits.
    Unicode(u32),
    /// Its end has not come.
    Cut,
    Bad,
}

/// The escape whose backslash stands before `rest`.
#[inline(always)]
fn escape(rest: &[u8]) -> Escape {
    match rest.first() {
        None => Escape::Cut,
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Escape::Short,
        Some(b'u') => match rest.get(1..5) {
            digits @ Some(_) => hex4(digits).map_or(Escape::Bad, Escape::Unicode),
            None if rest[1..].iter().all(u8::is_ascii_hexdigit) => Escape::Cut,
            None => Escape::Bad,
        },
        Some(_) => Escape::Bad,
    }
}
