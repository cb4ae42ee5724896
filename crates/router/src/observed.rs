//! What is seen of a response while it passes.

use weir_pool::Time;
use weir_protocol::{Api, ResponseWatch, Usage};

/// Size, times and usage of one response.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) bytes: u64,
    pub(crate) first: Option<Time>,
    pub(crate) last: Option<Time>,
    /// `None`: the response is of no API that reports usage.
    api: Option<Api>,
    /// Unset until the form of the response is known.
    watch: Option<ResponseWatch>,
}

impl Observed {
    /// A response of which nothing came yet; `api`: what it answers, if that is read.
    pub(crate) fn new(api: Option<Api>) -> Self {
        Self { bytes: 0, first: None, last: None, api, watch: None }
    }

    /// The response's `content-type`. `unread` says that its body cannot be read, or says nothing of what was computed.
    pub(crate) fn form(&mut self, content_type: &[u8], unread: bool) {
        if let Some(api) = self.api {
            self.watch = Some(ResponseWatch::new(api, content_type, unread));
        }
    }

    /// A piece of the body came. Returns the moment of the piece before.
    pub(crate) fn piece(&mut self, piece: &[u8], streaming: bool, now: Time) -> Option<Time> {
        self.bytes += piece.len() as u64;
        self.first.get_or_insert(now);
        if let Some(api) = self.api {
            let guessed = || {
                // An error is an object also where a stream was asked for.
                let events = streaming && piece.first() != Some(&b'{');
                ResponseWatch::new(api, if events { b"text/event-stream" } else { b"application/json" }, false)
            };
            self.watch.get_or_insert_with(guessed).feed(piece);
        }
        self.last.replace(now)
    }

    /// What the engine reported, once the body has ended.
    pub(crate) fn usage(&mut self) -> Option<Usage> {
        self.watch.as_mut().and_then(ResponseWatch::finish)
    }
}
