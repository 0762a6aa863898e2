//! What the fuzz targets reach of this module: what the client commands read from the network and from files.

use std::collections::VecDeque;

use super::event_stream::{Message, Parser};
use super::lines::Lines;
use super::tail::fuzzing::state;

/// What a stream told, and what is left of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Stream {
    /// Type, data and last event ID of each message.
    pub messages: Vec<(String, String, String)>,
    /// The last event ID at the end.
    pub last_event_id: String,
    /// The reconnection time in milliseconds.
    pub retry: Option<u128>,
}

/// Reads an event stream that comes in these pieces.
#[must_use]
pub fn event_stream<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Stream {
    let (mut parser, mut messages) = (Parser::default(), VecDeque::new());
    for piece in pieces {
        parser.feed(piece, &mut messages).expect("it is short");
    }
    let told = |Message { kind, data, id, .. }| (kind, data, id);
    Stream {
        messages: messages.into_iter().map(told).collect(),
        last_event_id: parser.last_event_id().to_owned(),
        retry: parser.reconnection_time().map(|time| time.as_millis()),
    }
}

/// What `tail` reads from files.
pub fn tail(data: &[u8]) {
    lines(data);
    state(data);
}

/// Lines do not depend on how the bytes are cut, and each begins where it stands.
fn lines(data: &[u8]) {
    let Some((&step, bytes)) = data.split_first() else { return };
    let read = |step: usize| {
        let mut lines = Lines::new(7, 16);
        let mut all = Vec::new();
        for piece in bytes.chunks(step) {
            lines.push(piece);
            all.extend(std::iter::from_fn(|| lines.pop()));
        }
        assert_eq!(lines.read_to(), 7 + bytes.len() as u64);
        (all, lines.start())
    };
    let whole = read(bytes.len().max(1));
    assert_eq!(whole, read(usize::from(step) + 1));
    for line in &whole.0 {
        let start = usize::try_from(line.start).expect("it is within the data") - 7;
        assert_eq!(line.data, &bytes[start..start + line.data.len()]);
    }
}
