//! What a command says to the person at the terminal, beside its output.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use crate::event::is_hidden;

/// Standard error, with one line at its bottom that shows how far a command is.
pub(crate) struct Console {
    out: Box<dyn Write + Send>,
    live: bool,
    verbose: bool,
    progress: bool,
}

impl Console {
    /// Standard error of this process. Progress shows only on a terminal.
    pub(crate) fn stderr(verbose: bool) -> Self {
        let out = std::io::stderr();
        Self { live: out.is_terminal(), out: Box::new(out), verbose, progress: false }
    }

    /// Writes to `out`, which is no terminal.
    #[cfg(test)]
    pub(crate) fn to(out: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out), live: false, verbose: false, progress: false }
    }

    /// Says what has to be known.
    pub(crate) fn tell(&mut self, text: &str) {
        self.clear();
        // Nobody listens any more if this fails, and there is no other place to say so.
        let _ = writeln!(self.out, "encke: {}", shown(text));
    }

    /// Says what is good to know: on a terminal, or when asked to be verbose.
    pub(crate) fn note(&mut self, text: &str) {
        if self.live || self.verbose {
            self.tell(text);
        }
    }

    /// Replaces the line that shows how far the command is.
    pub(crate) fn progress(&mut self, text: &str) {
        if self.live {
            self.clear();
            let _ = write!(self.out, "{}", shown(text)).and_then(|()| self.out.flush());
            self.progress = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.progress) {
            let _ = write!(self.out, "\r\x1b[K"); // ECMA-48 EL: erase to the end of the line.
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `text` with its control and bidi characters escaped, so that what others wrote cannot steer the terminal, nor look
/// like something else.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// Like [`shown`], but lines and tabs stay.
pub(crate) fn shown_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'))
}

/// Spells each unwanted character as `\u` and four digits, which is also its JSON escape.
fn escaped(text: &str, unwanted: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&unwanted) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if unwanted(c) {
            write!(safe, "\\u{:04x}", u32::from(c)).expect("a string takes every write");
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(shown("plain ü"), "plain ü");
        assert_eq!(shown("\x1b[2J\n\u{9b}1m"), "\\u001b[2J\\u000a\\u009b1m");
        assert_eq!(shown("a\u{202e}b\u{2028}"), "a\\u202eb\\u2028");
        assert_eq!(shown_lines("a\tb\n\x07"), "a\tb\n\\u0007");
    }
}
