use weir_plan::{PromptSink, PromptStream};
use weir_prefix::BlockHasher;
use weir_protocol::Api;
use xxhash_rust::xxh64::xxh64;

use super::{
    super::{Counting, Hashing},
    estimate::Estimate,
    params::EstimateParams,
};
use crate::testing::{Fixture, compile, refused};

const KIND: &str = "token-producer";

/// Every prompt's tokens.
#[derive(Default)]
struct Collect {
    bytes: Vec<u8>,
    prompts: Vec<Vec<u32>>,
}

impl PromptSink for Collect {
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn repeat(&mut self, token: u32, count: u32) {
        self.align();
        self.bytes.extend((0..count).flat_map(|_| token.to_le_bytes()));
    }

    fn next_prompt(&mut self) {
        self.align();
        let tokens = self.bytes.chunks_exact(4).map(|token| u32::from_le_bytes(token.try_into().unwrap()));
        self.prompts.push(tokens.collect());
        self.bytes.clear();
    }
}

fn tokens_with(params: &str, fixture: &Fixture) -> Vec<Vec<u32>> {
    let params: EstimateParams = serde_json::from_str(params).unwrap();
    params.check().unwrap();
    let mut collect = Collect::default();
    let estimate = Estimate::new(&params);
    assert!(estimate.stream(&fixture.request(), &mut collect));
    collect.next_prompt();
    // Who looks at the beginning, or at nothing, is told the same number of tokens.
    let mut counting = Counting::default();
    estimate.stream(&fixture.request(), &mut counting);
    let tokens: u64 = collect.prompts.iter().map(|prompt| prompt.len() as u64).sum();
    assert_eq!(counting.tokens(), tokens);
    for blocks in [0, 1, 3] {
        let mut hasher = BlockHasher::default();
        hasher.start(2, blocks);
        estimate.stream(&fixture.request(), &mut Hashing(&mut hasher));
        hasher.finish();
        assert_eq!(hasher.tokens(), tokens);
    }
    collect.prompts
}

fn tokens(api: Api, body: &str) -> Vec<Vec<u32>> {
    let mut fixture = Fixture::new(1);
    fixture.body(api, body);
    tokens_with("{}", &fixture)
}

