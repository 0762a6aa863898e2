//! How an event looks: its data as they were published, a line of JSON, or for people.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::console::{shown, shown_lines};
use super::super::event_stream::Message;
use crate::event::ContentType;

/// How events are printed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Form {
    /// As lines of JSON.
    pub(super) json: bool,
    /// For a person's eyes: nothing may steer the terminal.
    pub(super) terminal: bool,
    /// With what is known of each event before its data.
    pub(super) heads: bool,
    /// With colours in those.
    pub(super) colour: bool,
}

/// An event as `envelope=json` tells it, as far as it is needed here.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default)]
    id: Cow<'a, str>,
    #[serde(default)]
    topic: Cow<'a, str>,
    #[serde(default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    time: Cow<'a, str>,
    #[serde(rename = "contentType")]
    content_type: Option<String>,
    encoding: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// An event's data as they were published.
enum Data {
    Text(String),
    Bytes(Vec<u8>),
}

impl Envelope<'_> {
    fn data(&self) -> Option<Data> {
        let media = self.content_type.as_deref().and_then(|text| ContentType::parse(text).ok());
        let string = || serde_json::from_str::<String>(self.data.get()).ok();
        match self.encoding.as_deref() {
            Some("base64") => BASE64_STANDARD.decode(string()?).ok().map(Data::Bytes),
            _ if media.is_some_and(|media| media.is_json()) => Some(Data::Text(self.data.get().to_owned())),
            _ => string().map(Data::Text),
        }
    }
}

impl Form {
    /// Appends an event.
    pub(super) fn print(self, message: &Message, into: &mut Vec<u8>) {
        let envelope = serde_json::from_str::<Envelope<'_>>(&message.data).ok();
        if self.json {
            match envelope {
                Some(_) => self.print_line(&message.data, into),
                // Not told as we asked: whatever stands between us and the gateway, its words are better than none.
                None => {
                    let Message { kind, data, id, .. } = message;
                    self.print_line(&serde_json::json!({"id": id, "type": kind, "data": data}).to_string(), into);
                }
            }
            return;
        }
        let data = envelope.as_ref().and_then(Envelope::data).unwrap_or_else(|| Data::Text(message.data.clone()));
        let data = match data {
            Data::Bytes(bytes) if self.terminal => Data::Text(format!("[{} bytes]", bytes.len())),
            data => data,
        };
        if self.heads {
            let several_lines = matches!(&data, Data::Text(text) if text.contains('\n'));
            self.print_head(envelope.as_ref(), message, into);
            into.extend_from_slice(if several_lines { b"\n" } else { b"  " });
        }
        match data {
            Data::Text(text) => self.print_text(&text, into),
            Data::Bytes(bytes) => into.extend_from_slice(&bytes),
        }
    }

    /// Appends what is told of a gap; only lines of JSON have a place for it.
    pub(super) fn print_gap(self, message: &Message, into: &mut Vec<u8>) {
        if self.json && serde_json::from_str::<&RawValue>(&message.data).is_ok() {
            let string = |text: &str| serde_json::Value::from(text).to_string();
            let (id, kind) = (string(&message.id), string(&message.kind));
            self.print_line(&format!(r#"{{"id":{id},"type":{kind},"data":{}}}"#, message.data), into);
        }
    }

    fn print_head(self, envelope: Option<&Envelope<'_>>, message: &Message, into: &mut Vec<u8>) {
        let (time, id, topic, kind) = match envelope {
            Some(Envelope { time, id, topic, kind, .. }) => (&**time, &**id, &**topic, &**kind),
            None => ("", &*message.id, "", &*message.kind),
        };
        let kind = if kind == "message" { "" } else { kind };
        let parts = [(time, DIM), (id, DIM), (topic, CYAN), (kind, YELLOW)];
        for (at, (part, colour)) in parts.into_iter().filter(|(part, _)| !part.is_empty()).enumerate() {
            let before = if at > 0 { "  " } else { "" };
            // Escaped even in a pipe: a line end in one of them would make a line of its own.
            let part = shown(part);
            let part = if self.colour { format!("{before}{colour}{part}{PLAIN}") } else { format!("{before}{part}") };
            into.extend_from_slice(part.as_bytes());
        }
    }

    fn print_text(self, text: &str, into: &mut Vec<u8>) {
        let text = if self.terminal { shown_lines(text) } else { text.into() };
        into.extend_from_slice(text.as_bytes());
        into.push(b'\n');
    }

    /// JSON on one line: a line end can only stand between its tokens, where a blank does as well.
    fn print_line(self, json: &str, into: &mut Vec<u8>) {
        let json = json.replace(['\r', '\n'], " ");
        into.extend_from_slice(if self.terminal { shown(&json) } else { json.into() }.as_bytes());
        into.push(b'\n');
    }
}

/// ECMA-48 SGR.
const DIM: &str = "\x1b[2m";
const CYAN: &str = "\x1b[36m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(form: Form, envelope: &str) -> Vec<u8> {
        let message = Message { kind: "message".into(), data: envelope.into(), id: "1".into(), names_id: true };
        let mut printed = Vec::new();
        form.print(&message, &mut printed);
        printed
    }

