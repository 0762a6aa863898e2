//! The open streams by their ids, for whoever may cut one (the live page, under `--dev`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::diagnosis::EndReason;

use crate::diagnosis::ShortName;

/// What a stream is called: 128 random bits, which nobody guesses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(u128);

impl StreamId {
    /// An id that no other stream has.
    ///
    /// # Panics
    /// If the operating system has no random numbers.
    #[must_use]
    pub fn new() -> Self {
        /// Bytes that are asked for at once, as asking costs more than what is given.
        const AHEAD: usize = 64 * size_of::<u128>();
        thread_local! {
            static RANDOM: RefCell<([u8; AHEAD], usize)> = const { RefCell::new(([0; AHEAD], AHEAD)) };
        }
        RANDOM.with_borrow_mut(|(bytes, used)| {
            if *used == AHEAD {
                getrandom::fill(bytes).expect("the operating system gives random numbers");
                *used = 0;
            }
            let id = bytes[*used..].first_chunk().expect("as many bytes as are asked for are whole ids");
            *used += size_of::<u128>();
            Self(u128::from_le_bytes(*id))
        })
    }

    /// Its first eight digits, which may be shown to others.
    #[must_use]
    pub fn short(self) -> ShortName {
        ShortName(u32::try_from(self.0 >> 96).expect("what is left are 32 bits"))
    }

    /// Reads an id as it is shown.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let canonical = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        canonical.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl Default for StreamId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Every stream that may have to be ended from elsewhere: by its id, or because its client has a newer one.
#[derive(Debug, Default)]
pub struct Streams {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    by_id: HashMap<StreamId, Arc<Reach>>,
    /// Those whose clients name a session, by a keyed hash of that and of what they read.
    sessions: HashMap<NonZeroU64, Session>,
}

/// The open streams of one client of one selection.
#[derive(Debug, Default)]
struct Session {
    open: SmallVec<[StreamId; 2]>,
    /// When one of them was ended for a newer one.
    superseded: Option<Instant>,
    /// Several clients call themselves so.
    is_shared: bool,
}

/// How a stream is reached that is to end.
#[derive(Default)]
struct Reach(Mutex<Asked>);

#[derive(Default)]
struct Asked {
    reason: Option<EndReason>,
    by: Option<Arc<dyn Fn(EndReason) + Send + Sync>>,
}

/// One stream's entry, which goes with it.
#[derive(Debug)]
pub struct Cut {
    /// None: nobody may.
    entry: Option<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: StreamId,
    session: Option<NonZeroU64>,
    reach: Arc<Reach>,
    streams: Arc<Streams>,
}

impl Streams {
    /// Who comes back so soon after its stream was ended for a newer one has not left it: several call themselves the same.
    const SOON: Duration = Duration::from_secs(30);

    /// How many sessions are remembered of which a stream was ended so and none is open: else whoever closes its own would be
    /// taken for new.
    const REMEMBERED: usize = 4096;

    /// Enters a stream.
    #[must_use]
    pub fn enter(self: &Arc<Self>, id: StreamId, session: Option<NonZeroU64>) -> Cut {
        let reach = Arc::<Reach>::default();
        let mut open = self.open();
        open.by_id.insert(id, Arc::clone(&reach));
        if let Some(session) = session {
            open.sessions.entry(session).or_default().open.push(id);
        }
        drop(open);
        Cut { entry: Some(Entry { id, session, reach, streams: Arc::clone(self) }) }
    }

    /// Ends a stream. Answers whether there was one.
    #[must_use]
    pub fn cut(&self, id: StreamId) -> bool {
        let reach = self.open().by_id.get(&id).cloned();
        reach.inspect(|reach| reach.ask(EndReason::ServerRecycle)).is_some()
    }

