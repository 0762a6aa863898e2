//! What handles of a store know without reading: where topics stand, and how far each was trimmed.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::index::Index;
use super::marks::Marks;
use super::{Bounds, Wanted};
use crate::event::{Offset, TopicSelector};

/// Written by the store, before what it says can be seen; asked by readers.
#[derive(Debug, Default)]
pub(super) struct Known {
    index: RwLock<Index>,
    marks: RwLock<Marks>,
}

impl Known {
    pub(super) fn new(index: Index, marks: Marks) -> Self {
        Self { index: RwLock::new(index), marks: RwLock::new(marks) }
    }

    /// See [`super::Log::has_trimmed`].
    pub(super) fn has_trimmed(&self, wanted: Wanted<'_>, after: Offset, upto: Offset) -> bool {
        self.marks().has_trimmed(wanted, after, upto)
    }

    /// See [`super::Log::next_on`].
    pub(super) fn next_on(&self, topics: &[TopicSelector], from: Offset, bounds: Bounds) -> Offset {
        let next = self.index().next_on(topics, from);
        next.min(bounds.last + 1).max(from) // The index may be ahead of what can be read.
    }

    /// See [`super::Log::previous_on`].
    pub(super) fn previous_on(&self, topics: &[TopicSelector], upto: Offset, bounds: Bounds) -> Offset {
        if upto < bounds.first { upto } else { self.index().previous_on(topics, upto, bounds.first) }
    }

    pub(super) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn marks(&self) -> RwLockReadGuard<'_, Marks> {
        self.marks.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn marks_mut(&self) -> RwLockWriteGuard<'_, Marks> {
        self.marks.write().unwrap_or_else(PoisonError::into_inner)
    }
}
