//! Messages in a stream of bytes.

use super::request::PREFIX;

/// Longer messages are passed over.
const MAX_MESSAGE: usize = 1 << 20;

/// Cuts a body into gRPC messages, as its bytes come. Holds one message at most, and only one that is cut.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frames {
    /// The beginning of a message with its prefix.
    held: Vec<u8>,
    /// Bytes of a long message that are still to be passed over.
    skip: usize,
}

impl Frames {
    /// The next bytes. Each whole message goes to `f`; `None` stands for one that cannot be read: compressed, or too long.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], f: &mut impl FnMut(Option<&[u8]>)) {
        loop {
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len());
                self.skip -= passed;
                bytes = &bytes[passed..];
            }
            if bytes.is_empty() {
                return;
            }
            if self.held.is_empty() {
                match whole(bytes) {
                    Prefixed::Message(len, readable) => {
                        f(readable.then(|| &bytes[PREFIX..len]));
                        bytes = &bytes[len..];
                    }
                    Prefixed::Cut => {
                        self.held.extend_from_slice(bytes);
                        return;
                    }
                    Prefixed::Long(len) => {
                        f(None);
                        self.skip = len;
                    }
                }
                continue;
            }
            let wanted = match self.held.first_chunk::<PREFIX>() {
                None => PREFIX,
                Some(prefix) => PREFIX + length(*prefix),
            };
            let missing = (wanted - self.held.len()).min(bytes.len());
            self.held.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            match whole(&self.held) {
                Prefixed::Message(len, readable) => f(readable.then(|| &self.held[PREFIX..len])),
                Prefixed::Cut => continue,
                Prefixed::Long(len) => {
                    f(None);
                    self.skip = len - self.held.len();
                }
            }
            self.held.clear();
        }
    }
}

enum Prefixed {
    /// A message of so many bytes with its prefix, and whether it can be read.
    Message(usize, bool),
    Cut,
    Long(usize),
}

fn whole(bytes: &[u8]) -> Prefixed {
    let Some(prefix) = bytes.first_chunk::<PREFIX>() else { return Prefixed::Cut };
    let len = PREFIX + length(*prefix);
    if len - PREFIX > MAX_MESSAGE {
        Prefixed::Long(len)
    } else if len > bytes.len() {
        Prefixed::Cut
    } else {
        Prefixed::Message(len, prefix[0] == 0)
    }
}

fn length([_, a, b, c, d]: [u8; PREFIX]) -> usize {
    u32::from_be_bytes([a, b, c, d]) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8], flag: u8) -> Vec<u8> {
        [&[flag][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    fn messages(body: &[u8], mut next_len: impl FnMut() -> usize) -> Vec<Option<Vec<u8>>> {
        let (mut frames, mut seen, mut rest) = (Frames::default(), Vec::new(), body);
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at(next_len().clamp(1, rest.len()));
            frames.feed(chunk, &mut |message| seen.push(message.map(<[u8]>::to_vec)));
            rest = tail;
        }
        assert!(frames.held.len() <= MAX_MESSAGE + PREFIX);
        seen
    }

    #[test]
    fn every_cut_gives_the_same_messages() {
        let long = vec![7; MAX_MESSAGE + 1];
        let body = [
            framed(b"one", 0),
            framed(b"", 0),
            framed(b"zip", 1),
            framed(&long, 0),
            framed(&[1; 300], 0),
            framed(b"cut", 0)[..6].to_vec(),
        ]
        .concat();
        let want = [Some(b"one".to_vec()), Some(vec![]), None, None, Some(vec![1; 300])];
        assert_eq!(messages(&body, || usize::MAX), want);
        let mut rng = fastrand::Rng::with_seed(3);
        for most in [1, 2, 5, 6, 7, 1000, 100_000] {
            assert_eq!(messages(&body, || rng.usize(1..=most)), want, "{most}");
        }
    }
}
