//! Tests of reading documents.

use super::*;
use crate::Diagnostic;

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn at(node: &Node) -> (u32, u32) {
    (node.at.line, node.at.column)
}

#[test]
fn nodes_know_their_places() {
    let doc = parse("# note\na: 1\nb:\n  - x\n  - {c: true, d: 'two words'}\né: \"ü\"\n").unwrap();
    assert_eq!(at(&doc), (2, 1));
    assert_eq!(at(doc.get("a").unwrap()), (2, 4));
    let b = doc.get("b").unwrap();
    assert_eq!(b.items().iter().map(at).collect::<Vec<_>>(), [(4, 5), (5, 5)]);
    let d = b.items()[1].entry("d").unwrap();
    assert_eq!((d.key_at.line, d.key_at.column, d.key_at.len), (5, 15, 1));
    assert_eq!((d.value.at.line, d.value.at.column, d.value.at.len), (5, 18, 11));
    assert_eq!(at(doc.get("é").unwrap()), (6, 4));
    assert_eq!(doc.get("é").unwrap().value, Value::String("ü".into()));
}

#[test]
fn equality_ignores_places() {
    assert_eq!(parse("{a: [1, 2]}").unwrap(), parse("\n\na:\n- 1\n- 2\n").unwrap());
    assert_ne!(parse("a: 1").unwrap(), parse("a: '1'").unwrap());
}

#[test]
fn json_is_yaml() {
    let text = "{\n\t\"a\": [1, -2.5e3, null, true],\n\t\"b\": {\"c\": \"x\\n\\u00e9\\/\\\"\"}\n}\n";
    let doc = parse(text).unwrap();
    assert_eq!(doc.to_json(), serde_json::from_str::<serde_json::Value>(text).unwrap());
    assert_eq!(serde_json::to_value(&doc).unwrap(), doc.to_json());
    let back: Node = serde_json::from_str(text).unwrap();
    assert_eq!(back, doc);
}

#[test]
fn empty_documents_are_null() {
    for text in ["", "\n\n", "# only a comment\n", "---\n", "--- ~\n...\n", "\u{feff}"] {
        assert_eq!(parse(text).unwrap().value, Value::Null, "{text:?}");
    }
}

#[test]
fn anchors_are_copied() {
    let doc = parse("a: &x {k: [1]}\nb: *x\nc: [*x, *x]\n").unwrap();
    assert_eq!(doc.get("b"), doc.get("a"));
    assert_eq!(at(doc.get("b").unwrap()), (2, 4));
    assert_eq!(doc.get("c").unwrap().items().len(), 2);
}

#[test]
fn billion_laughs_are_bounded() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 9].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    let error = parse(&text).unwrap_err();
    assert!(error.message.contains("too large"), "{error}");
    assert!(error.line() > 1);
    // The same with long text instead of many nodes.
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1_000].join(","));
    assert!(error_of(&long).contains("too large"));
}

fn error_of(text: &str) -> String {
    parse(text).unwrap_err().message
}

#[test]
fn nesting_is_bounded() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(parse(&deep(60)).is_ok());
    for n in [65, 200, 300, 100_000] {
        let error = parse(&deep(n)).unwrap_err();
        assert!(error.message.contains("nested deeper") || error.message.contains("not valid YAML"), "{n}: {error}");
    }
    let block: String = (0..200).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert!(error_of(&block).contains("nested deeper"));
    // Each alias adds two levels to what it repeats.
    let chain: String = (1..60).map(|i| format!("a{i}: &a{i} [[*a{}]]\n", i - 1)).collect();
    assert!(error_of(&format!("a0: &a0 [x]\n{chain}")).contains("nested deeper"));
}

#[test]
fn size_is_bounded() {
    let text = format!("a: {}", "x".repeat(MAX_BYTES));
    assert_eq!(error(&text), format!("1:1: error: the document has {} bytes; at most 1048576 are read", MAX_BYTES + 3));
    assert!(parse(&"- a\n".repeat(200_000)).is_ok());
}

