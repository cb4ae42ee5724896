//! Reads msgpack where it lies.

/// Why bytes are no msgpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end inside a value.
    #[error("msgpack ends inside a value")]
    Truncated,
    /// A byte that begins no value.
    #[error("msgpack has the reserved byte 0xc1")]
    Reserved,
}

/// One value; the content of lists follows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Nil,
    Bool,
    Unsigned(u64),
    /// Below zero.
    Negative(i64),
    Float(f64),
    Str(&'a [u8]),
    Bin(&'a [u8]),
    /// This many values follow.
    Array(u32),
    /// This many pairs follow.
    Map(u32),
    Ext,
}

/// A place in msgpack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next value, without what it contains.
    pub(crate) fn next(&mut self) -> Result<Value<'a>, Malformed> {
        let kind = self.byte()?;
        Ok(match kind {
            0x00..=0x7f => Value::Unsigned(u64::from(kind)),
            0x80..=0x8f => Value::Map(u32::from(kind & 0x0f)),
            0x90..=0x9f => Value::Array(u32::from(kind & 0x0f)),
            0xa0..=0xbf => Value::Str(self.take(usize::from(kind & 0x1f))?),
            0xc0 => Value::Nil,
            0xc1 => return Err(Malformed::Reserved),
            0xc2 | 0xc3 => Value::Bool,
            0xc4..=0xc6 => {
                let len = self.length(kind - 0xc4)?;
                Value::Bin(self.take(len)?)
            }
            0xc7..=0xc9 => {
                let len = self.length(kind - 0xc7)?;
                self.take(1)?;
                self.take(len)?;
                Value::Ext
            }
            0xca => Value::Float(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Value::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Value::Unsigned(u64::from(self.byte()?)),
            0xcd => Value::Unsigned(u64::from(u16::from_be_bytes(self.array()?))),
            0xce => Value::Unsigned(u64::from(u32::from_be_bytes(self.array()?))),
            0xcf => Value::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => signed(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => signed(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => signed(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => signed(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => {
                self.take(1 + (1 << (kind - 0xd4)))?;
                Value::Ext
            }
            0xd9..=0xdb => {
                let len = self.length(kind - 0xd9)?;
                Value::Str(self.take(len)?)
            }
            0xdc => Value::Array(u32::from(u16::from_be_bytes(self.array()?))),
            0xdd => Value::Array(u32::from_be_bytes(self.array()?)),
            0xde => Value::Map(u32::from(u16::from_be_bytes(self.array()?))),
            0xdf => Value::Map(u32::from_be_bytes(self.array()?)),
            0xe0..=0xff => Value::Negative(i64::from(kind as i8)),
        })
    }

    /// Steps over the next value and all that it contains; gives its bytes. Depth costs nothing.
    pub(crate) fn skip(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.rest;
        let mut left = 1_u64;
        while left > 0 {
            left -= 1;
            match self.next()? {
                Value::Array(len) => left += u64::from(len),
                Value::Map(pairs) => left += 2 * u64::from(pairs),
                _ => {}
            }
        }
        Ok(&start[..start.len() - self.rest.len()])
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A length of 1, 2 or 4 bytes.
    fn length(&mut self, width: u8) -> Result<usize, Malformed> {
        Ok(match width {
            0 => usize::from(self.byte()?),
            1 => usize::from(u16::from_be_bytes(self.array()?)),
            _ => u32::from_be_bytes(self.array()?) as usize,
        })
    }
}

fn signed<'a>(value: i64) -> Value<'a> {
    u64::try_from(value).map_or(Value::Negative(value), Value::Unsigned)
}
