//! What the fuzz targets reach of this module: targets, objects, batches, lines and forms.

use axum::body::Bytes;
use axum::http::{HeaderMap, Request, Uri};

use super::super::Options;
use super::lines::Lines;
use super::object::{Said, parse};
use super::target::Target;
use super::{batch, form};
use crate::access::Permit;
use crate::event::{Appended, Cursor, Epoch, Event, Timestamp};
use crate::transport::{Format, Offered, Rendering};

const OPTIONS: Options = Options {
    event_bytes: 1 << 10,
    batch_bytes: 1 << 12,
    max_topics: 128,
    transports: Offered::ALL,
    pages: true,
    cuttable: true,
    trusted_proxies: Vec::new(),
};

/// The target and fields of a request.
pub(in crate::http) fn target(uri: Uri, headers: HeaderMap) {
    let mut request = Request::new(());
    (*request.uri_mut(), *request.headers_mut()) = (uri, headers);
    let (parts, ()) = request.into_parts();
    let _ = Target::of(&parts, OPTIONS.max_topics);
    let _ = form::back(&parts);
}

/// An event as JSON. What its readers are told of it can be published as it stands, and is the same event.
pub fn object(data: &[u8]) {
    let Ok(Said::Event(event)) = parse(data, &Permit::everything(), &OPTIONS) else { return };
    let cursor = Cursor { epoch: Epoch::from_random(0), offset: 1 };
    let appended = Appended::new(cursor, Timestamp(0), event.clone());
    let line = Rendering { format: Format::JsonLines, envelope: false }.event(&appended);
    let again = match parse(line.trim_ascii(), &Permit::everything(), &OPTIONS) {
        Ok(Said::Event(again)) => again,
        // Base64 and JSON written anew may take more than is allowed.
        other => return assert!(event.data.len() > 512, "{other:?} of {line:?}"),
    };
    // JSON may be written otherwise.
    let is_json = event.content_type.as_ref().is_some_and(crate::event::ContentType::is_json);
    let data = if is_json { event.data.clone() } else { again.data.clone() };
    // How long it lives, what it replaces and who may see it is told to nobody.
    let expected = Event { ttl: None, conflate: None, private: false, ..event };
    assert_eq!(Event { data, ttl: None, conflate: None, private: false, ..again }, expected);
}

/// A list of events, or one.
pub fn events(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(events) = batch::list(&OPTIONS, &Permit::everything(), text) {
        assert!(events.len() <= text.len() / 2, "an event has some length");
    }
}

/// Lines do not depend on how the bytes are cut.
pub fn lines(data: &[u8]) {
    let Some((&step, bytes)) = data.split_first() else { return };
    let read = |step: usize| {
        let mut lines = Lines::new(16);
        let mut all = Vec::new();
        for piece in bytes.chunks(step) {
            lines.feed(Bytes::copy_from_slice(piece));
            all.extend(std::iter::from_fn(|| lines.next()));
        }
        all.extend(lines.finish());
        all
    };
    let whole = read(bytes.len().max(1));
    assert_eq!(whole, read(usize::from(step) + 1));
    assert!(whole.iter().all(|(_, line)| line.as_ref().is_none_or(|line| line.len() <= 16)));
}

/// A form of which the field `d` is the data.
pub fn fields(data: &[u8]) {
    let _ = form::data(data, "d");
}
