//! The filter `tojson` of chat templates, as transformers defines it: `json.dumps` of Python, without escapes for HTML.

use std::io::{self, Write};

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Code points from here on are not escaped: they may be marks, which stand for a character of a message.
const MARKS: u32 = 0x10_0000;

/// Options: `indent` (a number of spaces, or the text of one level), `separators` (between items, and after names),
/// `sort_keys` and `ensure_ascii`.
pub(super) fn filter(value: &Value, indent: Option<Value>, options: Kwargs) -> Result<String, Error> {
    let named: Option<Value> = options.get("indent")?;
    // Python's first argument is `ensure_ascii`, Jinja's own is `indent`.
    let (first_ascii, indent) = match indent {
        Some(first) if first.kind() == ValueKind::Bool => (first.is_true(), named),
        first => (false, first.or(named)),
    };
    let indent = indent.filter(|indent| !indent.is_none()).map(|indent| level(&indent)).transpose()?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let [item, name] = match separators.as_deref() {
        None => [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()],
        Some([item, name]) => [item.clone(), name.clone()],
        Some(_) => return Err(invalid("tojson: separators are two texts: between items, and after names")),
    };
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(first_ascii);
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    // The engine's own filter knows every kind of value. It escapes letters for HTML, which reading undoes.
    let own = minijinja::filters::tojson(value, None, Kwargs::from_iter(std::iter::empty::<(&str, Value)>()))?;
    let json = serde_json::from_str(own.as_str().unwrap_or_default());
    let mut json: serde_json::Value = json.map_err(|error| invalid(format!("tojson: {error}")))?;
    if sorted {
        json.sort_all_objects();
    }
    let style = Style { item, name, indent, ascii, depth: 0, empty: true };
    let mut text = Vec::new();
    json.serialize(&mut Serializer::with_formatter(&mut text, style)).map_err(|error| invalid(error.to_string()))?;
    String::from_utf8(text).map_err(|error| invalid(error.to_string()))
}

fn invalid(problem: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}

/// The text of one level of indentation.
fn level(indent: &Value) -> Result<String, Error> {
    /// More spaces than any template needs; it limits the text that a hostile one can make.
    const MOST: usize = 64;
    match (indent.as_str(), usize::try_from(indent.clone())) {
        (Some(text), _) if text.len() <= MOST => Ok(text.to_owned()),
        (None, Ok(spaces)) if spaces <= MOST => Ok(" ".repeat(spaces)),
        _ => Err(invalid(format!("tojson: indent is a number of spaces up to {MOST}"))),
    }
}

/// How a value is written.
struct Style {
    item: String,
    name: String,
    indent: Option<String>,
    ascii: bool,
    depth: usize,
    /// Whether the list or object that was begun last has no items yet.
    empty: bool,
}

impl Style {
    fn begin(&mut self, out: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.empty = true;
        out.write_all(bracket)
    }

    fn end(&mut self, out: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if !std::mem::take(&mut self.empty) {
            self.line(out)?;
        }
        out.write_all(bracket)
    }

    fn next(&mut self, out: &mut (impl Write + ?Sized), first: bool) -> io::Result<()> {
        self.empty = false;
        if !first {
            out.write_all(self.item.as_bytes())?;
        }
        self.line(out)
    }

    fn line(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let Some(indent) = &self.indent else { return Ok(()) };
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(indent.as_bytes()))
    }
}

impl Formatter for Style {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.empty = false;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(self.name.as_bytes())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.empty = false;
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        if !self.ascii {
            return out.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if c.is_ascii() || u32::from(c) >= MARKS {
                write!(out, "{c}")?;
            } else {
                c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))?;
            }
        }
        Ok(())
    }
}
