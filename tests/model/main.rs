//! Under any interleaving of publishing, subscribing, slow reading, retention, cuts, resumes, changes of transport and
//! topics, restarts, removal, types, times to live, rights, snapshots and conflation, each subscriber sees what a plain
//! `Vec` says it should, or is told of a gap.
//!
//! The parts are the real ones from the log to the bytes of a body, or to those on a socket, which a shard writes; only HTTP
//! is left out. Time is paused: who has nothing more to give is known by the clock moving on, not by waiting.

#[path = "../support/long.rs"]
mod long;
#[path = "../support/multipart.rs"]
mod multipart;
#[path = "../support/whatwg.rs"]
#[allow(dead_code, reason = "each test program uses its part of this")]
mod whatwg;

mod client;
mod gateway;
mod ledger;
mod world;

use std::time::Duration;

use long::long;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use world::{Ask, Carrier, Kind, Settings, Store, World};

/// Topics that events are published on.
const TOPICS: [&str; 4] = ["a", "a/b", "a/c", "d"];

/// What subscribers ask for.
const SELECTIONS: [&[&str]; 6] = [&["a"], &["a/b"], &["a", "d"], &["a/*"], &["a/**", "d"], &["**"]];

/// Longer than any test.
const AGES: Duration = Duration::from_secs(1_000_000);

/// How many subscribers there are.
const CLIENTS: usize = 3;

