//! The bytes of a topic that somebody has not got.

/// More than this behind, and a subscriber is closed.
pub(super) const MOST_BYTES: u64 = 64 << 20;

/// A topic of a bare loop.
#[derive(Default)]
pub(super) struct Topic {
    pub(super) members: Vec<usize>,
    /// How many of them have a full socket.
    pub(super) full: usize,
    /// Event-stream bytes, from the place `begin` on; empty when all have got everything.
    bytes: Vec<u8>,
    begin: u64,
    /// Where the events in `bytes` end, if they may not leave together.
    ends: Vec<u64>,
    dirty: bool,
}

impl Topic {
    /// The place after the newest byte.
    pub(super) fn end(&self) -> u64 {
        self.begin + self.bytes.len() as u64
    }

    /// Appends an event; whether there is somebody to write it to, and nothing else was waiting for that.
    pub(super) fn append(&mut self, data: &[u8], merging: bool) -> bool {
        if self.members.is_empty() {
            return false;
        }
        self.bytes.extend_from_slice(b"data: ");
        self.bytes.extend_from_slice(data);
        self.bytes.extend_from_slice(b"\n\n");
        if !merging {
            self.ends.push(self.end());
        }
        !std::mem::replace(&mut self.dirty, true)
    }

    /// What a subscriber at this place is to be given in one write.
    pub(super) fn after(&self, at: u64) -> Option<&[u8]> {
        if at >= self.end() {
            return None;
        }
        let next_end = self.ends.get(self.ends.partition_point(|end| *end <= at));
        let to = next_end.copied().unwrap_or_else(|| self.end());
        Some(&self.bytes[(at - self.begin) as usize..(to - self.begin) as usize])
    }

    /// Everything was written that could be; nobody is at a place before `first`.
    pub(super) fn forget(&mut self, first: u64) {
        self.dirty = false;
        let forget = (first - self.begin) as usize;
        // Moving what is left is worth it only when there is less of it than of what goes.
        if forget >= self.bytes.len() / 2 {
            self.bytes.drain(..forget);
            self.begin = first;
            self.ends.retain(|end| *end > first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(merging: bool) -> Topic {
        let mut topic = Topic { members: vec![0], ..Topic::default() };
        assert!(topic.append(b"a", merging) && !topic.append(b"b", merging));
        topic
    }

    #[test]
    fn events_leave_together_only_when_they_are_merged() {
        assert_eq!(topic(true).after(0), Some(&b"data: a\n\ndata: b\n\n"[..]));
        assert_eq!(topic(false).after(0), Some(&b"data: a\n\n"[..]));
        assert_eq!(topic(false).after(9), Some(&b"data: b\n\n"[..]));
        assert_eq!(topic(false).after(12), Some(&b"a: b\n\n"[..]), "a socket took a part");
        assert_eq!(topic(false).after(18), None);
    }

    #[test]
    fn what_all_have_is_forgotten_and_what_one_lacks_is_not() {
        let mut topic = topic(false);
        topic.forget(9);
        assert_eq!(topic.after(9), Some(&b"data: b\n\n"[..]));
        topic.forget(18);
        assert!(topic.append(b"c", false));
        assert_eq!(topic.after(18), Some(&b"data: c\n\n"[..]));
    }
}
