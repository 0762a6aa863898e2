//! Where a subscriber wants to begin, and where it can.

use super::{Bounds, Epochs, Resolved};
use crate::event::{Cursor, Offset, Timestamp};

/// A start position as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After the newest event.
    Latest,
    /// At the oldest event kept.
    Earliest,
    /// After the event that this cursor names.
    Cursor(Cursor),
    /// A cursor was sent, but it cannot be read.
    Unreadable,
    /// At the first event stored at this time or later.
    Since(Timestamp),
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Events after this offset are read.
    pub after: Offset,
    /// What was asked for and is not there.
    pub missing: Option<Missing>,
}

/// Events asked for that are gone, or a place that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Why.
    pub reason: GapReason,
    /// How many offsets are gone, where that is known; not all of them need have matched.
    pub offsets: Option<u64>,
}

/// Why events asked for are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// Retention trimmed them.
    Expired,
    /// They were removed on purpose.
    Deleted,
    /// The store lost them.
    Hole,
    /// The cursor is past the end of the run it names.
    Ahead,
    /// The cursor is none of this log's.
    Unknown,
    /// More were asked for than are given.
    Limit,
}

impl GapReason {
    /// Every reason, for series that exist from the start.
    pub const ALL: [Self; 6] = [Self::Expired, Self::Deleted, Self::Hole, Self::Ahead, Self::Unknown, Self::Limit];

    /// Why offsets are not there that a reader came to: the store lost them, or they were trimmed.
    #[must_use]
    pub fn of_missing(hole: bool) -> Self {
        if hole { Self::Hole } else { Self::Expired }
    }

    /// Its name on the wire and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Deleted => "deleted",
            Self::Hole => "hole",
            Self::Ahead => "ahead",
            Self::Unknown => "unknown",
            Self::Limit => "limit",
        }
    }
}

impl Position {
    /// Decides every start position but [`Start::Since`], which only the store can (`since` finds the last offset before
    /// that time). `has_trimmed` says whether anything that was asked for stood behind one offset and up to another, all of
    /// which are trimmed: if not, nothing is missing.
    ///
    /// Expired cursors go on with what exists; ahead and unknown ones at the live edge.
    #[must_use]
    pub fn decide(
        start: Start,
        epochs: &Epochs,
        bounds: Bounds,
        since: impl FnOnce(Timestamp) -> Offset,
        has_trimmed: impl FnOnce(Offset, Offset) -> bool,
    ) -> Self {
        let oldest = bounds.first - 1;
        let at = |after| Self { after, missing: None };
        let live_edge = |reason| Self { after: bounds.last, missing: Some(Missing { reason, offsets: None }) };
        match start {
            Start::Latest => at(bounds.last),
            Start::Earliest => at(oldest),
            Start::Since(time) => at(since(time).clamp(oldest, bounds.last)),
            Start::Unreadable => live_edge(GapReason::Unknown),
            Start::Cursor(cursor) => match epochs.resolve(cursor, bounds.last) {
                Resolved::Known(offset) if offset >= oldest => at(offset),
                Resolved::Known(offset) if !has_trimmed(offset, oldest) => at(oldest),
                Resolved::Known(offset) => {
                    let missing = Missing { reason: GapReason::Expired, offsets: Some(oldest - offset) };
                    Self { after: oldest, missing: Some(missing) }
                }
                Resolved::Ahead => live_edge(GapReason::Ahead),
                Resolved::Unknown => live_edge(GapReason::Unknown),
            },
        }
    }
}