    /// A client comes back: the stream that it still has open was lost without a sign, and is ended.
    ///
    /// Only if it is the one stream of that session and selection, and not twice at short intervals: clients that share a
    /// name would end one another's streams for ever.
    pub fn supersede(&self, session: NonZeroU64, now: Instant) {
        let mut open = self.open();
        let Open { by_id, sessions } = &mut *open;
        let Some(session) = sessions.get_mut(&session) else { return };
        let [id] = session.open[..] else { return };
        session.is_shared |= session.superseded.is_some_and(|at| now < at + Self::SOON);
        if session.is_shared {
            return;
        }
        session.superseded = Some(now);
        let reach = by_id.get(&id).cloned();
        drop(open);
        if let Some(reach) = reach {
            reach.ask(EndReason::Superseded);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reach {
    /// Has a stream end, for this reason; the first counts.
    fn ask(&self, reason: EndReason) {
        let mut asked = self.asked();
        let reason = *asked.reason.get_or_insert(reason);
        let by = asked.by.clone();
        drop(asked);
        if let Some(by) = by {
            by(reason);
        }
    }

    /// From now on it is reached so; at once, if it was asked before.
    fn by(&self, by: impl Fn(EndReason) + Send + Sync + 'static) {
        let mut asked = self.asked();
        let reason = asked.reason;
        let by: Arc<dyn Fn(EndReason) + Send + Sync> = Arc::new(by);
        asked.by = Some(Arc::clone(&by));
        drop(asked);
        if let Some(reason) = reason {
            by(reason);
        }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reach").field(&self.asked().reason).finish()
    }
}

impl Cut {
    /// The entry of a stream that nobody may end from elsewhere.
    #[must_use]
    pub fn never() -> Self {
        Self { entry: None }
    }

    /// Itself, if somebody may end the stream.
    #[must_use]
    pub fn cuttable(self) -> Option<Self> {
        self.entry.is_some().then_some(self)
    }

    /// Has it done so when the stream is to end.
    pub(super) fn by(&self, by: impl Fn(EndReason) + Send + Sync + 'static) {
        if let Some(entry) = &self.entry {
            entry.reach.by(by);
        }
    }

    /// Resolves when the stream is to end, with the reason.
    pub async fn asked(&self) -> EndReason {
        let Some(entry) = &self.entry else { return std::future::pending().await };
        let asked = Arc::new(Notify::new());
        let told = Arc::clone(&asked);
        entry.reach.by(move |_| told.notify_one());
        loop {
            if let Some(reason) = entry.reach.asked().reason {
                return reason;
            }
            asked.notified().await;
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let Some(Entry { id, session, streams, .. }) = &self.entry else { return };
        let mut open = streams.open();
        open.by_id.remove(id);
        let Some(key) = session else { return };
        let Some(session) = open.sessions.get_mut(key) else { return };
        session.open.retain(|other| other != id);
        if session.open.is_empty() && session.superseded.is_none() {
            open.sessions.remove(key);
        }
        if open.sessions.len() > open.by_id.len() + Streams::REMEMBERED {
            open.sessions.retain(|_, session| !session.open.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown_and_not_otherwise() {
        let id = StreamId::new();
        assert_eq!(StreamId::parse(&id.to_string()), Some(id));
        assert_eq!(id.short().to_string(), id.to_string()[..8]);
        for text in [
            "",
            "0",
            &format!("+{:031x}", 1),
            &id.to_string().to_uppercase().replace(|c: char| c.is_ascii_digit(), "A"),
        ] {
            assert_eq!(StreamId::parse(text), None, "{text}");
        }
    }

    /// A session; who names another has another.
    fn session(number: u64) -> NonZeroU64 {
        NonZeroU64::new(number).expect("not 0")
    }

    #[tokio::test]
    async fn a_stream_can_be_cut_while_it_is_open() {
        let streams = Arc::new(Streams::default());
        let id = StreamId::new();
        let entry = streams.enter(id, None);
        assert!(streams.cut(id));
        assert_eq!(entry.asked().await, EndReason::ServerRecycle, "also if nobody waited for it then");
        drop(entry);
        assert!(!streams.cut(id), "a stream that has ended cannot be cut");
    }

    #[tokio::test]
    async fn who_comes_back_supersedes_the_stream_that_it_still_has() {
        let streams = Arc::new(Streams::default());
        let now = Instant::now();
        let [lost, other] = [1, 2].map(|number| streams.enter(StreamId::new(), Some(session(number))));
        streams.supersede(session(3), now);
        streams.supersede(session(1), now);
        assert_eq!(lost.asked().await, EndReason::Superseded);
        assert!(at_once(std::pin::pin!(other.asked())).is_none(), "it is another's");
        drop((lost, other));
        let open = streams.open();
        assert!(open.by_id.is_empty() && open.sessions.keys().eq([&session(1)]), "what was done is remembered");
    }

    #[tokio::test]
    async fn clients_that_share_a_name_do_not_end_one_anothers_streams_for_ever() {
        let streams = Arc::new(Streams::default());
        let now = Instant::now();
        let enter = || streams.enter(StreamId::new(), Some(session(1)));
        let first = enter();
        streams.supersede(session(1), now);
        assert_eq!(first.asked().await, EndReason::Superseded);
        let second = enter();
        drop(first);
        streams.supersede(session(1), now + Duration::from_secs(3));
        let third = enter();
        streams.supersede(session(1), now + Duration::from_secs(600));
        for (name, cut) in [("second", second), ("third", third)] {
            assert!(at_once(std::pin::pin!(cut.asked())).is_none(), "the {name} goes on");
        }
    }

    /// What a future gives at once.
    fn at_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }
}
