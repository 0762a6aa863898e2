//! Turns events into the bytes of each transport.
//!
//! Events and notices enter, bytes leave. A transport is a row of [`TRANSPORTS`]: a format, how it is carried, and what
//! it keeps. A format renders an event once; everybody who reads that format shares the bytes.
//!
//! Invariants: what is rendered from one event is read back as that one event, whatever was published (no data, type or
//! name can add a field, a line or a part), and bytes of events and notices may follow one another in any order.
//!
//! Deliberately absent: sockets, timers, HTTP heads, and who reads. That is why it is tested without a server.

mod boundary;
mod data;
mod event_stream;
mod json;
mod mixed;
mod notice;
mod part;
mod timestamp;

use bytes::Bytes;

use crate::event::{Appended, Slot};
pub use json::answer;
pub use notice::{Bye, Notice, Resume};
pub use timestamp::rfc3339;

/// A row of the table of transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Its name, as `?transport=` and the metrics' label spell it.
    pub name: &'static str,
    /// What its bytes look like.
    pub format: Format,
    /// The media ranges that stand for it in `Accept` (RFC 9110 § 12.5.1).
    pub accepts: &'static [&'static str],
    /// How the response is carried.
    pub carry: Carry,
    /// What it owes its reader.
    pub keeps: Keeps,
    /// A page of another origin can show it without asking, as it does a picture.
    pub embeddable: bool,
}

/// How a response is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carry {
    /// One response that stays open.
    Stream,
    /// One that waits for news and ends with its answer.
    Wait,
    /// One that is answered at once, and may be kept by caches.
    AtOnce,
}

/// What a transport owes its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keeps {
    /// Every event, in order (a log transport).
    Events,
    /// The newest state; events between may be skipped (a state transport).
    State,
}

/// What the bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `text/event-stream` (WHATWG HTML § 9.2).
    EventStream,
    /// `application/x-ndjson`: a JSON object a line.
    JsonLines,
    /// `application/json`: the answer of a poll, which [`answer`] joins from the events' JSON.
    Answer,
    /// `multipart/x-mixed-replace`: each body part replaces the one before.
    Part,
    /// `multipart/mixed`: each event is a body part.
    Mixed,
}

/// The transports there are.
pub static TRANSPORTS: &[Transport] = &[
    row("sse", Format::EventStream, Carry::Stream, &["text/event-stream", "*/*"]),
    row(
        "ndjson",
        Format::JsonLines,
        Carry::Stream,
        &["application/x-ndjson", "application/ndjson", "application/jsonl"],
    ),
    row("long-poll", Format::Answer, Carry::Wait, &["application/json"]),
    row("poll", Format::Answer, Carry::AtOnce, &[]),
    Transport {
        keeps: Keeps::State,
        embeddable: true,
        ..row("multipart-replace", Format::Part, Carry::Stream, &["multipart/x-mixed-replace", "multipart/*"])
    },
    row("multipart-mixed", Format::Mixed, Carry::Stream, &["multipart/mixed"]),
];

/// A transport that gives every event, to those that ask for it with a script or by themselves.
const fn row(name: &'static str, format: Format, carry: Carry, accepts: &'static [&'static str]) -> Transport {
    Transport { name, format, accepts, carry, keeps: Keeps::Events, embeddable: false }
}

/// The transport of that name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Transport> {
    TRANSPORTS.iter().find(|transport| transport.name == name)
}

/// Which transports are given to whom asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered(u32);

impl Offered {
    /// All there are.
    pub const ALL: Self = Self(u32::MAX);

    /// Those of these names. A name that there is not is given back.
    ///
    /// # Errors
    /// The first name that is none.
    pub fn only<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let bit = |name| TRANSPORTS.iter().position(|transport| transport.name == name).ok_or(name);
        names.into_iter().try_fold(Self(0), |Self(bits), name| Ok(Self(bits | 1 << bit(name)?)))
    }

    /// The offered transports, in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = &'static Transport> {
        TRANSPORTS.iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, transport)| transport)
    }

    /// The transport of that name, if it is offered.
    #[must_use]
    pub fn by_name(self, name: &str) -> Option<&'static Transport> {
        self.iter().find(|transport| transport.name == name)
    }
}