    #[test]
    fn data_is_printed_as_it_was_published_and_cannot_steer_a_terminal() {
        let check = |envelope: &str, json: bool, terminal: bool, expected: &[u8]| {
            let printed = printed(Form { json, terminal, ..Form::default() }, envelope);
            assert_eq!(String::from_utf8_lossy(&printed), String::from_utf8_lossy(expected), "{envelope}");
            assert_eq!(printed, expected);
        };
        check(r#"{"data":"a\nb\u001b[2J"}"#, false, false, b"a\nb\x1b[2J\n");
        check(r#"{"data":"a\nb\u001b[2J"}"#, false, true, b"a\nb\\u001b[2J\n");
        check(r#"{"data":"a\u202egnp.exe"}"#, false, true, b"a\\u202egnp.exe\n");
        check(r#"{"contentType":"application/json","data":{"x": [1]}}"#, false, false, b"{\"x\": [1]}\n");
        check(r#"{"contentType":"application/json","data":"text"}"#, false, false, b"\"text\"\n");
        check("{\"contentType\":\"application/json\",\"data\":\"\u{9b}\"}", false, true, b"\"\\u009b\"\n");
        check(r#"{"contentType":"image/x","encoding":"base64","data":"/wA="}"#, false, false, b"\xff\0");
        check(r#"{"contentType":"image/x","encoding":"base64","data":"/wA="}"#, false, true, b"[2 bytes]\n");
        check("{\"data\":{\n\"a\":1}}", true, false, b"{\"data\":{ \"a\":1}}\n");
        check("{\"data\":\"\u{9b}1m\u{2066}\"}", true, true, b"{\"data\":\"\\u009b1m\\u2066\"}\n");
        check("plain", false, false, b"plain\n");
        check("plain\u{1b}", false, true, b"plain\\u001b\n");
        check("plain", true, false, b"{\"data\":\"plain\",\"id\":\"1\",\"type\":\"message\"}\n");
    }

    #[test]
    fn a_head_tells_what_is_known_of_an_event() {
        let check = |colour: bool, terminal: bool, envelope: &str, expected: &str| {
            let printed = printed(Form { json: false, terminal, heads: true, colour }, envelope);
            assert_eq!(String::from_utf8_lossy(&printed), expected, "{envelope}");
        };
        let paid = r#"{"id":"abcdefgh-1","topic":"a/b","type":"paid","time":"2026-01-31T12:00:00.042Z","data":"x"}"#;
        check(false, true, paid, "2026-01-31T12:00:00.042Z  abcdefgh-1  a/b  paid  x\n");
        let coloured = "\x1b[2m2026-01-31T12:00:00.042Z\x1b[0m  \x1b[2mabcdefgh-1\x1b[0m  \x1b[36ma/b\x1b[0m  \
                        \x1b[33mpaid\x1b[0m  x\n";
        check(true, true, paid, coloured);
        check(false, false, r#"{"topic":"a","type":"message","data":"two\nlines"}"#, "a\ntwo\nlines\n");
        check(false, false, r#"{"topic":"a\n\u001b","type":"\u202e","data":"x"}"#, "a\\u000a\\u001b  \\u202e  x\n");
        check(false, true, "plain", "1  plain\n");
    }
}
