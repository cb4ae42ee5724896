//! Parameters of `token-producer`.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::GoDuration;

/// Which tokenizer; without any, tokens are estimated.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Params {
    /// Four bytes of text count as one token.
    pub(super) estimate: Option<EstimateParams>,
    /// vLLM's render endpoints. Not yet active: tokens are estimated.
    pub(super) vllm: Option<VllmParams>,
    /// A tokenizer behind a Unix socket (deprecated). Not yet active: tokens are estimated.
    pub(super) uds_tokenizer_config: Option<UdsParams>,
    /// Model that the tokenizer is asked for. Required unless tokens are estimated.
    pub(super) model_name: Option<String>,
}

/// vLLM's render endpoints.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct VllmParams {
    /// Where they are.
    url: String,
    /// Longest wait for a prompt of text.
    timeout: GoDuration,
    /// Longest wait for a prompt with images or videos.
    mm_timeout: GoDuration,
}

impl Default for VllmParams {
    fn default() -> Self {
        let (timeout, mm_timeout) = (GoDuration::from_secs(5), GoDuration::from_secs(30));
        Self { url: "http://localhost:8000".to_owned(), timeout, mm_timeout }
    }
}

/// A tokenizer behind a Unix socket.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct UdsParams {
    /// Path of the socket.
    socket_file: String,
}

/// How tokens are estimated.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct EstimateParams {
    /// Tokens of an image.
    pub(super) image: ImageParams,
    /// Tokens of a video.
    pub(super) video: VideoParams,
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Resolution {
    /// Pixels in a row.
    pub(super) width: u32,
    /// Rows.
    pub(super) height: u32,
}

impl Default for Resolution {
    fn default() -> Self {
        Self { width: 640, height: 360 }
    }
}

/// Whether tokens depend on the size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SizeMode {
    /// Pixels divided by a factor.
    #[default]
    Dynamic,
    /// A fixed number.
    Static,
}

/// `dynamic.factor`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Dynamic {
    /// Pixels per token.
    pub(super) factor: u32,
}

impl Default for Dynamic {
    fn default() -> Self {
        Self { factor: 1_024 }
    }
}

/// Tokens of an image.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ImageParams {
    /// Whether they depend on its size.
    pub(super) mode: SizeMode,
    /// Size of an image whose own cannot be read from its data (PNG, JPEG and GIF in data URLs can).
    pub(super) default_resolution: Resolution,
    /// For mode `dynamic`.
    pub(super) dynamic: Dynamic,
    /// For mode `static`.
    #[serde(rename = "static")]
    pub(super) fixed: StaticImage,
}

/// `static.staticToken`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct StaticImage {
    /// Tokens of every image; 0 counts as 1.
    pub(super) static_token: u32,
}

impl Default for StaticImage {
    fn default() -> Self {
        Self { static_token: 1 }
    }
}

/// Tokens of a video: frames times tokens per frame. Request headers may say more about it than is configured here.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct VideoParams {
    /// Size of a frame.
    pub(super) default_resolution: Resolution,
    /// Length in seconds.
    pub(super) default_duration: f64,
    /// Tokens of a frame.
    pub(super) tokens_per_frame: TokensPerFrame,
    /// Number of frames.
    pub(super) frames: Frames,
    /// Most tokens of a video; 0: no limit.
    pub(super) max_video_tokens: u32,
}

impl Default for VideoParams {
    fn default() -> Self {
        Self {
            default_resolution: Resolution::default(),
            default_duration: 10.0,
            tokens_per_frame: TokensPerFrame::default(),
            frames: Frames::default(),
            max_video_tokens: 0,
        }
    }
}

/// Tokens of a frame.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct TokensPerFrame {
    /// Whether they depend on its size.
    pub(super) mode: SizeMode,
    /// For mode `dynamic`.
    pub(super) dynamic: Dynamic,
    /// For mode `static`.
    #[serde(rename = "static")]
    pub(super) fixed: StaticFrame,
}

/// `static.numTokensPerFrame`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct StaticFrame {
    /// Tokens of every frame; 0 counts as 1.
    pub(super) num_tokens_per_frame: u32,
}

impl Default for StaticFrame {
    fn default() -> Self {
        Self { num_tokens_per_frame: 1 }
    }
}

/// Number of frames.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Frames {
    /// How frames are taken.
    pub(super) mode: FrameMode,
    /// Fewest frames; 0: no limit.
    pub(super) min_frames: u32,
    /// Most frames; 0: no limit.
    pub(super) max_frames: u32,
    /// For mode `sampled`.
    pub(super) sampled: Sampled,
    /// For mode `strided`.
    pub(super) strided: Strided,
}

/// How frames are taken from a video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FrameMode {
    /// So many a second.
    #[default]
    Sampled,
    /// Every n-th.
    Strided,
}

/// So many frames a second.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Sampled {
    /// Frames taken per second.
    #[serde(rename = "sampleFPS")]
    pub(super) sample_fps: f64,
    /// Frames that are merged into one; 0 and 1: none are.
    pub(super) temporal_patch_size: u32,
}

impl Default for Sampled {
    fn default() -> Self {
        Self { sample_fps: 2.0, temporal_patch_size: 0 }
    }
}

/// Every n-th frame.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Strided {
    /// Frames per second of the video.
    #[serde(rename = "defaultSourceFPS")]
    pub(super) default_source_fps: f64,
    /// One of so many frames is taken; 0 counts as 1.
    pub(super) frame_stride: u32,
}

impl Default for Strided {
    fn default() -> Self {
        Self { default_source_fps: 24.0, frame_stride: 1 }
    }
}

impl EstimateParams {
    /// What serde cannot check: the field, and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let Self { image, video } = self;
        let above_zero: [(&str, f64); 9] = [
            ("estimate.image.dynamic.factor", image.dynamic.factor.into()),
            ("estimate.image.defaultResolution.width", image.default_resolution.width.into()),
            ("estimate.image.defaultResolution.height", image.default_resolution.height.into()),
            ("estimate.video.tokensPerFrame.dynamic.factor", video.tokens_per_frame.dynamic.factor.into()),
            ("estimate.video.defaultResolution.width", video.default_resolution.width.into()),
            ("estimate.video.defaultResolution.height", video.default_resolution.height.into()),
            ("estimate.video.defaultDuration", video.default_duration),
            ("estimate.video.frames.sampled.sampleFPS", video.frames.sampled.sample_fps),
            ("estimate.video.frames.strided.defaultSourceFPS", video.frames.strided.default_source_fps),
        ];
        if let Some((field, _)) = above_zero.into_iter().find(|(_, value)| !value.is_finite() || *value <= 0.0) {
            return Err((field, "must be above 0"));
        }
        let Frames { min_frames, max_frames, .. } = video.frames;
        if max_frames > 0 && min_frames > max_frames {
            return Err(("estimate.video.frames.minFrames", "must not be above maxFrames"));
        }
        Ok(())
    }
}
