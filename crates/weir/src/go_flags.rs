//! Command lines as Go's programs read them: `-name` and `--name`, `--name value` and `--name=value`, booleans alone or with
//! `=value`; a flag that is given twice counts as given last, and an empty argument is none.
//!
//! A flag knows how to set itself in a structure of the program's own, so a table of flags is all that a program writes.

use std::fmt::Write as _;

use weir_api::nearest;

#[cfg(test)]
mod tests;

/// One flag of a program whose flags are kept in `T`.
pub(crate) struct Flag<T> {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    /// As the help shows it; empty: none.
    pub(crate) default: &'static str,
    pub(crate) help: &'static str,
    /// Reads a value. An error says what is wrong with it, beginning with the value.
    pub(crate) set: fn(&mut T, &str) -> Result<(), String>,
}

/// What follows a flag's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing, or `=true` or `=false`.
    Nothing,
    /// A value, which the help calls so.
    Value(&'static str),
}

/// Flags under a title of the help.
pub(crate) type Group<T> = (&'static str, &'static [Flag<T>]);

/// What a command line held besides values.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// `-h`, `-help` or `--help` was among it.
    pub(crate) help: bool,
    /// Names of the flags that were given, each once, in order.
    pub(crate) given: Vec<&'static str>,
    /// What its author should know.
    pub(crate) warnings: Vec<String>,
}

/// Why a flag could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlagError {
    #[error("there is no flag --{name}{}", .nearest.map_or_else(String::new, |name| format!(" (did you mean --{name}?)")))]
    Unknown { name: String, nearest: Option<&'static str> },
    #[error("--{0} needs a value")]
    NoValue(&'static str),
    #[error("--{name}: {why}")]
    Bad { name: &'static str, why: String },
    #[error("{0:?} is not a flag: a flag is written --name, --name=value or --name value")]
    Syntax(String),
}

/// Reads a command line, without the program's name, into `into`.
///
/// # Errors
/// Every flag that is wrong; the others are set.
pub(crate) fn parse<T>(groups: &[Group<T>], arguments: &[String], into: &mut T) -> Result<Parsed, Vec<FlagError>> {
    let mut parsed = Parsed::default();
    let mut errors = Vec::new();
    let mut arguments = arguments.iter();
    let mut after_boolean: Option<&'static str> = None;
    while let Some(argument) = arguments.next() {
        if argument.is_empty() {
            continue;
        }
        if argument == "--" {
            parsed.warnings.extend(arguments.by_ref().filter(|one| !one.is_empty()).map(|one| stray(one, None)));
            break;
        }
        let before = after_boolean.take();
        let Some(body) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).filter(|body| !body.is_empty())
        else {
            parsed.warnings.push(stray(argument, before));
            continue;
        };
        if body.starts_with(['-', '=']) {
            errors.push(FlagError::Syntax(argument.clone()));
            continue;
        }
        let (name, inline) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)));
        let Some((flag, inline)) = find(groups, name, inline, &mut parsed) else {
            if name == "h" || name == "help" {
                parsed.help = true;
            } else {
                errors.push(unknown(groups, name));
                if inline.is_none() {
                    skip_value(&mut arguments);
                }
            }
            continue;
        };
        let value = match (flag.takes, inline) {
            (_, Some(value)) => value,
            (Takes::Nothing, None) => {
                after_boolean = Some(flag.name);
                "true"
            }
            (Takes::Value(_), None) => match arguments.next() {
                Some(value) => value,
                None => {
                    errors.push(FlagError::NoValue(flag.name));
                    break;
                }
            },
        };
        if !parsed.given.contains(&flag.name) {
            parsed.given.push(flag.name);
        }
        if let Err(why) = (flag.set)(into, value) {
            errors.push(FlagError::Bad { name: flag.name, why });
        }
    }
    if errors.is_empty() { Ok(parsed) } else { Err(errors) }
}

