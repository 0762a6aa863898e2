//! What `tail` reads: a file, standard input, or another event stream; each as a sequence of pieces to publish.

use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::follow::{Follow, Notice, Step};
use super::state::{State, hex, identity};
use crate::cli::CliError;
use crate::cli::chunks;
use crate::cli::console::Console;
use crate::cli::event_stream::Message;
use crate::cli::lines::Lines;
use crate::cli::resuming::{Change, Resuming};
use crate::cli::subscribe;
use crate::event::EventType;

/// How often a file is looked at while nothing new is in it: too short for a person to notice, and two system calls.
const LOOK: Duration = Duration::from_millis(100);

/// A source of pieces.
pub(crate) enum Input {
    /// A file that grows.
    File {
        /// Its lines.
        follow: Follow,
        /// Its path, for messages.
        name: String,
    },
    /// Lines that are read once, from standard input or a pipe.
    Reader(ReaderInput),
    /// Another event stream.
    Stream(Box<StreamInput>),
}

/// What becomes one event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The event's data.
    pub(crate) data: Bytes,
    /// The type it had where it comes from.
    pub(crate) kind: Option<EventType>,
    /// The same for all pieces of one source, and for no other source.
    pub(crate) source: String,
    /// The same for this piece whenever it is read again, and for no other piece of the source.
    pub(crate) position: String,
    /// How many bytes were cut off.
    pub(crate) cut: u64,
}

/// What is there without waiting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The next piece.
    Piece(Piece),
    /// Nothing now: [`Input::wait`].
    Idle,
    /// Nothing any more.
    End,
}

impl Input {
    /// The next piece that is already here. Asking says that the one before is done with.
    ///
    /// # Errors
    /// The input cannot be read.
    pub(crate) fn ready(&mut self, console: &mut Console) -> Result<Ready, CliError> {
        match self {
            Self::File { follow, name } => next_of_file(follow, name, console),
            Self::Reader(reader) => Ok(reader.ready()),
            Self::Stream(stream) => Ok(stream.ready(console)),
        }
    }

    /// Waits until there may be more. Dropped half way it loses nothing.
    ///
    /// # Errors
    /// The input cannot be read.
    pub(crate) async fn wait(&mut self, console: &mut Console) -> Result<(), CliError> {
        match self {
            Self::File { .. } => tokio::time::sleep(LOOK).await,
            Self::Reader(reader) => reader.wait().await?,
            Self::Stream(stream) => stream.wait(console).await?,
        }
        Ok(())
    }

    /// How far it was read: after the last piece. `None` if it cannot be resumed (yet).
    ///
    /// # Errors
    /// The input cannot be read.
    pub(crate) fn state(&mut self) -> Result<Option<State>, CliError> {
        match self {
            Self::File { follow, name } => {
                let place = follow.place().map_err(|error| unreadable(name, &error))?;
                Ok(place.map(State::File))
            }
            Self::Reader(_) => Ok(None),
            Self::Stream(stream) => Ok(stream.state()),
        }
    }

    /// How often lines may have been missed before they could be read.
    pub(crate) fn gaps(&self) -> u64 {
        match self {
            Self::File { follow, .. } => follow.gaps(),
            Self::Reader(_) | Self::Stream(_) => 0,
        }
    }
}

fn next_of_file(follow: &mut Follow, name: &str, console: &mut Console) -> Result<Ready, CliError> {
    let failed = |error| unreadable(name, &error);
    loop {
        let line = match follow.next().map_err(failed)? {
            Step::Line(line) => line,
            Step::Notice(notice) => {
                tell(notice, name, console);
                continue;
            }
            Step::Idle => return Ok(Ready::Idle),
            Step::End => return Ok(Ready::End),
        };
        let place = follow.place().map_err(failed)?.expect("a line comes from a file");
        let head = place.head.unwrap_or_default();
        let source = format!("file {} {} {} {head}", place.device, place.inode, place.truncations);
        let position = line.start.to_string();
        return Ok(Ready::Piece(Piece { data: line.data, kind: None, source, position, cut: line.cut }));
    }
}

fn tell(notice: Notice, name: &str, console: &mut Console) {
    match notice {
        Notice::Missing => console.tell(&format!("{name} is not there, or not to be read; waiting for it")),
        Notice::Appeared => console.note(&format!("{name} is there")),
        Notice::Truncated => console.note(&format!("{name} was truncated; reading it from its start")),
        Notice::Rotated => console.note(&format!("{name} was rotated; reading the next file")),
        Notice::Gap => console.tell(&format!(
            "{name} was rotated, perhaps more than once, and not all of what came between can be found and read: lines \
             may be missing"
        )),
        Notice::Lost => console.tell(&format!(
            "the file in which the last run had stopped is gone or was emptied: lines after that place may be missing; \
             reading {name} from its start"
        )),
    }
}

