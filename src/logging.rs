//! How messages are written: one line each, whatever they hold.
//!
//! A line may quote what a client sent: a path, a topic, an error. So what could end it, begin another, steer a terminal or
//! change how its neighbours read is written as a number, here, where every line passes; nobody has to remember it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::panic::PanicHookInfo;

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Each line is a JSON object.
    pub json: bool,
    /// A terminal is told colours.
    pub colours: bool,
}

/// Writes lines, each in one piece.
#[derive(Debug)]
pub struct Lines<W> {
    style: Style,
    to: W,
}

impl<W: io::Write> Lines<W> {
    /// Writes to `to`. Each `write` is one whole line, as `tracing_subscriber` does it.
    pub fn new(style: Style, to: W) -> Self {
        Self { style, to }
    }
}

impl<W: io::Write> io::Write for Lines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.to.write_all(self.style.guarded(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Style {
    /// The line without what a reader, or a terminal, would take for something else than text of it.
    fn guarded(self, line: &str) -> Cow<'_, str> {
        let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
        if !text.contains(is_hidden) {
            return Cow::Borrowed(line);
        }
        let mut guarded = String::with_capacity(line.len() + 16);
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let whole = if self.colours { colour(rest) } else { 0 };
            if whole > 0 {
                guarded.push_str(&rest[..whole]);
                rest = &rest[whole..];
                continue;
            }
            match (is_hidden(c), self.json) {
                (false, _) => guarded.push(c),
                (true, true) => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                    let _ = write!(guarded, "\\u{unit:04x}"); // Control characters stand only inside strings.
                }),
                (true, false) => guarded.extend(c.escape_unicode()),
            }
            rest = &rest[c.len_utf8()..];
        }
        guarded.push_str(end);
        Cow::Owned(guarded)
    }
}

/// Control characters, line separators, what steers bidirectional text (UAX #9 § 2), and what does not show at all.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{200B}'..='\u{200F}')
        || matches!(c, '\u{061C}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{E0000}'..='\u{E007F}')
}

/// The length of the change of colour at the start of `text` (ECMA-48 § 8.3.117). They are the formatter's own: in what a
/// message quotes it has escaped them.
fn colour(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\x1b[") else { return 0 };
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').len();
    if digits <= 8 && rest[digits..].starts_with('m') { 2 + digits + 1 } else { 0 }
}

/// Has panics told as messages, in one line like all others. A message that was made at the time is left out, as it may hold
/// what a client sent.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(told));
}

fn told(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    let words = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(not told)");
    tracing::error!(place, thread, words, "panicked");
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn written(json: bool, colours: bool, line: &str) -> String {
        let mut to = Vec::new();
        Lines::new(Style { json, colours }, &mut to).write_all(line.as_bytes()).unwrap();
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(written(false, false, "plain é 話 \u{1F600}\n"), "plain é 話 \u{1F600}\n");
        assert_eq!(written(false, false, "a\nb\r\n"), "a\\u{a}b\\u{d}\n");
        assert_eq!(
            written(false, false, "a\u{1b}[2J\u{9b}\u{202e}\u{2028}\u{0}\n"),
            "a\\u{1b}[2J\\u{9b}\\u{202e}\\u{2028}\\u{0}\n"
        );
        assert_eq!(
            written(true, false, "{\"a\":\"\u{7f}\u{85}\u{2066}\u{e0041}\"}\n"),
            "{\"a\":\"\\u007f\\u0085\\u2066\\udb40\\udc41\"}\n"
        );
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({ "a": "\u{7f}\u{85}\u{2066}\u{e0041} é\n\u{1b}" });
        let line = written(true, false, &format!("{value}\n"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
        assert!(!line.trim_end().contains(is_hidden));
    }

    #[test]
    fn only_colours_reach_a_terminal() {
        let coloured = "\u{1b}[2m12:00\u{1b}[0m \u{1b}[38;5;1mx\u{1b}[0m\n";
        assert_eq!(written(false, true, coloured), coloured);
        assert_eq!(
            written(false, true, "\u{1b}[2J\u{1b}]0;t\u{7}\u{1b}[1\n"),
            "\\u{1b}[2J\\u{1b}]0;t\\u{7}\\u{1b}[1\n"
        );
        assert!(!written(false, false, coloured).contains('\u{1b}'));
    }
}
