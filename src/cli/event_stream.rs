//! Reads an event stream as a client does (WHATWG HTML § 9.2.6): bytes in, in whatever chunks; messages out.
//!
//! Pure: no socket and no clock. What the stream's end cuts in half is never given out.

use std::collections::VecDeque;
use std::time::Duration;

use memchr::{memchr, memchr2};

/// One dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The event type; `message` when the stream names none.
    pub(crate) kind: String,
    /// Its data; lines joined by LF.
    pub(crate) data: String,
    /// The last event ID when it was dispatched. It stays the same over events that name none.
    pub(crate) id: String,
    /// Whether this event itself named the ID.
    pub(crate) names_id: bool,
}

/// A block grew beyond [`Parser::MAX_BLOCK`] bytes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream sent an event of more than {} MiB", Parser::MAX_BLOCK >> 20)]
pub(crate) struct TooLarge;

/// A dispatched event in the parser's own memory, for who needs no copy of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dispatched<'a> {
    /// The event type; `message` when the stream names none.
    pub(crate) kind: &'a str,
    /// Its data; lines joined by LF.
    pub(crate) data: &'a str,
    /// The last event ID when it was dispatched. It stays the same over events that name none.
    pub(crate) id: &'a str,
    /// Whether this event itself named the ID.
    pub(crate) names_id: bool,
}

/// The state of one stream between two chunks.
///
/// Cost: an event of a few lines that comes whole is read where it stands and copied once, into memory that is kept from
/// event to event.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    past_first_line: bool,
    after_cr: bool,
    has_data: bool,
    data: String,
    kind: String,
    id: String,
    names_id: bool,
    last_event_id: String,
    retry: Option<Duration>,
}

impl Parser {
    /// The most that one event may take, in bytes: well above what a gateway takes, even in base64 and JSON.
    pub(crate) const MAX_BLOCK: usize = 16 << 20;
    /// The most that is kept for the next event, in bytes.
    const KEPT: usize = 16 << 10;

    /// A stream that resumes after `last_event_id`: it stays the last one until the stream names another, as in
    /// browsers. (By the letter of the standard the first blank line would forget it.)
    pub(crate) fn resuming(last_event_id: &str) -> Self {
        Self { id: last_event_id.to_owned(), last_event_id: last_event_id.to_owned(), ..Self::default() }
    }

    /// The last event ID: that of the last complete block, also one without data.
    pub(crate) fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// The reconnection time, if this stream has named one.
    pub(crate) fn reconnection_time(&self) -> Option<Duration> {
        self.retry
    }

    /// Takes the next bytes and appends the messages they complete.
    ///
    /// # Errors
    /// Refuses a block that is too large; the stream is then of no further use.
    pub(crate) fn feed(&mut self, chunk: &[u8], messages: &mut VecDeque<Message>) -> Result<(), TooLarge> {
        self.read(chunk, &mut |Dispatched { kind, data, id, names_id }| {
            messages.push_back(Message { kind: kind.to_owned(), data: data.to_owned(), id: id.to_owned(), names_id });
        })
    }

