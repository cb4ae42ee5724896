//! The protobuf wire format: <https://protobuf.dev/programming-guides/encoding/>.

use crate::json::Span;

/// Bytes that are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Where.
    pub(crate) offset: usize,
}

/// A field's value by its wire type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// A number, with the bytes that it was read from.
    Varint(u64, Span),
    /// A fixed number, which nobody here asks for.
    Fixed,
    /// Text, bytes, a message inside, or packed numbers.
    Bytes(Span),
}

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) value: Value,
}

/// The fields of the message in a range of `body`, in the order in which they stand there.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'b> {
    body: &'b [u8],
    at: usize,
}

impl<'b> Fields<'b> {
    pub(crate) fn of(body: &'b [u8], message: Span) -> Self {
        // Offsets stay those of the whole body.
        Self { body: body.get(..message.end as usize).unwrap_or_default(), at: message.start as usize }
    }

    fn read(&mut self) -> Result<Field, Malformed> {
        let malformed = Malformed { offset: self.at };
        let (key, len) = varint(&self.body[self.at..]).ok_or(malformed)?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0).ok_or(malformed)?;
        self.at += len;
        let rest = &self.body[self.at..];
        let (value, len) = match key & 7 {
            0 => {
                let (value, len) = varint(rest).ok_or(malformed)?;
                (Value::Varint(value, Span::new(self.at, self.at + len)), len)
            }
            1 => (Value::Fixed, 8),
            5 => (Value::Fixed, 4),
            2 => {
                let (inner, prefix) = varint(rest).ok_or(malformed)?;
                let len = usize::try_from(inner).ok().and_then(|inner| inner.checked_add(prefix)).ok_or(malformed)?;
                if len > rest.len() {
                    return Err(malformed);
                }
                (Value::Bytes(Span::new(self.at + prefix, self.at + len)), len)
            }
            // Groups are gone since proto3.
            _ => return Err(malformed),
        };
        if len > rest.len() {
            return Err(malformed);
        }
        self.at += len;
        Ok(Field { number, value })
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<Field, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.body.len() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.at = self.body.len();
        }
        Some(field)
    }
}

/// A number and the bytes it takes.
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

/// How many numbers stand in `packed`; `None` if it is cut or one is too long.
pub(crate) fn varints(packed: &[u8]) -> Option<usize> {
    let (mut count, mut run) = (0, 0);
    for byte in packed {
        run += 1;
        if byte & 0x80 == 0 {
            (count, run) = (count + 1, 0);
        } else if run == 10 {
            return None;
        }
    }
    (run == 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &[u8]) -> Result<Vec<Field>, Malformed> {
        Fields::of(body, Span::new(0, body.len())).collect()
    }

    #[test]
    fn the_encoding_guides_examples() {
        assert_eq!(
            fields(&[0x08, 0x96, 0x01]),
            Ok(vec![Field { number: 1, value: Value::Varint(150, Span { start: 1, end: 3 }) }])
        );
        let nested = [0x1a, 0x03, 0x08, 0x96, 0x01];
        assert_eq!(fields(&nested), Ok(vec![Field { number: 3, value: Value::Bytes(Span { start: 2, end: 5 }) }]));
        assert_eq!(varints(&[3, 0x8e, 2, 0x9e, 0xa7, 5]), Some(3));
        assert_eq!(fields(&[0x0d, 1, 2, 3, 4, 0x11, 1, 2, 3, 4, 5, 6, 7, 8]).map(|all| all.len()), Ok(2));
        assert_eq!(fields(&[]), Ok(vec![]));
    }

    #[test]
    fn malformed_messages_are_located() {
        for (body, offset) in [
            (&[0x08][..], 0),
            (&[0x08, 0x80], 0),
            (&[0x00, 0x01], 0),
            (&[0x08, 0x01, 0x12, 0x05, 0x00], 2),
            (&[0x0b], 0),
            (&[0x0d, 1, 2], 0),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 0),
            (&[0xff; 12], 0),
        ] {
            assert_eq!(fields(body), Err(Malformed { offset }), "{body:x?}");
        }
        assert_eq!(varints(&[0x80]), None);
        assert_eq!(varints(&[0x80; 10]), None);
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut rng = fastrand::Rng::with_seed(17);
        for _ in 0..50_000 {
            let body: Vec<u8> = (0..rng.usize(..40)).map(|_| if rng.bool() { rng.u8(..32) } else { rng.u8(..) }).collect();
            for field in Fields::of(&body, Span::new(0, body.len())).flatten() {
                if let Value::Bytes(span) = field.value {
                    assert!(span.end as usize <= body.len());
                }
            }
        }
    }
}
