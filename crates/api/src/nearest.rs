//! The closest known name to a mistyped one, for "did you mean" hints.

/// The candidate closest to `name`, if it is close enough to be a likely typo.
///
/// Distance is Damerau–Levenshtein (optimal string alignment) without regard to case; up to a third of the
/// longer name may differ. Ties go to the first candidate.
///
/// ```
/// assert_eq!(weir_api::nearest("matchLables", ["matchLabels", "matchAll"]), Some("matchLabels"));
/// assert_eq!(weir_api::nearest("zzz", ["matchLabels"]), None);
/// ```
#[must_use]
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Names this long are not typos of anything we know; the bound keeps the table small.
    const LONGEST: usize = 64;
    let wanted: Vec<char> = fold(name);
    if wanted.is_empty() || wanted.len() > LONGEST {
        return None;
    }
    let mut best: Option<(usize, &'c str)> = None;
    for candidate in candidates {
        let other = fold(candidate);
        if other.len() > LONGEST {
            continue;
        }
        let allowed = (wanted.len().max(other.len()) / 3).max(1);
        let distance = distance(&wanted, &other);
        if distance <= allowed && distance < other.len() && best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn fold(name: &str) -> Vec<char> {
    name.chars().flat_map(char::to_lowercase).collect()
}

/// Optimal string alignment distance, three rows at a time.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let substitute = above[j] + usize::from(a[i] != b[j]);
            let mut cost = substitute.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                cost = cost.min(before[j - 1] + 1);
            }
            row[j + 1] = cost;
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits_and_swaps() {
        let d = |a: &str, b: &str| distance(&fold(a), &fold(b));
        assert_eq!(d("", "abc"), 3);
        assert_eq!(d("kitten", "sitting"), 3);
        assert_eq!(d("modles", "models"), 1);
        assert_eq!(d("pluginref", "pluginRef"), 0);
    }

    #[test]
    fn picks_the_closest_and_refuses_the_distant() {
        assert_eq!(nearest("pluginref", ["name", "pluginRef"]), Some("pluginRef"));
        assert_eq!(nearest("wieght", ["pluginRef", "weight"]), Some("weight"));
        assert_eq!(nearest("qeue-scorer", ["queue-scorer", "lora-scorer"]), Some("queue-scorer"));
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("", ["y"]), None);
        assert_eq!(nearest(&"a".repeat(10_000), ["aaaa"]), None);
    }
}
