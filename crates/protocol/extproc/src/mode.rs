//! How a proxy sends bodies.

/// How a body is sent (`ProcessingMode.BodySendMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BodyMode {
    /// Not at all.
    None,
    /// In pieces, each of which waits for its answer. The headers are answered, and sent on, before.
    Streamed,
    /// As one message; a body that is too long for the proxy never gets here.
    Buffered,
    /// As one message that holds the body, or the beginning of one that is too long.
    BufferedPartial,
    /// In pieces; answers are pieces of their own, as many as one likes and when one likes.
    #[default]
    FullDuplex,
}

impl BodyMode {
    /// By its number in the protocol. `None`: it is not known.
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Streamed),
            2 => Some(Self::Buffered),
            3 => Some(Self::BufferedPartial),
            4 => Some(Self::FullDuplex),
            _ => None,
        }
    }

    /// Whether the end of the body is seen.
    pub(crate) const fn shows_end(self) -> bool {
        matches!(self, Self::Streamed | Self::Buffered | Self::FullDuplex)
    }
}

/// How a proxy sends the bodies of a request and of its response (`ProtocolConfiguration`, in the first message of a stream).
/// Proxies that do not say so stream in full duplex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Modes {
    /// The request's.
    pub request: BodyMode,
    /// The response's.
    pub response: BodyMode,
    /// Pieces of a streamed body come although the headers have not been answered.
    pub eager: bool,
}
