use super::{pools::mean_and_deviation, *};

#[test]
fn deviations_are_those_of_samples() {
    assert_eq!(mean_and_deviation([].into_iter()), (0.0, 0.0));
    assert_eq!(mean_and_deviation([3.0].into_iter()), (3.0, 0.0));
    assert_eq!(mean_and_deviation([1.0, 2.0, 4.0].into_iter()), (7.0 / 3.0, 1.53));
}

#[test]
fn rows_of_the_same_labels_are_added_up() {
    let row = |name: &str, value: u64| (vec![("a", name.to_owned())], value);
    let sums = summed([row("y", 1), row("x", 2), row("y", 3)], |sum, more| *sum += more);
    assert_eq!(sums, [row("x", 2), row("y", 4)]);
}
