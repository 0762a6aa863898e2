//! What is shown of the streams of a shard.

use super::*;
use crate::delivery::live::{Live, Sort};

const ALL: Asked = Asked { sort: Sort::Age, limit: 1000, of: None };

/// What a shard answers.
async fn ask(hand: &mut Hand, asked: Asked) -> (Vec<Live>, u64) {
    let (listing, answered) = Listing::new(asked);
    hand.shard.bell.ring(Call::Show(Box::new(listing)));
    hand.rest().await;
    let (streams, open) = answered.await.expect("an answer").told();
    (streams, open.iter().map(|open| open.streams).sum())
}

#[tokio::test(start_paused = true)]
async fn streams_of_all_pieces_are_counted_and_the_first_are_shown() {
    let mut hand = Hand::new().await;
    assert_eq!(ask(&mut hand, ALL).await, (vec![], 0));
    let feed = hand.fixture.feed("a");
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(hand.follow(&feed));
    }
    hand.rest().await;
    let (streams, open) = ask(&mut hand, ALL).await;
    assert_eq!((streams.len(), open), (300, 300));
    clients.truncate(200);
    hand.rest().await;
    let (streams, open) = ask(&mut hand, Asked { limit: 7, ..ALL }).await;
    assert_eq!((streams.len(), open), (7, 200));
}

/// One that takes nothing falls behind, and what it has not taken is shown; its heartbeat is the one that it was told.
#[tokio::test(start_paused = true)]
async fn how_a_stream_stands_is_shown() {
    let mut hand = Hand::new().await;
    let (feed, after) = (hand.fixture.feed("a"), hand.fixture.hub.pages().edge());
    let mut client = hand.arrive(hand.fixture.stream(&feed, after, Duration::from_secs(500)), Framing::Chunked);
    hand.rest().await;
    tokio::time::advance(Duration::from_secs(3)).await;
    let (streams, _) = ask(&mut hand, ALL).await;
    let live = streams[0];
    assert_eq!((live.age, live.quiet), (Duration::from_secs(3), Duration::from_secs(3)));
    assert_eq!((live.heartbeat, live.transport), (Duration::from_secs(500), "sse"));
    assert_eq!((live.lag, live.not_taken, live.blocked), (0, 0, None));

    hand.fixture.publish("other", 5, "x").await;
    assert_eq!(ask(&mut hand, ALL).await.0[0].lag, 0, "what is not for it is no lag");
    for _ in 0..10 {
        hand.fixture.publish("a", 1, &"x".repeat(2000)).await;
        hand.rest().await;
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    let live = ask(&mut hand, Asked { sort: Sort::Lag, ..ALL }).await.0[0];
    assert!(live.lag > 0 && live.lag < 10 && live.not_taken > 0, "{live:?}");
    assert_eq!((live.blocked, live.quiet), (Some(Duration::from_secs(2)), Duration::from_secs(2)));
    hand.settle([&mut client]).await;
    let live = ask(&mut hand, ALL).await.0[0];
    assert_eq!((live.lag, live.not_taken, live.blocked), (0, 0, None));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_any_more_is_not_answered_and_holds_up_nobody() {
    let mut hand = Hand::new().await;
    let feed = hand.fixture.feed("a");
    let clients: Vec<_> = (0..300).map(|_| hand.follow(&feed)).collect();
    hand.rest().await;
    let (listing, answered) = Listing::new(ALL);
    hand.shard.bell.ring(Call::Show(Box::new(listing)));
    hand.turn();
    assert!(!hand.shard.listings.is_empty());
    drop(answered);
    hand.turn();
    assert!(hand.shard.listings.is_empty());
    assert_eq!(ask(&mut hand, ALL).await.1, clients.len() as u64);
}
