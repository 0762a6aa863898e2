//! What sockets do: they take little, or nothing, send what nobody asked for, and end.

use std::net::Shutdown as Side;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::*;
use crate::delivery::fixture::Odd;
use crate::delivery::{Gone, Heartbeat, Terms};
use crate::log::{MemoryLog, ReadError, Retention, system_clock};

fn terms(heartbeat: Duration) -> Terms {
    Terms::new(Heartbeat { interval: heartbeat, as_event: false }, 1_000_000)
}

/// Fills the socket of one that takes nothing.
async fn block(hand: &mut Hand, topic: &str) {
    for _ in 0..10 {
        hand.fixture.publish(topic, 1, &"x".repeat(2000)).await;
        hand.rest().await;
    }
}

/// The socket takes pieces that end at every byte of what frames the content: sizes rise by one, and it is full after so many
/// bytes again and again.
#[tokio::test(start_paused = true)]
async fn content_is_whole_wherever_a_socket_is_full() {
    let mut hand = Hand::new().await;
    let mut cut = 0;
    for size in 2000..2300 {
        for framing in [Framing::Chunked, Framing::UntilClose] {
            let topic = format!("{size}/{framing:?}");
            let (feed, after) = (hand.fixture.feed(&topic), hand.fixture.hub.pages().edge());
            let same = || hand.fixture.stream_on(&feed, after, Terms { limit: Some(4), ..terms(AGES) });
            let (mut client, mut other) = (hand.arrive(same(), framing), same());
            hand.turn();
            for _ in 0..4 {
                hand.fixture.publish(&topic, 1, &"x".repeat(size)).await;
                hand.turn();
            }
            hand.rest().await;
            while client.take(1000) > 0 {
                cut += 1;
                hand.rest().await;
            }
            assert_eq!(client.content(), (hand.fixture.read(&mut other).await, true), "{size} bytes, {framing:?}");
            assert!(client.is_over);
        }
    }
    assert!(cut > 3000, "the sockets had room for everything");
}

