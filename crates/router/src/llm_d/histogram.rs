//! A histogram of fixed bounds that costs an observation three atomic operations.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts per bucket and the sum of what was observed.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds: the last is for what lies above all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What a histogram held when it was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    bounds: &'static [f64],
    counts: Vec<u64>,
    pub(crate) sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// A value equal to a bound belongs below it. NaN is passed over.
    pub(crate) fn observe(&self, value: f64) {
        self.observe_times(value, 1);
    }

    /// The same value, so many times.
    pub(crate) fn observe_times(&self, value: f64, times: u32) {
        if value.is_nan() {
            return;
        }
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(times.into(), Relaxed);
        let add = |sum: u64| Some((f64::from_bits(sum) + value * f64::from(times)).to_bits());
        // The closure never refuses.
        let _ = self.sum.fetch_update(Relaxed, Relaxed, add);
    }

    pub(crate) fn read(&self) -> Reading {
        Reading {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum: f64::from_bits(self.sum.load(Relaxed)),
        }
    }
}

impl Reading {
    /// Adds what another histogram of the same bounds held.
    pub(crate) fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.bounds, other.bounds);
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, more)| *sum += more);
        self.sum += other.sum;
    }

    /// How often something was observed.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper bounds with what each bucket itself holds; the last bound is infinity.
    pub(crate) fn buckets(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().copied().chain([f64::INFINITY]).zip(self.counts.iter().copied()).collect()
    }
}

/// llm-d's bucket bounds.
pub(crate) mod bounds {
    /// What plugins and scheduling take, in seconds.
    pub(crate) const FAST: &[f64] = &[1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1];
    /// Whole requests, in seconds.
    pub(crate) const REQUEST: &[f64] = &[
        0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0,
        60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
    ];
    /// Time to the first token, in seconds.
    pub(crate) const TTFT: &[f64] = &[
        0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0,
        60.0, 120.0,
    ];
    /// Time per output token over the whole request, in seconds.
    pub(crate) const NTPOT: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
    /// Time per output token after the first, in seconds.
    pub(crate) const TPOT: &[f64] =
        &[0.0005, 0.00205, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 2.0];
    /// Time between pieces of a stream, in seconds.
    pub(crate) const ITL: &[f64] = &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0];
    /// Bodies of requests: 64 bytes, doubled up to 1 GiB.
    pub(crate) const REQUEST_BYTES: &[f64] = &[
        64.0,
        128.0,
        256.0,
        512.0,
        1024.0,
        2048.0,
        4096.0,
        8192.0,
        16384.0,
        32768.0,
        65536.0,
        131072.0,
        262144.0,
        524288.0,
        1048576.0,
        2097152.0,
        4194304.0,
        8388608.0,
        16777216.0,
        33554432.0,
        67108864.0,
        134217728.0,
        268435456.0,
        536870912.0,
        1073741824.0,
    ];
    /// Bodies of responses. 32778 is llm-d's.
    pub(crate) const RESPONSE_BYTES: &[f64] =
        &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32778.0, 65536.0];
    /// Tokens of prompts. 32778 is llm-d's.
    pub(crate) const INPUT_TOKENS: &[f64] = &[
        1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32778.0, 65536.0, 131072.0,
        262144.0, 524288.0, 1048576.0,
    ];
    /// Tokens of answers.
    pub(crate) const OUTPUT_TOKENS: &[f64] = &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0];
    /// What a request takes on its way in, in seconds.
    pub(crate) const REQUEST_PROCESSING: &[f64] =
        &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    /// What a response takes on its way out, in seconds.
    pub(crate) const RESPONSE_PROCESSING: &[f64] =
        &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
    /// Shares, 0 to 1.
    pub(crate) const RATIO: &[f64] = &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
    /// Bytes of prompts that were believed to be cached.
    pub(crate) const PREFIX_BYTES: &[f64] =
        &[0.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_counts_below_it() {
        let histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 2.5, f64::NAN] {
            histogram.observe(value);
        }
        let read = histogram.read();
        assert_eq!(read.buckets(), [(1.0, 2), (2.0, 1), (f64::INFINITY, 1)]);
        assert_eq!((read.count(), read.sum), (4, 5.5));
        let mut twice = read.clone();
        twice.add(&read);
        assert_eq!((twice.count(), twice.sum), (8, 11.0));
    }
}