#[test]
fn many_unknown_fields_cost_little() {
    #[derive(Debug, serde::Deserialize)]
    struct Nothing {}
    let text: String = (0..100_000).map(|i| format!("k{i}: 1\n")).collect();
    let (value, found) = decode::<Nothing>(&parse(&text).unwrap(), "", Case::Sensitive);
    assert!(value.is_some());
    assert_eq!(found.len(), crate::Diagnostics::MOST);
}

#[test]
fn one_key_of_a_large_mapping_costs_little() {
    // Quadratic search for duplicates would take minutes here.
    let text: String = (0..100_000).map(|i| format!("k{i}: 1\n")).collect();
    assert!(matches!(parse(&text).unwrap().value, Value::Map(entries) if entries.len() == 100_000));
}

#[test]
fn errors_say_where() {
    for (text, want) in [
        ("a: 1\nb: 2\na: 3\n", "3:1: error: the key `a` is already set on line 1"),
        ("x:\n- {k: 1, k: 2}\n", "2:10: error: x[0]: the key `k` is already set on line 2"),
        ("a: 1\n---\nb: 2\n", "2:1: error: a second document begins here; one is expected"),
        ("a: !secret x\n", "1:4: error: a: this tag is not supported"),
        ("a: !!int x\n", "1:4: error: a: the value does not fit its tag"),
        ("[1, 2]: x\n", "1:1: error: a key must be a scalar"),
        ("a: &x [*x]\n", "1:8: error: a[0]: this alias stands inside what it refers to"),
        ("a:\n  <<: {b: 1}\n", "2:3: error: a: merge keys (`<<`) are not part of YAML 1.2 (repeat the fields)"),
    ] {
        assert_eq!(error(text), want, "{text}");
    }
    for (text, line) in
        [("a: [1, 2\nb: 3\n", 2), ("a: b: c\n", 1), ("a: \"x\n", 1), ("a:\n\tb: 1\n", 2), ("a: *nope\n", 1), ("a: @x\n", 1)]
    {
        let Diagnostic { message, at, .. } = parse(text).unwrap_err();
        assert!(message.starts_with("not valid YAML: "), "{text:?}: {message}");
        assert!(at.line >= line, "{text:?}: {message} at {at:?}");
    }
}

#[test]
fn tags_of_the_core_schema_hold() {
    let doc = parse("[!!str 1, !!int '2', !!float 3, !!bool 'true', !!null '', ! 4, !!seq [5], !!map {a: 6}]").unwrap();
    assert_eq!(doc.to_json(), serde_json::json!(["1", 2, 3.0, true, null, "4", [5], {"a": 6}]));
}

/// Cut and altered documents must never panic, whatever they mean.
#[test]
fn mangled_documents_do_not_panic() {
    let samples: [&str; 3] = [
        crate::BUILTIN_EPP,
        include_str!("../../../../testdata/config/sample-12-6.yaml"),
        "a: &x |2-\n    text\n  more\nb: >+\n folded\n\nc: [*x, {? d : e}, 'it''s', \"\\x41\\u00e9\"]\n? k\n: v\n%TAG ! x\n--- !!str x\n",
    ];
    let odd = [
        ":", "-", "[", "]", "{", "}", "&a", "*a", "!", "|", ">", "'", "\"", "%", "@", "`", "\t", "\n", "\r", "\0", "é",
        "\u{2028}", "? ", "#", ",",
    ];
    let mut seed = 0x5eed_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for round in 0..1_500 {
        let chars: Vec<char> = samples[round % samples.len()].chars().collect();
        let mut text: String = chars[..random(chars.len() + 1)].iter().collect();
        for _ in 0..random(4) {
            let spot = text.char_indices().map(|(i, _)| i).nth(random(text.chars().count().max(1))).unwrap_or(0);
            text.insert_str(spot, odd[random(odd.len())]);
        }
        let _ = parse(&text);
    }
}
