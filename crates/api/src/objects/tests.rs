use super::*;

const GOOD: &str = "\
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: urgent, creationTimestamp: '2026-01-01T00:00:00Z', uid: x, labels: {a: b}}
spec: {priority: 10, poolRef: {name: chat}}
status: {conditions: []}
---
---
apiVersion: v1
kind: List
items:
- apiVersion: inference.networking.x-k8s.io/v1alpha2
  kind: InferenceModelRewrite
  metadata: {name: canary, namespace: prod}
  spec:
    poolRef: {name: chat, group: inference.networking.x-k8s.io}
    rules:
    - matches: [{model: {type: Exact, value: m1}}, {model: {value: m2}}]
      targets: [{modelRewrite: m1-v1, weight: 90}, {modelRewrite: m1-v2, weight: 10}]
    - targets: [{modelRewrite: fallback}]
";

#[test]
fn objects_are_read_as_an_api_server_prints_them() {
    let checked = Objects::parse(GOOD).unwrap();
    assert_eq!(checked.warnings.iter().map(ToString::to_string).count(), 1, "{:?}", checked.warnings);
    let [objective] = checked.value.objectives.as_slice() else { panic!("{:?}", checked.value) };
    assert_eq!((objective.priority, objective.id.created), (10, 1_767_225_600));
    assert_eq!(objective.pool, PoolReference { group: POOL_GROUP.to_owned(), name: "chat".to_owned() });
    let [rewrite] = checked.value.rewrites.as_slice() else { panic!("{:?}", checked.value) };
    assert_eq!(rewrite.id, ObjectId { namespace: "prod".to_owned(), name: "canary".to_owned(), created: 0 });
    assert_eq!(rewrite.rules[0].models, ["m1", "m2"]);
    assert_eq!(rewrite.rules[0].targets[1], RewriteTarget { model: "m1-v2".to_owned(), weight: Some(10) });
    assert_eq!(
        rewrite.rules[1],
        RewriteRule { models: Vec::new(), targets: vec![RewriteTarget { model: "fallback".to_owned(), weight: None }] }
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let rewrite = |rules: &str| {
        format!(
            "apiVersion: llm-d.ai/v1alpha2\nkind: InferenceModelRewrite\nmetadata: {{name: a}}\nspec: {{poolRef: {{name: p}}, rules: [{rules}]}}\n"
        )
    };
    for (text, want) in [
        (rewrite("{}"), "the rule has no targets"),
        (rewrite("{targets: [{modelRewrite: ''}]}"), "a model's name cannot be empty"),
        (rewrite("{targets: [{modelRewrite: b, weight: 2000000}]}"), "a weight is at most 1000000"),
        (rewrite("{targets: [{modelRewrite: b, weight: 0}]}"), "the weights add up to nothing"),
        (rewrite("{matches: [{model: {type: Prefix, value: a}}], targets: [{modelRewrite: b}]}"), "is no way to compare names"),
        (rewrite("{targets: [{modelRewrite: b, wieght: 1}]}"), "wieght"),
        (GOOD.replace("llm-d.ai/v1alpha2", "llm-d.ai/v1"), "the apiVersion `llm-d.ai/v1` is not supported"),
        (GOOD.replace("kind: InferenceObjective", "kind: InferenceObjektive"), "is neither InferenceObjective nor"),
        (GOOD.replace("2026-01-01T00:00:00Z", "soon"), "\"soon\" is not a time"),
        (format!("{GOOD}---\n{GOOD}"), "two objects of this kind are called `urgent`; the first is on line 3"),
    ] {
        let found = Objects::parse(&text).unwrap_err();
        let all: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(all.iter().any(|one| one.contains(want)), "{want}: {all:?}");
        assert!(found.errors().all(|one| one.line() > 0));
    }
}

#[test]
fn a_target_without_a_weight_among_others_is_pointed_out() {
    let text = GOOD.replace("m1-v2, weight: 10", "m1-v2");
    let checked = Objects::parse(&text).unwrap();
    assert!(checked.warnings.iter().any(|one| one.to_string().contains("gets no requests")), "{:?}", checked.warnings);
}