    /// Takes the next bytes and shows the events they complete.
    ///
    /// # Errors
    /// Refuses a block that is too large; the stream is then of no further use.
    pub(crate) fn read(
        &mut self,
        mut chunk: &[u8],
        dispatched: &mut impl FnMut(Dispatched<'_>),
    ) -> Result<(), TooLarge> {
        if self.after_cr && !chunk.is_empty() {
            self.after_cr = false;
            chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk); // The LF of a CRLF that was cut in two.
        }
        while let Some(end) = memchr2(b'\r', b'\n', chunk) {
            if self.line.is_empty() {
                self.holds(end)?;
                self.take_line(&chunk[..end], dispatched);
            } else {
                self.keep(&chunk[..end])?;
                let mut line = std::mem::take(&mut self.line);
                self.take_line(&line, dispatched);
                line.clear();
                line.shrink_to(Self::KEPT);
                self.line = line;
            }
            let crlf = chunk[end] == b'\r';
            chunk = &chunk[end + 1..];
            if crlf && chunk.is_empty() {
                self.after_cr = true;
            } else if crlf {
                chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
            }
        }
        self.keep(chunk)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        self.holds(bytes.len())?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether the event may become so much longer.
    fn holds(&self, more: usize) -> Result<(), TooLarge> {
        if self.line.len() + more + self.data.len() > Self::MAX_BLOCK { Err(TooLarge) } else { Ok(()) }
    }

    fn take_line(&mut self, line: &[u8], dispatched: &mut impl FnMut(Dispatched<'_>)) {
        let first = !std::mem::replace(&mut self.past_first_line, true);
        let line = if first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if line.is_empty() {
            return self.dispatch(dispatched);
        }
        // Decoding a line at a time equals decoding the whole stream: no UTF-8 sequence reaches over a line end.
        let (field, value) = match memchr(b':', line) {
            Some(0) => return, // A comment.
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match field {
            b"data" => {
                self.has_data = true;
                self.data.push_str(&value);
                self.data.push('\n');
            }
            b"event" => value.as_ref().clone_into(&mut self.kind),
            b"id" if !value.contains('\0') => {
                value.as_ref().clone_into(&mut self.id);
                self.names_id = true;
            }
            b"retry" if !value.is_empty() && value.bytes().all(|digit| digit.is_ascii_digit()) => {
                self.retry = Some(Duration::from_millis(value.parse().unwrap_or(u64::MAX)));
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, dispatched: &mut impl FnMut(Dispatched<'_>)) {
        self.last_event_id.clone_from(&self.id);
        let names_id = std::mem::take(&mut self.names_id);
        if std::mem::take(&mut self.has_data) {
            self.data.pop();
            let kind = if self.kind.is_empty() { "message" } else { &self.kind };
            dispatched(Dispatched { kind, data: &self.data, id: &self.last_event_id, names_id });
            self.data.clear();
            self.data.shrink_to(Self::KEPT);
        }
        self.kind.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, data: &str, id: &str) -> Message {
        Message { kind: kind.into(), data: data.into(), id: id.into(), names_id: false }
    }

    fn named(message: Message) -> Message {
        Message { names_id: true, ..message }
    }

    /// Reads `stream` whole, a byte at a time, and cut in two at every place: all must agree.
    fn check(what: &str, stream: &[u8], expected: &[Message]) -> Parser {
        let read = |chunks: &[&[u8]]| {
            let (mut parser, mut messages) = (Parser::default(), VecDeque::new());
            for chunk in chunks {
                parser.feed(chunk, &mut messages).expect("a stream of small events");
            }
            (parser, messages)
        };
        for cut in 0..=stream.len() {
            let (_, messages) = read(&[&stream[..cut], &stream[cut..]]);
            assert_eq!(messages, expected, "{what}, cut after {cut} bytes");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytes).1, expected, "{what}, byte by byte");
        read(&[stream]).0
    }

    #[test]
    fn any_line_end_ends_a_line_however_the_stream_is_cut() {
        let expected = [message("message", "a\nb", ""), named(message("paid", "ü", "7"))];
        for end in ["\n", "\r", "\r\n"] {
            let stream = ["data: a", "data:b", "", "event: paid", "id: 7", "data: ü", "", ""].join(end);
            check(&format!("{end:?}"), stream.as_bytes(), &expected);
        }
        check("mixed", b"data: a\r\ndata:b\r\n\nevent: paid\rid: 7\ndata: \xc3\xbc\r\n\r\n", &expected);
    }

    #[test]
    fn one_byte_order_mark_is_dropped_at_the_start_only() {
        check("first", b"\xef\xbb\xbfdata: a\n\n", &[message("message", "a", "")]);
        check("twice", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", &[]);
        check("later", b"data: a\n\n\xef\xbb\xbfdata: b\n\n", &[message("message", "a", "")]);
    }

    #[test]
    fn fields_are_read_as_the_standard_says() {
        check("one blank is eaten", b"data:  a \n\n", &[message("message", " a ", "")]);
        check("a lone name", b"data\n\n", &[message("message", "", "")]);
        check("two lone names", b"data\ndata\n\n", &[message("message", "\n", "")]);
        check("names are exact", b"Data: a\ndata : b\nfoo: c\n\n", &[]);
        check("comments", b":\n: data: a\ndata: b\n:x\n\n:\n\n", &[message("message", "b", "")]);
        check("colons in values", b"data: a:b\n\n", &[message("message", "a:b", "")]);
        check("bytes that are no UTF-8", b"data: a\xffb\n\n", &[message("message", "a\u{fffd}b", "")]);
        check("an event type without data", b"event: x\n\ndata: a\n\n", &[message("message", "a", "")]);
    }

    #[test]
    fn an_id_stays_until_another_is_named() {
        let stream = b"id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid\ndata: d\n\n";
        let expected = [
            named(message("message", "a", "1")),
            message("message", "b", "1"),
            message("message", "c", "1"),
            named(message("message", "d", "")),
        ];
        check("ids", stream, &expected);
    }

    #[test]
    fn a_block_without_data_moves_the_id_only_when_it_is_complete() {
        assert_eq!(check("complete", b"id: 9\n\n", &[]).last_event_id(), "9");
        assert_eq!(check("cut", b"id: 9\n", &[]).last_event_id(), "");
    }

    #[test]
    fn a_resumed_stream_keeps_the_id_it_was_resumed_with() {
        let (mut parser, mut messages) = (Parser::resuming("41"), VecDeque::new());
        parser.feed(b": hello\n\ndata: a\n\n", &mut messages).expect("a small stream");
        assert_eq!(messages, [message("message", "a", "41")]);
        assert_eq!(parser.last_event_id(), "41");
    }

    #[test]
    fn only_digits_are_a_reconnection_time() {
        for (stream, expected) in [
            ("retry: 1500\n", Some(1500)),
            ("retry:0\n", Some(0)),
            ("retry: 1s\n", None),
            ("retry\n", None),
            ("retry: -1\n", None),
            ("retry: 15", None),
        ] {
            let parser = check(stream, stream.as_bytes(), &[]);
            assert_eq!(parser.reconnection_time(), expected.map(Duration::from_millis), "{stream:?}");
        }
    }

    #[test]
    fn what_the_end_cuts_in_half_is_dropped() {
        check("no blank line", b"data: a\n\ndata: b\n", &[message("message", "a", "")]);
        check("no line end", b"data: a\n\ndata: b", &[message("message", "a", "")]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let (mut parser, mut messages) = (Parser::default(), VecDeque::new());
        let chunk = [b"data: ".as_slice(), &vec![b'x'; 1 << 20], b"\n"].concat();
        let outcome = (0..20).try_for_each(|_| parser.feed(&chunk, &mut messages));
        assert_eq!(outcome, Err(TooLarge));
    }
}
