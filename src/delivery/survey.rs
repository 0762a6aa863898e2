//! All open streams, asked of those who carry them.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::live::{Asked, Chosen, Live, Open};
use super::{Delivery, Shards};

/// What the carriers answered.
#[derive(Debug)]
pub struct Survey {
    /// The first of the open streams, in the order that was asked for.
    pub streams: Vec<Live>,
    /// How many are open, of each path and transport.
    pub open: Vec<Open>,
    /// How many carriers were asked, and how many of them did not answer in time: what they carry is missing.
    pub carriers: (usize, usize),
}

impl Delivery {
    /// How long carriers have to answer.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// How many ask at a time: each has the carriers look at all their streams.
    pub(super) const SURVEYS: usize = 2;

    /// The open streams, of the shards too if there are any.
    pub async fn survey(&self, shards: Option<&Shards>, asked: Asked) -> Survey {
        let until = Instant::now() + Self::PATIENCE;
        let mut chosen = Chosen::new(asked);
        let carriers = 1 + shards.map_or(0, Shards::count);
        let Ok(Ok(_turn)) = timeout_at(until, self.surveys.acquire()).await else {
            return Survey { streams: Vec::new(), open: Vec::new(), carriers: (carriers, carriers) };
        };
        let answers = shards.map(|shards| shards.show(asked)).unwrap_or_default(); // They look while we do.
        self.carried.offer(&mut chosen, self.hub.pages().edge()).await;
        let silent = gather(&mut chosen, answers, until).await;
        let (streams, open) = chosen.told();
        Survey { streams, open, carriers: (carriers, silent) }
    }
}

/// Waits for all answers, until then. Answers how many did not come.
async fn gather(chosen: &mut Chosen, answers: Vec<oneshot::Receiver<Chosen>>, until: Instant) -> usize {
    let mut silent = 0;
    for answer in answers {
        match timeout_at(until, answer).await {
            Ok(Ok(answer)) => chosen.join(answer),
            Ok(Err(_)) | Err(_) => silent += 1,
        }
    }
    silent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::live::Sort;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_in_time_is_not_waited_for() {
        let asked = Asked { sort: Sort::Age, limit: 1, of: None };
        let [(one, answers), (other, late), (third, gone)] = [(); 3].map(|()| oneshot::channel());
        one.send(Chosen::new(asked)).expect("it is waited for");
        drop(third);
        let until = Instant::now() + Delivery::PATIENCE;
        assert_eq!(gather(&mut Chosen::new(asked), vec![answers, late, gone], until).await, 2);
        assert_eq!(Instant::now(), until);
        drop(other);
    }
}
