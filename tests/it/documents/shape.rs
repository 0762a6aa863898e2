//! Compares what a document shows with what a program printed. Text must be the same, but for what is new in each run:
//! that is matched by its shape.
//!
//! Cursors and ids are also bound: one that a document shows twice must be the same twice, and a command that sends it
//! sends the one of this run. `…` stands for any text within a line; alone on a line, for any lines.

use std::collections::BTreeMap;

use serde_json::Value;

/// What each cursor and id of a document is called in this run.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings(BTreeMap<String, String>);

/// What differs from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `k3v9x0a1-128`
    Cursor,
    /// Of a stream or a boundary: 32 hexadecimal digits.
    Id,
    /// Of a stream, in what is shown: the first eight digits of its id, behind one of [`NAMED`].
    Name,
    /// `1769860800.042`: seconds since 1970.
    Moment,
    /// `2026-01-31T12:00:00.042Z`
    Time,
    /// `Sat, 31 Jan 2026 12:00:00 GMT`
    Date,
    /// Where one of [`LOOSE`] stands before it, and after the name of a metric.
    Number,
    /// `0.3 s`
    Duration,
}

/// The numbers that are drawn, counted or measured anew.
const LOOSE: &[&str] = &["retry: ", "\"retry\":", "\"wait\":", "\"n\":", "\"price\":", "\"change\":"];

/// What stands before the name of a stream.
const NAMED: &[&str] = &["stream=", "stream=\"", "\"stream\": \""];

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Shaped(Shape, &'a str),
    Any,
}

impl Bindings {
    /// `text` with the cursors and ids of this run. Those that the document has not shown yet stand for themselves.
    pub(super) fn applied(&mut self, text: &str) -> String {
        let mut applied = String::new();
        for piece in pieces(text) {
            applied.push_str(match piece {
                Piece::Shaped(Shape::Cursor | Shape::Id | Shape::Name, named) => {
                    self.0.entry(named.to_owned()).or_insert_with(|| named.to_owned())
                }
                Piece::Text(text) | Piece::Shaped(_, text) => text,
                Piece::Any => "…",
            });
        }
        applied
    }

    /// Whether the lines printed are the documented ones; if not `whole`, more may follow. Binds what is new.
    pub(super) fn matches(&mut self, documented: &str, printed: &[String], whole: bool) -> bool {
        let documented: Vec<&str> = documented.trim_end().lines().collect();
        let end = printed.iter().rposition(|line| !line.is_empty()).map_or(0, |at| at + 1);
        let printed: Vec<&str> = printed[..end].iter().map(String::as_str).collect();
        self.lines(&documented, &printed, whole)
    }

    fn lines(&mut self, documented: &[&str], printed: &[&str], whole: bool) -> bool {
        match documented {
            [] => printed.is_empty() || !whole,
            ["…", rest @ ..] => {
                (0..=printed.len()).any(|skipped| self.tried(|b| b.lines(rest, &printed[skipped..], whole)))
            }
            [line, rest @ ..] => {
                printed.first().is_some_and(|first| self.line(line, first)) && self.lines(rest, &printed[1..], whole)
            }
        }
    }

    fn line(&mut self, documented: &str, printed: &str) -> bool {
        self.tried(|bindings| bindings.pieces(&pieces(documented), printed))
    }

