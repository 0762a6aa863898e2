//! What a log knows when it opens: its runs, its bounds, its keys, its places. And the new run that it begins.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::super::keep::Kept;
use super::super::keys::Remembered;
use super::super::marks::Marks;
use super::super::{Bounds, Epochs, Keys, new_epoch};
use super::keyed::Keyed;
use super::places::{self, Places};
use super::{OpenError, codec};
use crate::event::{Epoch, Offset, Publisher, Timestamp};

/// What the file held.
pub(super) struct Recovered {
    /// Every run, the new one last.
    pub(super) epochs: Epochs,
    /// The new run, if the disk is full.
    pub(super) unwritten: Option<Run>,
    /// The oldest and the newest offset.
    pub(super) bounds: Bounds,
    /// When the newest event was stored, even if it is gone.
    pub(super) time: Timestamp,
    /// The keys of the last ten minutes.
    pub(super) keys: Keys,
    /// What is known of pages.
    pub(super) places: Places,
    /// How far topics were trimmed, and how many bytes of the file say so.
    pub(super) marks: (Marks, u64),
}

/// Reads what the file holds and begins a new run after it, synced to the disk before this returns unless that is full.
/// `kept` is told of every event, if it has rules.
pub(super) fn recover(
    connection: &mut Connection,
    file: &Path,
    now: Timestamp,
    kept: &mut Kept,
) -> Result<Recovered, OpenError> {
    let failed = |error| OpenError::of_sqlite(file, error);
    let damaged = |what| OpenError::Damaged { file: file.to_owned(), what, source: None };

    let (bounds, time) = newest(connection).map_err(failed)?;
    if bounds.first == 0 || bounds.first > bounds.last + 1 {
        return Err(damaged("its offsets are impossible"));
    }
    let runs = runs(connection).map_err(failed)?.ok_or(damaged("its table of epochs cannot be read"))?;
    let began = runs.last().map_or(1, |&(_, first)| first);
    if bounds.last + 1 < began {
        // The newest run began after the newest event, so events were there that are not there now.
        return Err(damaged("its newest events are missing"));
    }
    let mut keys = keys(connection, now.max(time)).map_err(failed)?.map_err(|error| OpenError::Damaged {
        file: file.to_owned(),
        what: "its newest events cannot be read",
        source: Some(error.into()),
    })?;
    keys.trimmed(bounds.first);
    let (run, epochs) = Run::after(&runs, bounds.last + 1);
    let marks = places::read_marks(connection, bounds.first).map_err(failed)?;
    let places = places::read_pages(connection, bounds, kept).map_err(failed)?;
    let unwritten = begin(connection, run, &places).map_err(failed)?;
    Ok(Recovered { epochs, unwritten, bounds, time, keys, places, marks })
}

/// The bounds, and when the newest event was stored. Offsets count on from there even if every event has expired.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<(Bounds, Timestamp)> {
    let ends =
        "SELECT (SELECT min(first) FROM commits), first + count - 1, time FROM commits ORDER BY first DESC LIMIT 1";
    let kept = connection
        .query_row(ends, (), |row| Ok((Bounds { first: row.get(0)?, last: row.get(1)? }, Timestamp(row.get(2)?))))
        .optional()?;
    if let Some(kept) = kept {
        return Ok(kept);
    }
    let gone = connection
        .query_row("SELECT last, time FROM emptied", (), |row| Ok((row.get(0)?, Timestamp(row.get(1)?))))
        .optional()?;
    let (last, time): (Offset, _) = gone.unwrap_or_default();
    Ok((Bounds { first: last + 1, last }, time))
}

