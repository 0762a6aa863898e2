//! From events to the log, with what is counted on the way and the default of a rule.

use smallvec::SmallVec;
use tokio::time::Instant;

use super::super::App;
use crate::event::{Event, Topic, Topics};
use crate::log::{AppendError, Receipt};

/// Stores `events`, all of them or none. What was taken of quotas for those that are not stored is given back: for all of
/// them if this fails, and for repeats.
pub(super) async fn append(app: &App, events: Vec<Event>) -> Result<Vec<Receipt>, AppendError> {
    if app.limits.is_empty() {
        return counted(app, events).await;
    }
    Box::pin(limited(app, events)).await
}

async fn limited(app: &App, events: Vec<Event>) -> Result<Vec<Receipt>, AppendError> {
    let taken: Vec<Topics> = events.iter().map(|event| event.topics.clone()).collect();
    let answer = counted(app, events).await;
    let repeated = |nth: usize| answer.as_ref().map_or(true, |receipts| receipts[nth].duplicate);
    let back = taken.iter().enumerate().filter(|(nth, _)| repeated(*nth));
    app.limits.give_back(back.map(|(_, topics)| topics.as_slice()));
    answer
}

fn counted(app: &App, events: Vec<Event>) -> impl Future<Output = Result<Vec<Receipt>, AppendError>> + Send {
    let begun = Instant::now();
    let sizes: SmallVec<[u64; 1]> = events.iter().map(|event| event.data.len() as u64).collect();
    let appended = app.log.append(events);
    async move {
        let receipts = appended.await?;
        app.metrics.publish_seconds.observe(begun.elapsed().as_secs_f64());
        let new = receipts.iter().zip(sizes).filter(|(receipt, _)| !receipt.duplicate);
        let (count, bytes) = new.fold((0, 0), |(count, bytes), (_, size)| (count + 1, bytes + size));
        app.metrics.published.inc_by(count);
        app.metrics.published_bytes.inc_by(bytes);
        app.metrics.duplicates.inc_by(receipts.len() as u64 - count);
        Ok(receipts)
    }
}

/// What the rule of its topic says of an event whose publisher does not.
pub(super) fn by_rule(app: &App, event: &mut Event) {
    event.ttl = event.ttl.or_else(|| app.limits.ttl(event.topic()));
}

/// The topics of each event, as its quota goes by them.
pub(super) fn topics(events: &[Event]) -> impl Iterator<Item = &[Topic]> {
    events.iter().map(|event| event.topics.as_slice())
}
