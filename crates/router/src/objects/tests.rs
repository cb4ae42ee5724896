use weir_api::{PoolReference, RewriteTarget};

use super::*;

fn id(name: &str, created: i64) -> ObjectId {
    ObjectId { namespace: "default".to_owned(), name: name.to_owned(), created }
}

fn rule(models: &[&str], targets: &[(&str, Option<u32>)]) -> RewriteRule {
    RewriteRule {
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        targets: targets.iter().map(|(model, weight)| RewriteTarget { model: (*model).to_owned(), weight: *weight }).collect(),
    }
}

fn rewrite(name: &str, created: i64, rules: &[RewriteRule]) -> Rewrite {
    let pool = PoolReference { group: weir_api::POOL_GROUP.to_owned(), name: "p".to_owned() };
    Rewrite { id: id(name, created), pool, rules: rules.to_vec() }
}

fn served(objects: &[Rewrite], model: &str) -> String {
    let (compiled, _) = ObjectsInForce::compile(&[], objects);
    compiled.rule(Some(model)).map_or_else(|| model.to_owned(), |rule| rule.targets[rule.at(0)].model.to_string())
}

#[test]
fn the_vectors_of_precedence() {
    let a = rewrite("a", 1, &[rule(&["m1"], &[("m1-v1", None)])]);
    let b = rewrite("b", 2, &[rule(&["m1"], &[("m1-v2", None)])]);
    let g = rewrite("g", 0, &[rule(&[], &[("fallback", None)])]);
    let all = [g.clone(), b.clone(), a.clone()];
    assert_eq!(served(&all, "m1"), "m1-v1");
    assert_eq!(served(&all, "m2"), "fallback");
    assert_eq!(served(&[g.clone(), b.clone()], "m1"), "m1-v2");
    assert_eq!(served(std::slice::from_ref(&g), "m1"), "fallback");
    assert_eq!(served(&[], "m1"), "m1");
    let younger = rewrite("a", 7, &[rule(&[], &[("late", None)])]);
    assert_eq!(served(&[younger, g], "x"), "fallback");
}

#[test]
fn equal_ages_are_decided_by_name_and_then_by_the_order_of_rules() {
    let one = rewrite("one", 5, &[rule(&["m"], &[("1a", None)]), rule(&["m"], &[("1b", None)])]);
    let two = rewrite("two", 5, &[rule(&["m"], &[("2", None)])]);
    for objects in [[one.clone(), two.clone()], [two, one]] {
        assert_eq!(served(&objects, "m"), "1a");
        let (_, found) = ObjectsInForce::compile(&[], &objects);
        let shadowed: Vec<(&str, usize)> = found.iter().map(|one| (one.id.name.as_str(), one.rule)).collect();
        assert_eq!(shadowed, [("one", 1), ("two", 0)]);
        let by = FindingKind::Shadowed { model: Some("m".to_owned()), by: "default/one rule 1".into() };
        assert!(found.iter().all(|one| one.what == by), "{found:?}");
    }
}

#[test]
fn weights_are_the_vectors_of_the_reference() {
    let rule = |targets: &[(&str, Option<u32>)]| Rule::new(&id("r", 0), 0, &rule(&[], targets));
    let canary = rule(&[("a", Some(90)), ("b", Some(10))]).unwrap();
    assert_eq!((canary.at(89), canary.at(90)), (0, 1));
    let equal = rule(&[("a", None), ("b", None)]).unwrap();
    assert_eq!((equal.total, equal.at(0), equal.at(1)), (2, 0, 1));
    // Among targets with weights, one without gets nothing.
    let some = rule(&[("a", None), ("b", Some(3))]).unwrap();
    assert!((0..some.total).all(|number| some.at(number) == 1));
    assert!(rule(&[]).is_none() && rule(&[("a", Some(0))]).is_none() && rule(&[("", None)]).is_none());
    let mut random = Rng::with_seed(7);
    let to_a = (0..10_000).filter(|_| canary.choose(&mut random) == 0).count();
    assert!((8_850..9_150).contains(&to_a), "{to_a}");
}

#[test]
fn a_split_says_which_rule_and_how_much() {
    let object = rewrite("c", 0, &[rule(&["m", "m"], &[("a", Some(3)), ("b", Some(1))]), rule(&[], &[("z", None)])]);
    let (compiled, found) = ObjectsInForce::compile(&[], &[object]);
    assert_eq!(found, []);
    let split = compiled.split(Some("m")).unwrap();
    assert_eq!((split.rule.as_str(), split.exact), ("default/c rule 1", true));
    assert_eq!(split.targets, [("a".to_owned(), 0.75), ("b".to_owned(), 0.25)]);
    assert!(!compiled.split(None).unwrap().exact && compiled.has_generic());
}

#[test]
fn priorities_are_those_of_the_objectives_and_0() {
    let objective = |name: &str, priority| Objective {
        id: id(name, 0),
        pool: PoolReference { group: weir_api::POOL_GROUP.to_owned(), name: "p".to_owned() },
        priority,
    };
    let (compiled, _) = ObjectsInForce::compile(&[objective("high", 10), objective("low", -1)], &[]);
    assert_eq!((compiled.priority("high"), compiled.priority("low"), compiled.priority("none")), (Some(10), Some(-1), None));
    assert_eq!(compiled.priorities().into_iter().collect::<Vec<_>>(), [-1, 0, 10]);
}
