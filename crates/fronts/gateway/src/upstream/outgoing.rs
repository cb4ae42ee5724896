//! The body of a request on its way to an endpoint.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// A whole body, or one that still arrives from the client.
pub(crate) enum Outgoing {
    Whole(Bytes),
    Upload(Box<Upload>),
}

/// A body that is passed on while it arrives, because nobody wants to look into it. It cannot be sent twice.
pub(crate) struct Upload {
    /// What arrived before it was clear that it is long.
    pub(crate) begin: Bytes,
    pub(crate) rest: Incoming,
    /// Bytes that `rest` may still have.
    pub(crate) allowed: u64,
    pub(crate) watch: Arc<UploadWatch>,
}

/// What the sender of an [`Upload`] wants to know of it.
#[derive(Debug, Default)]
pub(crate) struct UploadWatch {
    /// Something arrived since this was last asked.
    moved: AtomicBool,
    /// It grew beyond what is allowed.
    too_large: AtomicBool,
    /// The client broke it off.
    broken: AtomicBool,
}

impl UploadWatch {
    pub(crate) fn moved(&self) -> bool {
        self.moved.swap(false, Relaxed)
    }

    pub(crate) fn too_large(&self) -> bool {
        self.too_large.load(Relaxed)
    }

    pub(crate) fn broken(&self) -> bool {
        self.broken.load(Relaxed)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the request's body exceeds the limit")]
    TooLarge,
    #[error("the client broke off")]
    Broken,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Upload(upload) => upload.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Upload(upload) => upload.begin.is_empty() && upload.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Upload(upload) => match upload.rest.size_hint().exact() {
                Some(rest) => SizeHint::with_exact(rest + upload.begin.len() as u64),
                None => SizeHint::default(),
            },
        }
    }
}

impl Upload {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if !self.begin.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.begin)))));
        }
        loop {
            let frame = match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => {
                    self.watch.broken.store(true, Relaxed);
                    return Poll::Ready(Some(Err(UploadError::Broken)));
                }
                None => return Poll::Ready(None),
            };
            let Ok(data) = frame.into_data() else { continue };
            self.watch.moved.store(true, Relaxed);
            let Some(allowed) = self.allowed.checked_sub(data.len() as u64) else {
                self.watch.too_large.store(true, Relaxed);
                return Poll::Ready(Some(Err(UploadError::TooLarge)));
            };
            self.allowed = allowed;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }
}