/// 1. A stream is to beat every five seconds; its socket takes nothing when it should. 2. The socket is free again. What it
/// comes up for next is its heartbeat, not the end of its patience.
#[tokio::test(start_paused = true)]
async fn who_could_not_be_written_to_beats_again_in_time() {
    let mut hand = Hand::new().await;
    let (feed, after) = (hand.fixture.feed("a"), hand.fixture.hub.pages().edge());
    let mut client = hand.arrive(hand.fixture.stream(&feed, after, Duration::from_secs(5)), Framing::Chunked);
    block(&mut hand, "a").await;
    tokio::time::advance(Duration::from_secs(6)).await;
    hand.rest().await;
    hand.settle([&mut client]).await;
    assert!(!client.text().ends_with(":\n\n"), "it has just been written to");
    for _ in 0..3 {
        let before = client.text().len();
        tokio::time::advance(Duration::from_secs(5)).await;
        hand.settle([&mut client]).await;
        assert_eq!(&client.text()[before..], ":\n\n");
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_ended_and_who_takes_a_little_is_not() {
    let stall = Duration::from_secs(10);
    let options = SocketOptions { stall, ..SocketOptions::default() };
    let mut hand = Hand::over(Fixture::new(1_000_000, 1024).await, options);
    let feed = hand.fixture.feed("a");
    let mut client = hand.follow(&feed);
    let other = hand.follow(&feed);
    block(&mut hand, "a").await;
    for _ in 0..3 {
        tokio::time::advance(stall - Duration::from_millis(100)).await;
        client.take(2300); // As much as the socket is said to be free after.
        hand.rest().await;
        assert!(!client.is_let_go());
    }
    assert!(other.is_let_go() && other.peer.gone() == Gone::Stalled);
    tokio::time::advance(stall + Dues::GRID).await;
    hand.rest().await;
    assert!(client.is_let_go() && client.peer.gone() == Gone::Stalled);
    assert_eq!(hand.shard.pump.stalled.load(Ordering::Relaxed), 2);
    client.take(usize::MAX);
    assert!(client.is_over && !client.content().1, "it was broken off");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asked_for_is_passed_over_and_too_much_of_it_is_the_end() {
    let mut hand = Hand::new().await;
    let feed = hand.fixture.feed("a");
    let mut clients = [hand.follow(&feed), hand.follow(&feed)];
    for _ in 0..64 {
        clients[0].stray(1024);
        hand.rest().await;
    }
    hand.fixture.publish("a", 1, "news").await;
    hand.settle(&mut clients).await;
    assert_eq!(clients.each_ref().map(Client::text), [(); 2].map(|()| hand.fixture.event(1, "news")));
    clients[0].stray(1);
    hand.rest().await;
    assert!(clients[0].is_let_go() && clients[0].peer.gone() == Gone::Failed);
    hand.fixture.publish("a", 1, "more").await;
    hand.settle(&mut clients[1..]).await;
    assert!(clients[1].text().ends_with("more\n\n"));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_let_go_at_once_also_with_bytes_on_their_way() {
    for blocks in [false, true] {
        let mut hand = Hand::new().await;
        let feed = hand.fixture.feed("a");
        let clients = [hand.follow(&feed), hand.follow(&feed)];
        hand.rest().await;
        if blocks {
            block(&mut hand, "a").await;
        }
        let [client, half] = clients;
        half.socket.shutdown(Side::Write).expect("a socket");
        let (peer, held) = (client.peer, Arc::downgrade(&client.held));
        drop((client.socket, client.held));
        hand.rest().await;
        assert!(held.upgrade().is_none() && half.is_let_go());
        assert_eq!(half.peer.gone(), Gone::Closed);
        assert!(matches!(peer.gone(), Gone::Closed | Gone::Reset), "{:?}", peer.gone());
    }
}

/// The peer sees all of it and no reset, whatever it sends meanwhile.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_last_chunk_and_a_clean_close() {
    let mut hand = Hand::new().await;
    let (feed, after) = (hand.fixture.feed("a"), hand.fixture.hub.pages().edge());
    let stream = || hand.fixture.stream_on(&feed, after, Terms { limit: Some(2), ..terms(AGES) });
    let mut closing = hand.arrive(stream(), Framing::Chunked);
    let mut lingering = hand.arrive(stream(), Framing::Chunked);
    let mut until_close = hand.arrive(stream(), Framing::UntilClose);
    hand.fixture.publish("a", 3, "news").await;
    hand.rest().await;
    lingering.stray(500);
    hand.settle([&mut closing, &mut lingering, &mut until_close]).await;
    for client in [&closing, &lingering, &until_close] {
        let (text, ended) = client.content();
        assert!(ended && client.is_over && !client.is_let_go());
        assert!(text.starts_with(&[hand.fixture.event(1, "news"), hand.fixture.event(2, "news")].concat()), "{text}");
        assert!(text.contains("encke.bye") && !text.contains(&hand.fixture.event(3, "news")), "{text}");
    }
    closing.socket.shutdown(Side::Write).expect("a socket");
    hand.rest().await;
    assert!(closing.is_let_go() && !lingering.is_let_go());
    lingering.stray(500);
    hand.rest().await;
    tokio::time::advance(SocketOptions::default().linger + Dues::GRID).await;
    hand.rest().await;
    assert!(lingering.is_let_go() && until_close.is_let_go());
    assert_eq!(lingering.socket.read(&mut [0]).expect("no reset"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_step_ends_that_stream_alone() {
    let panics = Arc::<AtomicBool>::default();
    let log = MemoryLog::new(Retention::default(), system_clock());
    let log = Odd { log, read: Duration::ZERO, panics: Arc::clone(&panics) };
    let mut hand = Hand::over(Fixture::over(Arc::new(log), 1_000_000, 1024).await, SocketOptions::default());
    let feed = hand.fixture.feed("a");
    let mut others: Vec<_> = (0..9).map(|_| hand.follow(&feed)).collect();
    // One is to beat soon, one already when it comes: for that the log is asked for its bounds.
    let soon = hand.arrive(hand.fixture.stream(&feed, 0, Duration::from_secs(5)), Framing::Chunked);
    hand.rest().await;
    tokio::time::advance(Duration::from_secs(6)).await;
    let at_once = hand.arrive(hand.fixture.stream(&feed, 0, Duration::ZERO), Framing::Chunked);
    panics.store(true, Ordering::Relaxed);
    hand.turn();
    panics.store(false, Ordering::Relaxed);
    assert!(soon.is_let_go() && at_once.is_let_go());
    hand.fixture.publish("a", 1, "news").await;
    hand.settle(&mut others).await;
    for client in &others {
        assert_eq!(client.text(), hand.fixture.event(1, "news"));
    }
}

/// A stream that is behind, and waits for a page, which takes a second; another one of its feed is at the live edge.
async fn waiting() -> (Hand, Client, Client) {
    let log = MemoryLog::new(Retention::default(), system_clock());
    let log = Odd { log, read: Duration::from_secs(1), panics: Arc::default() };
    let mut hand = Hand::over(Fixture::over(Arc::new(log), 1_000_000, 1024).await, SocketOptions::default());
    hand.fixture.publish("a", 5000, "x").await;
    let feed = hand.fixture.feed("a");
    let other = hand.follow(&feed);
    hand.rest().await;
    let client = hand.arrive(hand.fixture.stream(&feed, 0, AGES), Framing::Chunked);
    hand.fixture.publish("a", 1, "x").await; // A train comes by in the slice in which the newcomer is visited, too.
    hand.rest().await;
    (hand, client, other)
}

#[tokio::test(start_paused = true)]
async fn a_page_is_fetched_once_for_one_that_is_visited_twice() {
    let (mut hand, mut client, other) = waiting().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut calls = Vec::new();
    hand.shard.bell.take(&mut calls);
    assert_eq!(calls.iter().filter(|call| matches!(call, Call::Loaded(_))).count(), 1);
    calls.into_iter().for_each(|call| hand.shard.heed(call));
    hand.rest().await;
    client.take(usize::MAX);
    assert!(client.text().starts_with(&hand.fixture.event(1, "x")) && !other.is_let_go());
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_page_cannot_be_read_ends_as_on_the_ordinary_carrier() {
    let (mut hand, mut client, mut other) = waiting().await;
    let waiting = SlotId { index: 1, tenancy: 2 };
    let page = Err(ReadError("a bad disk".into()));
    hand.shard.bell.ring(Call::Loaded(Box::new(Loaded { slot: waiting, removals: 0, page })));
    hand.settle([&mut client, &mut other]).await;
    assert_eq!((client.content(), client.is_over), ((String::new(), true), true), "with its last chunk");
    assert_eq!(other.content(), (hand.fixture.event(5001, "x"), false));
}

#[tokio::test(start_paused = true)]
async fn who_comes_when_the_end_has_begun_is_told_so_and_who_comes_too_late_is_let_go() {
    let mut hand = Hand::new().await;
    let feed = hand.fixture.feed("a");
    let mut before = hand.follow(&feed);
    hand.rest().await;
    hand.fixture.shutdown.drain();
    hand.shard.bell.ring(Call::Drain);
    let mut after = hand.follow(&feed);
    hand.settle([&mut before, &mut after]).await;
    for client in [&before, &after] {
        let (text, ended) = client.content();
        assert!(ended && text.contains("encke.bye"), "{text}");
        assert_eq!(text.matches("encke.bye").count(), 1);
    }
    let blocked = hand.follow(&feed);
    hand.shard.bell.ring(Call::End);
    let late = hand.follow(&feed);
    hand.rest().await;
    assert!([before, after, blocked, late].iter().all(Client::is_let_go));
}

/// How often the task of a shard is woken while there is nothing but heartbeats.
#[tokio::test(start_paused = true)]
async fn nothing_is_done_while_nothing_happens() {
    let mut hand = Hand::new().await;
    let (feed, after) = (hand.fixture.feed("a"), hand.fixture.hub.pages().edge());
    let beating = [(); 3].map(|()| hand.fixture.stream(&feed, after, Duration::from_secs(15)));
    let mut clients = beating.map(|stream| hand.arrive(stream, Framing::Chunked));
    let stuck = hand.follow(&hand.fixture.feed("b"));
    block(&mut hand, "b").await;
    let polls = Arc::<AtomicUsize>::default();
    let (counted, shutdown) = (Arc::clone(&polls), hand.fixture.shutdown.clone());
    shutdown.spawn_service(async move {
        let mut shard = pin!(hand.shard.run());
        poll_fn(|context| {
            counted.fetch_add(1, Ordering::Relaxed);
            shard.as_mut().poll(context)
        })
        .await;
    });
    // Shorter than the stall rule allows.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        for client in &mut clients {
            client.take(usize::MAX);
        }
    }
    for client in &mut clients {
        assert_eq!(client.text(), ":\n\n".repeat(6));
        client.stray(10);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let polls = polls.load(Ordering::Relaxed);
    assert!((6..40).contains(&polls), "{polls} times for six heartbeats");
    assert!(!stuck.is_let_go());
    shutdown.finish(Duration::from_secs(5)).await;
    assert!(stuck.is_let_go() && clients.iter().all(Client::is_let_go));
}
