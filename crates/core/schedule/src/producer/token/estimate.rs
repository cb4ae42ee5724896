//! Tokens without a tokenizer, as llm-d estimates them.

use http::HeaderMap;
use weir_api::headers::{VIDEO_DURATION_SECONDS, VIDEO_FPS, VIDEO_RESOLUTION};
use weir_plan::{PromptSink, PromptStream, RequestView};
use weir_protocol::{JsonStr, MediaKind, Piece, Segment, TokenIds};
use xxhash_rust::xxh64::Xxh64;

use super::{
    image_size::image_size,
    params::{EstimateParams, FrameMode, ImageParams, Resolution, SizeMode, VideoParams},
};

/// Most tokens of one image, video or sound, whatever its header claims.
const MAX_MEDIA_TOKENS: u64 = 1 << 20;

/// Text bytes in groups of four are tokens as they stand; a media part is one token, made from the hash of its reference, as
/// many times as an encoder would make tokens of it.
pub(super) struct Estimate {
    image: ImageParams,
    video: VideoParams,
}

impl Estimate {
    pub(super) fn new(params: &EstimateParams) -> Self {
        Self { image: params.image, video: params.video }
    }

    fn image_tokens(&self, reference: JsonStr, body: &[u8]) -> u64 {
        match self.image.mode {
            SizeMode::Static => u64::from(self.image.fixed.static_token),
            SizeMode::Dynamic => {
                let size = image_size(reference.decode(body).as_bytes()).unwrap_or(self.image.default_resolution);
                pixels(size) / u64::from(self.image.dynamic.factor.max(1))
            }
        }
    }

    fn video_tokens(&self, headers: &HeaderMap) -> u64 {
        let video = &self.video;
        let seconds = number(headers, VIDEO_DURATION_SECONDS).unwrap_or(video.default_duration);
        let frames = &video.frames;
        let most = if frames.max_frames == 0 { u64::MAX } else { frames.max_frames.into() };
        let within = |count: u64| count.max(frames.min_frames.into()).min(most);
        let count = match frames.mode {
            FrameMode::Sampled => {
                let sampled = within((seconds * frames.sampled.sample_fps) as u64);
                sampled / u64::from(frames.sampled.temporal_patch_size.max(1))
            }
            FrameMode::Strided => {
                let fps = number(headers, VIDEO_FPS).unwrap_or(frames.strided.default_source_fps);
                within((seconds * fps) as u64 / u64::from(frames.strided.frame_stride.max(1)))
            }
        };
        let per_frame = match video.tokens_per_frame.mode {
            SizeMode::Static => u64::from(video.tokens_per_frame.fixed.num_tokens_per_frame),
            SizeMode::Dynamic => {
                let size = resolution(headers).unwrap_or(video.default_resolution);
                pixels(size) / u64::from(video.tokens_per_frame.dynamic.factor.max(1))
            }
        };
        let tokens = count.saturating_mul(per_frame.max(1));
        if video.max_video_tokens == 0 { tokens } else { tokens.min(video.max_video_tokens.into()) }
    }

    fn media(&self, kind: MediaKind, reference: JsonStr, request: &RequestView<'_>, sink: &mut dyn PromptSink) {
        let mut hash = Xxh64::new(0);
        let mut bytes = 0_u64;
        reference.chunks(request.body, &mut |chunk| {
            hash.update(chunk);
            bytes += chunk.len() as u64;
        });
        let tokens = match kind {
            MediaKind::Image => self.image_tokens(reference, request.body),
            MediaKind::Video => self.video_tokens(request.headers),
            _ => bytes.div_ceil(4),
        };
        let (hash, tokens) = (hash.digest(), tokens.clamp(1, MAX_MEDIA_TOKENS) as u32);
        sink.estimated();
        sink.align();
        sink.media(kind, hash, tokens);
        sink.repeat(hash as u32, tokens);
    }
}

impl PromptStream for Estimate {
    fn stream(&self, request: &RequestView<'_>, sink: &mut dyn PromptSink) -> bool {
        let Some(scanned) = request.scanned else { return false };
        for segment in scanned.segments() {
            if let Segment::Text(string) = segment {
                sink.estimated();
                text(*string, request.body, sink);
                continue;
            }
            segment.pieces(request.body, &mut |piece| match piece {
                Piece::Bytes(bytes) => {
                    sink.estimated();
                    sink.bytes(bytes);
                }
                Piece::Media { kind, reference } => self.media(kind, reference, request, sink),
                Piece::TokenIds(ids) => token_ids(ids, sink),
                Piece::PromptBreak => sink.next_prompt(),
                _ => {}
            });
        }
        true
    }
}

/// Text is decoded as long as somebody looks at it.
fn text(string: JsonStr, body: &[u8], sink: &mut dyn PromptSink) {
    let mut left = string.decoded_len();
    if sink.wants_bytes() {
        string.chunks_while(body, &mut |chunk| {
            sink.bytes(chunk);
            left = left.saturating_sub(chunk.len());
            sink.wants_bytes()
        });
    }
    if left > 0 {
        sink.skip(left as u64);
    }
}

fn token_ids(mut ids: TokenIds<'_>, sink: &mut dyn PromptSink) {
    sink.align();
    let mut buffer = [0; 256];
    loop {
        if !sink.wants_bytes() {
            sink.skip(4 * ids.left() as u64);
            return;
        }
        let mut used = 0;
        for (place, id) in buffer.chunks_exact_mut(4).zip(&mut ids) {
            place.copy_from_slice(&id.to_le_bytes());
            used += 4;
        }
        sink.bytes(&buffer[..used]);
        if used < buffer.len() {
            return;
        }
    }
}

fn pixels(size: Resolution) -> u64 {
    u64::from(size.width) * u64::from(size.height)
}

/// A finite number above 0 in a header.
fn number(headers: &HeaderMap, name: &str) -> Option<f64> {
    let value: f64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
    (value.is_finite() && value > 0.0).then_some(value)
}

/// `WxH`.
fn resolution(headers: &HeaderMap) -> Option<Resolution> {
    let (width, height) = headers.get(VIDEO_RESOLUTION)?.to_str().ok()?.trim().split_once(['x', 'X'])?;
    let size = Resolution { width: width.parse().ok()?, height: height.parse().ok()? };
    (size.width > 0 && size.height > 0).then_some(size)
}
