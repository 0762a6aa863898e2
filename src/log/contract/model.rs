//! The contract as a property: a store and a plain `Vec` are led through the same steps and compared.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio_stream::StreamExt;

use super::*;

/// One step of the property.
#[derive(Clone, Debug)]
enum Step {
    /// Append events of these sizes, all or none with the key of this number.
    Append(Vec<usize>, Option<u8>),
    /// Let time go by.
    Wait(u64),
    /// Read at this percentage of the log.
    Read(u64),
    /// Tail from this percentage of the log.
    Tail(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![8 => 0..200_usize, 2 => 1_000..20_000_usize, 1 => 300_000..1_200_000_usize];
    prop_oneof![
        5 => (prop::collection::vec(size, 1..12), prop::option::weighted(0.3, 0..5_u8)).prop_map(|(s, k)| Step::Append(s, k)),
        1 => prop::collection::vec(0..50_usize, 500..1_500).prop_map(|sizes| Step::Append(sizes, None)),
        2 => (0..30_000_u64).prop_map(Step::Wait),
        3 => (0..110_u64).prop_map(Step::Read),
        2 => (0..100_u64).prop_map(Step::Tail),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_plain_vec_says_the_same_as_memory(steps in prop::collection::vec(step(), 1..30)) {
        runtime().block_on(model(memory, steps));
    }

    #[test]
    fn a_plain_vec_says_the_same_as_sqlite(steps in prop::collection::vec(step(), 1..30)) {
        runtime().block_on(model(sqlite, steps));
    }
}

/// Does `steps` on a log and on a `Vec` that forgets nothing, and compares what is kept.
async fn model(open: Open, steps: Vec<Step>) {
    let retention = Retention { events: 1_200, age: Duration::from_secs(60), bytes: 4 << 20, topics: Vec::new() };
    let Fixture { log, clock, _directory } = open(retention.clone());
    let mut all: Vec<(Event, Timestamp)> = Vec::new();
    let mut first = 1;
    for (number, step) in steps.into_iter().enumerate() {
        let share = |percent| log.bounds().last * percent / 100;
        match step {
            Step::Append(sizes, key) => append_to_both(&log, &mut all, &clock, number, &sizes, key).await,
            Step::Wait(milliseconds) => clock.advance(Duration::from_millis(milliseconds)),
            Step::Read(percent) => {
                let at = share(percent);
                let page = log.read(at).await.expect("a page");
                let bounds = log.bounds(); // After the read: what is kept now was kept then.
                assert!(at > bounds.last || at < bounds.first || page.first() <= Some(at) && Some(at) <= page.last());
                compare(&page.events, &all);
            }
            Step::Tail(percent) => {
                let after = share(percent).max(log.bounds().first - 1);
                let mut tail = commits(&*log, after);
                let mut next = after + 1;
                while next <= log.bounds().last {
                    let commit = tail.next().await.expect("a commit");
                    let begins = commit[0].cursor.offset;
                    assert!(begins == next || next < log.bounds().first, "only what was trimmed is passed over");
                    compare(&commit, &all);
                    next = commit.last().expect("a commit has events").cursor.offset + 1;
                }
            }
        }
        let bounds = log.bounds();
        assert_eq!(bounds.last, all.len() as u64);
        assert!(bounds.first >= first, "what is gone does not come back");
        first = bounds.first;
    }
    let young = clock.now().0.saturating_sub(60_000);
    until(|| {
        let bounds = log.bounds();
        let oldest = all.get(usize::try_from(bounds.first).expect("a small number") - 1);
        let by_count = bounds.events() <= retention.events + PAGE;
        by_count && oldest.is_none_or(|(_, time)| time.0 >= young) && log.stats().bytes <= retention.bytes + (2 << 20)
    })
    .await;
}

async fn append_to_both(
    log: &Arc<dyn Log>,
    all: &mut Vec<(Event, Timestamp)>,
    clock: &TestClock,
    number: usize,
    sizes: &[usize],
    key: Option<u8>,
) {
    let mut batch: Vec<Event> =
        sizes.iter().map(|&size| Event::new(topic("t"), vec![number.to_le_bytes()[0]; size])).collect();
    if let Some(key) = key {
        batch[0] = keyed(&key.to_string(), &key.to_string());
    }
    let remembered = clock.now().0.saturating_sub(600_000);
    let known =
        all.iter().rposition(|(stored, time)| stored.key.is_some() && *stored == batch[0] && time.0 >= remembered);
    let receipts = log.append(batch.clone()).await.expect("stored");
    for (index, (event, receipt)) in batch.into_iter().zip(receipts).enumerate() {
        match known {
            Some(at) if index == 0 => {
                assert_eq!((receipt.cursor.offset, receipt.duplicate), (at as u64 + 1, true));
            }
            _ => {
                all.push((event, clock.now()));
                assert_eq!((receipt.cursor.offset, receipt.duplicate), (all.len() as u64, false));
            }
        }
    }
}

fn compare(events: &[Arc<Appended>], all: &[(Event, Timestamp)]) {
    for pair in events.windows(2) {
        assert_eq!(pair[0].cursor.offset + 1, pair[1].cursor.offset);
    }
    for event in events {
        let (expected, time) = &all[usize::try_from(event.cursor.offset).expect("a small number") - 1];
        assert_eq!((&event.event, event.time), (expected, *time));
    }
}