#[derive(Clone, Debug)]
enum Action {
    /// Publish so many events, in batches.
    Publish { count: usize, batch: usize, kind: Kind },
    /// Subscribe anew, or go on from the last id in this way.
    Open { client: usize, ask: Ask },
    /// Take at most so many frames.
    Read { client: usize, frames: usize },
    /// Break the stream off.
    Cut { client: usize },
    /// Ask once, from the last id.
    Poll { client: usize, transport: &'static str },
    /// Remove what is on a topic, or one event.
    Delete { topic: Option<&'static str>, place: usize },
    /// Let time pass, so that retention by age and times to live have their turn.
    Age(Duration),
    /// Close the log and open it again (durable store only).
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    let client = || 0..CLIENTS;
    prop_oneof![
        4 => (1..900_usize, 1..60_usize, kind())
            .prop_map(|(count, batch, kind)| Action::Publish { count, batch, kind }),
        2 => (1..20_usize, 1..4_usize, kind())
            .prop_map(|(count, batch, kind)| Action::Publish { count, batch, kind }),
        4 => (client(), ask()).prop_map(|(client, ask)| Action::Open { client, ask }),
        4 => (client(), 1..4_usize).prop_map(|(client, frames)| Action::Read { client, frames }),
        2 => client().prop_map(|client| Action::Cut { client }),
        2 => (client(), select(vec!["long-poll", "poll"]))
            .prop_map(|(client, transport)| Action::Poll { client, transport }),
        1 => (prop::option::of(select(&TOPICS[..])), any::<usize>())
            .prop_map(|(topic, place)| Action::Delete { topic, place }),
        1 => (0..40_u64).prop_map(|seconds| Action::Age(Duration::from_secs(seconds))),
        1 => Just(Action::Restart),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let ttl = prop::option::weighted(0.2, (1..60_000_u64).prop_map(Duration::from_millis));
    let kind = prop::option::weighted(0.3, select(&["x", "y"][..]));
    let flag = prop::bool::weighted(0.2);
    (1..16_u8, kind, flag, ttl, flag).prop_map(|(topics, kind, private, ttl, conflate)| Kind {
        topics,
        kind,
        private,
        ttl,
        conflate,
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let transport = select(vec!["sse", "ndjson", "multipart-mixed", "multipart-replace"]);
    let types = prop_oneof![3 => Just(&[][..]), 1 => select(vec![&["x"][..], &["message", "y"]])];
    let limit = prop::option::weighted(0.2, 1..50_u64);
    let (keyed, sometimes) = (prop::bool::weighted(0.7), prop::bool::weighted(0.2));
    (select(&SELECTIONS[..]), types, keyed, transport, any::<bool>(), limit, sometimes, sometimes).prop_map(
        |(selection, types, keyed, transport, resume, limit, conflate, snapshot)| {
            let keeps_state = transport == "multipart-replace";
            let (conflate, snapshot) = (conflate && !keeps_state, snapshot && !keeps_state);
            Ask { selection, types, keyed, transport, resume, limit, conflate, snapshot }
        },
    )
}

fn settings(store: Store, carrier: Carrier) -> impl Strategy<Value = Settings> {
    (50..4000_u64, 20..200_u64).prop_map(move |(events, age)| Settings {
        store,
        carrier,
        events,
        age: Duration::from_secs(age),
        pinned: 1500,
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

fn check(settings: Settings, actions: Vec<Action>) -> Result<(), TestCaseError> {
    runtime().block_on(async {
        let mut world = World::new(settings).await;
        for action in actions {
            match action {
                Action::Publish { count, batch, kind } => world.publish(count, batch, kind).await,
                Action::Open { client, ask } => world.open(client, ask).await?,
                Action::Read { client, frames } => world.read(client, frames).await?,
                Action::Cut { client } => world.cut(client),
                Action::Poll { client, transport } => world.poll(client, transport).await?,
                Action::Delete { topic, place } => world.delete(topic, place).await?,
                Action::Age(time) => world.age(time).await?,
                Action::Restart => world.restart().await,
            }
        }
        world.settle().await
    })
}

/// Plain events on the topics of this mask.
fn on(topics: u8) -> Kind {
    Kind { topics, ..Kind::default() }
}

/// So many, or fifty times as many if `tests/run --long` asks for it.
fn cases(count: u32) -> u32 {
    if long() { 50 * count } else { count }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(96), max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_subscriber_of_the_memory_store_sees_what_the_model_says(
        settings in settings(Store::Memory, Carrier::Ordinary),
        actions in vec(action(), 1..40),
    ) {
        check(settings, actions)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(32), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_subscriber_of_the_durable_store_sees_what_the_model_says(
        settings in settings(Store::Sqlite, Carrier::Ordinary),
        actions in vec(action(), 1..40),
    ) {
        check(settings, actions)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(64), max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_subscriber_on_a_socket_sees_what_the_model_says(
        settings in settings(Store::Memory, Carrier::Socket),
        actions in vec(action(), 1..40),
    ) {
        check(settings, actions)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(24), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_subscriber_of_the_durable_store_on_a_socket_sees_what_the_model_says(
        settings in settings(Store::Sqlite, Carrier::Socket),
        actions in vec(action(), 1..40),
    ) {
        check(settings, actions)?;
    }
}

/// A reader stops; so much is published that its feed is several batches behind; another one subscribes to the
/// same at the live edge. The next event reaches it at once, not when the first reader goes on.
#[test]
fn a_reader_that_lags_holds_up_no_newcomer() -> Result<(), TestCaseError> {
    runtime().block_on(async {
        let mut world = World::new(Settings {
            store: Store::Memory,
            carrier: Carrier::Ordinary,
            events: 100_000,
            age: AGES,
            pinned: 60_000,
        })
        .await;
        world.open(0, Ask::plain(&["a"])).await?;
        world.read(0, 1).await?;
        world.publish(6000, 60, on(1)).await;
        world.open(1, Ask::plain(&["a"])).await?;
        world.read(1, 1).await?;
        world.publish(1, 1, on(1)).await;
        world.read(1, 2).await?;
        assert_eq!(world.progress(1), (6001, 0));
        world.settle().await?;
        assert_eq!(world.progress(0), (6001, 0));
        Ok(())
    })
}

/// What goes by on other topics costs a quiet reader nothing: it is not read again, and its trimming is no gap.
#[test]
fn a_quiet_reader_is_told_no_gap_for_what_did_not_concern_it() -> Result<(), TestCaseError> {
    runtime().block_on(async {
        let mut world = World::new(Settings {
            store: Store::Memory,
            carrier: Carrier::Ordinary,
            events: 1000,
            age: AGES,
            pinned: 1500,
        })
        .await;
        world.open(0, Ask::plain(&["d"])).await?;
        world.read(0, 2).await?;
        for _ in 0..9 {
            world.publish(900, 60, on(1)).await;
            world.caught_up().await;
        }
        world.publish(1, 1, on(8)).await;
        world.read(0, 2).await?;
        assert_eq!(world.progress(0), (8101, 0));
        Ok(())
    })
}

/// The same for a poll that is already waiting, whether it is answered at the end of its time or by news.
#[test]
fn a_waiting_poll_is_told_no_gap_for_what_did_not_concern_it() -> Result<(), TestCaseError> {
    runtime().block_on(async {
        let mut world = World::new(Settings {
            store: Store::Memory,
            carrier: Carrier::Ordinary,
            events: 1000,
            age: AGES,
            pinned: 1500,
        })
        .await;
        world.open(0, Ask::plain(&["d"])).await?;
        for news in [false, true] {
            let loads = world.loads();
            let meanwhile = async |world: &mut World| {
                for _ in 0..9 {
                    world.publish(900, 60, on(1)).await;
                    world.caught_up().await;
                }
                world.publish(usize::from(news), 1, on(8)).await;
            };
            world.poll_while(0, meanwhile).await?;
            assert_eq!(world.progress(0), (if news { 16_201 } else { 8100 }, 0));
            assert_eq!(world.loads(), loads, "what did not concern it was read from the log");
        }
        Ok(())
    })
}
