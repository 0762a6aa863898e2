//! An event stream read as WHATWG HTML § 9.2.6 says, written from that text alone: no line of it is shared with the
//! renderer, so the two agree only where both are right. Fed with bytes as they come, cut anywhere.

/// What a user agent would dispatch as a `MessageEvent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dispatched {
    pub(crate) kind: String,
    pub(crate) data: String,
    pub(crate) last_event_id: String,
}

/// The state between chunks.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// The line that has not ended yet.
    line: Vec<u8>,
    any_line: bool,
    /// The last byte was a CR that ended a line: an LF that follows belongs to it.
    after_cr: bool,
    data_buffer: String,
    type_buffer: String,
    id_buffer: String,
    last_event_id: String,
    retry: Option<u64>,
}

impl Parser {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes; gives back what they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Dispatched> {
        let mut dispatched = Vec::new();
        for &byte in bytes {
            let crlf = byte == b'\n' && self.after_cr;
            self.after_cr = byte == b'\r';
            match byte {
                b'\n' if crlf => {}
                b'\r' | b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    dispatched.extend(self.end_of_line(&line));
                }
                _ => self.line.push(byte),
            }
        }
        dispatched
    }

    /// The reconnection time in milliseconds, if the stream has set one.
    pub(crate) fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// What would be sent as `Last-Event-ID` now.
    pub(crate) fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    fn end_of_line(&mut self, line: &[u8]) -> Option<Dispatched> {
        // "UTF-8 decode" strips one leading BOM, and replaces what is malformed. CR and LF are never part of a longer
        // sequence, so a line can be decoded by itself.
        let line = if self.any_line { line } else { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) };
        self.any_line = true;
        let line = String::from_utf8_lossy(line);
        if line.is_empty() {
            return self.dispatch();
        }
        match line.split_once(':') {
            Some(("", _comment)) => {}
            Some((field, value)) => self.field(field, value.strip_prefix(' ').unwrap_or(value)),
            None => self.field(&line, ""),
        }
        None
    }

    fn field(&mut self, field: &str, value: &str) {
        match field {
            "event" => self.type_buffer = value.to_owned(),
            "data" => {
                self.data_buffer.push_str(value);
                self.data_buffer.push('\n');
            }
            "id" if !value.contains('\0') => self.id_buffer = value.to_owned(),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().or(self.retry);
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<Dispatched> {
        self.last_event_id.clone_from(&self.id_buffer);
        let mut data = std::mem::take(&mut self.data_buffer);
        let kind = std::mem::take(&mut self.type_buffer);
        if data.is_empty() {
            return None;
        }
        if data.ends_with('\n') {
            data.pop();
        }
        let kind = if kind.is_empty() { "message".to_owned() } else { kind };
        Some(Dispatched { kind, data, last_event_id: self.last_event_id.clone() })
    }
}
