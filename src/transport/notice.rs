//! What the gateway itself says in band, between the events of publishers: in an event stream as events, elsewhere as
//! JSON lines, of types that no publisher can use.

use std::time::Duration;

use super::json::Object;
use crate::event::Cursor;

/// A word of the gateway to one reader.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// The first word on every stream.
    Hello {
        /// Where the stream begins, so that who is cut before the first event resumes without loss. None before a gap,
        /// which says it.
        id: Option<Cursor>,
        /// After what time to come back once the stream has ended.
        retry: Duration,
        /// The stream's own name.
        stream: &'a str,
        /// Whether the reader goes on where it was.
        resume: Resume,
        /// The transport's name.
        transport: &'static str,
        /// The longest silence to expect; told in whole seconds, rounded up.
        heartbeat: Duration,
    },
    /// Events that were asked for are gone.
    Gap {
        /// Just before what follows; none if nothing does.
        id: Option<Cursor>,
        /// What the reader asked for; only its first 256 bytes are repeated.
        asked: &'a str,
        /// Where what is left begins.
        first: Cursor,
        /// Why they are gone.
        reason: &'static str,
        /// How many they are, if that is known.
        lost: Option<u64>,
        /// How long to wait before fetching the state anew, to spread the load of many.
        wait: Duration,
    },
    /// How far the log was looked through, when nothing in it was for this reader.
    Cursor {
        /// The position.
        id: Cursor,
    },
    /// A heartbeat that scripts can see.
    Heartbeat,
    /// The last word on a stream that ends on purpose.
    Bye {
        /// Why it ends.
        reason: Bye,
        /// After what time to come back.
        retry: Duration,
        /// How far the reader has come, if that is to be told once more.
        id: Option<Cursor>,
    },
}

/// Whether a reader goes on where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resume {
    /// It did not ask to.
    New,
    /// It does.
    Resumed,
    /// It cannot: something is gone.
    Gap,
}

/// Why a stream ends on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bye {
    /// The gateway shuts down.
    Drain,
    /// The stream has reached the age or size at which it is renewed.
    Recycle,
    /// The permission to read has ended.
    Expired,
    /// Something is gone, and the reader asked to be closed then.
    Gap,
    /// It has been given as many events as it asked for.
    Limit,
    /// Something in between holds events until the answer ends; more come with the next one.
    Held,
    /// Its client has come back, and has a newer one.
    Superseded,
}

impl Resume {
    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Resumed => "resumed",
            Self::Gap => "gap",
        }
    }
}

impl Bye {
    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Recycle => "recycle",
            Self::Expired => "expired",
            Self::Gap => "gap",
            Self::Limit => "limit",
            Self::Held => "held",
            Self::Superseded => "superseded",
        }
    }
}

impl Notice<'_> {
    /// The event type; `EventType::RESERVED_PREFIX` keeps publishers from it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "encke.hello",
            Self::Gap { .. } => "encke.gap",
            Self::Cursor { .. } => "encke.cursor",
            Self::Heartbeat => "encke.heartbeat",
            Self::Bye { .. } => "encke.bye",
        }
    }

    pub(super) fn id(&self) -> Option<Cursor> {
        match *self {
            Self::Hello { id, .. } | Self::Gap { id, .. } | Self::Bye { id, .. } => id,
            Self::Cursor { id } => Some(id),
            Self::Heartbeat => None,
        }
    }

    /// The reconnection time in milliseconds, if it is told here.
    pub(super) fn retry(&self) -> Option<u64> {
        match *self {
            Self::Hello { retry, .. } | Self::Bye { retry, .. } => {
                Some(milliseconds(retry.clamp(MIN_RETRY, MAX_RETRY)))
            }
            Self::Gap { .. } | Self::Cursor { .. } | Self::Heartbeat => None,
        }
    }

    /// Appends what it says, as a JSON object on one line.
    pub(super) fn push_data(&self, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        match *self {
            Self::Hello { stream, resume, transport, heartbeat, .. } => {
                let seconds = heartbeat.as_secs().saturating_add(u64::from(heartbeat.subsec_nanos() > 0));
                object.string("stream", stream);
                object.string("resume", resume.as_str());
                object.string("transport", transport);
                object.number("heartbeat", seconds);
            }
            Self::Gap { asked, first, reason, lost, wait, .. } => {
                object.string("asked", &asked[..asked.floor_char_boundary(MAX_ASKED)]);
                object.cursor("first", first);
                object.string("reason", reason);
                match lost {
                    Some(lost) => object.number("lost", lost),
                    None => object.null("lost"),
                }
                object.number("wait", milliseconds(wait));
            }
            Self::Cursor { id } => object.cursor("cursor", id),
            Self::Heartbeat => {}
            Self::Bye { reason, .. } => {
                object.string("reason", reason.as_str());
                object.number("retry", self.retry().expect("every bye tells the reconnection time"));
            }
        }
        object.close();
    }

    /// Room enough for what it says, in bytes, unless half of it has to be escaped.
    pub(super) fn size(&self) -> usize {
        let texts = match self {
            Self::Hello { stream, transport, .. } => stream.len() + transport.len(),
            Self::Gap { asked, .. } => asked.len().min(MAX_ASKED),
            Self::Cursor { .. } | Self::Heartbeat | Self::Bye { .. } => 0,
        };
        160 + texts
    }
}

/// Below it, Chromium would come back twenty times a second if asked to.
const MIN_RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_hours(1);
/// A cursor has at most [`Cursor::MAX_LEN`] bytes, but a reader may ask with as much as a request head holds.
const MAX_ASKED: usize = 256;

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::sample;

    fn data(notice: &Notice<'_>) -> String {
        let mut out = Vec::new();
        notice.push_data(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn retry_stays_between_half_a_second_and_an_hour() {
        for (given, told) in
            [(0, 500), (499, 500), (500, 500), (2_718, 2_718), (3_600_000, 3_600_000), (u64::MAX, 3_600_000)]
        {
            let bye = Notice::Bye { reason: Bye::Recycle, retry: Duration::from_millis(given), id: None };
            assert_eq!(bye.retry(), Some(told));
            assert_eq!(data(&bye), format!(r#"{{"reason":"recycle","retry":{told}}}"#));
        }
    }

    #[test]
    fn a_heartbeat_is_never_announced_shorter_than_it_is() {
        for (milliseconds, told) in [(15_000, 15), (15_001, 16), (5_999, 6)] {
            let hello = Notice::Hello {
                id: None,
                retry: Duration::ZERO,
                stream: "s",
                resume: Resume::New,
                transport: "sse",
                heartbeat: Duration::from_millis(milliseconds),
            };
            assert!(data(&hello).ends_with(&format!(r#""heartbeat":{told}}}"#)), "{}", data(&hello));
        }
    }

    #[test]
    fn what_was_asked_is_repeated_in_bounds_and_escaped() {
        let id = sample::cursor(0);
        let gap = |asked| Notice::Gap {
            id: Some(id),
            asked,
            first: id,
            reason: "unknown",
            lost: Some(3),
            wait: Duration::ZERO,
        };
        assert!(data(&gap("\r\nevent: x")).starts_with(r#"{"asked":"\r\nevent: x","first":"k3v9x0a1-0""#));
        let long = format!("a{}", "é".repeat(40_000));
        let told = data(&gap(&long));
        assert!(told.starts_with(&format!(r#"{{"asked":"a{}","first""#, "é".repeat(127))), "{told}");
        assert!(told.ends_with(r#""lost":3,"wait":0}"#));
    }
}
