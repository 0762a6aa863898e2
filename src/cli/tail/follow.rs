//! Follows a file that grows, like `tail -F`: line after line, over truncation and rotation.
//!
//! It asks and never waits: [`Follow::next`] gives what is there now, so it has no clock and its caller decides how
//! often to look. Looking (a `stat` or two) was chosen over being told (inotify): it works on every file system, also on
//! network mounts and overlays where changes are not announced, it needs no crate, and none of the events that tell of a
//! rotation would spare the same looking.
//!
//! The calls block for as long as the disk takes, which is short for a log that was just written.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::rotated::{between, directory};
use super::state::hex;
use crate::cli::lines::{Line, Lines};

/// How much is read at once.
const READ: usize = 64 << 10;
/// A file is known by its first line, or by this much of it.
const HEAD: usize = 1024;
/// Whoever looked so shortly before a rotation has not missed a second one.
const SHORTLY: Duration = Duration::from_secs(1);

/// A path whose lines are read as they come.
pub(crate) struct Follow {
    path: PathBuf,
    start: Start,
    once: bool,
    /// Another run goes on where this one ends: so a line that is still being written is left to it.
    goes_on: bool,
    longest: usize,
    file: Option<Open>,
    told_missing: bool,
    gaps: u64,
}

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the next line that is completed; a file that appears later is read from its start.
    End,
    /// With the first line.
    Beginning,
    /// Where an earlier run was.
    At(Place),
}

/// A place in a file, whatever the file is called by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// A hash of the file's first line: inodes are used again. `None` until a line is complete.
    pub(crate) head: Option<String>,
    /// How often the file was truncated while it was followed.
    pub(crate) truncations: u32,
    /// Where the next line begins, in bytes.
    pub(crate) offset: u64,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Publish this line.
    Line(Line),
    /// Tell this.
    Notice(Notice),
    /// Nothing more is there now.
    Idle,
    /// Nothing more will come.
    End,
}

/// What happened to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It is not there (or not ours to read) yet.
    Missing,
    /// It is there now.
    Appeared,
    /// It was emptied and is read from its start.
    Truncated,
    /// The path names another file now: the one that came next is read from its start.
    Rotated,
    /// The same, but before that one there may have been others, whose lines are missing then.
    Gap,
    /// The file in which an earlier run had stopped is gone or was emptied: lines of it may be missing.
    Lost,
}

impl Follow {
    /// Follows `path` from `start`, cutting lines after `longest` bytes; with `once` only up to its end.
    pub(crate) fn new(path: PathBuf, start: Start, once: bool, longest: usize) -> Self {
        Self { path, start, once, goes_on: false, longest, file: None, told_missing: false, gaps: 0 }
    }

    /// The same, if `goes_on`, as one of several runs: with `once` it leaves a line that is not complete to the next.
    pub(crate) fn leaving_unfinished(self, goes_on: bool) -> Self {
        Self { goes_on, ..self }
    }

    /// The next step. An `End` is final.
    ///
    /// # Errors
    /// The file cannot be read; with `once` also if it is not there.
    pub(crate) fn next(&mut self) -> io::Result<Step> {
        loop {
            let Some(file) = &mut self.file else { return self.find() };
            if let Some(line) = file.lines.pop() {
                return Ok(Step::Line(line));
            }
            if file.was_truncated()? {
                if let Some(line) = file.lines.finish() {
                    return Ok(Step::Line(line)); // What we read of its last line is all there will ever be.
                }
                file.start_over(self.longest);
                return Ok(Step::Notice(Notice::Truncated));
            }
            if file.read()? > 0 {
                continue;
            }
            let successor = file.successor(&self.path)?;
            // While the new file is still empty the old one is read on: a writer that was not told yet to open the new
            // one (logrotate's `create`) still writes there.
            let over = successor.as_ref().is_some_and(|next| self.once || next.found.len() > 0);
            if !over && !self.once {
                return Ok(Step::Idle);
            }
            if file.read()? > 0 {
                continue; // Written after we had looked, and before the successor was.
            }
            if (over || !self.goes_on)
                && let Some(line) = file.lines.finish()
            {
                return Ok(Step::Line(line));
            }
            let Some(Successor { file, found, gap }) = successor.filter(|_| over) else { return Ok(Step::End) };
            self.file = Some(Open::new(file, &found, 0, 0, self.longest));
            self.gaps += u64::from(gap);
            return Ok(Step::Notice(if gap { Notice::Gap } else { Notice::Rotated }));
        }
    }

