//! Findings about a document: where, what, and what to do about it.

use std::fmt;

/// Where something stands in a document. Lines and columns count from 1, in characters; 0 means unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Which document of a [`Sources`]; 0 is the one that was given first.
    pub source: u16,
    /// Line, from 1.
    pub line: u32,
    /// Column of the first character, from 1.
    pub column: u32,
    /// Characters on that line, 0 if only the start is known.
    pub len: u32,
}

impl Span {
    /// Whether a place is known at all.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.line > 0
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The document cannot be used.
    Error,
    /// The document can be used, but probably not as its author thinks.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One finding about a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Where in the text.
    pub at: Span,
    /// Where in the configuration, as in `pools[0].endpoints.static[1].url`; empty for the root.
    pub path: String,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place. A message may bring its own advice after a line `help: `.
    pub fn error(at: Span, path: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        let (message, help) = match message.split_once("\nhelp: ") {
            Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
            None => (message, None),
        };
        Self { severity: Severity::Error, at, path: path.into(), message, help }
    }

    /// A warning at a place.
    pub fn warning(at: Span, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(at, path, message) }
    }

    /// The same with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with a "did you mean" hint, if one of the candidates is close to `name`.
    #[must_use]
    pub fn with_nearest<'c>(self, name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Self {
        match crate::nearest(name, candidates) {
            Some(candidate) => self.with_help(format!("did you mean `{candidate}`?")),
            None => self,
        }
    }

    /// Line, from 1; 0 if unknown.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.at.line
    }

    /// Column, from 1; 0 if unknown.
    #[must_use]
    pub fn column(&self) -> u32 {
        self.at.column
    }

    /// Several lines: the message, the place, the source line with the spot underlined, the advice.
    #[must_use]
    pub fn render(&self, sources: &Sources) -> String {
        let mut out = format!("{}: {}\n", self.severity, self.message);
        let source = sources.get(self.at.source);
        let name = source.map_or("<config>", |s| s.name.as_str());
        let at = if self.at.is_known() { format!("{name}:{}:{}", self.at.line, self.at.column) } else { name.to_owned() };
        let number = self.at.line.to_string();
        let margin = " ".repeat(number.len());
        let path = if self.path.is_empty() { String::new() } else { format!(" ({})", self.path) };
        out.push_str(&format!("{margin}--> {at}{path}\n"));
        let text = source.filter(|_| self.at.is_known()).and_then(|s| s.line(self.at.line));
        if let Some(text) = text {
            let (shown, lead, carets) = excerpt(text, self.at.column, self.at.len);
            out.push_str(&format!("{margin} |\n{number} | {shown}\n{margin} | {lead}{carets}\n"));
        }
        if let Some(help) = &self.help {
            out.push_str(&format!("{margin} = help: {help}\n"));
        }
        out
    }
}

/// One line: `12:5: error: pools[0].modles: unknown field (did you mean `models`?)`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_known() {
            write!(f, "{}:{}: ", self.at.line, self.at.column)?;
        }
        write!(f, "{}: ", self.severity)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// The source line cut to a window of a terminal's width, what goes before the carets, and the carets.
fn excerpt(text: &str, column: u32, len: u32) -> (String, String, String) {
    const WIDTH: usize = 160;
    let column = (column as usize).max(1) - 1;
    let skip = column.saturating_sub(WIDTH / 2);
    let shown: String = text.chars().skip(skip).take(WIDTH).collect();
    // Tabs stay tabs, so that the carets stand below the spot whatever the tab width is.
    let lead: String = shown.chars().take(column - skip).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let room = shown.chars().count().saturating_sub(column - skip).max(1);
    (shown, lead, "^".repeat((len as usize).clamp(1, room)))
}

