//! The reader: one pass, no recursion on data, a limit on depth.

use super::{
    MAX_DEPTH, Result,
    text::{JsonStr, Shrinkage, Span, hex4, plain_len},
};
use crate::scan::{ScanError, ScanErrorKind as Kind};

/// Longest key that is compared when it is written with escapes.
const KEY_BUFFER: usize = 32;

pub(crate) struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    /// Starts in the middle.
    pub(crate) const fn starting(body: &'a [u8], at: usize) -> Self {
        Self { body, at }
    }

    pub(crate) const fn body(&self) -> &'a [u8] {
        self.body
    }

    #[cold]
    pub(crate) fn fail(&self, kind: Kind) -> Box<ScanError> {
        Box::new(ScanError { offset: self.at, kind })
    }

    #[inline(always)]
    fn peek(&self) -> Result<u8> {
        match self.body.get(self.at) {
            Some(&byte) => Ok(byte),
            None => Err(self.fail(Kind::UnexpectedEnd)),
        }
    }

    #[inline(always)]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.body.get(self.at) {
            self.at += 1;
        }
    }

    /// The first byte of the next value (or punctuation), which stays unread.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<u8> {
        self.skip_space();
        self.peek()
    }

    /// Only white space may be left.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.skip_space();
        match self.body.get(self.at) {
            None => Ok(()),
            Some(_) => Err(self.fail(Kind::TrailingData)),
        }
    }

    /// Reads the string whose opening quote is next.
    pub(crate) fn string(&mut self) -> Result<JsonStr> {
        if self.next()? != b'"' {
            return Err(self.fail(Kind::UnexpectedByte));
        }
        self.at += 1;
        let start = self.at;
        let mut shrinkage = Shrinkage::NONE;
        loop {
            let rest = &self.body[self.at..];
            self.at += plain_len(rest);
            match self.body.get(self.at) {
                Some(b'"') => {
                    let span = Span::new(start, self.at);
                    self.at += 1;
                    return Ok(JsonStr { span, shrinks: shrinkage.bytes });
                }
                Some(b'\\') => {
                    self.escape(&mut shrinkage)?;
                }
                Some(_) => return Err(self.fail(Kind::ControlCharacter)),
                None => return Err(self.fail(Kind::UnterminatedString)),
            }
        }
    }

    #[inline(always)]
    fn escape(&mut self, shrinkage: &mut Shrinkage) -> Result<()> {
        match self.body.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                shrinkage.short();
                self.at += 2;
            }
            Some(b'u') => {
                let Some(code) = hex4(self.body.get(self.at + 2..self.at + 6)) else { return Err(self.fail(Kind::BadEscape)) };
                shrinkage.unicode(self.at, code);
                self.at += 6;
            }
            None => return Err(self.fail(Kind::UnterminatedString)),
            Some(_) => return Err(self.fail(Kind::BadEscape)),
        }
        Ok(())
    }

    /// Reads an object that is `depth` containers deep (1 = outermost); `f` gets each key and must
    /// consume the value.
    pub(crate) fn object(&mut self, depth: u32, mut f: impl FnMut(&mut Self, &[u8]) -> Result<()>) -> Result<()> {
        self.open(b'{', depth)?;
        if self.next()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        self.member(&mut f)?;
        self.object_rest(f)
    }

    /// Reads what follows a value in an object: more members, and the closing brace.
    pub(crate) fn object_rest(&mut self, mut f: impl FnMut(&mut Self, &[u8]) -> Result<()>) -> Result<()> {
        loop {
            match self.next()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.fail(Kind::UnexpectedByte)),
            }
            self.member(&mut f)?;
        }
    }

    #[inline]
    fn member(&mut self, f: &mut impl FnMut(&mut Self, &[u8]) -> Result<()>) -> Result<()> {
        let key = self.key()?;
        let (body, mut buffer) = (self.body, [0; KEY_BUFFER]);
        // A longer escaped key is none that anybody asks for.
        f(self, key.short(body, &mut buffer).unwrap_or_default())
    }

    fn open(&mut self, bracket: u8, depth: u32) -> Result<()> {
        if self.next()? != bracket {
            return Err(self.fail(Kind::UnexpectedByte));
        }
        if depth > MAX_DEPTH {
            return Err(self.fail(Kind::TooDeep));
        }
        self.at += 1;
        Ok(())
    }

    fn key(&mut self) -> Result<JsonStr> {
        let key = self.string()?;
        if self.next()? != b':' {
            return Err(self.fail(Kind::UnexpectedByte));
        }
        self.at += 1;
        Ok(key)
    }

    /// Passes over one value, inside `depth` containers, checking it whole.
    pub(crate) fn skip(&mut self, depth: u32) -> Result<Span> {
        self.next()?;
        let start = self.at;
        // One bit per open container, the innermost lowest: 1 = object.
        let mut kinds = 0u128;
        let mut open = 0;
        loop {
            let byte = self.next()?;
            match byte {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    let object = byte == b'{';
                    open += 1;
                    self.open(byte, depth + open)?;
                    kinds = kinds << 1 | u128::from(object);
                    // Both closing brackets are two above their opening one.
                    if self.next()? != byte + 2 {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                    self.at += 1;
                    open -= 1;
                    kinds >>= 1;
                }
                _ => self.scalar(byte)?,
            }
            while open > 0 {
                let object = kinds & 1 == 1;
                match self.next()? {
                    b',' => {
                        self.at += 1;
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if object => {}
                    b']' if !object => {}
                    _ => return Err(self.fail(Kind::UnexpectedByte)),
                }
                self.at += 1;
                open -= 1;
                kinds >>= 1;
            }
            if open == 0 {
                return Ok(Span::new(start, self.at));
            }
        }
    }

    fn scalar(&mut self, first: u8) -> Result<()> {
        let word: &[u8] = match first {
            b't' => b"true",
            b'f' => b"false",
            b'n' => b"null",
            b'-' | b'0'..=b'9' => return self.number(),
            _ => return Err(self.fail(Kind::UnexpectedByte)),
        };
        let left = &self.body[self.at..];
        let same = left.iter().zip(word).take_while(|(a, b)| a == b).count();
        self.at += same;
        match (same == word.len(), same == left.len()) {
            (true, _) => Ok(()),
            (false, true) => Err(self.fail(Kind::UnexpectedEnd)),
            (false, false) => Err(self.fail(Kind::UnexpectedByte)),
        }
    }

    fn number(&mut self) -> Result<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.body.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.body.get(self.at) {
            self.at += 1;
            if let b'+' | b'-' = self.peek()? {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<()> {
        if !self.peek()?.is_ascii_digit() {
            return Err(self.fail(Kind::UnexpectedByte));
        }
        while self.body.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        Ok(())
    }
}
