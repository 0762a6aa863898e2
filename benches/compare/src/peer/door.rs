//! How a server is spoken to: what a subscriber asks for, and what a publisher sends.

use std::net::SocketAddr;

use anyhow::Result;

use super::bayeux;

/// The requests of one server. `{topic}` in a template stands for the name of a topic, `{data}` for an event's content,
/// `{session}` for what [`Door::enrol`] gave.
#[derive(Clone, Debug)]
pub struct Door {
    /// Where subscribers go.
    pub events: SocketAddr,
    /// Where publishers go.
    pub publishing: SocketAddr,
    subscribe: Template,
    publish: Template,
    /// Further lines of a publisher's head, each with its CRLF.
    publish_fields: String,
    content: Template,
    enrolment: Enrolment,
}

/// What a subscriber must do before it asks for its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Enrolment {
    Nothing,
    Bayeux,
}

impl Door {
    /// A server at `address`: subscribers `GET` one target, publishers `POST` the data as it is to the other.
    pub fn new(address: SocketAddr, subscribe: &str, publish: &str) -> Self {
        Self {
            events: address,
            publishing: address,
            subscribe: Template::parse(subscribe),
            publish: Template::parse(publish),
            publish_fields: String::new(),
            content: Template::parse("{data}"),
            enrolment: Enrolment::Nothing,
        }
    }

    /// Publishers go to another address.
    #[must_use]
    pub fn publishing_at(self, publishing: SocketAddr) -> Self {
        Self { publishing, ..self }
    }

    /// Subscribers go to another address.
    #[must_use]
    pub fn events_at(self, events: SocketAddr) -> Self {
        Self { events, ..self }
    }

    /// Publishers send this content, with this media type.
    #[must_use]
    pub fn content(self, media_type: &str, content: &str) -> Self {
        self.field("Content-Type", media_type).with_content(content)
    }

    fn with_content(self, content: &str) -> Self {
        Self { content: Template::parse(content), ..self }
    }

    /// Publishers send one more field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.publish_fields.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Subscribers are clients of a Bayeux server.
    #[must_use]
    pub fn bayeux(self) -> Self {
        Self { enrolment: Enrolment::Bayeux, ..self }
    }

    /// Does what a subscriber must do before it asks for its stream.
    pub fn enrol(&self, topic: u32) -> Result<String> {
        match self.enrolment {
            Enrolment::Nothing => Ok(String::new()),
            Enrolment::Bayeux => bayeux::enrol(self.events, &name(topic)),
        }
    }

    /// Writes a subscriber's request.
    pub fn subscribe(&self, topic: u32, session: &str, last_id: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"GET ");
        self.subscribe.write(topic, session.as_bytes(), out);
        out.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n");
        if !last_id.is_empty() {
            out.extend_from_slice(b"Last-Event-ID: ");
            out.extend_from_slice(last_id);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Writes a publisher's request.
    pub fn publish(&self, topic: u32, data: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"POST ");
        self.publish.write(topic, b"", out);
        out.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\n");
        out.extend_from_slice(self.publish_fields.as_bytes());
        let length = self.content.length(topic, data);
        out.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
        self.content.write(topic, data, out);
    }
}

/// The name of a topic.
pub fn name(topic: u32) -> String {
    format!("t{topic}")
}

#[derive(Clone, Debug)]
struct Template(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Text(Vec<u8>),
    Topic,
    /// `{data}` or `{session}`: no template has both.
    Filled,
}

impl Template {
    fn parse(template: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = template;
        loop {
            let next = [("{topic}", Piece::Topic), ("{data}", Piece::Filled), ("{session}", Piece::Filled)]
                .into_iter()
                .filter_map(|(word, piece)| Some((rest.find(word)?, word, piece)))
                .min_by_key(|(at, ..)| *at);
            let Some((at, word, piece)) = next else { break };
            pieces.push(Piece::Text(rest.as_bytes()[..at].to_vec()));
            pieces.push(piece);
            rest = &rest[at + word.len()..];
        }
        pieces.push(Piece::Text(rest.as_bytes().to_vec()));
        Self(pieces)
    }

    fn write(&self, topic: u32, filling: &[u8], out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Topic => out.extend_from_slice(name(topic).as_bytes()),
                Piece::Filled => out.extend_from_slice(filling),
            }
        }
    }

    fn length(&self, topic: u32, filling: &[u8]) -> usize {
        let length = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Topic => name(topic).len(),
            Piece::Filled => filling.len(),
        };
        self.0.iter().map(length).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_says_how_long_it_is() {
        let door = Door::new(([127, 0, 0, 1], 1).into(), "/s/{topic}/{session}", "/p")
            .content("application/json", r#"{"c":"{topic}","d":"{data}"}"#);
        let mut out = Vec::new();
        door.publish(3, b"abc", &mut out);
        let text = String::from_utf8(out).unwrap();
        let (head, content) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(content, r#"{"c":"t3","d":"abc"}"#);
        assert!(head.contains(&format!("Content-Length: {}", content.len())), "{head}");
        let mut out = Vec::new();
        door.subscribe(3, "me", b"", &mut out);
        assert!(out.starts_with(b"GET /s/t3/me HTTP/1.1\r\n"));
    }
}
