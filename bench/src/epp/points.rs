//! What llm-d's project published of its own picker, and what is measured beside it.

use crate::bodies::Answer;

/// One set of requests over one fleet.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) name: &'static str,
    pub(super) endpoints: u16,
    pub(super) prompt_tokens: usize,
    pub(super) shared_tokens: usize,
    pub(super) answer: Answer,
    pub(super) output_tokens: Option<u32>,
    pub(super) connections: u16,
    /// Whether Envoy shows the picker every piece of the response.
    pub(super) echo: bool,
    /// What llm-d's picker needs, as published.
    pub(super) published: &'static str,
}

/// llm-d's tables, `docs/operations.md` and `test/perf/config/studyanalysis` of its router.
pub(super) const SOURCE: &str = "llm-d router, docs/operations.md and test/perf/config/studyanalysis";

pub(super) const POINTS: [Point; 6] = [
    Point {
        name: "200/100 tokens, 10 endpoints",
        endpoints: 10,
        prompt_tokens: 200,
        shared_tokens: 0,
        answer: Answer::Sse,
        output_tokens: Some(100),
        connections: 32,
        echo: false,
        published: "8.5 ms a request (4.94 cores at 500/s), Envoy 4.2 ms",
    },
    Point {
        name: "100k tokens, 95k shared, 100 endpoints",
        endpoints: 100,
        prompt_tokens: 100_000,
        shared_tokens: 95_000,
        answer: Answer::Json,
        output_tokens: None,
        connections: 16,
        echo: false,
        published: "46.5 cores at 98.8/s, with 1k tokens of output",
    },
    Point {
        name: "1M tokens",
        endpoints: 10,
        prompt_tokens: 1_000_000,
        shared_tokens: 0,
        answer: Answer::Json,
        output_tokens: None,
        connections: 4,
        echo: false,
        published: "7.12 cores, 4.2 GiB at 10/s",
    },
    Point {
        name: "1k tokens of output",
        endpoints: 10,
        prompt_tokens: 200,
        shared_tokens: 0,
        answer: Answer::Paced,
        output_tokens: Some(1_000),
        connections: 64,
        echo: false,
        published: "1.00 cores at 10/s",
    },
    Point {
        name: "1k tokens of output, echoed",
        endpoints: 10,
        prompt_tokens: 200,
        shared_tokens: 0,
        answer: Answer::Paced,
        output_tokens: Some(1_000),
        connections: 64,
        echo: true,
        published: "31.5 us a chunk",
    },
    Point {
        name: "10k tokens of output, echoed",
        endpoints: 10,
        prompt_tokens: 200,
        shared_tokens: 0,
        answer: Answer::Sse,
        output_tokens: Some(10_000),
        connections: 8,
        echo: true,
        published: "3.71 cores at 10/s",
    },
];

impl Point {
    /// Of a load generator.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--prompt-tokens={}", self.prompt_tokens),
            format!("--shared-tokens={}", self.shared_tokens),
            format!("--answer={}", self.answer.name()),
            format!("--connections={}", self.connections),
        ];
        arguments.extend(self.output_tokens.map(|tokens| format!("--output-tokens={tokens}")));
        arguments
    }
}

/// One set of streams for the picker alone.
#[derive(Clone, Copy)]
pub(super) struct Alone {
    pub(super) name: &'static str,
    pub(super) endpoints: u16,
    pub(super) prompt_tokens: usize,
    pub(super) shared_tokens: usize,
    pub(super) chunks: usize,
    pub(super) streams: u16,
    pub(super) bare: bool,
    pub(super) published: &'static str,
    /// What is judged, and its limit.
    pub(super) target: Target,
}

#[derive(Clone, Copy)]
pub(super) enum Target {
    /// Microseconds of CPU a request.
    Request(f64),
    /// Microseconds of CPU a chunk, beyond those of the same request without chunks.
    Chunk(f64),
    /// Cores at so many requests a second.
    Cores { per_second: f64, most: f64 },
    /// Least MB of prompt a second and core.
    Throughput(f64),
}

pub(super) const ALONE: [Alone; 5] = [
    Alone {
        name: "a bare pick",
        endpoints: 10,
        prompt_tokens: 200,
        shared_tokens: 0,
        chunks: 0,
        streams: 32,
        bare: true,
        published: "6.0 ms",
        target: Target::Request(40.0),
    },
    Alone {
        name: "all baseline plugins",
        endpoints: 10,
        prompt_tokens: 200,
        shared_tokens: 0,
        chunks: 0,
        streams: 32,
        bare: false,
        published: "8.5 ms",
        target: Target::Request(100.0),
    },
    Alone {
        name: "1,000 echoed chunks",
        endpoints: 10,
        prompt_tokens: 200,
        shared_tokens: 0,
        chunks: 1_000,
        streams: 32,
        bare: false,
        published: "31.5 us a chunk",
        target: Target::Chunk(4.0),
    },
    Alone {
        name: "100k tokens, 95k shared",
        endpoints: 100,
        prompt_tokens: 100_000,
        shared_tokens: 95_000,
        chunks: 0,
        streams: 8,
        bare: false,
        published: "46.5 cores at 98.8/s, with 1k tokens of output",
        target: Target::Cores { per_second: 99.0, most: 1.2 },
    },
    Alone {
        name: "1M tokens",
        endpoints: 10,
        prompt_tokens: 1_000_000,
        shared_tokens: 0,
        chunks: 0,
        streams: 2,
        bare: false,
        published: "7 MB/s a core",
        target: Target::Throughput(500.0),
    },
];
