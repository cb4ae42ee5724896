//! llm-d's simulated tokenizer.
//!
//! A token is a punctuation mark or a run of ASCII word characters, with the ASCII white space that follows; its id is FNV-1a 32
//! of its bytes. Backticks, bars, control characters and leading white space are dropped, as in llm-d. Unlike there, a character
//! beyond ASCII is a token of its own, so that other scripts count.

/// The tokens of a text.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let start = at;
            let byte = bytes[at];
            if is_word(byte) && byte != b'_' {
                while at < bytes.len() && is_word(bytes[at]) {
                    at += 1;
                }
            } else if is_mark(byte) {
                at += 1;
            } else if byte.is_ascii() {
                at += 1;
                continue;
            } else {
                at += 1;
                while at < bytes.len() && !text.is_char_boundary(at) {
                    at += 1;
                }
            }
            while at < bytes.len() && is_space(bytes[at]) {
                at += 1;
            }
            return text.get(start..at);
        }
        None
    })
}

/// The ids of a text's tokens.
pub(crate) fn ids(text: &str) -> Vec<u32> {
    pieces(text).map(id).collect()
}

/// FNV-1a 32.
pub(crate) fn id(piece: &str) -> u32 {
    piece.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Space, tab, line feed, form feed, carriage return.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace()
}

fn is_mark(byte: u8) -> bool {
    matches!(
        byte,
        b'{' | b'}'
            | b':'
            | b','
            | b'-'
            | b'.'
            | b'?'
            | b'!'
            | b';'
            | b'@'
            | b'#'
            | b'$'
            | b'%'
            | b'^'
            | b'&'
            | b'*'
            | b'('
            | b')'
    ) || matches!(byte, b'+' | b'_' | b'~' | b'/' | b'\\' | b'>' | b'<' | b'[' | b']' | b'=' | b'"' | b'\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_reference() {
        let cases: [(&str, &[&str], &[u32]); 5] = [
            (
                "I hear it's very cold.",
                &["I ", "hear ", "it", "'", "s ", "very ", "cold", "."],
                &[2062099468, 3265900095, 1194886160, 571247302, 4149321222, 1809349267, 3930381583, 722245873],
            ),
            (
                "Hello, how are you?",
                &["Hello", ", ", "how ", "are ", "you", "?"],
                &[4116459851, 2312110321, 1946735703, 3692005271, 1354289308, 973910158],
            ),
            (
                "### user: Hello!\n",
                &["#", "#", "# ", "user", ": ", "Hello", "!\n"],
                &[638357778, 638357778, 399020470, 1618501362, 2382766391, 4116459851, 2781045010],
            ),
            ("a  b\n\nc", &["a  ", "b\n\n", "c"], &[1319394188, 1640018837, 3859557458]),
            ("snake_case x=1", &["snake_case ", "x", "=", "1"], &[2212948000, 4245442695, 940354920, 873244444]),
        ];
        for (text, expected, expected_ids) in cases {
            assert_eq!(pieces(text).collect::<Vec<_>>(), expected);
            assert_eq!(ids(text), expected_ids);
        }
    }

    #[test]
    fn an_underscore_starts_no_word_and_some_marks_are_dropped() {
        assert_eq!(pieces("_a_b").collect::<Vec<_>>(), ["_", "a_b"]);
        assert_eq!(pieces("  `x` | y\u{7}").collect::<Vec<_>>(), ["x", "y"]);
        assert!(ids("").is_empty());
    }

    #[test]
    fn other_scripts_count_by_character() {
        assert_eq!(pieces("日本 né🙂").collect::<Vec<_>>(), ["日", "本 ", "n", "é", "🙂"]);
    }
}
