//! What a stream says, whatever it is written in.

use serde_json::Value;

use crate::support::whatwg;

/// One thing that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Where the stream begins, unless it begins with a gap.
    Hello(Option<String>),
    /// An event, by its cursor and data.
    Event(String, String),
    /// A gap up to a cursor, with its reason and how many events are missing.
    Gap(String, String, Option<u64>),
    /// How far was looked.
    Cursor(String),
    /// The end, and why, where there is room for it.
    Bye(Option<String>),
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Sse,
    Ndjson,
    MultipartMixed,
    MultipartReplace,
    LongPoll,
}

impl Transport {
    pub(super) const ALL: [Self; 5] =
        [Self::Sse, Self::Ndjson, Self::MultipartMixed, Self::MultipartReplace, Self::LongPoll];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::Ndjson => "ndjson",
            Self::MultipartMixed => "multipart-mixed",
            Self::MultipartReplace => "multipart-replace",
            Self::LongPoll => "long-poll",
        }
    }

    pub(super) fn listener(self) -> Listener {
        match self {
            Self::Sse => Listener::Sse(whatwg::Parser::new()),
            Self::Ndjson => Listener::Lines(Vec::new()),
            Self::MultipartMixed | Self::MultipartReplace => Listener::Parts(Vec::new()),
            Self::LongPoll => Listener::Answer(Vec::new()),
        }
    }
}

/// Takes the bytes of one answer as they come.
pub(super) enum Listener {
    Sse(whatwg::Parser),
    Lines(Vec<u8>),
    Parts(Vec<u8>),
    Answer(Vec<u8>),
}

impl Listener {
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Said> {
        match self {
            Self::Sse(parser) => {
                let told = parser.feed(bytes).into_iter();
                told.map(|told| said(&told.kind, told.last_event_id, told.data)).collect()
            }
            Self::Lines(unread) => {
                unread.extend_from_slice(bytes);
                let whole = unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let lines: Vec<u8> = unread.drain(..whole).collect();
                lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(of_line).collect()
            }
            Self::Parts(unread) => {
                unread.extend_from_slice(bytes);
                std::iter::from_fn(|| part(unread)).collect()
            }
            Self::Answer(unread) => {
                unread.extend_from_slice(bytes);
                Vec::new()
            }
        }
    }

    /// What is said by an answer as a whole, once it is there.
    pub(super) fn end(self) -> Vec<Said> {
        let Self::Answer(answer) = self else { return Vec::new() };
        let answer: Value = serde_json::from_slice(&answer).expect("a poll is answered in JSON");
        let mut all = Vec::new();
        if let Some(gap) = answer.get("gap") {
            // What is left begins at `first`.
            let (epoch, first) =
                text(gap, "first").rsplit_once('-').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a cursor");
            let upto = first.parse::<u64>().expect("an offset") - 1;
            all.push(Said::Gap(format!("{epoch}-{upto}"), text(gap, "reason").to_owned(), gap["lost"].as_u64()));
        }
        for event in answer["events"].as_array().expect("a list") {
            all.push(Said::Event(text(event, "id").to_owned(), text(event, "data").to_owned()));
        }
        all.push(Said::Cursor(text(&answer, "cursor").to_owned()));
        all
    }
}

fn of_line(line: &[u8]) -> Said {
    let line: Value = serde_json::from_slice(line).expect("a line of JSON");
    let id = line["id"].as_str().unwrap_or_default().to_owned();
    let data = line["data"].as_str().map_or_else(|| line["data"].to_string(), str::to_owned);
    said(text(&line, "type"), id, data)
}

/// Takes the next body part that is whole, with the delimiter behind it.
fn part(unread: &mut Vec<u8>) -> Option<Said> {
    let find = |from: usize, wanted: &[u8]| {
        unread[from..].windows(wanted.len()).position(|window| window == wanted).map(|at| from + at)
    };
    let begin = find(0, b"\r\n")? + 2;
    let delimiter = unread[..begin].to_vec();
    let end = find(begin, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&unread[begin..end]).expect("a head of text");
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    if head.trim_end().ends_with(&format!("--{}--", boundary(&delimiter))) {
        unread.clear();
        return Some(Said::Bye(None));
    }
    let length: usize = field("Content-Length").and_then(|length| length.parse().ok()).expect("a part has its length");
    let rest = unread.get(end + length..)?;
    let next = rest.get(..delimiter.len() + 2)?;
    let last = [b"\r\n", &delimiter[..delimiter.len() - 2], b"--"].concat();
    assert!(next == [b"\r\n", &delimiter[..]].concat() || next == last, "a delimiter follows: {next:?}");
    let data = String::from_utf8(unread[end..end + length].to_vec()).expect("text");
    let told = said(field("Encke-Type").unwrap_or("message"), field("Encke-Id").unwrap_or_default().to_owned(), data);
    unread.drain(..end + length + 2); // The delimiter begins what follows.
    Some(told)
}

fn boundary(delimiter: &[u8]) -> &str {
    std::str::from_utf8(delimiter).expect("a boundary is text").trim_start_matches("--").trim_end()
}

fn said(kind: &str, id: String, data: String) -> Said {
    let word = |name: &str| {
        let data: Value = serde_json::from_str(&data).expect("the gateway's words are JSON");
        data[name].clone()
    };
    match kind {
        "message" => Said::Event(id, data),
        "encke.hello" => Said::Hello((word("resume") != "gap").then_some(id)),
        "encke.gap" => Said::Gap(id, text(&word("reason"), "").to_owned(), word("lost").as_u64()),
        "encke.cursor" => Said::Cursor(id),
        "encke.bye" => Said::Bye(Some(text(&word("reason"), "").to_owned())),
        _ => panic!("nobody says {kind}: {data}"),
    }
}

/// The text of a member, or with no name of the value itself.
fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    let found = if member.is_empty() { value } else { &value[member] };
    found.as_str().unwrap_or_else(|| panic!("no text {member:?} in {value}"))
}
