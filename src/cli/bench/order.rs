//! What the ids of a stream alone tell, where nobody knows what was published.
//!
//! Ids that end in a number rise in most systems: `17`, or a gateway's `k3v9x0a1-17`. If what stands before the number is
//! the same, a number that is not larger is an event that came again or too late. One that is left out says something only
//! of plain numbers: a gateway's count the events of all topics.

/// The last id of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    last: Option<(u64, u64)>,
}

/// From one event to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// As it should be, or not to be judged.
    Onward { left_out: u64 },
    /// The same id once more.
    Again,
    /// An id before the last.
    Back,
}

impl Order {
    /// Takes the id of the next event.
    pub(super) fn take(&mut self, id: &str) -> Step {
        let unjudged = Step::Onward { left_out: 0 };
        let Some((run, number)) = parts(id) else { return unjudged };
        let step = match self.last {
            Some((before, last)) if before == run && number == last => return Step::Again,
            Some((before, last)) if before == run && number < last => return Step::Back,
            Some((before, last)) if before == run && run == PLAIN => Step::Onward { left_out: number - last - 1 },
            _ => unjudged,
        };
        self.last = Some((run, number));
        step
    }
}

/// Of an id that is a number alone.
const PLAIN: u64 = 0;

/// What stands before the number, packed (at most eight bytes), and the number.
fn parts(id: &str) -> Option<(u64, u64)> {
    let digits =
        id.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + id[at..].chars().next().map_or(1, char::len_utf8));
    let (before, number) = id.split_at(digits);
    let before = before.strip_suffix('-').unwrap_or(before).as_bytes();
    let mut packed = [0; 8];
    packed.get_mut(..before.len())?.copy_from_slice(before);
    Some((u64::from_be_bytes(packed), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ids: &[&str], expected: &[Step]) {
        let mut order = Order::default();
        let steps: Vec<_> = ids.iter().map(|id| order.take(id)).collect();
        assert_eq!(steps, expected, "{ids:?}");
    }

    #[test]
    fn numbers_rise_and_only_plain_ones_are_left_out() {
        let on = Step::Onward { left_out: 0 };
        check(&["1", "2", "4", "4", "3", "5"], &[on, on, Step::Onward { left_out: 1 }, Step::Again, Step::Back, on]);
        check(&["abcdefgh-1", "abcdefgh-9", "abcdefgh-9", "abcdefgh-2"], &[on, on, Step::Again, Step::Back]);
        check(&["abcdefgh-9", "zzzzzzzz-1", "zzzzzzzz-2"], &[on, on, on]);
        check(&["7", "", "x", "urn:uuid:0-1", "ü", "7"], &[on, on, on, on, on, Step::Again]);
        check(&["ü-1", "7", "ü-1", "ü-1"], &[on, on, on, Step::Again]);
    }
}
