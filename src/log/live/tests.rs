//! What a tail is told, and in what order.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio_stream::StreamExt;

use super::*;
use crate::event::{Cursor, Epoch, Event, Timestamp, Topic};

const MIB: usize = 1 << 20;

fn commit(offsets: std::ops::RangeInclusive<Offset>, len: usize) -> Commit {
    let epoch = Epoch::parse("k3v9x0a1").expect("an epoch");
    let event = || Event::new(Topic::parse("t").expect("a topic"), vec![b'x'; len]);
    offsets.map(|offset| Arc::new(Appended::new(Cursor { epoch, offset }, Timestamp(0), event()))).collect()
}

fn push(recent: &Recent, commit: Commit) {
    let bytes = commit.iter().map(|event| event.footprint()).sum();
    recent.push(Change::Commit(commit), bytes);
}

fn of_commit(change: &Change) -> Option<&Commit> {
    match change {
        Change::Commit(commit) => Some(commit),
        _ => None,
    }
}

/// The offsets of what is kept next to `after`.
fn kept(recent: &Recent, after: Offset) -> Option<Vec<Offset>> {
    match recent.next(0, after) {
        Next::Change { change: Change::Commit(commit), .. } => {
            Some(commit.iter().map(|event| event.cursor.offset).collect())
        }
        _ => None,
    }
}

#[test]
fn the_newest_commits_are_kept_as_far_as_bytes_allow() {
    let recent = Recent::default();
    for offset in 1..=3 {
        push(&recent, commit(offset..=offset, 10 * MIB));
        assert_eq!(kept(&recent, offset - 1), Some(vec![offset]), "the newest one, however large");
        assert_eq!(kept(&recent, offset.saturating_sub(2)).is_some(), offset == 1);
    }
    push(&recent, commit(4..=4, 5 * MIB));
    assert_eq!((kept(&recent, 1), kept(&recent, 2), kept(&recent, 3)), (None, Some(vec![3]), Some(vec![4])));
}

#[test]
fn the_newest_commits_are_kept_as_far_as_their_number_allows() {
    let recent = Recent::default();
    (1..=64).for_each(|offset| push(&recent, commit(offset..=offset, 1)));
    assert_eq!(kept(&recent, 0), Some(vec![1]));
    push(&recent, commit(65..=65, 1));
    assert_eq!((kept(&recent, 0), kept(&recent, 1)), (None, Some(vec![2])));
    // And removals among them.
    let remove = |_| recent.push(Change::Removed { offsets: Arc::from([1]), why: Gone::Deleted }, 8);
    (64..256).for_each(remove);
    assert_eq!(kept(&recent, 1), Some(vec![2]));
    (0..1).for_each(remove);
    assert_eq!((kept(&recent, 1), kept(&recent, 2)), (None, Some(vec![3])));
}

#[test]
fn small_events_count_with_all_that_they_take_in_memory() {
    let recent = Recent::default();
    for n in 0..20 {
        push(&recent, commit(n * 8192 + 1..=n * 8192 + 8192, 1));
    }
    let kept = recent.kept();
    let events: usize =
        kept.changes.iter().filter_map(|(change, _)| of_commit(change)).map(|commit| commit.len()).sum();
    assert!(events * size_of::<Appended>() <= Recent::BYTES, "{events} events");
}

#[tokio::test(start_paused = true)]
async fn a_tail_that_is_far_behind_ends_with_its_log() {
    // 1. A tail waits for the store, which fails. 2. The log goes. 3. The store goes on failing.
    let live = Live::new(Bounds { first: 1, last: 5 });
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    let mut tail = live.tail(0, move |_| {
        counted.fetch_add(1, SeqCst);
        Box::pin(async { Err(ReadError("the disk is dying".into())) })
    });
    let waits = tokio::time::timeout(Live::RETRY * 5 / 2, tail.next()).await;
    assert!(waits.is_err(), "a failing store is read again: {waits:?}");
    assert_eq!(reads.load(SeqCst), 3);
    drop(live);
    let end = tokio::time::timeout(Live::RETRY * 10, tail.next()).await;
    assert!(matches!(end, Ok(None)), "{end:?}");
    assert_eq!(reads.load(SeqCst), 4);
}

