use std::time::Duration;

use weir_plan::{Column, DataSet, Filter, Named, Picker, ProfileHandler, Scored, Scorer};

use super::*;
use crate::testing::{Fixture, compile};

const TWO: &str = "plugins: [{type: queue-scorer}, {type: kv-cache-utilization-scorer}]\n\
    schedulingProfiles: [{name: default, plugins: [{pluginRef: queue-scorer, weight: 2}, \
    {pluginRef: kv-cache-utilization-scorer, weight: -1}]}]";

/// Scores as they are given, out of range or not.
struct Given(Vec<f64>);

impl Scorer for Given {
    fn reads(&self) -> DataSet {
        DataSet::NONE
    }

    fn score(&self, _: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        for (i, score) in out.iter_mut().enumerate() {
            *score = self.0[view.index(i)];
        }
    }
}

/// Keeps even or odd places, or none.
struct Keep(Option<usize>);

impl Filter for Keep {
    fn reads(&self) -> DataSet {
        DataSet::NONE
    }

    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        keep.extend((0..view.len()).map(|i| view.index(i)).filter(|i| Some(i % 2) == self.0).map(|i| i as u32));
    }
}

/// Runs the last profile first; the first one is primary.
struct Backwards;

impl ProfileHandler for Backwards {
    fn next(&self, _: &RequestView<'_>, _: &PoolView<'_>, results: &[ProfileResult]) -> Option<usize> {
        results.iter().rposition(|one| !one.ran)
    }

    fn primary(&self, _: &RequestView<'_>, _: &[ProfileResult]) -> Result<usize, PickError> {
        Ok(0)
    }
}

/// Asks for one profile, for ever.
struct Stubborn(usize);

impl ProfileHandler for Stubborn {
    fn next(&self, _: &RequestView<'_>, _: &PoolView<'_>, _: &[ProfileResult]) -> Option<usize> {
        Some(self.0)
    }

    fn primary(&self, _: &RequestView<'_>, _: &[ProfileResult]) -> Result<usize, PickError> {
        Ok(0)
    }
}

/// Picks nothing.
struct Nobody;

