//! What every store promises of events that come with a key.

use super::*;

on_every_store! {
    a_batch_with_a_reused_key_stores_nothing,
    a_repeat_gets_the_first_cursor,
    a_key_is_free_again_after_ten_minutes,
    the_public_and_those_who_hold_a_key_have_keys_of_their_own,
    the_public_pushes_no_key_of_others_out,
}

async fn a_batch_with_a_reused_key_stores_nothing(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    log.append(vec![keyed("k", "a")]).await.expect("stored");
    let refused = log.append(vec![keyed("new", "x"), event("y"), keyed("k", "b")]).await;
    assert!(matches!(refused, Err(AppendError::KeyReused { index: 2 })), "{refused:?}");
    assert_eq!(log.bounds().last, 1);
    let free = log.append(vec![keyed("new", "other"), event("z")]).await.expect("its keys are free");
    assert_eq!((free[0].cursor.offset, free[0].duplicate), (2, false));
    let within = log.append(vec![keyed("twice", "1"), keyed("twice", "2")]).await;
    assert!(matches!(within, Err(AppendError::KeyReused { index: 1 })), "{within:?}");
    assert_eq!(everything(&log).await, ["a", "other", "z"]);
}

async fn a_repeat_gets_the_first_cursor(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    let first = log.append(vec![event("x"), keyed("k", "a")]).await.expect("stored")[1];
    let again = log.append(vec![keyed("k", "a"), event("y"), keyed("n", "b"), keyed("n", "b")]).await.expect("stored");
    assert_eq!(again[0], Receipt { cursor: first.cursor, duplicate: true });
    assert_eq!(again[3], Receipt { cursor: again[2].cursor, duplicate: true });
    let only = log.append(vec![keyed("k", "a")]).await.expect("known");
    assert_eq!(only, [Receipt { cursor: first.cursor, duplicate: true }]);
    assert_eq!(everything(&log).await, ["x", "a", "y", "b"]);
}

async fn a_key_is_free_again_after_ten_minutes(open: Open) {
    let Fixture { log, clock, _directory } = open(EVERYTHING);
    log.append(vec![keyed("k", "a")]).await.expect("stored");
    clock.advance(Keys::WINDOW);
    assert!(log.append(vec![keyed("k", "a")]).await.expect("known")[0].duplicate);
    clock.advance(Duration::from_millis(1));
    assert!(!log.append(vec![keyed("k", "b")]).await.expect("stored")[0].duplicate);
}

async fn the_public_and_those_who_hold_a_key_have_keys_of_their_own(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    let public = |data: &str| Event { publisher: Publisher::Public, ..keyed("k", data) };
    // 1. Anybody uses the key of the backend's next event; 2. the backend's is stored all the same, be it another or the same.
    let theirs = log.append(vec![public("a")]).await.expect("stored")[0];
    let ours = log.append(vec![keyed("k", "b")]).await.expect("stored")[0];
    assert_eq!((theirs.cursor.offset, ours.cursor.offset, ours.duplicate), (1, 2, false));
    // 3. Each is told of its own repeats only.
    let again = log.append(vec![public("a"), keyed("k", "b")]).await.expect("known");
    assert!(again.iter().zip([theirs, ours]).all(|(again, first)| again.duplicate && again.cursor == first.cursor));
    assert!(matches!(log.append(vec![public("b")]).await, Err(AppendError::KeyReused { index: 0 })));
    assert!(matches!(log.append(vec![keyed("k", "a")]).await, Err(AppendError::KeyReused { index: 0 })));
    assert_eq!(log.read(1).await.expect("a page").events[0].event.publisher, Publisher::Public);
}

async fn the_public_pushes_no_key_of_others_out(open: Open) {
    let Fixture { log, _directory, .. } = open(EVERYTHING);
    log.append(vec![keyed("k", "a")]).await.expect("stored");
    let public = |n: usize| Event { publisher: Publisher::Public, ..keyed(&n.to_string(), "") };
    for from in (0..=Keys::MAX_PUBLIC).step_by(1000) {
        log.append((from..from + 1000).map(public).collect()).await.expect("stored");
    }
    assert!(log.append(vec![keyed("k", "a")]).await.expect("known")[0].duplicate);
    assert!(!log.append(vec![public(0)]).await.expect("stored")[0].duplicate, "its own oldest went");
}