/// A format with what equal subscribers must share.
///
/// ```
/// use encke::event::{Appended, Cursor, Epoch, Event, Timestamp, Topic};
/// use encke::transport::{Format, Rendering};
///
/// let event = Event::new(Topic::parse("orders/42")?, "paid\nin full");
/// let cursor = Cursor { epoch: Epoch::parse("k3v9x0a1").expect("an epoch"), offset: 128 };
/// let appended = Appended::new(cursor, Timestamp(0), event);
///
/// let sse = Rendering { format: Format::EventStream, envelope: false };
/// assert_eq!(sse.event(&appended), "id: k3v9x0a1-128\ndata: paid\ndata: in full\n\n");
///
/// let lines = Rendering { format: Format::JsonLines, envelope: false };
/// let line = r#"{"id":"k3v9x0a1-128","topic":"orders/42","type":"message","time":"1970-01-01T00:00:00.000Z","data":"paid\nin full"}"#;
/// assert_eq!(lines.event(&appended), format!("{line}\n"));
/// # Ok::<(), encke::event::TopicError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rendering {
    /// What the bytes look like.
    pub format: Format,
    /// In an event stream: `data` is the event's JSON, so that readers see topic, time and key. Elsewhere without effect.
    pub envelope: bool,
}

impl Rendering {
    /// The media type for `Content-Type`, with its parameters.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self.format {
            Format::EventStream => "text/event-stream",
            Format::JsonLines => "application/x-ndjson",
            Format::Answer => "application/json",
            Format::Part => &boundary::BOUNDARY.replacing,
            Format::Mixed => &boundary::BOUNDARY.mixed,
        }
    }

    /// What goes before the first notice or event.
    #[must_use]
    pub fn preamble(&self) -> Bytes {
        match self.format {
            Format::Part | Format::Mixed => part::preamble(),
            Format::EventStream | Format::JsonLines | Format::Answer => Bytes::new(),
        }
    }

    /// One event; [`Format::Answer`] gives its JSON alone, for [`answer`].
    ///
    /// Cost: the first call for an event renders it, with one allocation for the bytes that stay; every later one is an
    /// atomic increment. A poll's JSON is a slice of the line.
    #[must_use]
    pub fn event(&self, event: &Appended) -> Bytes {
        match self.format {
            Format::EventStream if self.envelope => {
                event.rendered(Kept::Envelope.slot(), || event_stream::envelope(event))
            }
            Format::EventStream => event.rendered(Kept::EventStream.slot(), || event_stream::event(event)),
            Format::JsonLines => event.rendered(Kept::JsonLine.slot(), || json::line(event)),
            Format::Answer => {
                let line = event.rendered(Kept::JsonLine.slot(), || json::line(event));
                line.slice(..line.len() - 1)
            }
            Format::Part => event.rendered(Kept::Part.slot(), || part::event(event)),
            Format::Mixed => event.rendered(Kept::Mixed.slot(), || mixed::event(event)),
        }
    }

    /// What the gateway itself says; empty where the format has no place for it.
    #[must_use]
    pub fn notice(&self, notice: &Notice<'_>) -> Bytes {
        match (self.format, notice) {
            (Format::EventStream, notice) => event_stream::notice(notice),
            (Format::JsonLines, notice) => json::notice(notice),
            (Format::Mixed, notice) => mixed::notice(notice),
            (Format::Part, Notice::Heartbeat) => self.heartbeat(),
            (Format::Answer | Format::Part, _) => Bytes::new(),
        }
    }

    /// Bytes that say nothing, for intermediaries that time out and for ends that wonder.
    #[must_use]
    pub fn heartbeat(&self) -> Bytes {
        Bytes::from_static(match self.format {
            Format::EventStream => b":\n\n",
            Format::JsonLines => b"\n",
            Format::Answer => b"",
            Format::Part | Format::Mixed => boundary::HEARTBEAT,
        })
    }

    /// What goes after the goodbye of a response that ends on purpose.
    #[must_use]
    pub fn end(&self) -> Bytes {
        match self.format {
            Format::Part => part::end(),
            // The last of mixed parts ends the response itself.
            Format::EventStream | Format::JsonLines | Format::Answer | Format::Mixed => Bytes::new(),
        }
    }
}

