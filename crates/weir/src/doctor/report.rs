//! Findings, as people and tools read them.

use std::fmt::Write as _;

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Works, and may not go on to.
    Warning,
    /// Breaks requests, now or under load.
    Wrong,
    /// Could not be looked at.
    Skipped,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Stable name of the check, as in `envoy.body-mode`.
    pub(crate) check: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, message: message.into(), fix: None }
    }

    pub(crate) fn skipped(check: &'static str, message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, ..Self::ok(check, message) }
    }

    pub(crate) fn warning(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, fix: Some(fix.into()), ..Self::ok(check, message) }
    }

    pub(crate) fn wrong(check: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { verdict: Verdict::Wrong, ..Self::warning(check, message, fix) }
    }
}

/// All findings, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(crate) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
    }

    pub(crate) fn is_wrong(&self) -> bool {
        self.count(Verdict::Wrong) > 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|one| one.verdict == verdict).count()
    }

    pub(crate) fn json(&self) -> String {
        let value = serde_json::json!({
            "ok": !self.is_wrong(),
            "wrong": self.count(Verdict::Wrong),
            "warnings": self.count(Verdict::Warning),
            "findings": self.findings,
        });
        format!("{value:#}\n")
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let width = self.findings.iter().map(|one| one.check.len()).max().unwrap_or(0);
        for Finding { check, verdict, message, fix } in &self.findings {
            let word = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Wrong => "WRONG",
                Verdict::Skipped => "skipped",
            };
            let _ = writeln!(out, "{word:<8} {check:<width$}  {message}");
            for (number, line) in fix.iter().flat_map(|fix| wrapped(fix)).enumerate() {
                let label = if number == 0 { "fix: " } else { "     " };
                let _ = writeln!(out, "{:<8} {label}{line}", "");
            }
        }
        let (ok, warnings, wrong, skipped) =
            (self.count(Verdict::Ok), self.count(Verdict::Warning), self.count(Verdict::Wrong), self.count(Verdict::Skipped));
        let _ = writeln!(out, "{ok} ok, {warnings} warnings, {wrong} wrong, {skipped} skipped");
        out
    }
}

/// Lines of at most 100 characters, broken between words.
fn wrapped(text: &str) -> Vec<String> {
    const WIDTH: usize = 100;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.len() + 1 + word.len() <= WIDTH) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_the_worst_at_a_glance() {
        let mut report = Report::default();
        report.add(Finding::ok("a.b", "fine"));
        report.add(Finding::wrong("long.name", "broken", "word ".repeat(30)));
        let text = report.text();
        assert!(text.starts_with("ok       a.b        fine\nWRONG    long.name  broken\n         fix: word word"), "{text}");
        assert!(text.ends_with("1 ok, 0 warnings, 1 wrong, 0 skipped\n"), "{text}");
        assert!(text.lines().all(|line| line.len() < 120), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("it is JSON");
        assert_eq!((json["ok"].as_bool(), json["findings"][1]["verdict"].as_str()), (Some(false), Some("wrong")));
    }
}