    fn pieces(&mut self, pieces: &[Piece<'_>], printed: &str) -> bool {
        match pieces {
            [] => printed.is_empty(),
            [Piece::Text(text), rest @ ..] => {
                printed.strip_prefix(text).is_some_and(|printed| self.pieces(rest, printed))
            }
            [Piece::Shaped(shape, documented), rest @ ..] => {
                let Some(length) = shape.length(printed) else { return false };
                let (found, after) = printed.split_at(length);
                self.is_called(*shape, documented, found) && self.pieces(rest, after)
            }
            [Piece::Any, rest @ ..] => {
                let mut ends = printed.char_indices().map(|(at, _)| at).chain([printed.len()]);
                ends.any(|at| self.tried(|bindings| bindings.pieces(rest, &printed[at..])))
            }
        }
    }

    fn is_called(&mut self, shape: Shape, documented: &str, found: &str) -> bool {
        match shape {
            // Cursors of one epoch in the document are of one epoch in this run.
            Shape::Cursor => self.bind(&documented[..8], &found[..8]) && self.bind(documented, found),
            Shape::Id => self.bind(&documented[..8], &found[..8]) && self.bind(documented, found),
            Shape::Name => self.bind(documented, found),
            Shape::Time => documented.len() == found.len(),
            Shape::Moment | Shape::Date | Shape::Number | Shape::Duration => true,
        }
    }

    fn bind(&mut self, documented: &str, found: &str) -> bool {
        self.0.entry(documented.to_owned()).or_insert_with(|| found.to_owned()) == found
    }

    /// Keeps what was bound only if it matched.
    fn tried(&mut self, attempt: impl FnOnce(&mut Self) -> bool) -> bool {
        let mut tried = self.clone();
        let matched = attempt(&mut tried);
        if matched {
            *self = tried;
        }
        matched
    }

    /// Whether the printed value is the documented one, however either is spaced and ordered.
    pub(super) fn matches_json(&mut self, documented: &str, printed: &[String]) -> bool {
        let documented: Value = serde_json::from_str(documented).expect("a `json` block holds one JSON value");
        serde_json::from_str(&printed.join("\n")).is_ok_and(|printed| self.value("", &documented, &printed))
    }

    fn value(&mut self, name: &str, documented: &Value, printed: &Value) -> bool {
        match (documented, printed) {
            (Value::Object(documented), Value::Object(printed)) => {
                documented.len() == printed.len()
                    && documented
                        .iter()
                        .all(|(name, value)| printed.get(name).is_some_and(|p| self.value(name, value, p)))
            }
            (Value::Array(documented), Value::Array(printed)) => {
                documented.len() == printed.len() && documented.iter().zip(printed).all(|(d, p)| self.value("", d, p))
            }
            (Value::String(documented), Value::String(printed)) => self.line(documented, printed),
            (Value::Number(_), Value::Number(_)) if LOOSE.contains(&format!("\"{name}\":").as_str()) => true,
            (documented, printed) => documented == printed,
        }
    }
}

/// Cuts what a document shows at everything that has a shape.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let piece =
            if rest.starts_with('…') { Some((Piece::Any, '…'.len_utf8())) } else { shaped(&text[..at], rest) };
        let Some((piece, length)) = piece else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        if from < at {
            pieces.push(Piece::Text(&text[from..at]));
        }
        pieces.push(piece);
        at += length;
        from = at;
    }
    if from < at {
        pieces.push(Piece::Text(&text[from..]));
    }
    pieces
}

fn shaped<'a>(before: &str, rest: &'a str) -> Option<(Piece<'a>, usize)> {
    if before.ends_with(|c: char| c.is_alphanumeric()) {
        return None;
    }
    let number = LOOSE.iter().any(|name| before.ends_with(name)) || is_sample(before, rest);
    let named = NAMED.iter().any(|name| before.ends_with(name));
    let shapes = [Shape::Cursor, Shape::Id, Shape::Moment, Shape::Time, Shape::Date, Shape::Duration];
    let shapes = shapes.into_iter().chain(number.then_some(Shape::Number)).chain(named.then_some(Shape::Name));
    shapes.filter_map(|shape| Some((shape, shape.length(rest)?))).next().map(|(shape, length)| {
        let whole = &rest[..length];
        (Piece::Shaped(shape, whole), length)
    })
}

/// Whether `rest` is the value of a sample in Prometheus' text format.
fn is_sample(before: &str, rest: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    line.starts_with("encke_") && line.ends_with(' ') && !rest.lines().next().unwrap_or_default().contains(' ')
}

impl Shape {
    /// How long the text of this shape is with which `text` begins.
    fn length(self, text: &str) -> Option<usize> {
        let run = |text: &str, part: fn(&u8) -> bool| text.bytes().take_while(part).count();
        let length = match self {
            Self::Cursor => {
                let is_name =
                    text.len() > 9 && text.bytes().take(8).all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
                let digits =
                    if is_name && text.as_bytes()[8] == b'-' { run(&text[9..], u8::is_ascii_digit) } else { 0 };
                (digits > 0).then_some(9 + digits)
            }
            Self::Id => (run(text, u8::is_ascii_hexdigit) == 32).then_some(32),
            Self::Name => (run(text, u8::is_ascii_hexdigit) == 8).then_some(8),
            Self::Moment => has_form(text, "0000000000.000").then_some(14),
            Self::Time => {
                let milliseconds = "0000-00-00T00:00:00.000Z";
                [milliseconds, "0000-00-00T00:00:00Z"].into_iter().find(|form| has_form(text, form)).map(str::len)
            }
            Self::Date => has_form(text, "Aaa, 00 Aaa 0000 00:00:00 GMT").then_some(29),
            Self::Number => {
                let length = run(text, |b| b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'e'));
                (length > 0).then_some(length)
            }
            Self::Duration => {
                let length = run(text, |b| b.is_ascii_digit() || *b == b'.');
                (length > 2 && text[..length].contains('.') && text[length..].starts_with(" s")).then_some(length)
            }
        };
        let ends = |length: &usize| !text[*length..].starts_with(|c: char| c.is_alphanumeric());
        length.filter(|length| self == Self::Number || ends(length))
    }
}

/// Whether `text` begins with this form, in which `0` is any digit, `A` and `a` any letter.
fn has_form(text: &str, form: &str) -> bool {
    text.len() >= form.len()
        && form.bytes().zip(text.bytes()).all(|(form, byte)| match form {
            b'0' => byte.is_ascii_digit(),
            b'A' => byte.is_ascii_uppercase(),
            b'a' => byte.is_ascii_lowercase(),
            _ => form == byte,
        })
}

