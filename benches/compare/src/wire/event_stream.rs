//! An event stream (WHATWG HTML § 9.2), read for its markers, ids and comments.
//!
//! Lines end with LF or CRLF, as those of all servers here do; a lone CR is not known.

use crate::marker::{Marker, Markers};

/// What an event stream told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A published event.
    Event(Marker),
    /// A comment: mostly a heartbeat.
    Comment,
}

/// A last event ID. One that is too long to be kept is none.
#[derive(Clone, Copy, Debug)]
pub struct EventId {
    bytes: [u8; 55],
    length: u8,
}

impl Default for EventId {
    fn default() -> Self {
        Self { bytes: [0; 55], length: 0 }
    }
}

impl EventId {
    /// The bytes of the id; empty if there is none.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn set(&mut self, id: &[u8]) {
        let id = if id.len() > self.bytes.len() { &[] } else { id };
        self.bytes[..id.len()].copy_from_slice(id);
        self.length = id.len() as u8;
    }
}

/// The state of reading one stream.
#[derive(Debug, Default)]
pub struct EventStream {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Of the event that is being read.
    markers: Vec<Marker>,
    /// Of another type than `message`.
    named: bool,
    read_id: EventId,
    last_id: EventId,
}

impl EventStream {
    /// The id of the last event that was complete.
    pub fn last_id(&self) -> &EventId {
        &self.last_id
    }

    /// Forgets what was cut, and remembers the last event ID: a new connection.
    pub fn begin_anew(&mut self) {
        *self = Self { read_id: self.last_id, last_id: self.last_id, ..Self::default() };
    }

    /// Reads on, and tells `told` what is complete now.
    pub fn feed(&mut self, mut input: &[u8], markers: &Markers, told: &mut impl FnMut(Told)) {
        if !self.line.is_empty() {
            let Some(end) = memchr::memchr(b'\n', input) else {
                self.line.extend_from_slice(input);
                return;
            };
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&input[..end]);
            self.line(&line, markers, told);
            input = &input[end + 1..];
        }
        while let Some(end) = memchr::memchr(b'\n', input) {
            self.line(&input[..end], markers, told);
            input = &input[end + 1..];
        }
        if !input.is_empty() {
            self.line.extend_from_slice(input);
        }
    }

    fn line(&mut self, line: &[u8], markers: &Markers, told: &mut impl FnMut(Told)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            self.dispatch(told);
        } else if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            markers.each(data, |marker| self.markers.push(marker));
        } else if let Some(id) = line.strip_prefix(b"id:") {
            self.read_id.set(id.strip_prefix(b" ").unwrap_or(id));
        } else if let Some(name) = line.strip_prefix(b"event:") {
            self.named = name.strip_prefix(b" ").unwrap_or(name) != b"message";
        } else if line[0] == b':' {
            told(Told::Comment);
        }
    }

    fn dispatch(&mut self, told: &mut impl FnMut(Told)) {
        self.last_id = self.read_id;
        if !self.named {
            for marker in &self.markers {
                told(Told::Event(*marker));
            }
        }
        self.markers.clear();
        self.named = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(sequence: u64) -> String {
        let mut data = Vec::new();
        Marker { sequence, sent: 5, topic: 1 }.write(60, &mut data);
        String::from_utf8(data).unwrap()
    }

    fn read(input: &str, piece: usize) -> (Vec<Told>, String) {
        let (mut stream, mut told) = (EventStream::default(), Vec::new());
        for bytes in input.as_bytes().chunks(piece) {
            stream.feed(bytes, &Markers::default(), &mut |what| told.push(what));
        }
        (told, String::from_utf8(stream.last_id().as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn events_comments_and_ids_are_told_however_the_stream_is_cut() {
        let event = |sequence| Told::Event(Marker { sequence, sent: 5, topic: 1 });
        let input = format!(
            "retry: 5\nid: a-0\nevent: encke.hello\ndata: {}\n\n: beat\n\nid: a-1\ndata: {}\n\ndata:\"{}\"\r\n\r\nid: a-2\ndata: {}",
            data(9),
            data(0),
            data(1),
            data(2)
        );
        for piece in 1..=input.len() {
            let (told, id) = read(&input, piece);
            assert_eq!(told, [Told::Comment, event(0), event(1)], "in pieces of {piece}");
            assert_eq!(id, "a-1", "the last one is not complete");
        }
    }
}
