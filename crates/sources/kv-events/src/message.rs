//! Messages as they come over the sockets.

use bytes::Bytes;
use zeromq::ZmqMessage;

/// A batch of the live stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// What it was published under.
    pub topic: Bytes,
    /// Its number.
    pub number: u64,
    /// The batch.
    pub payload: Bytes,
}

/// Who speaks of which model: `kv@POD@MODEL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic<'a> {
    /// `ip:port` of the engine; the whole topic if it is of another form.
    pub pod: &'a str,
    /// The model; empty if the topic is of another form. It may have an `@` in it.
    pub model: &'a str,
}

impl<'a> Topic<'a> {
    /// Takes a topic apart. What is no text says nothing.
    pub fn of(topic: &'a [u8]) -> Self {
        let text = std::str::from_utf8(topic).unwrap_or_default();
        let mut parts = text.splitn(3, '@');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(_), Some(pod), Some(model)) => Self { pod, model },
            _ => Self { pod: text, model: "" },
        }
    }
}

/// A message of the live stream has exactly three frames; others are skipped.
pub(crate) fn live(message: ZmqMessage) -> Option<Live> {
    let [topic, number, payload] = <[Bytes; 3]>::try_from(message.into_vec()).ok()?;
    Some(Live { number: first_eight(&number)?, topic, payload })
}

/// An answer to a request for a repetition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Repeated {
    /// One batch; its topic is told by newer engines.
    Batch { topic: Option<Bytes>, number: u64, payload: Bytes },
    /// That was all.
    End,
}

/// Number of the end of a repetition.
const END: u64 = u64::MAX;

/// An answer has an empty frame, then the topic (newer engines), number and payload.
pub(crate) fn repeated(message: ZmqMessage) -> Option<Repeated> {
    let mut frames = message.into_vec();
    if frames.first().is_some_and(Bytes::is_empty) {
        frames.remove(0);
    }
    let payload = frames.pop()?;
    let number = first_eight(&frames.pop()?)?;
    let topic = frames.pop();
    if !frames.is_empty() {
        return None;
    }
    if number == END && payload.is_empty() {
        return Some(Repeated::End);
    }
    Some(Repeated::Batch { topic, number, payload })
}

/// What is asked for: an empty frame, and the first number wanted.
pub(crate) fn request(from: u64) -> ZmqMessage {
    let mut message = ZmqMessage::from(Bytes::new());
    message.push_back(Bytes::copy_from_slice(&from.to_be_bytes()));
    message
}

fn first_eight(frame: &[u8]) -> Option<u64> {
    frame.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(frames: &[&[u8]]) -> ZmqMessage {
        let frames: Vec<Bytes> = frames.iter().map(|frame| Bytes::copy_from_slice(frame)).collect();
        ZmqMessage::try_from(frames).unwrap()
    }

    #[test]
    fn topics() {
        assert_eq!(Topic::of(b"kv@10.0.0.1:8000@m"), Topic { pod: "10.0.0.1:8000", model: "m" });
        assert_eq!(Topic::of(b"kv@10.0.0.1:8000@org/m@v2"), Topic { pod: "10.0.0.1:8000", model: "org/m@v2" });
        assert_eq!(Topic::of(b"engine-3"), Topic { pod: "engine-3", model: "" });
        assert_eq!(Topic::of(b"kv@x"), Topic { pod: "kv@x", model: "" });
        assert_eq!(Topic::of(&[0xff]), Topic { pod: "", model: "" });
    }

    #[test]
    fn live_messages_have_three_frames() {
        let number = 7_u64.to_be_bytes();
        let found = live(message(&[b"kv@a@m", &number, b"p"])).unwrap();
        assert_eq!((&*found.topic, found.number, &*found.payload), (&b"kv@a@m"[..], 7, &b"p"[..]));
        let longer = [&number[..], b"more"].concat();
        assert_eq!(live(message(&[b"", &longer, b"p"])).unwrap().number, 7);
        for wrong in [&[&b"t"[..], &number][..], &[b"t", &number[..7], b"p"], &[b"t", &number, b"p", b"x"]] {
            assert_eq!(live(message(wrong)), None);
        }
    }

    #[test]
    fn repetitions_in_both_dialects() {
        let (number, end) = (7_u64.to_be_bytes(), [0xff; 8]);
        let batch = |topic: Option<&'static str>| {
            Some(Repeated::Batch { topic: topic.map(Bytes::from_static_str), number: 7, payload: Bytes::from_static(b"p") })
        };
        assert_eq!(repeated(message(&[b"", b"kv@a@m", &number, b"p"])), batch(Some("kv@a@m")));
        assert_eq!(repeated(message(&[b"", &number, b"p"])), batch(None));
        assert_eq!(repeated(message(&[b"", b"", &end, b""])), Some(Repeated::End));
        assert_eq!(repeated(message(&[b"", &end, b""])), Some(Repeated::End));
        assert_eq!(repeated(message(&[b"", &number[..3], b"p"])), None);
        assert_eq!(repeated(message(&[b"x", b"y", b"z", &number, b"p"])), None);
        assert_eq!(request(3).into_vec(), [Bytes::new(), Bytes::copy_from_slice(&3_u64.to_be_bytes())]);
    }

    trait FromStaticStr {
        fn from_static_str(text: &'static str) -> Bytes;
    }

    impl FromStaticStr for Bytes {
        fn from_static_str(text: &'static str) -> Bytes {
            Bytes::from_static(text.as_bytes())
        }
    }
}
