//! Series that a real server has and nobody scrapes this one for, to make its page as long as a real one.

use std::fmt::Write as _;

/// The rest of the page, before and after vLLM's own families.
#[derive(Debug, Clone, Default)]
pub(crate) struct Padding {
    text: String,
    split: usize,
}

/// Routes of vLLM's server, as its HTTP middleware labels them.
const HANDLERS: [&str; 12] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/models",
    "/health",
    "/version",
    "/tokenize",
    "/detokenize",
    "/v1/embeddings",
    "/v1/responses",
    "/rerank",
    "/score",
    "none",
];

impl Padding {
    /// Whole families of at least `bytes` bytes; nothing for 0.
    pub(crate) fn new(bytes: usize) -> Self {
        if bytes == 0 {
            return Self::default();
        }
        let mut text = String::with_capacity(bytes + 4096);
        process(&mut text);
        let mut split = text.len();
        let mut family = 0;
        while text.len() < bytes {
            http_family(&mut text, family, bytes);
            if text.len() < bytes / 2 {
                split = text.len();
            }
            family += 1;
        }
        Self { text, split }
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn before(&self) -> &str {
        &self.text[..self.split]
    }

    pub(crate) fn after(&self) -> &str {
        &self.text[self.split..]
    }
}

fn process(text: &mut String) {
    for (name, kind, unit) in [
        ("python_gc_objects_collected_total", "counter", "Objects collected during gc"),
        ("python_gc_objects_uncollectable_total", "counter", "Uncollectable objects found during GC"),
        ("python_gc_collections_total", "counter", "Number of times this generation was collected"),
    ] {
        let _ = write!(text, "# HELP {name} {unit}\n# TYPE {name} {kind}\n");
        for generation in 0..3 {
            let _ = writeln!(text, "{name}{{generation=\"{generation}\"}} {}.0", 9000 >> (3 * generation));
        }
    }
    for (name, kind, value) in [
        ("process_virtual_memory_bytes", "gauge", "1.2897746944e+11"),
        ("process_resident_memory_bytes", "gauge", "1.081245696e+09"),
        ("process_start_time_seconds", "gauge", "1.76543321087e+09"),
        ("process_cpu_seconds_total", "counter", "25.42"),
        ("process_open_fds", "gauge", "72.0"),
        ("process_max_fds", "gauge", "1.048576e+06"),
    ] {
        let _ = write!(text, "# HELP {name} Process statistic.\n# TYPE {name} {kind}\n{name} {value}\n");
    }
}

/// A latency histogram of the HTTP middleware, one set of buckets a handler, and no more handlers than needed.
fn http_family(text: &mut String, family: usize, bytes: usize) {
    let name = if family == 0 {
        "http_request_duration_seconds".to_owned()
    } else {
        format!("http_request_duration_seconds_route{family}")
    };
    let _ = write!(text, "# HELP {name} Latency with only few buckets by handler.\n# TYPE {name} histogram\n");
    for handler in HANDLERS {
        let labels = format!("handler=\"{handler}\",method=\"POST\"");
        for bound in ["0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "30.0", "+Inf"] {
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} 12.0");
        }
        let _ = write!(text, "{name}_count{{{labels}}} 12.0\n{name}_sum{{{labels}}} 0.034021\n");
        if text.len() >= bytes {
            return;
        }
    }
}
