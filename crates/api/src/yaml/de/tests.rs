//! Tests of decoding.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::{Params, Spanned, yaml::parse};

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pool {
    name: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    max_share: f64,
    #[serde(default)]
    watch: bool,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    mode: Option<Mode>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Mode {
    Fast,
    Slow,
    Custom { level: u8 },
    Wrapped(Vec<i8>),
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Doc {
    #[serde(default)]
    pools: Vec<Pool>,
    #[serde(default)]
    note: Option<Spanned<String>>,
    #[serde(default)]
    raw: Params,
}

fn lines(text: &str) -> Vec<String> {
    let (_, found) = decode::<Doc>(&parse(text).unwrap(), "", Case::Sensitive);
    found.iter().map(ToString::to_string).collect()
}

fn doc(text: &str) -> Doc {
    from_node(&parse(text).unwrap()).unwrap()
}

#[test]
fn decodes() {
    let doc = doc(
        "pools:\n- name: a\n  port: 80\n  maxShare: 1\n  watch: true\n  labels: {x: y}\n  mode: fast\n- name: b\n  mode: {custom: {level: 3}}\n- name: c\n  mode: {wrapped: [-1, 2]}\n  port:\nnote: hi\n",
    );
    assert_eq!(doc.pools.len(), 3);
    assert_eq!(doc.pools[0].max_share, 1.0);
    assert_eq!(doc.pools[0].mode, Some(Mode::Fast));
    assert_eq!(doc.pools[1].mode, Some(Mode::Custom { level: 3 }));
    assert_eq!(doc.pools[2].mode, Some(Mode::Wrapped(vec![-1, 2])));
    assert_eq!(doc.pools[2].port, 0, "a field without a value is absent");
    let note = doc.note.unwrap();
    assert_eq!((note.as_str(), note.at.line, note.at.column, note.path.as_str()), ("hi", 13, 7, "note"));
}

#[test]
fn every_error_is_reported_once_and_in_order() {
    assert_eq!(
        lines(
            "pools:\n- nmae: a\n- name: 3\n  prot: 1\n- name: c\n  port: abc\n  watch: yes\n- name: d\n  port: 70000\n  labels: {a: 1}\nnoet: x\n"
        ),
        [
            "2:3: error: pools[0]: the field `name` is missing",
            "2:3: error: pools[0].nmae: unknown field `nmae` (did you mean `name`?)",
            "3:9: error: pools[1].name: expected a string, found the number 3 (put it in quotes: \"3\")",
            "4:3: error: pools[1].prot: unknown field `prot` (did you mean `port`?)",
            "6:9: error: pools[2].port: expected a whole number from 0 to 65535, found the string \"abc\"",
            "7:10: error: pools[2].watch: expected true or false, found the string \"yes\" (write true or false, without quotes)",
            "9:9: error: pools[3].port: expected a whole number from 0 to 65535, found the number 70000",
            "10:15: error: pools[3].labels.a: expected a string, found the number 1 (put it in quotes: \"1\")",
            "11:1: error: noet: unknown field `noet` (did you mean `note`?)",
        ]
    );
}

#[test]
fn messages_of_each_kind() {
    for (text, want) in [
        ("[]", "1:1: error: expected a mapping, found a list"),
        ("pools: {}", "1:8: error: pools: expected a list, found a mapping"),
        ("pools: [3]", "1:9: error: pools[0]: expected a mapping, found the number 3"),
        ("pools: [{name: a, maxShare: abc}]", "1:29: error: pools[0].maxShare: expected a number, found the string \"abc\""),
        (
            "pools: [{name: a, port: '80'}]",
            "1:25: error: pools[0].port: expected a whole number from 0 to 65535, found the string \"80\" (remove the quotes)",
        ),
        (
            "pools: [{name: a, port: 1.5}]",
            "1:25: error: pools[0].port: expected a whole number from 0 to 65535, found the number 1.5",
        ),
        ("pools: [{name: a, mode: fsat}]", "1:25: error: pools[0].mode: unknown value `fsat` (did you mean `fast`?)"),
        (
            "pools: [{name: a, mode: xyzzy}]",
            "1:25: error: pools[0].mode: unknown value `xyzzy` (expected one of `fast`, `slow`, `custom`, `wrapped`)",
        ),
        (
            "pools: [{name: a, mode: [1]}]",
            "1:25: error: pools[0].mode: expected one of `fast`, `slow`, `custom`, `wrapped`, found a list",
        ),
        ("pools: [{name: a, mode: {slow: 1}}]", "1:32: error: pools[0].mode: `slow` takes no value, found the number 1"),
        ("pools: [{name: a, mode: custom}]", "1:25: error: pools[0].mode: `custom` needs a value"),
        (
            "pools: [{name: a, mode: {custom: {level: 3, levl: 4}}}]",
            "1:45: error: pools[0].mode.custom.levl: unknown field `levl` (did you mean `level`?)",
        ),
        (
            "pools: [{name: a, labels: {'a/b.c': 1.5}}]",
            "1:37: error: pools[0].labels[\"a/b.c\"]: expected a string, found the number 1.5 (put it in quotes)",
        ),
        ("zzz: 1", "1:1: error: zzz: unknown field `zzz` (known here: `pools`, `note`, `raw`)"),
    ] {
        assert_eq!(lines(text), [want], "{text}");
    }
}

#[test]
fn the_number_of_rounds_is_bounded() {
    let text: String = std::iter::once("pools:\n".to_owned()).chain((0..500).map(|_| "- name: 1\n".to_owned())).collect();
    let found = lines(&text);
    assert_eq!(found.len(), MAX_ERRORS);
}

#[test]
fn parameters_are_kept_raw_and_decoded_later() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Filter {
        match_labels: BTreeMap<String, String>,
        block_size: u32,
    }
    impl Default for Filter {
        fn default() -> Self {
            Self { match_labels: BTreeMap::new(), block_size: 64 }
        }
    }

    let doc = doc("note: x\nraw:\n  matchLables: {a: b}\n  blocksize: 3\n  blockSize: x\n");
    assert_eq!(doc.raw.path(), "raw");
    let mut notes = Diagnostics::new();
    assert_eq!(doc.raw.decode_noting::<Filter>(&mut notes), None);
    let texts: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "3:3: error: raw.matchLables: unknown field `matchLables` (did you mean `matchLabels`?)",
            "4:3: error: raw.blocksize: unknown field `blocksize` (did you mean `blockSize`?)",
            "5:14: error: raw.blockSize: expected a whole number from 0 to 4294967295, found the string \"x\"",
        ]
    );
    assert_eq!(doc.raw.decode::<Filter>().unwrap_err().line(), 3);
    assert_eq!(doc.raw.error_at("matchLables.a", "odd").to_string(), "3:20: error: raw.matchLables.a: odd");

    let loose = Params::from_yaml("BLOCKSIZE: 3").unwrap();
    let mut notes = Diagnostics::new();
    assert_eq!(loose.decode_noting::<Filter>(&mut notes).unwrap().block_size, 3);
    assert_eq!(notes.to_string(), "1:1: warning: BLOCKSIZE: the field `BLOCKSIZE` is written `blockSize` (write `blockSize`)");
    assert_eq!(Params::default().decode::<Filter>().unwrap(), Filter::default());
    assert_eq!(Params::from_yaml("~").unwrap().decode::<Filter>().unwrap(), Filter::default());
    assert_eq!(
        Params::from_yaml("3").unwrap().decode::<Filter>().unwrap_err().to_string(),
        "1:1: error: expected a mapping, found the number 3"
    );
}

#[test]
fn spanned_and_params_work_with_other_deserializers() {
    let doc: Doc = serde_json::from_str(r#"{"note": "x", "raw": {"a": [1, null]}}"#).unwrap();
    assert_eq!(doc.note.unwrap().value, "x");
    assert_eq!(serde_json::to_string(&doc.raw).unwrap(), r#"{"a":[1,null]}"#);
}

#[test]
fn maps_with_other_keys() {
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Tier {
        Gpu,
        Cpu,
    }
    let tiers: BTreeMap<Tier, u32> = from_node(&parse("{gpu: 1, cpu: 2}").unwrap()).unwrap();
    assert_eq!(tiers[&Tier::Cpu], 2);
    let numbers: BTreeMap<u32, bool> = from_node(&parse("{8: true, 9: false}").unwrap()).unwrap();
    assert!(numbers[&8]);
    let error = from_node::<BTreeMap<u32, bool>>(&parse("{x: true}").unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "1:2: error: x: expected a whole number from 0 to 4294967295, found the string \"x\"");
    let json: serde_json::Value = from_node(&parse("{a: [1, {b: ~}]}").unwrap()).unwrap();
    assert_eq!(json, serde_json::json!({"a": [1, {"b": null}]}));
}