/// Findings in the order in which they should be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Most errors, and most warnings, that are kept: nobody reads more.
    pub const MOST: usize = 200;

    /// Adds one, unless the very same is there already or there are [`Diagnostics::MOST`] of its severity.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let alike = self.items.iter().filter(|d| d.severity == diagnostic.severity).count();
        if alike < Self::MOST && !self.items.contains(&diagnostic) {
            self.items.push(diagnostic);
        }
    }

    /// Whether one of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// Whether there are none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.items.iter()
    }

    /// The errors.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.items.iter().filter(|d| d.severity == Severity::Error)
    }

    /// The warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.items.iter().filter(|d| d.severity == Severity::Warning)
    }

    /// In the order of the text.
    pub fn sort(&mut self) {
        self.items.sort_by_key(|d| d.at);
    }

    /// `Err` with everything, in the order of the text, if there is an error; else the warnings.
    ///
    /// # Errors
    /// When one of the findings is an error.
    pub fn into_result(mut self) -> Result<Self, Self> {
        self.sort();
        if self.has_errors() { Err(self) } else { Ok(self) }
    }

    /// All of them with source lines, ready for a terminal.
    #[must_use]
    pub fn render(&self, sources: &Sources) -> String {
        let parts: Vec<String> = self.items.iter().map(|d| d.render(sources)).collect();
        parts.join("\n")
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.items.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { items: vec![diagnostic] }
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, more: I) {
        for diagnostic in more {
            self.push(diagnostic);
        }
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(items: I) -> Self {
        let mut all = Self::new();
        all.extend(items);
        all
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'d> IntoIterator for &'d Diagnostics {
    type Item = &'d Diagnostic;
    type IntoIter = std::slice::Iter<'d, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

/// One document's name and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// How to call it in a message: usually a path.
    pub name: String,
    /// Its whole text.
    pub text: String,
}

impl Source {
    fn line(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.text.lines().nth(index)
    }
}

/// The documents that spans point into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    all: Vec<Source>,
}

impl Sources {
    /// One document.
    pub fn single(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut sources = Self::default();
        sources.add(name, text);
        sources
    }

    /// Adds a document and says what [`Span::source`] of its nodes is.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> u16 {
        let id = u16::try_from(self.all.len()).unwrap_or(u16::MAX);
        self.all.push(Source { name: name.into(), text: text.into() });
        id
    }

    /// The document that spans with this number point into.
    #[must_use]
    pub fn get(&self, source: u16) -> Option<&Source> {
        self.all.get(usize::from(source))
    }

    /// All documents.
    pub fn iter(&self) -> std::slice::Iter<'_, Source> {
        self.all.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32, len: u32) -> Span {
        Span { source: 0, line, column, len }
    }

    #[test]
    fn renders_file_line_caret_and_help() {
        let sources = Sources::single("router.yaml", "pools:\n- name: a\n  modles: [x]\n");
        let d = Diagnostic::error(at(3, 3, 6), "pools[0].modles", "unknown field `modles`")
            .with_nearest("modles", ["name", "models"]);
        assert_eq!(
            d.render(&sources),
            "error: unknown field `modles`\n --> router.yaml:3:3 (pools[0].modles)\n  |\n3 |   modles: [x]\n  |   ^^^^^^\n  = help: did you mean `models`?\n"
        );
        assert_eq!(d.to_string(), "3:3: error: pools[0].modles: unknown field `modles` (did you mean `models`?)");
    }

    #[test]
    fn renders_without_a_place_and_beyond_the_text() {
        let sources = Sources::single("a.yaml", "x");
        let unknown = Diagnostic::warning(Span::default(), "", "odd");
        assert_eq!(unknown.render(&sources), "warning: odd\n --> a.yaml\n");
        let beyond = Diagnostic::error(at(9, 1, 0), "", "gone");
        assert_eq!(beyond.render(&sources), "error: gone\n --> a.yaml:9:1\n");
    }

    #[test]
    fn long_lines_are_cut_around_the_spot() {
        let sources = Sources::single("a", format!("{}bad{}", "x".repeat(5_000), "y".repeat(5_000)));
        let text = Diagnostic::error(at(1, 5_001, 3), "", "m").render(&sources);
        assert!(text.lines().all(|l| l.len() < 200));
        assert!(text.contains("xbady") && text.contains(" ^^^\n"));
    }

    #[test]
    fn warnings_do_not_crowd_out_errors() {
        let mut list: Diagnostics = (1..10_000).map(|line| Diagnostic::warning(at(line, 1, 0), "", "w")).collect();
        list.push(Diagnostic::error(at(1, 1, 0), "", "e"));
        assert_eq!((list.len(), list.has_errors()), (Diagnostics::MOST + 1, true));
        list.push(Diagnostic::error(at(1, 1, 0), "", "e"));
        assert_eq!(list.errors().count(), 1, "the same twice");
    }

    #[test]
    fn into_result_sorts_and_splits() {
        let list: Diagnostics =
            [Diagnostic::warning(at(2, 1, 0), "", "w"), Diagnostic::error(at(1, 1, 0), "", "e")].into_iter().collect();
        let failed = list.clone().into_result().unwrap_err();
        assert_eq!(failed.iter().map(|d| d.message.as_str()).collect::<Vec<_>>(), ["e", "w"]);
        let warnings: Diagnostics = list.warnings().cloned().collect();
        assert_eq!(warnings.into_result().unwrap().len(), 1);
    }
}