/// A log in which every event was stored, and which gives tombstones of those up to `gone`.
fn tail(live: &Live, after: Offset, gone: Offset) -> BoxStream<'static, Change> {
    live.tail(after, move |at| {
        let events: Vec<_> = commit(at..=at + 9, 1).iter().map(Arc::clone).collect();
        events.iter().filter(|event| event.cursor.offset <= gone).for_each(|event| event.remove(Gone::Deleted));
        Box::pin(async { Ok(Page { events, hole: false }) })
    })
}

/// What a tail tells, in words, as long as it has something to tell.
async fn told(tail: &mut BoxStream<'static, Change>) -> Vec<String> {
    let mut told = Vec::new();
    while let Ok(Some(change)) = tokio::time::timeout(Duration::from_millis(1), tail.next()).await {
        told.push(match change {
            Change::Commit(commit) => {
                let gone = commit.iter().filter(|event| event.gone().is_some()).count();
                format!("{}–{} {gone} gone", commit[0].cursor.offset, commit[commit.len() - 1].cursor.offset)
            }
            Change::Removed { offsets, why } => format!("{offsets:?} {why:?}"),
            other => format!("{other:?}"),
        });
    }
    told
}

#[tokio::test(start_paused = true)]
async fn removals_are_told_in_their_place() {
    let live = Live::new(Bounds { first: 1, last: 0 });
    let mut early = tail(&live, 0, 0);
    live.commit(commit(1..=3, 1));
    live.commit(commit(4..=4, 1));
    assert_eq!(told(&mut early).await, ["1–3 0 gone", "4–4 0 gone"]);
    live.remove(vec![2, 4], Gone::Deleted);
    live.commit(commit(5..=5, 1));
    live.remove(vec![5], Gone::Expired);
    assert_eq!(told(&mut early).await, ["[2, 4] Deleted", "5–5 1 gone", "[5] Expired"]);
    let mut late = tail(&live, 3, 0);
    assert_eq!(told(&mut late).await, ["4–4 1 gone", "[2, 4] Deleted", "5–5 1 gone", "[5] Expired"]);
    live.remove(Vec::new(), Gone::Expired);
    live.remove(Vec::new(), Gone::Deleted);
    assert_eq!(told(&mut late).await, ["[] Deleted"]);
}

#[tokio::test(start_paused = true)]
async fn a_tail_that_missed_removals_is_told_so_before_anything_else() {
    let live = Live::new(Bounds { first: 1, last: 0 });
    let mut behind = tail(&live, 0, 0);
    live.commit(commit(1..=1, 1));
    live.remove(vec![1], Gone::Deleted);
    for offset in 2..=100 {
        live.commit(commit(offset..=offset, 1));
    }
    let told_it = told(&mut behind).await;
    assert_eq!(told_it[..3], ["MissedRemovals", "1–10 0 gone", "11–20 0 gone"], "{told_it:?}");
    assert_eq!(told_it.last().map(String::as_str), Some("100–100 0 gone"));
    // Commits alone that were missed are read again, and nothing else is told.
    let mut behind = tail(&live, 100, 0);
    for offset in 101..=200 {
        live.commit(commit(offset..=offset, 1));
    }
    assert!(!told(&mut behind).await.contains(&"MissedRemovals".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_came_before_the_tail_was_polled_is_told() {
    let live = Live::new(Bounds { first: 1, last: 9 });
    let mut unpolled = tail(&live, 9, 9);
    for at in 1..=300 {
        live.remove(vec![at % 9 + 1], Gone::Deleted);
    }
    assert_eq!(told(&mut unpolled).await[0], "MissedRemovals");
}
