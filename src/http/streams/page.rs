//! Single streams, for people.

use std::fmt::Write as _;

use super::super::insight::{self, Text};
use super::Shown;
use crate::delivery::{Live, Sort};
use crate::diagnosis::{Seconds, Span, Story};

pub(super) fn page(shown: &Shown) -> String {
    let mut page = insight::head("Streams");
    page.push_str("<p class=\"quiet\"><a href=\"diagnosis\">Why streams die</a>");
    if shown.asked.of.is_some() {
        page.push_str(" · <a href=\"streams\">All streams</a>");
    }
    page.push_str("</p>");
    if let Some(words) = shown.incomplete() {
        let _ = write!(page, "<section class=\"finding\"><p>{}.</p></section>", Text(&words));
    }
    open(shown, &mut page);
    ended(shown, &mut page);
    page.push_str(
        "<p class=\"quiet\">A stream is called by the first eight digits of its <code>Encke-Stream</code>. Programs are given \
         this as JSON (<code>Accept: application/json</code>).</p></main>",
    );
    page
}

/// Those that are open.
fn open(shown: &Shown, page: &mut String) {
    let (all, few) = (shown.open(), shown.survey.streams.len());
    let _ = write!(page, "<h2>Open: {all}</h2>");
    let counts = shown.survey.open.iter().map(|open| {
        let path = shown.paths.get(open.path.index()).map_or("other", String::as_str);
        format!("{} by <code>{}</code> as <code>{}</code>", open.streams, Text(path), open.transport)
    });
    let counts: Vec<_> = counts.collect();
    if !counts.is_empty() {
        let _ = write!(page, "<p class=\"quiet\">{}.</p>", counts.join(", "));
    }
    if few == 0 {
        return;
    }
    let column = |sort, name, word| {
        if shown.asked.sort == sort {
            format!("<th>{word} ↓")
        } else {
            format!("<th><a href=\"?sort={name}\">{word}</a>")
        }
    };
    let (age, quiet, lag) = (
        column(Sort::Age, "age", "age"),
        column(Sort::Quiet, "quiet", "quiet for"),
        column(Sort::Lag, "lag", "behind"),
    );
    let _ = write!(
        page,
        "<table><thead><tr><th>stream<th>path<th>transport{age}{quiet}<th>beats every{lag}<th>not taken<th>for</tr></thead><tbody>"
    );
    shown.survey.streams.iter().for_each(|live| row(shown, live, page));
    page.push_str("</tbody></table>");
    if shown.asked.of.is_none() && (few as u64) < all {
        let _ =
            write!(page, "<p class=\"quiet\">These are the first {few} of {all}; <code>?limit=</code> shows more.</p>");
    }
}

fn row(shown: &Shown, live: &Live, page: &mut String) {
    let (name, path) = (live.name, Text(shown.path_of(live)));
    let lag = if live.lag == 0 { "–".to_owned() } else { live.lag.to_string() };
    let (bytes, since) = match live.blocked {
        Some(blocked) => (format!("{} B", live.not_taken), Span(blocked).to_string()),
        None => ("–".to_owned(), "–".to_owned()),
    };
    let _ = write!(
        page,
        "<tr><td><a href=\"?stream={name}\"><code>{name}</code></a><td><code>{path}</code><td>{}<td>{}<td>{}<td>{}<td>{lag}\
         <td>{bytes}<td>{since}</tr>",
        live.transport,
        Span(live.age),
        Span(live.quiet),
        Seconds(live.heartbeat),
    );
}

/// Those that ended last.
fn ended(shown: &Shown, page: &mut String) {
    let few = shown.told.stories.len();
    let _ = write!(page, "<h2>Ended last: {few}</h2>");
    let waiting = shown.told.waiting;
    if waiting > 0 {
        let _ = write!(
            page,
            "<p class=\"quiet\">Besides, ends that wait for their client to come back, or for the time that it has for that: \
             {waiting}.</p>"
        );
    }
    shown.told.stories.iter().for_each(|story| section(shown, story, page));
}

fn section(shown: &Shown, story: &Story, page: &mut String) {
    let (name, label, told) = (story.end.name, story.label(), story.told(|at| shown.clock(at)));
    let _ = write!(
        page,
        "<section class=\"ended\"><p><a href=\"?stream={name}\"><code>{name}</code></a> <b>{}</b> <span class=\"quiet\">\
         <code>{}</code> · {} · {} old · ended at {}</span></p><p>{}</p></section>",
        story.reason.as_str(),
        Text(&label),
        story.end.transport,
        Span(story.end.age),
        shown.clock(story.ended),
        Text(&told),
    );
}
