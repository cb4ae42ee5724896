//! Text to nodes, within stated bounds.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::{Entry, Node, Value, scalar, shorten};
use crate::diagnostic::{Diagnostic, Span};

/// Largest document that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// Most nodes, counting what anchors copy: a few lines of aliases can otherwise stand for billions of nodes.
const MAX_NODES: usize = 250_000;
/// Most text held by nodes, counting what anchors copy.
const MAX_TEXT: usize = 8 * MAX_BYTES;

/// Reads one YAML (or JSON) document. JSON's escaped surrogate pairs are not read: write the character itself.
///
/// # Errors
/// Broken syntax, a duplicate key, a second document, a tag outside the core schema, or a document above the limits
/// ([`MAX_BYTES`], 64 levels, 250,000 nodes after expansion of aliases).
pub fn parse(text: &str) -> Result<Node, Diagnostic> {
    parse_source(text, 0)
}

/// [`parse`] for one document of several: its spans carry the number `source`.
///
/// # Errors
/// As [`parse`].
pub fn parse_source(text: &str, source: u16) -> Result<Node, Diagnostic> {
    let at = Span { source, line: 1, column: 1, len: 0 };
    let one = read(text, source, false)?.pop();
    Ok(one.filter(|root| root.at.is_known()).unwrap_or(Node { at, value: Value::Null }))
}

/// Reads all documents of a text, which `---` separates. Empty ones are left out.
///
/// # Errors
/// As [`parse`], but for the second document; the limits are those of all documents together.
pub fn parse_documents(text: &str, source: u16) -> Result<Vec<Node>, Diagnostic> {
    let all = read(text, source, true)?;
    Ok(all.into_iter().filter(|root| root.at.is_known() && root.value != Value::Null).collect())
}

fn read(text: &str, source: u16, many: bool) -> Result<Vec<Node>, Diagnostic> {
    if text.len() > MAX_BYTES {
        let at = Span { source, line: 1, column: 1, len: 0 };
        return Err(Diagnostic::error(at, "", format!("the document has {} bytes; at most {MAX_BYTES} are read", text.len())));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { source, many, ..Builder::default() };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|e| builder.scan_error(&e))?;
        let at = builder.span(span.start, span.end);
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            Event::DocumentStart(_) => builder.start_document(at)?,
            Event::Alias(id) => builder.alias(id, at)?,
            Event::Scalar(text, style, anchor, tag) => {
                let value = typed(text.into_owned(), style, tag.as_deref()).map_err(|m| builder.fail(at, m))?;
                builder.finish(Node { at, value }, anchor)?;
            }
            Event::SequenceStart(anchor, tag) => builder.open(at, anchor, tag.as_deref(), "seq", Value::List(vec![]))?,
            Event::MappingStart(anchor, tag) => builder.open(at, anchor, tag.as_deref(), "map", Value::Map(vec![]))?,
            Event::SequenceEnd | Event::MappingEnd => builder.close()?,
        }
    }
    Ok(builder.roots)
}

/// A collection that is not complete yet.
struct Frame {
    node: Node,
    anchor: usize,
    key: Option<(String, Span)>,
    /// Keys so far and their lines, for mappings.
    seen: HashMap<String, u32>,
}

#[derive(Default)]
struct Builder {
    source: u16,
    open: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    roots: Vec<Node>,
    /// Whether there may be several documents.
    many: bool,
    documents: usize,
    nodes: usize,
    text: usize,
}

