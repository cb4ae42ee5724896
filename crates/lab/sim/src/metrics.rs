//! What a worker counts, under vLLM's names.

use weir_engine::{Micros, Timings};

use crate::answer::Finish;

mod padding;
mod page;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    padding::Padding,
    page::{Gauges, LoraGauge, page},
};

/// Seconds to the first token.
const TTFT_S: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0,
    2560.0,
];
/// Seconds a token.
const TOKEN_S: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
/// Seconds a request.
const REQUEST_S: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
];
/// Choices a request.
const CHOICES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];

/// 1, 2, 5 · 10^k up to the context window.
fn token_counts(max_model_len: u32) -> Vec<f64> {
    let steps = (0..10).flat_map(|k| [1u64, 2, 5].map(|digit| digit * 10u64.pow(k)));
    steps.take_while(|&count| count <= u64::from(max_model_len)).map(|count| count as f64).collect()
}

/// Counts by upper bound.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    bounds: Vec<f64>,
    /// One more than bounds, not cumulative.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &[f64]) -> Self {
        Self { bounds: bounds.to_vec(), counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }
}

/// Counters and histograms of one worker.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    ttft: Histogram,
    token: Histogram,
    request_token: Histogram,
    e2e: Histogram,
    queue: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    prompt_tokens: Histogram,
    generation_tokens: Histogram,
    max_tokens: Histogram,
    max_generation_tokens: Histogram,
    choices: Histogram,
    prompt_tokens_total: u64,
    generation_tokens_total: u64,
    finished_stop: u64,
    finished_length: u64,
    aborted: u64,
}

impl Metrics {
    pub(crate) fn new(max_model_len: u32) -> Self {
        let counts = token_counts(max_model_len);
        let requests = || Histogram::new(REQUEST_S);
        let tokens = || Histogram::new(&counts);
        Self {
            ttft: Histogram::new(TTFT_S),
            token: Histogram::new(TOKEN_S),
            request_token: Histogram::new(TOKEN_S),
            e2e: requests(),
            queue: requests(),
            inference: requests(),
            prefill: requests(),
            decode: requests(),
            prompt_tokens: tokens(),
            generation_tokens: tokens(),
            max_tokens: tokens(),
            max_generation_tokens: tokens(),
            choices: Histogram::new(CHOICES),
            prompt_tokens_total: 0,
            generation_tokens_total: 0,
            finished_stop: 0,
            finished_length: 0,
            aborted: 0,
        }
    }

    /// One request body, of so many choices.
    pub(crate) fn request(&mut self, choices: u32) {
        self.choices.observe(f64::from(choices));
    }

    pub(crate) fn token(&mut self, index: u32, gap: Micros) {
        let gap_s = gap as f64 / 1e6;
        if index == 0 {
            self.ttft.observe(gap_s)
        } else {
            self.token.observe(gap_s)
        }
        self.generation_tokens_total += 1;
    }

    pub(crate) fn finished(&mut self, timings: &Timings, finish: Finish, max_tokens: Option<u32>) {
        let seconds = |from: Micros, to: Micros| (to - from) as f64 / 1e6;
        let decode_s = seconds(timings.first_token, timings.finished);
        self.e2e.observe(seconds(timings.submitted, timings.finished));
        self.queue.observe(seconds(timings.submitted, timings.scheduled));
        self.inference.observe(seconds(timings.scheduled, timings.finished));
        self.prefill.observe(seconds(timings.scheduled, timings.first_token));
        self.decode.observe(decode_s);
        if timings.output_tokens > 1 {
            self.request_token.observe(decode_s / f64::from(timings.output_tokens - 1));
        }
        self.prompt_tokens.observe(f64::from(timings.prompt_tokens));
        self.generation_tokens.observe(f64::from(timings.output_tokens));
        self.max_generation_tokens.observe(f64::from(timings.output_tokens));
        if let Some(max) = max_tokens {
            self.max_tokens.observe(f64::from(max));
        }
        match finish {
            Finish::Stop => self.finished_stop += 1,
            Finish::Length => self.finished_length += 1,
        }
    }

    /// Prompt tokens of a request that was scheduled.
    pub(crate) fn started(&mut self, prompt_tokens: u32) {
        self.prompt_tokens_total += u64::from(prompt_tokens);
    }

    pub(crate) fn aborted(&mut self) {
        self.aborted += 1;
    }
}