/// The renderings of an event that are kept, each in its slot.
#[derive(Clone, Copy)]
enum Kept {
    EventStream,
    Envelope,
    JsonLine,
    Part,
    Mixed,
}

impl Kept {
    fn slot(self) -> Slot {
        Slot { nth: self as usize, of: Self::Mixed as usize + 1 }
    }
}

/// What the tables beside the formats share.
#[cfg(test)]
mod sample {
    use crate::event::{Appended, ContentType, Cursor, Epoch, Event, Timestamp, Topic};

    pub(super) fn cursor(offset: u64) -> Cursor {
        Cursor { epoch: Epoch::parse("k3v9x0a1").expect("an epoch"), offset }
    }

    pub(super) fn event(data: &[u8], content_type: Option<&str>) -> Event {
        let mut event = Event::new(Topic::parse("a").expect("a topic"), data.to_vec());
        event.content_type = content_type.map(|text| ContentType::parse(text).expect("a media type"));
        event
    }

    pub(super) fn appended(event: Event) -> Appended {
        Appended::new(cursor(7), Timestamp(1_767_225_600_042), event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Format; 5] = [Format::EventStream, Format::JsonLines, Format::Answer, Format::Part, Format::Mixed];

    #[test]
    fn a_transport_is_found_by_its_own_name_only() {
        for transport in TRANSPORTS {
            assert_eq!(by_name(transport.name), Some(transport));
        }
        for name in ["", "SSE", "sse ", "event-stream"] {
            assert_eq!(by_name(name), None, "{name:?}");
        }
    }

    #[test]
    fn only_what_is_offered_is_found() {
        let offered = Offered::only(["poll", "sse"]).expect("transports");
        assert_eq!(offered.iter().map(|transport| transport.name).collect::<Vec<_>>(), ["sse", "poll"]);
        assert_eq!((offered.by_name("poll"), offered.by_name("ndjson")), (by_name("poll"), None));
        assert_eq!(Offered::ALL.iter().count(), TRANSPORTS.len());
        assert_eq!(Offered::only(["sse", "wap"]), Err("wap"));
        assert_eq!(Offered::only(["sse", "sse"]), Offered::only(["sse"]), "twice is once");
    }

    #[test]
    fn an_image_that_any_page_may_embed_shows_the_newest_and_all_others_every_event() {
        for transport in TRANSPORTS {
            let is_image = transport.format == Format::Part;
            assert_eq!(transport.embeddable, is_image, "{}", transport.name);
            assert_eq!(transport.keeps == Keeps::State, is_image, "{}", transport.name);
        }
    }

    #[test]
    fn equal_readers_share_the_bytes_and_others_do_not() {
        let event = sample::appended(sample::event(b"x", None));
        let mut seen = Vec::new();
        for rendering in FORMATS.map(|format| Rendering { format, envelope: false }) {
            let (first, second) = (rendering.event(&event), rendering.event(&event));
            assert_eq!(first.as_ptr(), second.as_ptr(), "{rendering:?} rendered twice");
            seen.push(first);
        }
        seen.push(Rendering { format: Format::EventStream, envelope: true }.event(&event));
        assert_eq!(seen[1].as_ptr(), seen[2].as_ptr(), "a poll's JSON is a slice of the line");
        for (index, bytes) in seen.iter().enumerate() {
            assert!(!seen[..index].contains(bytes), "format {index} gave the bytes of another");
        }
    }

    #[test]
    fn an_answer_has_no_place_for_what_only_a_stream_says() {
        let rendering = Rendering { format: Format::Answer, envelope: false };
        assert!(rendering.notice(&Notice::Heartbeat).is_empty());
        assert!(rendering.heartbeat().is_empty() && rendering.preamble().is_empty() && rendering.end().is_empty());
    }

    #[test]
    fn parts_that_replace_one_another_have_an_end_and_nothing_else_does() {
        for format in FORMATS {
            let end = Rendering { format, envelope: false }.end();
            assert_eq!(end.is_empty(), format != Format::Part, "{format:?}: {end:?}");
        }
    }
}
