//! `DELETE /events`: removes events for good. Only whoever holds a key may, whoever may publish: what is removed here is
//! gone for everybody.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::parameter::{self, known};
use super::problem::{Problem, refused};
use super::publish::answer;
use super::query::{Query, topic_in_path};
use super::{App, guard};
use crate::event::{Cursor, Topic};
use crate::log::Delete;

pub(crate) async fn delete(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    guard::take_rest(parts.version, body).await; // There should be none, and it means nothing.
    let permit = app.access.permit(guard::credential(&parts.headers));
    if !permit.removes() {
        return Err(refused(permit.refusal(), "deleting"));
    }
    let deleted = match which(&parts)? {
        (Some(topic), None) => app.log.delete(Delete::Topic(topic)).await?,
        (None, Some(cursor)) => app.log.delete(Delete::Event(cursor)).await?,
        (Some(topic), Some(cursor)) if is_on(&app, cursor, &topic).await? => {
            app.log.delete(Delete::Event(cursor)).await?
        }
        // Nothing to do; and to say which of the two is not there would be of no use to who asks again.
        (Some(_), Some(_)) => 0,
        (None, None) => {
            return Err(Problem::bad("name what is deleted: /events/TOPIC, /events?topic=TOPIC, or ?id=CURSOR"));
        }
    };
    Ok(answer(StatusCode::OK, json!({ "deleted": deleted }).to_string()))
}

/// The topic, the event, or the event on that topic.
fn which(parts: &Parts) -> Result<(Option<Topic>, Option<Cursor>), Problem> {
    let query = Query::of(&parts.uri)?;
    let mut topic = topic_in_path(&parts.uri)?.map(|name| Topic::parse(&name)).transpose()?;
    let mut id = None;
    known(parameter::DELETE, &query)?;
    for (name, value) in query.iter() {
        match name {
            "topic" if topic.is_none() => topic = Some(Topic::parse(value)?),
            "topic" => return Err(Problem::bad("one request deletes one topic; send one for each")),
            "id" if id.is_none() => id = Some(cursor(value)?),
            "id" => return Err(Problem::bad("one request deletes one event; send one for each")),
            _ => unreachable!("every parameter of the table is read here"),
        }
    }
    Ok((topic, id))
}

/// Offset 0 is the place before the first event.
fn cursor(text: &str) -> Result<Cursor, Problem> {
    let cursor = text.parse::<Cursor>().ok().filter(|cursor| cursor.offset > 0);
    cursor.ok_or_else(|| Problem::bad("`id` is the cursor of an event, as its receipt and its readers are told it"))
}

/// Whether the event at this place is on this topic.
async fn is_on(app: &App, cursor: Cursor, topic: &Topic) -> Result<bool, Problem> {
    let page = app.log.read(cursor.offset).await?;
    let event = page.events.iter().find(|event| event.cursor == cursor);
    Ok(event.is_some_and(|event| event.event.topics.contains(topic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str) -> Result<(Option<String>, Option<String>), String> {
        let (parts, ()) = Request::delete(uri).body(()).expect("a request").into_parts();
        let named = which(&parts).map_err(|problem| problem.detail().to_owned())?;
        Ok((named.0.map(|topic| topic.to_string()), named.1.map(|cursor| cursor.to_string())))
    }

    #[test]
    fn a_topic_an_event_or_both_are_named() {
        let both = |topic: Option<&str>, id: Option<&str>| Ok((topic.map(str::to_owned), id.map(str::to_owned)));
        let id = "k3v9x0a1-7";
        assert_eq!(asked("/events/a/b"), both(Some("a/b"), None));
        assert_eq!(asked("/events?topic=a"), both(Some("a"), None));
        assert_eq!(asked("/events?id=k3v9x0a1-7"), both(None, Some(id)));
        assert_eq!(asked("/events/a?id=k3v9x0a1-7"), both(Some("a"), Some(id)));
        assert_eq!(asked("/events"), both(None, None));
        for (uri, words) in [
            ("/events/a/*", "holds no `*`"),
            ("/events?topic=**", "holds no `*`"),
            ("/events/a?topic=b", "deletes one topic"),
            ("/events?id=k3v9x0a1-7&id=k3v9x0a1-8", "deletes one event"),
            ("/events?id=7", "is the cursor of an event"),
            ("/events?id=k3v9x0a1-0", "is the cursor of an event"),
            ("/events/a?key=b", "no parameter `key`"),
        ] {
            assert!(asked(uri).expect_err(uri).contains(words), "{uri}");
        }
    }
}