/// A chat of one part, which is given as JSON.
fn part(part: &str) -> Fixture {
    let mut fixture = Fixture::new(1);
    fixture.body(Api::ChatCompletions, &format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#));
    fixture
}

const VIDEO: &str = r#"{"type":"video_url","video_url":{"url":"https://x/y.mp4"}}"#;
const IMAGE: &str = r#"{"type":"image_url","image_url":{"url":"https:\/\/x/y.png"}}"#;

/// Tokens of the one part behind the role, which is one token too.
fn count(params: &str, fixture: &Fixture) -> usize {
    tokens_with(params, fixture)[0].len() - 1
}

#[test]
fn golden_vectors_of_text() {
    assert_eq!(tokens(Api::Completions, r#"{"prompt":"hello"}"#), [[0x6c6c_6568, 0x6f]]);
    let body = r#"{"messages":[{"role":"user","content":"Hello, world!"}]}"#;
    assert_eq!(tokens(Api::ChatCompletions, body), [[1_919_251_317, 1_819_043_144, 1_998_597_231, 1_684_828_783, 33]]);
    assert_eq!(tokens(Api::Completions, r#"{"prompt":["hello","hello"]}"#), [[0x6c6c_6568, 0x6f]; 2]);
    let ids: Vec<u32> = (0..150).collect();
    assert_eq!(tokens(Api::Completions, &format!(r#"{{"prompt":{ids:?}}}"#)), [ids]);
    assert!(!Estimate::new(&EstimateParams::default()).stream(&Fixture::new(1).request(), &mut Collect::default()));
}

#[test]
fn golden_vector_of_an_image() {
    assert_eq!(xxh64(b"https://x/y.png", 0), 5_344_299_751_735_876_125);
    let found = tokens_with("{}", &part(IMAGE));
    assert_eq!(found[0][1..], [325_900_829; 225]);
    assert_eq!(count(r#"{"image":{"mode":"static"}}"#, &part(IMAGE)), 1);
    assert_eq!(count(r#"{"image":{"mode":"static","static":{"staticToken":7}}}"#, &part(IMAGE)), 7);
    assert_eq!(count(r#"{"image":{"defaultResolution":{"width":10,"height":10}}}"#, &part(IMAGE)), 1);
    assert_eq!(count(r#"{"image":{"dynamic":{"factor":100}}}"#, &part(IMAGE)), 2_304);
}

#[test]
fn an_image_in_the_request_tells_its_own_size() {
    // The header of a PNG of 2048 × 1024.
    let png = r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAACAAAAAQACAYAAAA="}}"#;
    assert_eq!(count("{}", &part(png)), 2_048);
}

#[test]
fn videos() {
    assert_eq!(count("{}", &part(VIDEO)), 4_500);
    assert_eq!(count(r#"{"video":{"maxVideoTokens":100}}"#, &part(VIDEO)), 100);
    assert_eq!(count(r#"{"video":{"tokensPerFrame":{"mode":"static"}}}"#, &part(VIDEO)), 20);
    let static_3 = r#"{"video":{"tokensPerFrame":{"mode":"static","static":{"numTokensPerFrame":3}}}}"#;
    assert_eq!(count(static_3, &part(VIDEO)), 60);
    let frames =
        |frames: &str| count(&format!(r#"{{"video":{{"tokensPerFrame":{{"mode":"static"}},"frames":{frames}}}}}"#), &part(VIDEO));
    assert_eq!(frames(r#"{"maxFrames":8}"#), 8);
    assert_eq!(frames(r#"{"minFrames":30}"#), 30);
    assert_eq!(frames(r#"{"sampled":{"temporalPatchSize":2}}"#), 10);
    assert_eq!(frames(r#"{"sampled":{"sampleFPS":0.5}}"#), 5);
    assert_eq!(frames(r#"{"sampled":{"sampleFPS":0.01}}"#), 1);
    assert_eq!(frames(r#"{"mode":"strided"}"#), 240);
    assert_eq!(frames(r#"{"mode":"strided","strided":{"defaultSourceFPS":30,"frameStride":10},"maxFrames":25}"#), 25);
}

#[test]
fn headers_know_a_video_better() {
    let mut fixture = part(VIDEO);
    for (name, value) in
        [("x-llm-d-video-duration-seconds", "2.5"), ("x-llm-d-video-resolution", "1024x100"), ("x-llm-d-video-fps", "10")]
    {
        fixture.headers.insert(name, value.parse().unwrap());
    }
    assert_eq!(count("{}", &fixture), 5 * 100);
    assert_eq!(count(r#"{"video":{"frames":{"mode":"strided"}}}"#, &fixture), 25 * 100);
    for value in ["-1", "nan", "inf", "x"] {
        fixture.headers.insert("x-llm-d-video-duration-seconds", value.parse().unwrap());
        fixture.headers.insert("x-llm-d-video-resolution", value.parse().unwrap());
        assert_eq!(count("{}", &fixture), 4_500, "{value}");
    }
    fixture.headers.insert("x-llm-d-video-duration-seconds", "1e300".parse().unwrap());
    assert_eq!(count("{}", &fixture), 1 << 20);
}

#[test]
fn sound_counts_by_its_length() {
    let fixture = part(r#"{"type":"input_audio","input_audio":{"data":"AAAAAAAAA","format":"wav"}}"#);
    assert_eq!(count("{}", &fixture), 3);
}

#[test]
fn parameters_that_are_refused() {
    assert!(
        refused(KIND, "{estimate: {}, vllm: {}}").contains("only one of 'estimate', 'vllm', or 'udsTokenizerConfig' may be set")
    );
    assert!(refused(KIND, "{vllm: {}}").contains("'modelName' must be specified"));
    assert!(refused(KIND, "{estimate: {image: {mode: big}}}").contains("estimate.image.mode"));
    assert!(
        refused(KIND, "{estimate: {image: {dynamic: {factor: 0}}}}").contains("estimate.image.dynamic.factor must be above 0")
    );
    assert!(refused(KIND, "{modelName: m, vllm: {timeout: soon}}").contains("soon"));
    assert!(refused(KIND, "{estimate: {video: {defaultDuration: .inf}}}").contains("estimate.video.defaultDuration"));
    assert!(refused(KIND, "{estimate: {video: {frames: {minFrames: 3, maxFrames: 2}}}}").contains("minFrames"));
    assert!(refused(KIND, "{estimate: {video: {frames: {sampled: {sampleFps: -1}}}}}").contains("sampleFPS"));
}

#[test]
fn other_tokenizers_fall_back_to_the_estimate_and_say_so() {
    for parameters in [
        "{modelName: m}",
        "{modelName: m, vllm: {url: 'http://x', mmTimeout: 1m}}",
        "{modelName: m, udsTokenizerConfig: {socketFile: /s}}",
    ] {
        let plan =
            compile(&format!("plugins: [{{type: {KIND}, parameters: {parameters}}}, {{type: prefix-cache-scorer}}]")).unwrap();
        assert!(plan.warnings.iter().any(|one| one.message.contains("estimated")), "{parameters}");
    }
}