fn unreadable(name: &str, error: &io::Error) -> CliError {
    CliError::Failed(format!("cannot read {name}: {error}"))
}

/// Lines from a reader that has no place to come back to.
pub(crate) struct ReaderInput {
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    lines: Lines,
    ended: bool,
    source: String,
    count: u64,
}

impl ReaderInput {
    /// See [`chunks::of`].
    pub(crate) fn new<R: Read>(open: impl FnOnce() -> io::Result<R> + Send + 'static, longest: usize) -> Self {
        let chunks = chunks::of(open);
        let source = format!("run {}", random());
        Self { chunks, lines: Lines::new(0, longest), ended: false, source, count: 0 }
    }

    fn ready(&mut self) -> Ready {
        let line = self.lines.pop().or_else(|| if self.ended { self.lines.finish() } else { None });
        let Some(line) = line else { return if self.ended { Ready::End } else { Ready::Idle } };
        self.count += 1;
        let (source, position) = (self.source.clone(), self.count.to_string());
        Ready::Piece(Piece { data: line.data, kind: None, source, position, cut: line.cut })
    }

    async fn wait(&mut self) -> Result<(), CliError> {
        match self.chunks.recv().await {
            Some(Ok(chunk)) => self.lines.push(&chunk),
            Some(Err(error)) => return Err(unreadable("the input", &error)),
            None => self.ended = true,
        }
        Ok(())
    }
}

/// 128 random bits: this run and no other.
fn random() -> String {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system gives random numbers");
    hex(&bits)
}

/// The events of another stream.
///
/// A piece's position is the source's own id for it. An event without one is known by how many such events came after
/// the id before it: that is the same again when the stream is resumed after that id. A stream without any id cannot be
/// resumed, so its events are counted.
pub(crate) struct StreamInput {
    stream: Resuming,
    once: bool,
    was_open: bool,
    ended: bool,
    source: String,
    run: String,
    id: String,
    since_id: u64,
}

impl StreamInput {
    /// The events of `stream`; with `once` until it ends for the first time.
    pub(crate) fn new(stream: Resuming, once: bool) -> Self {
        let source = format!("stream {}", stream.source().identity());
        let (id, run) = (stream.last_event_id().to_owned(), random());
        Self { stream, once, was_open: false, ended: false, source, run, id, since_id: 0 }
    }

    fn ready(&mut self, console: &mut Console) -> Ready {
        while let Some(message) = self.stream.ready() {
            if message.kind.starts_with(EventType::RESERVED_PREFIX) {
                subscribe::notice(&message, console);
            } else {
                return Ready::Piece(self.piece(message, console));
            }
        }
        if self.ended { Ready::End } else { Ready::Idle }
    }

    fn piece(&mut self, message: Message, console: &mut Console) -> Piece {
        let position = self.position(&message);
        let kind = EventType::parse(&message.kind).unwrap_or_else(|error| {
            console.tell(&format!("an event goes without its type `{}`: {error}", message.kind));
            None
        });
        Piece { data: message.data.into(), kind, source: self.source.clone(), position, cut: 0 }
    }

    fn position(&mut self, message: &Message) -> String {
        if message.names_id || message.id != self.id {
            self.id.clone_from(&message.id);
            self.since_id = 0;
        }
        self.since_id += u64::from(!message.names_id);
        match self.id.as_str() {
            "" => format!("{} {}", self.run, self.since_id),
            id => format!("{} {id}", self.since_id),
        }
    }

    async fn wait(&mut self, console: &mut Console) -> Result<(), CliError> {
        match self.stream.wait().await? {
            Change::Fed => {}
            Change::Open(outage) => {
                self.was_open = true;
                self.stream.last_event_id().clone_into(&mut self.id);
                if !self.id.is_empty() {
                    self.since_id = 0; // The source begins again right after this id.
                }
                if let Some(outage) = outage {
                    console.tell(&format!("{} is back after {:.1} s", self.stream.source(), outage.as_secs_f64()));
                }
            }
            Change::Away(why, _) if self.once && self.was_open => {
                console.note(&format!("{}: {why}", self.stream.source()));
                self.ended = true;
            }
            Change::Away(why, _) if self.once => {
                return Err(CliError::Failed(format!("{}: {why}", self.stream.source())));
            }
            Change::Away(why, wait) => {
                console.tell(&format!("{}: {why}; again in {:.1} s", self.stream.source(), wait.as_secs_f64()));
            }
            Change::End => self.ended = true,
        }
        Ok(())
    }

    fn state(&self) -> Option<State> {
        let last_event_id = self.stream.last_event_id().to_owned();
        (!last_event_id.is_empty())
            .then(|| State::Stream { url: identity(self.stream.source().identity()), last_event_id })
    }
}

/// Whether `input` is a URL and not a file's name (`./` before such a name makes it one).
pub(crate) fn is_url(input: &str) -> bool {
    let scheme = input.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}
