//! A log that is full.

use std::path::Path;

use encke::event::{Event, Key, Topic};
use encke::log::{Log, SqliteLog, SqliteOptions};
use tempfile::TempDir;

/// How many events retention keeps by default.
pub(crate) const FULL: u64 = 1_000_000;

/// Among how many names the first topic of an event is one.
pub(crate) const TOPICS: u64 = 1000;

/// The event number `number`: 100 bytes of data, on one topic of a thousand; with more topics, also on one of fifty and
/// on one of seven.
pub(crate) fn event(number: u64, topics: usize) -> Event {
    let topic = |name: String| Topic::parse(&name).expect("a topic");
    let mut event = Event::new(topic(format!("orders/{}", number % TOPICS)), format!("{number:0>100}"));
    let more = [format!("shops/{}", number % 50), format!("days/{}", number % 7)];
    event.topics.extend(more.into_iter().take(topics - 1).map(topic));
    event
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// A directory with a log that is full of such events. The newest `keyed` of them carry keys.
pub(crate) fn directory(topics: usize, keyed: u64) -> TempDir {
    let directory = tempfile::Builder::new().prefix("encke-bench-").tempdir().expect("a temporary directory");
    runtime().block_on(fill(directory.path(), topics, keyed));
    directory
}

async fn fill(directory: &Path, topics: usize, keyed: u64) {
    const BATCH: u64 = 1000;
    let log = SqliteLog::open(SqliteOptions::new(directory)).expect("a new log opens");
    for batch in 0..=FULL / BATCH {
        let events = (batch * BATCH..).take(usize::try_from(BATCH).expect("it is small")).map(|number| {
            let mut event = event(number, topics);
            event.key = (number > FULL - keyed).then(|| Key::parse(&format!("payment-{number}")).expect("a key"));
            event
        });
        log.append(events.collect()).await.expect("it is stored");
    }
    log.close().await;
}