/// The runs so far, or nothing if they cannot be: a name that is none, or a run before the one that it follows.
pub(super) fn runs(connection: &Connection) -> rusqlite::Result<Option<Vec<(Epoch, Offset)>>> {
    let mut select = connection.prepare("SELECT name, first FROM epochs ORDER BY run")?;
    let rows = select.query_map((), |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    let mut runs: Vec<(Epoch, Offset)> = Vec::new();
    for row in rows {
        let (name, first) = row?;
        match Epoch::parse(&name) {
            Some(epoch) if first >= runs.last().map_or(1, |&(_, before)| before) => runs.push((epoch, first)),
            _ => return Ok(None),
        }
    }
    Ok(Some(runs))
}

/// The run that begins with this opening, as it is to be written.
#[derive(Debug)]
pub(super) struct Run {
    epoch: Epoch,
    first: Offset,
    /// What is forgotten for it.
    forgotten: Vec<Epoch>,
}

impl Run {
    /// The run that begins at `first`, and the table with it.
    fn after(runs: &[(Epoch, Offset)], first: Offset) -> (Self, Epochs) {
        let mut epoch = new_epoch();
        while runs.iter().any(|&(known, _)| known == epoch) {
            epoch = new_epoch();
        }
        let mut all = runs.iter().copied().chain([(epoch, first)]);
        let (oldest, begins) = all.next().unwrap_or((epoch, first));
        let mut epochs = Epochs::new(oldest, begins);
        let forgotten = all.filter_map(|(next, begins)| epochs.begin(next, begins)).collect();
        (Self { epoch, first, forgotten }, epochs)
    }

    /// Writes it; those that are forgotten for it leave the table in the same transaction.
    pub(super) fn write(&self, transaction: &Connection) -> rusqlite::Result<()> {
        for forgotten in &self.forgotten {
            transaction.execute("DELETE FROM epochs WHERE name = ?1", [forgotten.as_str()])?;
        }
        let sql = "INSERT INTO epochs (name, first) VALUES (?1, ?2)";
        transaction.execute(sql, params![self.epoch.as_str(), self.first]).map(drop)
    }
}

/// Writes the run, and of pages what was not written yet, unless there is no room on the disk: then the run is given back, to
/// be written with the first events that belong to it. Until then no cursor names it but the one before the first event of
/// an empty log.
fn begin(connection: &mut Connection, run: Run, places: &Places) -> rusqlite::Result<Option<Run>> {
    let mut written = || {
        let transaction = connection.transaction()?;
        run.write(&transaction)?;
        places::write_pages(&transaction, &places.removed, &places.rebuilt)?;
        transaction.commit()
    };
    match written() {
        Ok(()) => Ok(None),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Ok(Some(run)),
        Err(error) => Err(error),
    }
}

/// The keys of the last ten minutes, read backwards from the newest event until there are enough.
fn keys(connection: &Connection, now: Timestamp) -> rusqlite::Result<Result<Keys, codec::Damaged>> {
    let window = u64::try_from(Keys::WINDOW.as_millis()).unwrap_or(u64::MAX);
    let is_old = |time: u64| time.saturating_add(window) < now.0;
    let is_full = |keys: &Keys| keys.is_full(Publisher::Key) && keys.is_full(Publisher::Public);
    let mut keys = Keys::default();
    let mut of_gone = keys_of_gone(connection)?;
    // Those stand between the others, too, and are recalled in their places.
    let mut recall_behind = |keys: &mut Keys, offset: Offset| {
        while let Some(key) = of_gone.pop_if(|key| key.offset >= offset) {
            if !is_old(key.time.0) {
                keys.recall_remembered(key);
            }
        }
    };
    let mut select = connection.prepare("SELECT time, keys, first, events FROM commits ORDER BY first DESC")?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let time: u64 = row.get(0)?;
        if is_old(time) || is_full(&keys) {
            break;
        }
        if !Keyed::from_number(row.get(1)?).has_any_for(&keys) {
            continue; // The blob is not even read.
        }
        let first: Offset = row.get(2)?;
        let events = match codec::decode(&Bytes::copy_from_slice(row.get_ref(3)?.as_blob()?)) {
            Ok(events) => events,
            Err(damaged) => return Ok(Err(damaged)),
        };
        for (number, stored) in events.iter().enumerate().rev() {
            let offset = first + number as u64;
            recall_behind(&mut keys, offset);
            keys.recall(&stored.event, offset, Timestamp(time));
        }
    }
    recall_behind(&mut keys, 0);
    Ok(Ok(keys))
}

/// The keys of events that are gone, the newest last.
fn keys_of_gone(connection: &Connection) -> rusqlite::Result<Vec<Remembered>> {
    let mut select = connection.prepare(
        "SELECT offset, time, key, content, 0 FROM expired_keys
         UNION ALL SELECT offset, time, key, content, 1 FROM expired_public_keys ORDER BY offset",
    )?;
    let keys = select.query_map((), |row| {
        let publisher = if row.get(4)? { Publisher::Public } else { Publisher::Key };
        let (offset, time) = (row.get(0)?, Timestamp(row.get(1)?));
        Ok(Remembered { publisher, offset, time, key: row.get(2)?, content: row.get(3)? })
    })?;
    keys.collect()
}