impl Builder {
    fn span(&self, start: Marker, end: Marker) -> Span {
        let len = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 0 };
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span { source: self.source, line: small(start.line()), column: small(start.col() + 1), len: small(len) }
    }

    fn scan_error(&self, error: &ScanError) -> Diagnostic {
        let at = self.span(*error.marker(), *error.marker());
        self.fail(at, format!("not valid YAML: {}", error.info()))
    }

    fn fail(&self, at: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(at, self.path(), message)
    }

    /// Path of what is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.open {
            match (&frame.node.value, &frame.key) {
                (Value::List(items), _) => path.push_str(&format!("[{}]", items.len())),
                (_, Some((key, _))) => super::de::push_key(&mut path, key),
                _ => {}
            }
        }
        path
    }

    fn start_document(&mut self, at: Span) -> Result<(), Diagnostic> {
        self.documents += 1;
        if self.documents > 1 && !self.many {
            return Err(self.fail(at, "a second document begins here; one is expected"));
        }
        Ok(())
    }

    fn open(&mut self, at: Span, anchor: usize, tag: Option<&Tag>, name: &str, value: Value) -> Result<(), Diagnostic> {
        if tag.is_some_and(|t| !t.is_yaml_core_schema() || t.suffix != name) {
            return Err(self.fail(at, "this tag is not supported"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.fail(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if self.open.last().is_some_and(|f| matches!(f.node.value, Value::Map(_)) && f.key.is_none()) {
            return Err(self.fail(at, "a key must be a scalar"));
        }
        self.open.push(Frame { node: Node { at, value }, anchor, key: None, seen: HashMap::new() });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        match self.open.pop() {
            Some(frame) => self.finish(frame.node, frame.anchor),
            None => Ok(()),
        }
    }

    fn alias(&mut self, id: usize, at: Span) -> Result<(), Diagnostic> {
        let Some(node) = self.anchors.get(&id) else {
            return Err(self.fail(at, "this alias stands inside what it refers to"));
        };
        let (size, node) = (size(node), node.clone());
        if self.open.len() + size.height > MAX_DEPTH {
            return Err(self.fail(at, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        // What is inside keeps the place of the anchor; the node itself stands where the alias stands.
        self.charge(Size { nodes: size.nodes.saturating_sub(1), ..size }, at)?;
        self.finish(Node { at, ..node }, 0)
    }

    fn charge(&mut self, size: Size, at: Span) -> Result<(), Diagnostic> {
        self.nodes += size.nodes;
        self.text += size.text;
        if self.nodes > MAX_NODES || self.text > MAX_TEXT {
            return Err(self.fail(at, format!("the document is too large: it may have {MAX_NODES} values, aliases expanded")));
        }
        Ok(())
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        self.charge(Size { nodes: 1, text: own_text(&node), height: 0 }, node.at)?;
        if anchor != 0 {
            self.charge(size(&node), node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.open.last_mut() else {
            self.roots.push(node);
            return Ok(());
        };
        match (&mut frame.node.value, frame.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some((key, key_at))) => entries.push(Entry { key, key_at, value: node }),
            (Value::Map(_), None) => {
                let Some(key) = key_text(&node) else {
                    return Err(self.fail(node.at, "a key must be a scalar"));
                };
                if key == "<<" {
                    let error = self.fail(node.at, "merge keys (`<<`) are not part of YAML 1.2");
                    return Err(error.with_help("repeat the fields"));
                }
                if let Some(line) = frame.seen.insert(key.clone(), node.at.line) {
                    return Err(self.fail(node.at, format!("the key `{}` is already set on line {line}", shorten(&key))));
                }
                frame.key = Some((key, node.at));
            }
            _ => {}
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    text: usize,
    height: usize,
}

fn own_text(node: &Node) -> usize {
    match &node.value {
        Value::String(s) => s.len(),
        _ => 0,
    }
}

/// Everything below and including a node. Recursion is bounded by `MAX_DEPTH`.
fn size(node: &Node) -> Size {
    let add = |sum: Size, child: &Node, key: usize| {
        let s = size(child);
        Size { nodes: sum.nodes + s.nodes, text: sum.text + s.text + key, height: sum.height.max(s.height) }
    };
    let below = match &node.value {
        Value::List(items) => items.iter().fold(Size::default(), |sum, n| add(sum, n, 0)),
        Value::Map(entries) => entries.iter().fold(Size::default(), |sum, e| add(sum, &e.value, e.key.len())),
        _ => return Size { nodes: 1, text: own_text(node), height: 0 },
    };
    Size { nodes: below.nodes + 1, text: below.text, height: below.height + 1 }
}

fn key_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::String(s) => Some(s.clone()),
        Value::Null => Some("null".to_owned()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Int(n) => Some(n.to_string()),
        Value::Float(n) => Some(n.to_string()),
        Value::List(_) | Value::Map(_) => None,
    }
}

/// A scalar's value by its tag, or by the core schema.
fn typed(text: String, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, &'static str> {
    let Some(tag) = tag else {
        return Ok(if style == ScalarStyle::Plain { scalar::plain(&text) } else { Value::String(text) });
    };
    if tag.handle.is_empty() && tag.suffix == "!" {
        return Ok(Value::String(text));
    }
    if !tag.is_yaml_core_schema() {
        return Err("this tag is not supported");
    }
    let value = match tag.suffix.as_str() {
        "str" => Some(Value::String(text)),
        "int" => scalar::int(&text),
        "float" => scalar::float(&text).or_else(|| text.parse().ok().map(Value::Float)),
        "bool" | "null" => Some(scalar::plain(&text)).filter(|v| !matches!(v, Value::String(_))),
        _ => return Err("this tag is not supported"),
    };
    value.ok_or("the value does not fit its tag")
}
