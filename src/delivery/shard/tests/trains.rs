//! Whoever comes, goes or stands still: everybody is visited.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Topics, each with a feed of its own.
const TOPICS: [&str; 2] = ["a", "b"];

#[derive(Clone, Debug)]
enum Action {
    /// A stream comes, so many events behind the live edge.
    Arrive { topic: usize, behind: u64 },
    /// One goes.
    Leave { client: usize },
    /// Its socket takes some bytes again.
    Take { client: usize, bytes: usize },
    /// It sends something that nothing asked for.
    Stray { client: usize },
    /// Events come, one wake-up for each.
    Publish { topic: usize, count: usize, bytes: usize },
    /// The shard has some turns.
    Turn { count: usize },
}

fn action() -> impl Strategy<Value = Action> {
    let (topic, client) = (|| 0..TOPICS.len(), any::<usize>);
    prop_oneof![
        3 => (topic(), prop_oneof![3 => Just(0), 1 => 0..60_u64]).prop_map(|(topic, behind)| Action::Arrive { topic, behind }),
        2 => client().prop_map(|client| Action::Leave { client }),
        2 => (client(), 1..5000_usize).prop_map(|(client, bytes)| Action::Take { client, bytes }),
        1 => client().prop_map(|client| Action::Stray { client }),
        4 => (topic(), 1..4_usize, prop_oneof![3 => 1..100_usize, 1 => 1..3000_usize])
            .prop_map(|(topic, count, bytes)| Action::Publish { topic, count, bytes }),
        5 => (1..3_usize).prop_map(|count| Action::Turn { count }),
    ]
}

/// A stream, and what it is to have.
struct Follower {
    client: Client,
    topic: usize,
    after: Offset,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

fn check(actions: Vec<Action>) -> Result<(), TestCaseError> {
    runtime().block_on(async {
        let mut hand = Hand::new().await;
        let mut published: Vec<(usize, String)> = Vec::new();
        let mut followers: Vec<Follower> = Vec::new();
        for action in actions {
            match action {
                Action::Arrive { topic, behind } => {
                    let after = hand.fixture.hub.pages().edge().saturating_sub(behind);
                    let feed = hand.fixture.feed(TOPICS[topic]);
                    let client = hand.arrive(hand.fixture.stream(&feed, after, AGES), Framing::Chunked);
                    followers.push(Follower { client, topic, after });
                }
                Action::Leave { client } if !followers.is_empty() => {
                    followers.swap_remove(client % followers.len());
                }
                Action::Take { client, bytes } if !followers.is_empty() => {
                    let chosen = client % followers.len();
                    followers[chosen].client.take(bytes);
                }
                Action::Stray { client } if !followers.is_empty() => {
                    let chosen = client % followers.len();
                    followers[chosen].client.stray(100);
                }
                Action::Leave { .. } | Action::Take { .. } | Action::Stray { .. } => {}
                Action::Publish { topic, count, bytes } => {
                    for _ in 0..count {
                        let data = "x".repeat(bytes);
                        hand.fixture.publish(TOPICS[topic], 1, &data).await;
                        published.push((topic, data));
                    }
                }
                Action::Turn { count } => (0..count).for_each(|_| {
                    hand.turn();
                }),
            }
        }
        hand.settle(followers.iter_mut().map(|follower| &mut follower.client)).await;
        for Follower { client, topic, after } in &followers {
            let theirs = (1..).zip(&published).filter(|(at, (on, _))| at > after && on == topic);
            let expected: String = theirs.map(|(at, (_, data))| hand.fixture.event(at, data)).collect();
            prop_assert_eq!(client.content(), (expected, false));
        }
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn each_stream_is_given_every_event_once_in_order(actions in vec(action(), 1..80)) {
        check(actions)?;
    }
}

/// 1. A train has visited some of six. 2. A newcomer joins them. 3. Without a place for it the train would end one short.
#[tokio::test(start_paused = true)]
async fn a_newcomer_takes_nobody_its_place_in_a_train() {
    let mut hand = Hand::new().await;
    let feed = hand.fixture.feed("a");
    let mut clients: Vec<_> = (0..6).map(|_| hand.follow(&feed)).collect();
    hand.rest().await;
    hand.fixture.publish("a", 1, "news").await;
    hand.turn();
    assert!(hand.shard.pump.has_work(), "the train was to be on its way");
    clients.push(hand.follow(&feed));
    let newcomer = clients.len() - 1;
    hand.settle(&mut clients).await;
    for (number, client) in clients.iter().enumerate() {
        let expected = if number == newcomer { String::new() } else { hand.fixture.event(1, "news") };
        assert_eq!(client.text(), expected, "stream {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn slots_and_groups_are_used_again() {
    let mut hand = Hand::new().await;
    for round in 0..300_usize {
        let feeds = [hand.fixture.feed("a"), hand.fixture.feed("b")];
        let mut clients: Vec<_> = (0..5).map(|number| hand.follow(&feeds[(number + round) % 2])).collect();
        hand.rest().await;
        let at = hand.fixture.publish("b", 1, "news").await;
        hand.settle(&mut clients).await;
        for (number, client) in clients.iter().enumerate() {
            let hears = (number + round) % 2 == 1;
            assert_eq!(client.text(), if hears { hand.fixture.event(at, "news") } else { String::new() });
        }
        let held: Vec<_> = clients.iter().map(|client| Arc::downgrade(&client.held)).collect();
        drop((clients, feeds));
        hand.rest().await;
        assert!(held.iter().all(|held| held.upgrade().is_none()), "round {round}: somebody is still there");
    }
}
