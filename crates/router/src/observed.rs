//! What is seen of a response while it passes.

use weir_pool::Time;
use weir_protocol::{JsonUsageTail, SseUsage, Usage};

/// Size, times and usage of one response.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) bytes: u64,
    pub(crate) first: Option<Time>,
    pub(crate) last: Option<Time>,
    usage: Reader,
}

/// How the usage is found.
#[derive(Debug)]
enum Reader {
    /// The response is of an API that reports none.
    None,
    /// Nothing came yet.
    Undecided,
    Events(SseUsage),
    Whole(JsonUsageTail),
}

impl Observed {
    /// A response of which nothing came yet; `parsed`: its API reports usage.
    pub(crate) fn new(parsed: bool) -> Self {
        let usage = if parsed { Reader::Undecided } else { Reader::None };
        Self { bytes: 0, first: None, last: None, usage }
    }

    /// A piece of the body came. Returns the moment of the piece before.
    pub(crate) fn piece(&mut self, piece: &[u8], streaming: bool, now: Time) -> Option<Time> {
        self.bytes += piece.len() as u64;
        self.first.get_or_insert(now);
        if matches!(self.usage, Reader::Undecided) {
            // An error is an object also where a stream was asked for.
            let events = streaming && piece.first() != Some(&b'{');
            self.usage = if events { Reader::Events(SseUsage::new()) } else { Reader::Whole(JsonUsageTail::new()) };
        }
        match &mut self.usage {
            Reader::None | Reader::Undecided => {}
            Reader::Events(events) => events.feed(piece),
            Reader::Whole(whole) => whole.feed(piece),
        }
        self.last.replace(now)
    }

    /// What the engine reported, once the body has ended.
    pub(crate) fn usage(&mut self) -> Option<Usage> {
        match &mut self.usage {
            Reader::None | Reader::Undecided => None,
            Reader::Events(events) => events.finish(),
            Reader::Whole(whole) => whole.finish(),
        }
    }
}