    /// How often lines may have been missed.
    pub(crate) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Where it is: after the last line given out. `None` before the file was found.
    pub(crate) fn place(&mut self) -> io::Result<Option<Place>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        file.place().map(Some)
    }

    /// Opens the path for the first time.
    fn find(&mut self) -> io::Result<Step> {
        let start = self.start.clone();
        if let Start::At(place) = &start
            && let Some(file) = self.find_again(place)?
        {
            self.file = Some(file);
            return self.next();
        }
        let (file, found) = match open(&self.path) {
            Ok(opened) => opened,
            Err(error) if is_not_yet(&error) && !self.once => {
                if matches!(self.start, Start::End) {
                    self.start = Start::Beginning; // All that will be in it is new.
                }
                let told = std::mem::replace(&mut self.told_missing, true);
                return Ok(if told { Step::Idle } else { Step::Notice(Notice::Missing) });
            }
            Err(error) => return Err(error),
        };
        let offset = match start {
            Start::End => start_of_last_line(&file, found.len(), self.longest)?,
            Start::Beginning | Start::At(_) => 0,
        };
        // With the same inode it may be the earlier file, which was truncated: its keys are to be other ones then.
        let (truncations, notice) = match &start {
            Start::At(place) if place.is_same_inode(&found) => (place.truncations + 1, Some(Notice::Lost)),
            Start::At(_) => (0, Some(Notice::Lost)),
            _ => (0, self.told_missing.then_some(Notice::Appeared)),
        };
        self.gaps += u64::from(notice == Some(Notice::Lost));
        self.file = Some(Open::new(file, &found, offset, truncations, self.longest));
        notice.map_or_else(|| self.next(), |notice| Ok(Step::Notice(notice)))
    }

    /// The file in which an earlier run stopped: under its path, or under the name it was rotated to.
    fn find_again(&self, place: &Place) -> io::Result<Option<Open>> {
        if let Ok((file, found)) = open(&self.path)
            && place.is_same_inode(&found)
        {
            return place.resume(file, &found, self.longest);
        }
        for entry in fs::read_dir(directory(&self.path)).into_iter().flatten().flatten() {
            if entry.metadata().is_ok_and(|found| found.is_file() && place.is_same_inode(&found))
                && let Ok((file, found)) = open(&entry.path())
                && let Some(file) = place.resume(file, &found, self.longest)?
            {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }
}

impl Place {
    fn is_same_inode(&self, found: &Metadata) -> bool {
        (self.device, self.inode) == (found.dev(), found.ino())
    }

    /// The file at this place, if it is still the same file and still so long.
    fn resume(&self, file: File, found: &Metadata, longest: usize) -> io::Result<Option<Open>> {
        let mut open = Open::new(file, found, self.offset, self.truncations, longest);
        let same = self.head.is_none() || self.head == head(&open.file)?;
        open.head.clone_from(&self.head);
        Ok((same && found.len() >= self.offset).then_some(open))
    }
}

/// The file that is read at the moment.
struct Open {
    file: File,
    device: u64,
    inode: u64,
    head: Option<String>,
    truncations: u32,
    lines: Lines,
    chunk: Box<[u8]>,
    /// When the path was last seen to name it.
    named: Option<Instant>,
}

/// The file to read after another one.
struct Successor {
    file: File,
    found: Metadata,
    /// Whether there may be lines between the two that cannot be read.
    gap: bool,
}

impl Open {
    fn new(file: File, found: &Metadata, offset: u64, truncations: u32, longest: usize) -> Self {
        let (device, inode, lines) = (found.dev(), found.ino(), Lines::new(offset, longest));
        let chunk = vec![0; READ].into_boxed_slice();
        Self { file, device, inode, head: None, truncations, lines, chunk, named: None }
    }

    /// Takes the next bytes of the file; 0 at its end.
    fn read(&mut self) -> io::Result<usize> {
        let length = self.file.read_at(&mut self.chunk, self.lines.read_to())?;
        self.lines.push(&self.chunk[..length]);
        Ok(length)
    }

    /// Whether the file is shorter than what was read of it, or begins otherwise: it was emptied and has grown again.
    fn was_truncated(&mut self) -> io::Result<bool> {
        if self.file.metadata()?.len() < self.lines.read_to() {
            return Ok(true);
        }
        let known = self.head.is_some();
        Ok(known && self.head != head(&self.file)?)
    }

    /// The file to read after this one, if the path does not name this one any more: the oldest of those that were
    /// rotated away since, or the one that the path names.
    fn successor(&mut self, path: &Path) -> io::Result<Option<Successor>> {
        match fs::metadata(path) {
            Ok(found) if (self.device, self.inode) == (found.dev(), found.ino()) => {
                self.named = Some(Instant::now());
                return Ok(None);
            }
            Err(error) if !is_not_yet(&error) => return Ok(None),
            _ => {}
        }
        let between = between(path, &self.file.metadata()?);
        let shortly = self.named.is_some_and(|named| named.elapsed() < SHORTLY);
        let gap = between.doubt || !(between.anchored || shortly);
        match open(between.next.as_deref().unwrap_or(path)) {
            // Renamed again in this moment it may be ours: the next look sees it all in order.
            Ok((_, found)) if (self.device, self.inode) == (found.dev(), found.ino()) => Ok(None),
            Ok((file, found)) => Ok(Some(Successor { file, found, gap })),
            Err(error) if is_not_yet(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn start_over(&mut self, longest: usize) {
        self.truncations += 1;
        self.head = None;
        self.lines = Lines::new(0, longest);
    }

    fn place(&mut self) -> io::Result<Place> {
        if self.head.is_none() {
            self.head = head(&self.file)?;
        }
        let Self { device, inode, truncations, .. } = *self;
        Ok(Place { device, inode, head: self.head.clone(), truncations, offset: self.lines.start() })
    }
}

fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = File::open(path)?;
    let found = file.metadata()?;
    Ok((file, found))
}

/// A file between two rotations may be missing, or not readable yet.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

/// The hash of a file's first line, or of its first [`HEAD`] bytes if that is longer; `None` while it is incomplete.
fn head(file: &File) -> io::Result<Option<String>> {
    let mut start = [0; HEAD];
    let mut length = 0;
    while length < HEAD {
        match file.read_at(&mut start[length..], length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    let end = memchr::memchr(b'\n', &start[..length]).map(|at| at + 1).or((length == HEAD).then_some(HEAD));
    Ok(end.map(|end| hex(&Sha256::digest(&start[..end])[..8])))
}

/// Where the unfinished line at the end of the file begins; its end, if that line is longer than any that is taken.
fn start_of_last_line(file: &File, end: u64, longest: usize) -> io::Result<u64> {
    let mut chunk = [0; 4096];
    let mut to = end;
    while to > 0 && end - to <= longest as u64 {
        let from = to.saturating_sub(chunk.len() as u64);
        let length = usize::try_from(to - from).expect("at most a chunk");
        file.read_exact_at(&mut chunk[..length], from)?;
        if let Some(at) = memchr::memrchr(b'\n', &chunk[..length]) {
            return Ok(from + at as u64 + 1);
        }
        to = from;
    }
    Ok(if to == 0 { 0 } else { end })
}

#[cfg(test)]
mod tests;
