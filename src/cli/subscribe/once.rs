//! What there is now: page by page, up to the end of the log, as a poll tells it.

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::AsyncWrite;

use super::super::CliError;
use super::super::client::Gateway;
use super::super::event_stream::Message;
use super::super::problem::Failure;
use super::super::stop::Stop;
use super::{GAP, Printer};

/// The answer of a poll.
#[derive(Deserialize)]
struct Page<'a> {
    /// How far the log was looked through.
    cursor: String,
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
    #[serde(borrow)]
    gap: Option<&'a RawValue>,
    #[serde(default)]
    more: bool,
}

/// Prints everything after the place, or the start that `parameters` name. It does not try again: whoever calls it again
/// goes on where this ended.
pub(super) async fn read<'a>(
    gateway: &Gateway,
    topics: impl Iterator<Item = &'a str> + Clone,
    parameters: &[(&'a str, &'a str)],
    printer: &mut Printer<'_, impl AsyncWrite + Unpin>,
    stop: &mut Stop<'_, impl Future<Output = ()>>,
) -> Result<(), CliError> {
    let mut place = printer.place.reached().to_owned();
    loop {
        let asked = gateway.poll(topics.clone(), parameters, &place);
        let Some(answer) = stop.cuts(asked).await else { return Ok(()) };
        let content = answer.map_err(|failure| match failure {
            Failure::Away(why) => CliError::Failed(format!("{gateway}: {why}")),
            Failure::Later { problem, .. } => CliError::Failed(problem.to_string()),
            Failure::Refused(problem) => CliError::Refused(problem),
        })?;
        let page: Page<'_> = serde_json::from_slice(&content)
            .map_err(|_| CliError::Failed(format!("{gateway} gave no page of events")))?;
        let mut printed = Vec::new();
        if let Some(gap) = page.gap {
            printer.print(&message(GAP, gap, &page.cursor), &mut printed);
        }
        let mut reached = page.cursor;
        for event in page.events {
            if printer.left == 0 {
                break;
            }
            let event = message("", event, "");
            printer.print(&event, &mut printed);
            if printer.left == 0 {
                reached = id(&event.data).unwrap_or_default(); // The rest of the page is for the next run.
            }
        }
        if printer.write(&printed, &reached, stop).await?.is_over() || !page.more {
            return Ok(());
        }
        if printer.place.due().is_some_and(|due| due <= tokio::time::Instant::now()) {
            printer.place.save()?;
        }
        place = reached;
    }
}

fn message(kind: &str, data: &RawValue, id: &str) -> Message {
    Message { kind: kind.into(), data: data.get().into(), id: id.into(), names_id: true }
}

fn id(event: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Event {
        id: String,
    }
    serde_json::from_str(event).ok().map(|Event { id }| id)
}
