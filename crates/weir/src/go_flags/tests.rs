use super::*;

#[derive(Debug, Default, PartialEq)]
struct Values {
    name: String,
    port: u16,
    secure: bool,
    level: i64,
    text: String,
}

const FLAGS: &[Group<Values>] = &[
    (
        "First",
        &[
            Flag {
                name: "pool-name",
                takes: Takes::Value("NAME"),
                default: "",
                help: "a name",
                set: |values, text| {
                    values.name = text.to_owned();
                    Ok(())
                },
            },
            Flag {
                name: "grpc-port",
                takes: Takes::Value("PORT"),
                default: "9002",
                help: "a port",
                set: |values, text| {
                    values.port = port(text)?;
                    Ok(())
                },
            },
        ],
    ),
    (
        "Second",
        &[
            Flag {
                name: "secure-serving",
                takes: Takes::Nothing,
                default: "true",
                help: "a boolean",
                set: |values, text| {
                    values.secure = boolean(text)?;
                    Ok(())
                },
            },
            Flag {
                name: "v",
                takes: Takes::Value("LEVEL"),
                default: "2",
                help: "a number",
                set: |values, text| {
                    values.level = whole(text)?;
                    Ok(())
                },
            },
            Flag {
                name: "config-text",
                takes: Takes::Value("YAML"),
                default: "",
                help: "a text",
                set: |values, text| {
                    values.text = text.to_owned();
                    Ok(())
                },
            },
        ],
    ),
];

fn read(line: &[&str]) -> (Values, Result<Parsed, Vec<FlagError>>) {
    let mut values = Values::default();
    let line: Vec<String> = line.iter().map(|one| (*one).to_owned()).collect();
    let parsed = parse(FLAGS, &line, &mut values);
    (values, parsed)
}

fn good(line: &[&str]) -> Values {
    let (values, parsed) = read(line);
    assert_eq!(parsed.expect("every flag is right").warnings, [""; 0], "{line:?}");
    values
}

fn errors(line: &[&str]) -> Vec<String> {
    read(line).1.expect_err("a flag is wrong").iter().map(ToString::to_string).collect()
}

fn warnings(line: &[&str]) -> Vec<String> {
    read(line).1.expect("every flag is right").warnings
}

#[test]
fn one_dash_or_two_and_both_ways_to_give_a_value() {
    for line in [
        ["--pool-name", "p", "--grpc-port", "9"].as_slice(),
        &["-pool-name", "p", "-grpc-port", "9"],
        &["--pool-name=p", "-grpc-port=9"],
        &["-pool-name=p", "--grpc-port=0x9"],
    ] {
        assert_eq!(good(line), Values { name: "p".to_owned(), port: 9, ..Values::default() }, "{line:?}");
    }
}

#[test]
fn a_value_may_look_like_anything() {
    assert_eq!(good(&["--config-text", "--pool-name=x"]).text, "--pool-name=x");
    assert_eq!(good(&["--config-text=a=b"]).text, "a=b");
    assert_eq!(good(&["--config-text", ""]).text, "");
    assert_eq!(good(&["--config-text="]).text, "");
    assert_eq!(good(&["--config-text", "plugins:\n- type: x\n"]).text, "plugins:\n- type: x\n");
}

#[test]
fn booleans() {
    assert!(good(&["--secure-serving"]).secure);
    assert!(good(&["--secure-serving", "--pool-name", "p"]).secure);
    for yes in ["1", "t", "T", "true", "TRUE", "True"] {
        assert!(good(&[&format!("--secure-serving={yes}")]).secure, "{yes}");
    }
    for no in ["0", "f", "F", "false", "FALSE", "False"] {
        assert!(!good(&["--secure-serving", &format!("--secure-serving={no}")]).secure, "{no}");
    }
    assert_eq!(errors(&["--secure-serving=yes"]), ["--secure-serving: \"yes\" is neither true nor false"]);
    assert_eq!(errors(&["--secure-serving="]), ["--secure-serving: \"\" is neither true nor false"]);
}

#[test]
fn the_last_one_counts() {
    assert!(!good(&["--secure-serving", "--secure-serving=false"]).secure);
    assert_eq!(good(&["--grpc-port", "1", "--pool-name=a", "--grpc-port=2"]).port, 2);
    assert_eq!(read(&["-v=1", "--v", "3"]).1.expect("right").given, ["v"]);
}

#[test]
fn empty_arguments_are_none() {
    let values = good(&["", "--pool-name", "p", "", "--secure-serving", "", "--grpc-port", "1", ""]);
    assert_eq!(values, Values { name: "p".to_owned(), port: 1, secure: true, ..Values::default() });
}

#[test]
fn verbosity_has_a_short_form() {
    for line in [["-v=4"].as_slice(), &["-v", "4"], &["--v=4"], &["--v", "4"], &["-v4"]] {
        assert_eq!(good(line).level, 4, "{line:?}");
    }
}

#[test]
fn the_spelling_of_old_programs() {
    assert_eq!(warnings(&["--configText", "x"]), ["--configText is an old spelling of --config-text"]);
    assert_eq!(
        read(&["-configText=x", "-poolName=p"]).0,
        Values { name: "p".to_owned(), text: "x".to_owned(), ..Values::default() }
    );
}

#[test]
fn what_is_no_flag_is_ignored_aloud() {
    assert_eq!(
        warnings(&["--secure-serving", "false", "--grpc-port=1"]),
        ["the argument \"false\" is ignored: a boolean takes its value after `=`, as in --secure-serving=false"]
    );
    assert_eq!(warnings(&["one", "-"]).len(), 2);
    let (values, parsed) = read(&["--grpc-port", "1", "--", "--grpc-port=2"]);
    assert_eq!((values.port, parsed.expect("right").warnings.len()), (1, 1));
}

#[test]
fn every_error_is_told() {
    assert_eq!(
        errors(&["--grpc-prot", "1", "--grpc-port=x", "-v", "one", "--pool", "--config-text"]),
        [
            "there is no flag --grpc-prot (did you mean --grpc-port?)",
            "--grpc-port: \"x\" is not a port, which is a number from 0 to 65535",
            "-v: \"one\" is not a whole number".replace("-v", "--v").as_str(),
            "there is no flag --pool",
            "--config-text needs a value",
        ]
    );
    assert_eq!(errors(&["---x"]), ["\"---x\" is not a flag: a flag is written --name, --name=value or --name value"]);
    assert_eq!(errors(&["--=x"]).len(), 1);
}

#[test]
fn help_is_asked_for_in_four_ways() {
    for line in ["-h", "--h", "-help", "--help"] {
        assert!(read(&[line]).1.expect("right").help, "{line}");
    }
    let text = help(FLAGS);
    assert!(text.contains("\nFirst:\n  --pool-name NAME "), "{text}");
    assert!(text.contains("--grpc-port PORT [9002]"), "{text}");
}

#[test]
fn numbers_as_go_reads_them() {
    for (text, number) in
        [("10", 10), ("0x10", 16), ("0b11", 3), ("0o17", 15), ("017", 15), ("1_000", 1000), ("-5", -5), ("+5", 5), ("0", 0)]
    {
        assert_eq!(whole(text), Ok(number), "{text}");
    }
    for text in ["", "x", "1.5", "--1", "0x", "9223372036854775808", " 1"] {
        assert!(whole(text).is_err(), "{text}");
    }
    assert!(port("65536").is_err() && port("-1").is_err());
    assert_eq!(port("0"), Ok(0));
}
