use fastrand::Rng;
use weir_plan::PoolView;

use crate::testing::{Fixture, compile, refused};

const ALL: [&[(&str, &str)]; 5] = [
    &[("h", "h1"), ("r", "r1"), ("z", "z1"), ("g", "g1")],
    &[("h", "h2"), ("r", "r1"), ("z", "z1"), ("g", "g1")],
    &[("h", "h3"), ("r", "r2"), ("z", "z1"), ("g", "g1")],
    &[("h", "h4"), ("r", "r3"), ("z", "z2"), ("g", "g1")],
    &[("h", "h5")],
];

const EXTRACTOR: &str = "{type: topology-extractor, name: t, parameters: {hostname: h, rack: r, zone: z, region: g}}";

fn scores(peer: Option<u32>, labels: &[&[(&str, &str)]]) -> Vec<f64> {
    let text = format!("plugins: [{EXTRACTOR}, {{type: topology-affinity-scorer, parameters: {{topologyProducerName: t}}}}]");
    let plan = compile(&text).unwrap();
    let fixture = Fixture::labelled(labels);
    let view = PoolView::new(&fixture.endpoints, &fixture.states, &fixture.candidates, &fixture.attributes).near(peer);
    let mut out = vec![0.0; labels.len()];
    plan.profiles[0].scorers[0].scorer.plugin.score(&fixture.request(), &view, &mut out);
    out
}

fn kept(peer: Option<u32>, least: &str) -> Vec<u32> {
    let parameters = format!("{{topologyProducerName: t, minAffinity: {least}}}");
    let plan = compile(&format!("plugins: [{EXTRACTOR}, {{type: topology-affinity-filter, parameters: {parameters}}}]")).unwrap();
    let mut fixture = Fixture::labelled(&ALL);
    fixture.candidates = vec![1, 2, 3, 4];
    let view = PoolView::new(&fixture.endpoints, &fixture.states, &fixture.candidates, &fixture.attributes).near(peer);
    let mut keep = Vec::new();
    plan.profiles[0].filters[0].plugin.filter(&fixture.request(), &view, &mut Rng::with_seed(1), &mut keep);
    keep
}

#[test]
fn golden_vectors() {
    assert_eq!(scores(Some(0), &ALL), [1.0, 0.2, 0.05, 0.02, 0.0]);
    assert_eq!(scores(None, &ALL), [0.0; 5]);
}

#[test]
fn without_labels_the_address_is_the_host() {
    assert_eq!(scores(Some(0), &[&[], &[], &[("h", "h1")]]), [1.0, 1.0, 0.0]);
}

#[test]
fn the_filter_keeps_what_is_near_enough() {
    assert_eq!(kept(Some(0), "rack"), [1]);
    assert_eq!(kept(Some(0), "zone"), [1, 2]);
    assert_eq!(kept(Some(0), "region"), [1, 2, 3]);
    assert_eq!(kept(Some(0), "host"), [1, 2, 3, 4], "nobody would be left");
    assert_eq!(kept(None, "rack"), [1, 2, 3, 4], "there is no peer");
}

#[test]
fn the_extractor_is_added_and_must_exist_if_named() {
    let plan = compile("plugins: [{type: topology-affinity-scorer}]").unwrap();
    assert!(plan.effective.plugins.iter().any(|one| one.kind == "topology-extractor"));
    assert!(
        refused("topology-affinity-filter", "{topologyProducerName: x}").contains("`topology-affinity-filter` reads Topology/x")
    );
    assert!(refused("topology-affinity-filter", "{minAffinity: planet}").contains("planet"));
}
