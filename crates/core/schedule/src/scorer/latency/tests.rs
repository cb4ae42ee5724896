use crate::testing::{Fixture, refused};

const KIND: &str = "latency-scorer";

fn scores(headroom: &[Option<(f64, f64)>], dispatched: &[u64], parameters: &str) -> Vec<f64> {
    let mut fixture = Fixture::new(headroom.len());
    fixture.headroom(headroom);
    fixture.dispatched(dispatched);
    fixture.score(KIND, parameters)
}

fn near(found: &[f64], want: &[f64]) {
    assert!(found.len() == want.len() && found.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?} {want:?}");
}

#[test]
fn golden_vectors() {
    near(&scores(&[Some((10.0, 2.0)), Some((50.0, 10.0))], &[0, 0], "{}"), &[1.0, 0.01]);
    near(&scores(&[Some((-10.0, -5.0)), Some((-100.0, -30.0))], &[1, 1], "{}"), &[1.0, 0.01]);
    near(&scores(&[Some((-10.0, -5.0)), Some((-10.0, -5.0))], &[5, 0], "{}"), &[0.0, 0.51]);

    let fixture = Fixture::scraped(2, |i, state| (state.kv_usage, state.waiting) = ([0.2, 0.8][i], [0, 5][i]));
    near(&fixture.score(KIND, "{}"), &[0.6, 0.07]);
}

#[test]
fn endpoints_in_time_are_scored_alone() {
    near(&scores(&[Some((10.0, 1.0)), Some((-1.0, 5.0)), Some((30.0, 3.0))], &[0; 3], "{}"), &[1.0, 0.0, 0.01]);
    let most = "{headroomSelectionStrategy: most}";
    near(&scores(&[Some((10.0, 1.0)), Some((-1.0, 5.0)), Some((30.0, 3.0))], &[0; 3], most), &[0.01, 0.0, 1.0]);
    // Not predicted counts as in time, with nothing to spare.
    near(&scores(&[None, Some((-1.0, 5.0)), Some((30.0, 3.0))], &[0; 3], "{}"), &[1.0, 0.0, 0.01]);
}

#[test]
fn late_endpoints_in_order_of_harm() {
    let (tokens, first, both) = (Some((5.0, -5.0)), Some((-5.0, 5.0)), Some((-5.0, -5.0)));
    near(&scores(&[both, first, tokens], &[1; 3], "{}"), &[0.0, 0.0, 0.51]);
    near(&scores(&[both, first, first], &[1; 3], "{}"), &[0.0, 0.51, 0.51]);
    let most = "{headroomSelectionStrategy: most}";
    near(&scores(&[Some((-10.0, -5.0)), Some((-100.0, -30.0))], &[1, 1], most), &[1.0, 0.01]);
}

#[test]
fn weights() {
    let headroom = [Some((0.0, 10.0)), Some((10.0, 0.0)), Some((10.0, 10.0))];
    near(&scores(&headroom, &[0; 3], "{}"), &[0.81, 0.2, 0.01]);
    near(&scores(&headroom, &[0; 3], "{ttftWeight: 0, tpotWeight: 3}"), &[0.01, 1.0, 0.01]);
    near(&scores(&headroom, &[0; 3], "{ttftWeight: 0, tpotWeight: 0}"), &[1.0, 0.01, 0.01]);
    // All equal in one dimension: the other decides alone.
    near(&scores(&[Some((5.0, 0.0)), Some((5.0, 10.0))], &[0; 2], "{}"), &[1.0, 0.01]);

    let mut fixture = Fixture::scraped(2, |i, state| (state.kv_usage, state.waiting) = ([0.5, 0.25][i], [0, 4][i]));
    fixture.prefix(&[1, 3], 4, 64);
    for (parameters, want) in [
        ("{compositeKVWeight: 1, compositeQueueWeight: 0, compositePrefixWeight: 0}", [0.5, 0.75]),
        ("{compositeKVWeight: 0, compositeQueueWeight: 2, compositePrefixWeight: 0}", [1.0, 0.0]),
        ("{compositeKVWeight: 0, compositeQueueWeight: 0, compositePrefixWeight: 1}", [0.25, 0.75]),
        ("{compositeKVWeight: 0, compositeQueueWeight: 0, compositePrefixWeight: 0}", [0.5, 0.75]),
    ] {
        near(&fixture.score(KIND, parameters), &want);
    }
}

#[test]
fn parameters_that_are_refused() {
    assert!(refused(KIND, "{ttftWeight: -1}").contains("0 or more"));
    assert!(refused(KIND, "{headroomSelectionStrategy: some}").contains("some"));
}
