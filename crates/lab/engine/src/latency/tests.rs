//! Vectors of the delay formulas, and the step formula against measurements.

use super::*;

const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;

fn rng() -> Rng {
    Rng::with_seed(7)
}

#[test]
fn load_factor_vectors() {
    assert_eq!(load_factor(2.0, 2, 2), 2.0);
    assert_eq!(load_factor(2.0, 3, 5), 1.5);
    assert!((load_factor(100.0, 75, 150) - 50.167_785).abs() < 1e-6);
    assert_eq!(load_factor(100.0, 1, 150), 1.0);
    assert_eq!(load_factor(100.0, 0, 150), 1.0);
    assert_eq!(load_factor(100.0, 1, 1), 1.0);
}

#[test]
fn first_token_vectors() {
    let constant = Delays { ttft: Spread::exactly(42 * MS), ..Delays::default() };
    assert_eq!(constant.first_token_ns(9, 0, false, load_factor(2.0, 2, 2), &mut rng()), 84 * MS);

    let one = Delays { prefill_overhead_ns: 100 * MS, prefill_per_token_ns: 50 * MS, ..Delays::default() };
    assert_eq!(one.first_token_ns(1, 0, false, 1.0, &mut rng()), 150 * MS);

    let long = Delays { prefill_overhead_ns: 200 * MS, prefill_per_token_ns: S, ..Delays::default() };
    assert_eq!(long.first_token_ns(512, 256, false, 1.0, &mut rng()), 256_200 * MS);

    let remote = Delays { transfer_per_token_ns: 100 * MS, ..Delays::default() };
    assert_eq!(remote.first_token_ns(128, 0, true, 9.0, &mut rng()), 12_800 * MS);

    let both = Delays { ttft: Spread::exactly(S), ..long };
    assert_eq!(both.first_token_ns(512, 256, false, 1.0, &mut rng()), S);
    let forced = Delays { calculator: Calculator::PerToken, ..both };
    assert_eq!(forced.first_token_ns(512, 256, false, 1.0, &mut rng()), 256_200 * MS);
    let zero = Delays { calculator: Calculator::Constant, ..long };
    assert_eq!(zero.first_token_ns(512, 256, false, 1.0, &mut rng()), 0);
}

#[test]
fn fractions_of_a_millisecond_count() {
    let tenth = Delays { itl: Spread::exactly(MS / 10), prefill_per_token_ns: 100, ..Delays::default() };
    assert_eq!(tenth.next_token_ns(1.0, &mut rng()), 100_000);
    assert_eq!(tenth.first_token_ns(1_000_000, 0, false, 1.0, &mut rng()), 100 * MS);
}

#[test]
fn samples_stay_in_their_band_and_around_their_mean() {
    let mut rng = rng();
    let absurd = Delays { itl: Spread { mean_ns: 100, std_ns: 1_000_000 }, ..Delays::default() };
    let mut ends = [false; 2];
    for _ in 0..1000 {
        let ns = absurd.next_token_ns(1.0, &mut rng);
        assert!((30..=170).contains(&ns), "{ns}");
        ends[0] |= ns == 30;
        ends[1] |= ns == 170;
    }
    assert_eq!(ends, [true; 2]);

    let usual = Delays { itl: Spread { mean_ns: 10 * MS, std_ns: MS }, ..Delays::default() };
    let samples: Vec<f64> = (0..20_000).map(|_| usual.next_token_ns(1.0, &mut rng) as f64).collect();
    let mean = samples.iter().sum::<f64>() / samples.len() as f64;
    let std = (samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / samples.len() as f64).sqrt();
    assert!((mean / (10.0 * MS as f64) - 1.0).abs() < 0.005, "{mean}");
    assert!((std / MS as f64 - 1.0).abs() < 0.03, "{std}");
}

/// `(requests/s, measured mean running, measured ITL ms, prompts cached)`, saturated where several share the rate.
const MEASURED: [(f64, f64, f64, bool); 14] = [
    (1.0, 0.5, 7.23, false),
    (31.0, 16.0, 8.42, false),
    (61.0, 40.0, 10.5, false),
    (91.0, 89.0, 15.8, false),
    (102.0, 124.0, 20.0, false),
    (38.0, 20.0, 8.6, false),
    (74.0, 54.0, 11.75, false),
    (111.0, 172.0, 25.1, false),
    (114.0, 186.0, 26.3, false),
    (43.0, 21.0, 8.1, true),
    (85.0, 47.0, 8.95, true),
    (127.0, 80.0, 10.3, true),
    (168.0, 119.0, 11.6, true),
    (172.0, 125.0, 11.9, true),
];

#[test]
fn step_formula_fits_the_measured_points() {
    let model = StepModel::H100_LLAMA_8B;
    let mut squares = 0.0;
    for (rate, running, itl_ms, cached) in MEASURED {
        let prompt_tokens = if cached { 0.0 } else { rate * 200.0 * itl_ms / 1000.0 };
        let scale = 1000.0; // the formula takes whole sequences; a thousandfold batch keeps the fractions
        let whole = model.step_ns((running * scale) as u32, (prompt_tokens * scale) as u32, 0) - model.base_ns;
        let step_ms = (model.base_ns as f64 + whole as f64 / scale) / 1e6;
        let error = step_ms / itl_ms - 1.0;
        assert!(error.abs() < 0.06, "{rate}/s: {step_ms:.2} ms, measured {itl_ms}");
        squares += error * error;
    }
    assert!((squares / 14.0f64).sqrt() < 0.035);
}