fn check(documented: &str, printed: &str, expected: bool) {
    let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    assert_eq!(Bindings::default().matches(documented, &lines, true), expected, "{documented:?} and {printed:?}");
}

#[test]
fn what_is_new_in_each_run_is_matched_by_its_shape_and_all_else_by_its_text() {
    check("id: k3v9x0a1-7", "id: 4x0v8bml-1234", true);
    check("id: k3v9x0a1-7", "id: 4x0v8bml", false);
    check("id: k3v9x0a1-7", "id: 4x0v8bml-1234 ", false);
    check("id: k3v9x0a1-7", "ids: 4x0v8bml-1234", false);
    check("retry: 2047", "retry: 4999", true);
    check("heartbeat: 15", "heartbeat: 16", false);
    check(r#"{"time":"2026-01-31T12:00:00.042Z"}"#, r#"{"time":"2031-11-01T00:00:00.000Z"}"#, true);
    check(r#"{"time":"2026-01-31T12:00:00.042Z"}"#, r#"{"time":"2031-11-01T00:00:00Z"}"#, false);
    check("date: Sat, 31 Jan 2026 12:00:00 GMT", "date: Sun, 01 Feb 2026 01:02:03 GMT", true);
    check("3 events in 0.3 s", "3 events in 12.9 s", true);
    check("3 events in 0.3 s", "4 events in 0.3 s", false);
    check("encke_published_total 7", "encke_published_total 9", true);
    check("encke_published_total 7", "encke_publish_total 7", false);
    let exemplar = "ends_total 1 # {stream=\"a7c4e19b\"} 1 1769860800.042";
    check(exemplar, "ends_total 1 # {stream=\"01234567\"} 1 1769860801.000", true);
    check(exemplar, "ends_total 1 # {stream=\"0123456\"} 1 1769860801.000", false);
    check(exemplar, "ends_total 1 # {stream=\"01234567\"} 1 1769860801.0", false);
    check("HTTP/1.1 200 OK\n…\nx: y", "HTTP/1.1 200 OK\na: b\nc: d\nx: y", true);
    check("HTTP/1.1 200 OK\n…\nx: y", "HTTP/1.1 200 OK\na: b\nx: z", false);
    check("a … z", "a to z", true);
    check("a", "a\nb", false);
    check("a\nb", "a", false);
}

#[test]
fn a_cursor_that_a_document_shows_twice_is_the_same_twice() {
    check("a1b2c3d4-1 a1b2c3d4-1", "zzzzzzzz-5 zzzzzzzz-5", true);
    check("a1b2c3d4-1 a1b2c3d4-1", "zzzzzzzz-5 zzzzzzzz-6", false);
    check("a1b2c3d4-1 a1b2c3d4-2", "zzzzzzzz-5 yyyyyyyy-6", false);
    let mut bindings = Bindings::default();
    assert!(bindings.matches("a1b2c3d4-1", &["zzzzzzzz-5".to_owned()], true));
    assert_eq!(bindings.applied("Last-Event-ID: a1b2c3d4-1"), "Last-Event-ID: zzzzzzzz-5");
    assert_eq!(bindings.applied("Last-Event-ID: a1b2c3d4-2"), "Last-Event-ID: a1b2c3d4-2");
    assert!(!bindings.matches("a1b2c3d4-2", &["zzzzzzzz-6".to_owned()], true), "it was sent as it stands");
}

#[test]
fn a_stream_is_named_by_the_beginning_of_its_id() {
    let mut bindings = Bindings::default();
    let id = |first: &str| format!("encke-stream: {first}03d24f5586e0b1c2d3f4a596");
    assert!(bindings.matches(&id("a7c4e19b"), &[id("01234567")], true));
    assert_eq!(bindings.applied("/streams?stream=a7c4e19b"), "/streams?stream=01234567");
    assert!(bindings.matches("{stream=\"a7c4e19b\"}", &["{stream=\"01234567\"}".to_owned()], true));
    assert!(!bindings.matches("{stream=\"a7c4e19b\"}", &["{stream=\"76543210\"}".to_owned()], true));
}

#[test]
fn json_is_compared_as_a_value() {
    let check = |documented: &str, printed: &str, expected: bool| {
        assert_eq!(Bindings::default().matches_json(documented, &[printed.to_owned()]), expected, "{printed}");
    };
    let documented = "{ \"id\": \"k3v9x0a1-7\",\n  \"wait\": 3, \"lost\": 2 }";
    check(documented, r#"{"lost":2,"id":"4x0v8bml-1","wait":0}"#, true);
    check(documented, r#"{"lost":3,"id":"4x0v8bml-1","wait":0}"#, false);
    check(documented, r#"{"lost":2,"id":"4x0v8bml-1","wait":0,"more":true}"#, false);
    check(documented, r#"{"lost":2,"id":"4x0v8bml-1"}"#, false);
    check(documented, "", false);
}