/// The flag of that name. `--configText` is `--config-text` as older programs spelled it, and `-v4` is `-v=4`.
fn find<'a, T>(
    groups: &[Group<T>],
    name: &'a str,
    inline: Option<&'a str>,
    parsed: &mut Parsed,
) -> Option<(&'static Flag<T>, Option<&'a str>)> {
    if let Some(flag) = lookup(groups, name) {
        return Some((flag, inline));
    }
    if let Some(level) = name.strip_prefix('v').filter(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())) {
        return lookup(groups, "v").map(|flag| (flag, inline.or(Some(level))));
    }
    let flag = lookup(groups, &kebab(name))?;
    parsed.warnings.push(format!("--{name} is an old spelling of --{}", flag.name));
    Some((flag, inline))
}

fn lookup<T>(groups: &[Group<T>], name: &str) -> Option<&'static Flag<T>> {
    groups.iter().flat_map(|(_, flags)| flags.iter()).find(|flag| flag.name == name)
}

fn kebab(name: &str) -> String {
    name.chars().fold(String::with_capacity(name.len() + 4), |mut out, letter| {
        if letter.is_ascii_uppercase() {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
        out
    })
}

fn unknown<T>(groups: &[Group<T>], name: &str) -> FlagError {
    let names = groups.iter().flat_map(|(_, flags)| flags.iter()).map(|flag| flag.name);
    let near = nearest(name, names.clone()).and_then(|near| names.clone().find(|one| *one == near));
    FlagError::Unknown { name: name.to_owned(), nearest: near }
}

/// What follows an unknown flag is most likely its value, and nothing to complain about as well.
fn skip_value(arguments: &mut std::slice::Iter<'_, String>) {
    if arguments.as_slice().first().is_some_and(|next| !next.starts_with('-')) {
        arguments.next();
    }
}

/// Go's programs ignore what is no flag. So do we, aloud: after a boolean it was meant to be its value.
fn stray(argument: &str, before: Option<&'static str>) -> String {
    match before {
        Some(flag) => {
            format!("the argument {argument:?} is ignored: a boolean takes its value after `=`, as in --{flag}={argument}")
        }
        None => format!("the argument {argument:?} is ignored: it is no flag"),
    }
}

/// `1`, `t`, `true` and so on, as Go reads them.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// A whole number as Go reads it: decimal, `0x`, `0o`, `0b`, `_` between digits.
pub(crate) fn whole(text: &str) -> Result<i64, String> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = rest.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let digits = digits.replace('_', "");
    let number = if digits.starts_with(['+', '-']) { None } else { i64::from_str_radix(&digits, radix).ok() };
    number.map(|number| if negative { -number } else { number }).ok_or_else(|| format!("{text:?} is not a whole number"))
}

/// A port; 0 stands for any free one.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    whole(text)
        .ok()
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| format!("{text:?} is not a port, which is a number from 0 to 65535"))
}

/// The lines of a help text: one flag each.
pub(crate) fn help<T>(groups: &[Group<T>]) -> String {
    let mut out = String::new();
    for (title, flags) in groups {
        let _ = write!(out, "\n{title}:\n");
        for flag in *flags {
            let mut left = format!("--{}", flag.name);
            if let Takes::Value(value) = flag.takes {
                let _ = write!(left, " {value}");
            }
            if !flag.default.is_empty() {
                let _ = write!(left, " [{}]", flag.default);
            }
            let mut words = flag.help.split(' ').peekable();
            while words.peek().is_some() {
                let mut line = String::new();
                while let Some(word) = words.next_if(|word| line.is_empty() || line.len() + word.len() < 66) {
                    if !line.is_empty() {
                        line.push(' ');
                    }
                    line.push_str(word);
                }
                if left.len() > 40 {
                    let _ = writeln!(out, "  {left}");
                    left.clear();
                }
                let _ = writeln!(out, "  {left:<40} {line}");
                left.clear();
            }
        }
    }
    out
}
