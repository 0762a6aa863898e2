//! Probe: how late events come. It publishes a few, and looks when they arrive: after their receipt they are late.
//!
//! Without a topic the beginning of a stream has to do: it should come as soon as an answer that is whole at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::opening::Opening;
use super::path::Path;
use super::stream::Stream;
use crate::cli::wire::trouble::Trouble;

/// How many events are published, and how far apart.
const EVENTS: usize = 12;
const APART: Duration = Duration::from_millis(300);

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Delay {
    /// How much later than its receipt each event came, in the order of the events.
    pub(super) late: Vec<Duration>,
    /// How many events were published, and stored.
    pub(super) published: usize,
    /// Why publishing did not work.
    pub(super) trouble: Option<String>,
    /// All events that will be are published.
    pub(super) is_over: bool,
}

/// Subscribes, publishes, and notes what comes when. Only for a gateway whose topic is named.
pub(super) async fn probe(path: &Path, opening: &Opening, found: &RefCell<Delay>) {
    if opening.is_held() || path.target.topic().is_none() {
        return;
    }
    let mark = mark();
    // Before the first is published: what a stream misses that is not yet open is not lost on the way.
    let Ok(mut stream) = path.open(&path.target.stream(&[])).await else { return };
    let mut messages = VecDeque::new();
    let begins =
        timeout(path.patience, async { while messages.is_empty() && stream.next(&mut messages).await.is_none() {} });
    if begins.await.is_err() {
        return;
    }
    let receipts: RefCell<Vec<Instant>> = RefCell::default();
    let (over, mut is_over) = watch::channel(None::<Instant>);
    let publishing = async {
        for number in 0..EVENTS {
            sleep(APART).await;
            if let Err(trouble) = publish(path, &format!("{mark} {number}")).await {
                found.borrow_mut().trouble = Some(trouble.words);
                break;
            }
            receipts.borrow_mut().push(Instant::now());
            found.borrow_mut().published = number + 1;
        }
        // What was never published is not waited for.
        let patience = if receipts.borrow().is_empty() { Duration::ZERO } else { path.patience };
        over.send_replace(Some(Instant::now() + patience));
    };
    let reading = async {
        let mut came: Vec<(usize, Instant)> = Vec::new();
        while came.len() < EVENTS {
            let until = *is_over.borrow_and_update();
            let waits = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                end = stream.next(&mut messages) => {
                    let now = Instant::now();
                    for message in messages.drain(..) {
                        let number = message.data.strip_prefix(&*mark).and_then(|rest| rest.trim().parse().ok());
                        came.extend(number.map(|number| (number, now)));
                    }
                    if end.is_some() {
                        break;
                    }
                }
                _ = is_over.changed() => {}
                () = waits => break,
            }
        }
        came
    };
    let (came, ()) = tokio::join!(reading, publishing);
    let receipts = receipts.into_inner();
    let late = came.into_iter().filter_map(|(number, at)| {
        let receipt = receipts.get(number)?;
        Some(at.saturating_duration_since(*receipt))
    });
    let mut found = found.borrow_mut();
    found.late = late.collect();
    found.is_over = true;
}

/// What the events of this run begin with.
fn mark() -> String {
    let mut random = [0; 8];
    // Without randomness another run at the same time might be taken for this one, and nothing else.
    let _ = getrandom::fill(&mut random);
    format!("encke doctor {:016x}", u64::from_be_bytes(random))
}

async fn publish(path: &Path, data: &str) -> Result<(), Trouble> {
    let request = path.target.publish(data.as_bytes().to_vec());
    let published = timeout(path.patience, async {
        let mut answer = Stream::open(&path.dialer, &request).await?;
        let status = answer.answer.status;
        if answer.answer.fields.contains_key(http::header::CONTENT_LENGTH) {
            answer.rest().await;
        }
        if (200..300).contains(&status) { Ok(()) } else { Err(Trouble::status(status)) }
    });
    published.await.unwrap_or_else(|_| Err(Trouble::late()))
}

/// How late events are, as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Each is as late as the others, by about a fifth of a second: bytes that wait for more to come.
    Coalesced(Duration),
    /// They are late.
    Late(Duration),
    /// Some did not come at all.
    Missing(usize),
    Prompt(Duration),
}

/// A corked socket of Linux sends what it has after 200 ms (tcp(7), `TCP_CORK`).
const CORKED: std::ops::Range<Duration> = Duration::from_millis(150)..Duration::from_millis(300);

/// Whether a delay is that of a corked socket.
pub(super) fn is_corked(late: Duration) -> bool {
    CORKED.contains(&late)
}

impl Delay {
    /// What the events say; nothing, if none were measured.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let mut late = self.late.clone();
        late.sort_unstable();
        let missing = if self.is_over { self.published.saturating_sub(late.len()) } else { 0 };
        if missing > 0 {
            return Some(Verdict::Missing(missing));
        }
        let median = *late.get(late.len() / 2)?;
        let corked = late.iter().filter(|late| is_corked(**late)).count();
        Some(match median {
            _ if corked * 4 >= late.len() * 3 => Verdict::Coalesced(median),
            _ if median >= CORKED.start => Verdict::Late(median),
            _ => Verdict::Prompt(median),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(late: &[u64], published: usize, expected: Option<&Verdict>) {
        let late = late.iter().copied().map(Duration::from_millis).collect();
        let delay = Delay { late, published, trouble: None, is_over: true };
        assert_eq!(delay.verdict().as_ref(), expected, "{delay:?}");
    }

    #[test]
    fn delays_are_judged_as_a_whole() {
        let time = Duration::from_millis;
        check(&[], 0, None);
        check(&[0, 1, 0, 2], 4, Some(&Verdict::Prompt(time(1))));
        check(&[1, 0, 900, 1], 4, Some(&Verdict::Prompt(time(1))));
        check(&[207, 206, 209, 212], 4, Some(&Verdict::Coalesced(time(209))));
        check(&[207, 206, 1, 212], 4, Some(&Verdict::Coalesced(time(207))));
        check(&[900, 600, 300, 1], 4, Some(&Verdict::Late(time(600))));
        check(&[1, 1], 4, Some(&Verdict::Missing(2)));
    }
}