impl Picker for Nobody {
    fn pick(&self, _: Scores<'_>, _: &mut Rng, _: &mut Vec<u32>) {}
}

fn named<T>(plugin: T) -> Named<T> {
    Named { name: "test".to_owned(), kind: "test", plugin }
}

fn scored(weight: f64, scores: &[f64]) -> Scored {
    Scored { weight, scorer: named(Arc::new(Given(scores.to_vec()))) }
}

fn cycle(fixture: &Fixture, plan: &Plan, scratch: &mut Scratch) -> Result<Picked, PickError> {
    let mut random = Rng::with_seed(1);
    let Fixture { endpoints, states, candidates, attributes, .. } = fixture;
    run(plan, &fixture.request(), endpoints, states, candidates, attributes, scratch, &mut random)
}

#[test]
fn totals_are_sums_of_clamped_scores_times_weights() {
    let mut plan = compile(TWO).unwrap();
    let mut fixture = Fixture::scraped(4, |i, state| {
        (state.waiting, state.kv_usage) = ([9, 4, 0, 8][i], [0.5, 0.25, 1.0, 0.0][i]);
    });
    fixture.candidates = vec![0, 1, 3];
    let mut scratch = Scratch::default();
    let picked = cycle(&fixture, &plan, &mut scratch).unwrap();
    assert_eq!(picked, Picked { primary: 1, profile: 0 });
    assert_eq!(scratch.candidates(0), [0, 1, 3]);
    assert_eq!((scratch.scores(0, 0), scratch.scores(0, 1)), ([0.0, 1.0, 0.2].as_slice(), [0.5, 0.75, 1.0].as_slice()));
    assert_eq!(scratch.totals(0), [-0.5, 1.25, 0.4 - 1.0]);
    assert_eq!((scratch.targets(0), scratch.prefill_targets()), ([1].as_slice(), [].as_slice()));
    assert_eq!((scratch.scores(0, 2).len(), scratch.scores(1, 0).len(), scratch.targets(9).len()), (0, 0, 0));

    plan.profiles[0].scorers =
        vec![scored(2.0, &[f64::NAN, 7.0, 0.0, -3.0]), scored(0.5, &[f64::INFINITY, 0.5, 0.0, f64::NEG_INFINITY])];
    cycle(&fixture, &plan, &mut scratch).unwrap();
    assert_eq!(scratch.totals(0), [0.5, 2.25, 0.0]);
}

#[test]
fn filters_run_in_order_and_stop_when_nobody_is_left() {
    let mut plan = compile(TWO).unwrap();
    let fixture = Fixture::new(5);
    let mut scratch = Scratch::default();
    plan.profiles[0].filters = vec![named(Arc::new(Keep(Some(1))))];
    cycle(&fixture, &plan, &mut scratch).unwrap();
    assert_eq!(scratch.candidates(0), [1, 3]);
    assert!([1, 3].contains(&scratch.targets(0)[0]));

    plan.profiles[0].filters = vec![named(Arc::new(Keep(Some(0)))), named(Arc::new(Keep(None))), named(Arc::new(Keep(Some(1))))];
    plan.profiles[0].filters[1].name = "strict".to_owned();
    let error = cycle(&fixture, &plan, &mut scratch).unwrap_err();
    assert_eq!(error, PickError::Filtered { profile: "default".to_owned(), filter: "strict".to_owned(), candidates: 5 });
    assert_eq!(scratch.targets(0), [0; 0]);
}

#[test]
fn an_empty_pool_is_an_error_of_its_own() {
    let plan = compile(TWO).unwrap();
    let mut fixture = Fixture::new(3);
    fixture.candidates.clear();
    let mut scratch = Scratch::default();
    assert_eq!(cycle(&fixture, &plan, &mut scratch), Err(PickError::NoEndpoints { known: 3 }));
}

#[test]
fn several_profiles_and_a_failing_one() {
    let mut plan = compile(TWO).unwrap();
    let mut prefill = plan.profiles[0].clone();
    prefill.name = "prefill".to_owned();
    prefill.filters = vec![named(Arc::new(Keep(Some(1))))];
    plan.profiles.push(prefill);
    plan.handler = named(Arc::new(Backwards));
    let fixture = Fixture::scraped(2, |i, state| state.waiting = i as u32);
    let mut scratch = Scratch::default();
    assert_eq!(cycle(&fixture, &plan, &mut scratch), Ok(Picked { primary: 0, profile: 0 }));
    assert_eq!((scratch.targets(0), scratch.prefill_targets()), ([0].as_slice(), [1].as_slice()));
    assert_eq!((scratch.candidates(0).len(), scratch.candidates(1).len()), (2, 1));

    plan.profiles[1].filters = vec![named(Arc::new(Keep(None)))];
    assert_eq!(cycle(&fixture, &plan, &mut scratch), Ok(Picked { primary: 0, profile: 0 }), "the handler may live without it");
    assert_eq!(scratch.prefill_targets(), [0; 0]);

    plan.profiles[0].filters = vec![named(Arc::new(Keep(None)))];
    assert!(matches!(cycle(&fixture, &plan, &mut scratch), Err(PickError::Filtered { profile, .. }) if profile == "default"));

    let one = compile(TWO).unwrap();
    cycle(&fixture, &one, &mut scratch).unwrap();
    assert_eq!((scratch.candidates(1).len(), scratch.totals(1).len(), scratch.prefill_targets().len()), (0, 0, 0));
}

#[test]
fn odd_handlers_and_pickers_end_the_cycle() {
    let mut plan = compile(TWO).unwrap();
    let fixture = Fixture::new(2);
    let mut scratch = Scratch::default();
    plan.handler = named(Arc::new(Stubborn(0)));
    assert!(cycle(&fixture, &plan, &mut scratch).is_ok());
    plan.handler = named(Arc::new(Stubborn(7)));
    assert_eq!(cycle(&fixture, &plan, &mut scratch), Err(PickError::NoProfile { handler: "test".to_owned() }));
    plan = compile(TWO).unwrap();
    plan.profiles[0].picker = named(Arc::new(Nobody));
    assert!(matches!(cycle(&fixture, &plan, &mut scratch), Err(PickError::NoProfile { .. })));
}

#[test]
fn the_built_in_document_prefers_the_prefix_over_a_short_queue() {
    let plan = weir_plan::compile(
        &weir_api::EndpointPickerConfig::builtin(),
        &{
            let mut registry = weir_plan::Registry::default();
            crate::register(&mut registry);
            registry
        },
        weir_plan::CompileOptions::default(),
    )
    .unwrap();
    let producers: Vec<&str> = plan.producers.iter().map(|one| one.kind).collect();
    assert_eq!(producers, ["approx-prefix-cache-producer"]);
    assert_eq!(plan.handler.kind, "single-profile-handler");
    assert_eq!(plan.profiles[0].picker.kind, "max-score-picker");
    let mut fixture = Fixture::scraped(2, |i, state| {
        (state.waiting, state.kv_usage, state.age) = (i as u32, 0.25, Some(Duration::ZERO));
    });
    fixture.chat(&"x".repeat(2_000));
    fixture.produce(&plan);
    fixture.picked(&plan, 1);
    fixture.produce(&plan);
    assert_eq!(fixture.attributes.prefix(Column::for_tests(0)).unwrap().matched_blocks, [0, 8]);
    let mut scratch = Scratch::default();
    assert_eq!(cycle(&fixture, &plan, &mut scratch).unwrap().primary, 1);
    assert_eq!(scratch.totals(0), [2.0 + 2.0 * 0.75, 2.0 * 0.75 + 3.0]);
}

#[test]
fn samples_of_llm_d_compile() {
    let mut registry = weir_plan::Registry::default();
    crate::register(&mut registry);
    for sample in [
        include_str!("../../../../../testdata/config/sample-12-1.yaml"),
        include_str!("../../../../../testdata/config/sample-12-2.yaml"),
    ] {
        let config = weir_api::EndpointPickerConfig::parse(sample).unwrap().value;
        let plan = weir_plan::compile(&config, &registry, weir_plan::CompileOptions::default()).unwrap();
        assert!(plan.metrics.is_some() && plan.warnings.is_empty(), "{:?}", plan.warnings);
        assert_eq!(plan.inactive().count(), 3, "{}", plan.effective);
    }
}
