//! The receipts of a stream of events, line by line, between who stores and who reads them.
//!
//! A publisher may write all it has before it reads anything, so what is unread is kept, in a compact form: lines that
//! follow one another and got cursors that follow one another are one entry. What is kept is bounded; the stream ends when
//! it is reached, because whoever never reads would never hear of it otherwise.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_stream::stream;
use axum::body::Bytes;
use futures_core::Stream;
use serde_json::Value;
use tokio::sync::Notify;

use super::receipts::Outcome;
use crate::event::Cursor;
use crate::log::Receipt;

/// Receipts that were not read yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Acks(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    unread: Mutex<Unread>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Unread {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The last line, once nothing more comes.
    end: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    /// `count` lines from `line` on, stored at offsets from that of `cursor` on.
    Stored {
        line: u64,
        cursor: Cursor,
        count: u64,
    },
    Other {
        line: u64,
        outcome: Outcome,
    },
}

impl Acks {
    /// The most that is kept unread.
    pub(super) const MOST: usize = 4 << 20;
    /// About how much is written at once.
    const TURN: usize = 16 * 1024;

    /// Keeps the receipt of the next line. Answers whether there is room for another.
    pub(super) fn push(&self, line: u64, outcome: Outcome) -> bool {
        let mut unread = self.unread();
        unread.push(line, outcome);
        let room = unread.bytes < Self::MOST;
        drop(unread);
        self.0.changed.notify_one();
        room
    }

    /// Nothing more comes but this last line, unless there was one before.
    pub(super) fn end(&self, last: String) {
        self.unread().end.get_or_insert(last);
        self.0.changed.notify_one();
    }

    /// The receipts as lines of JSON, as soon as they are there.
    pub(super) fn lines(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
        stream! {
            loop {
                let changed = self.0.changed.notified();
                let (text, ended) = self.unread().turn();
                let nothing = text.is_empty();
                if !nothing {
                    yield Ok(Bytes::from(text));
                }
                if ended {
                    break;
                }
                if nothing {
                    changed.await;
                }
            }
        }
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.0.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unread {
    fn push(&mut self, line: u64, outcome: Outcome) {
        let entry = match outcome {
            Outcome::Stored(Receipt { cursor, duplicate: false }) => {
                if self.entries.back_mut().is_some_and(|last| last.extend(line, cursor)) {
                    return;
                }
                Entry::Stored { line, cursor, count: 1 }
            }
            outcome => Entry::Other { line, outcome },
        };
        self.bytes += entry.weight();
        self.entries.push_back(entry);
    }

    /// As much as is written at once, and whether that is the end.
    fn turn(&mut self) -> (String, bool) {
        let mut text = String::new();
        while text.len() < Acks::TURN
            && let Some(entry) = self.entries.front_mut()
        {
            let weight = entry.weight();
            if !entry.tell(&mut text) {
                self.entries.pop_front();
                self.bytes -= weight;
            }
        }
        if !self.entries.is_empty() {
            return (text, false);
        }
        if let Some(last) = &self.end {
            text.push_str(last);
            text.push('\n');
        }
        (text, self.end.is_some())
    }
}

impl Entry {
    fn weight(&self) -> usize {
        let why = if let Self::Other { outcome: Outcome::Refused(why), .. } = self { why.len() } else { 0 };
        size_of::<Self>() + why
    }

    /// Takes one more line in, if it and its cursor are the next.
    fn extend(&mut self, next: u64, place: Cursor) -> bool {
        let Self::Stored { line, cursor, count } = self else { return false };
        let follows = next == *line + *count && place == (Cursor { offset: cursor.offset + *count, ..*cursor });
        *count += u64::from(follows);
        follows
    }

    /// Appends a line. Answers whether there are more in it.
    fn tell(&mut self, text: &mut String) -> bool {
        match self {
            Self::Stored { line, cursor, count } => {
                writeln!(text, "{{\"line\":{line},\"id\":\"{cursor}\"}}").expect("a String takes every character");
                *line += 1;
                cursor.offset += 1;
                *count -= 1;
                *count > 0
            }
            Self::Other { line, outcome } => {
                match outcome {
                    Outcome::Stored(Receipt { cursor, .. }) => {
                        writeln!(text, "{{\"line\":{line},\"id\":\"{cursor}\",\"duplicate\":true}}")
                    }
                    Outcome::Refused(why) => {
                        writeln!(text, "{{\"line\":{line},\"error\":{}}}", Value::from(why.as_str()))
                    }
                    Outcome::Ignored => writeln!(text, "{{\"line\":{line},\"ignored\":true}}"),
                }
                .expect("a String takes every character");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    fn stored(text: &str) -> Outcome {
        Outcome::Stored(Receipt { cursor: text.parse().expect("a cursor"), duplicate: false })
    }

    async fn told(acks: Acks) -> Vec<String> {
        let pieces: Vec<_> = acks.lines().collect().await;
        let text: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.expect("it cannot fail")).collect();
        String::from_utf8(text).expect("text").lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn lines_that_follow_one_another_are_kept_together_and_told_one_by_one() {
        let acks = Acks::default();
        for (line, cursor) in
            [(1, "aaaaaaaa-5"), (2, "aaaaaaaa-6"), (4, "aaaaaaaa-7"), (5, "aaaaaaaa-9"), (6, "bbbbbbbb-10")]
        {
            assert!(acks.push(line, stored(cursor)));
        }
        let duplicate = Receipt { cursor: "aaaaaaaa-1".parse().expect("a cursor"), duplicate: true };
        acks.push(7, Outcome::Stored(duplicate));
        acks.push(8, Outcome::Refused("no \"topic\"".into()));
        acks.push(9, Outcome::Ignored);
        assert_eq!(acks.unread().entries.len(), 7);
        acks.end("{\"published\":5}".into());
        let expected = [
            r#"{"line":1,"id":"aaaaaaaa-5"}"#,
            r#"{"line":2,"id":"aaaaaaaa-6"}"#,
            r#"{"line":4,"id":"aaaaaaaa-7"}"#,
            r#"{"line":5,"id":"aaaaaaaa-9"}"#,
            r#"{"line":6,"id":"bbbbbbbb-10"}"#,
            r#"{"line":7,"id":"aaaaaaaa-1","duplicate":true}"#,
            r#"{"line":8,"error":"no \"topic\""}"#,
            r#"{"line":9,"ignored":true}"#,
            r#"{"published":5}"#,
        ];
        assert_eq!(told(acks).await, expected);
    }

    #[tokio::test]
    async fn a_million_lines_unread_are_one_entry_and_refused_ones_have_a_bound() {
        let acks = Acks::default();
        for line in 1..=1_000_000 {
            assert!(acks.push(line, stored(&format!("aaaaaaaa-{line}"))));
        }
        let mut refused = 0;
        while acks.push(1_000_001 + refused, Outcome::Refused("x".repeat(100))) {
            refused += 1;
        }
        assert!((20_000..40_000).contains(&refused), "{refused}");
        assert!(acks.unread().bytes < Acks::MOST + 1000);
        acks.end("{}".into());
        let told = told(acks.clone()).await;
        assert_eq!(told.len() as u64, 1_000_000 + refused + 2);
        assert_eq!(told[999_999], r#"{"line":1000000,"id":"aaaaaaaa-1000000"}"#);
        assert_eq!(acks.unread().bytes, 0);
    }
}
