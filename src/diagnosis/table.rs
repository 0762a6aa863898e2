//! The paths, and the places that they have.
//!
//! Bounded. What a request says of its way anybody can write, so who writes much must keep nobody out: a prefix has a share of
//! the places for paths by which nobody else comes, and a place by which nobody comes any more is given to another path.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::{Index, IndexMut};
use std::time::Duration;

use super::Product;
use super::path::{Path, PathNumber};
use super::signature::PathKey;

/// A path that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forgotten {
    /// What it was called.
    pub(super) label: String,
    /// Its product.
    pub(super) product: Product,
    /// By which transports somebody came.
    pub(super) transports: Vec<&'static str>,
}

/// Who came by a path: first, and up to three others, then it is everybody's. None: at addresses that are not known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Company {
    founder: Option<NonZeroU32>,
    others: [Option<Option<NonZeroU32>>; 3],
}

impl Company {
    fn of(founder: Option<NonZeroU32>) -> Self {
        Self { founder, others: [None; 3] }
    }

    fn visit(&mut self, prefix: Option<NonZeroU32>) {
        if prefix == self.founder || self.others.contains(&Some(prefix)) {
            return;
        }
        if let Some(place) = self.others.iter_mut().find(|place| place.is_none()) {
            *place = Some(prefix);
        }
    }

    /// Whether it counts for this prefix, which came first.
    fn is_of(&self, prefix: Option<NonZeroU32>) -> bool {
        self.founder == prefix && self.others.contains(&None)
    }
}

/// All paths. The first is that of all for which there is no place.
#[derive(Debug)]
pub(super) struct Table {
    paths: Vec<Path>,
    by_key: HashMap<PathKey, PathNumber>,
    /// Paths whose places were given away: to be taken out of what is shown.
    forgotten: Vec<Forgotten>,
    /// So long at least a place is kept: ends of it that wait are told with its name.
    kept: Duration,
}

impl Table {
    /// How many paths have a place of their own.
    pub(super) const PLACES: usize = 64;

    /// How many of them one prefix may have to which it came first, and few others since; those whose addresses are not known are many, and have more together.
    const SHARE: (usize, usize) = (8, 40);

    /// How long nobody must have come by a path until its place may be given to another: where but few came ever, and where
    /// more did.
    const FORGOTTEN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

    /// So many are no longer few.
    const FEW: u64 = 50;

    pub(super) fn new(kept: Duration) -> Self {
        Self { paths: vec![Path::new(None)], by_key: HashMap::new(), forgotten: Vec::new(), kept }
    }

    /// The number of a path, by which somebody of this prefix comes now.
    pub(super) fn number(&mut self, key: PathKey, prefix: Option<NonZeroU32>, now: Duration) -> PathNumber {
        if let Some(number) = self.by_key.get(&key).copied() {
            self[number].company.visit(prefix);
            return number;
        }
        let Some(number) = self.place(prefix, now) else { return PathNumber::OTHER };
        let path = std::mem::replace(&mut self[number], Path::new(Some(key)));
        if let Some(before) = path.key {
            self.by_key.remove(&before);
            let (label, product) = (path.label().to_owned(), before.product());
            self.forgotten.push(Forgotten { label, product, transports: path.transports });
        }
        self[number].company = Company::of(prefix);
        self.by_key.insert(key, number);
        number
    }

    /// All of them, by their numbers.
    pub(super) fn all(&self) -> &[Path] {
        &self.paths
    }

    /// The same, to be changed.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Path> {
        self.paths.iter_mut()
    }

    /// The paths that are no more, since this was asked last.
    pub(super) fn take_forgotten(&mut self) -> Vec<Forgotten> {
        std::mem::take(&mut self.forgotten)
    }

    /// A place for one more path: a new one, or that of a path by which nobody has come for long.
    fn place(&mut self, prefix: Option<NonZeroU32>, now: Duration) -> Option<PathNumber> {
        let is_own = |path: &Path| path.company.is_of(prefix);
        let share = if prefix.is_some() { Self::SHARE.0 } else { Self::SHARE.1 };
        let has_its_share = self.paths[1..].iter().filter(|path| is_own(path)).count() >= share;
        if self.paths.len() < Self::PLACES && !has_its_share {
            self.paths.push(Path::new(None));
            return u8::try_from(self.paths.len() - 1).ok().map(PathNumber);
        }
        let places = self.paths.iter().enumerate().skip(1);
        let forgotten = places.filter(|(_, path)| {
            let (few, many) = Self::FORGOTTEN;
            let long = if path.opened < Self::FEW { few } else { many }.max(self.kept);
            path.streams == 0 && path.seen + long < now && (!has_its_share || is_own(path))
        });
        let oldest = forgotten.min_by_key(|(_, path)| path.seen);
        oldest.and_then(|(index, _)| u8::try_from(index).ok()).map(PathNumber)
    }
}

impl Index<PathNumber> for Table {
    type Output = Path;

    fn index(&self, number: PathNumber) -> &Path {
        &self.paths[number.index()]
    }
}

impl IndexMut<PathNumber> for Table {
    fn index_mut(&mut self, number: PathNumber) -> &mut Path {
        &mut self.paths[number.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Protocol, Signature};
    use super::*;

    const KEPT: Duration = Duration::from_secs(70);

    /// More paths than there are places.
    fn keys() -> Vec<PathKey> {
        let marks = [
            ("via", "1.1 h (squid/5.7)"),
            ("x-varnish", "1"),
            ("cf-ray", "1"),
            ("x-amzn-trace-id", "1"),
            ("x-azure-ref", "1"),
            ("fastly-ff", "1"),
            ("x-cloud-trace-context", "1"),
            ("x-host", "a"),
            ("x-amz-cf-id", "1"),
            ("x-appgw-trace-id", "1"),
            ("disguised-host", "a"),
        ];
        let mut keys = Vec::new();
        for (mark, hops) in marks.into_iter().flat_map(|mark| (1..4).map(move |hops| (mark, hops))) {
            for protocol in [Protocol::Http11, Protocol::Http2] {
                let forwarded = vec!["192.0.2.1"; hops].join(", ");
                let fields = [mark, ("x-forwarded-for", &forwarded), ("User-Agent", "curl/8"), ("Accept", "*/*")];
                let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
                let key = Signature::of_fields(protocol, fields).path();
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        assert!(keys.len() > Table::PLACES, "{}", keys.len());
        keys
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn prefix(number: usize) -> Option<NonZeroU32> {
        u32::try_from(number).ok().and_then(NonZeroU32::new)
    }

    #[test]
    fn a_place_is_given_away_once_its_streams_have_ended_and_nobody_has_come_for_a_while() {
        let (mut table, keys) = (Table::new(KEPT), keys());
        let numbers: Vec<_> =
            keys.iter().enumerate().map(|(nth, key)| table.number(*key, prefix(nth + 1), seconds(0))).collect();
        assert!(numbers[..Table::PLACES - 1].iter().all(|number| *number != PathNumber::OTHER));
        assert!(numbers[Table::PLACES - 1..].iter().all(|number| *number == PathNumber::OTHER));
        table.all_mut().for_each(|path| path.streams = 1);
        let (first, other) = (numbers[0], keys[Table::PLACES]);
        assert_eq!(table.number(other, prefix(1), seconds(9999)), PathNumber::OTHER, "all have streams");
        (table[first].streams, table[first].seen) = (0, seconds(3));
        assert_eq!(table.number(other, prefix(1), seconds(72)), PathNumber::OTHER, "somebody may come back");
        assert_eq!(table.take_forgotten(), []);
        assert_eq!(table.number(other, prefix(1), seconds(74)), first);
        let (label, product) = (keys[0].to_string(), keys[0].product());
        assert_eq!(table.take_forgotten(), [Forgotten { label, product, transports: Vec::new() }]);
    }

    #[test]
    fn a_prefix_keeps_nobody_out_however_many_ways_it_makes_up() {
        let (mut table, keys) = (Table::new(KEPT), keys());
        let forger = prefix(7);
        for key in &keys {
            let number = table.number(*key, forger, seconds(0));
            table[number].streams += 1;
        }
        assert_eq!(table.all().len(), 1 + Table::SHARE.0);
        let another = table.number(keys[40], prefix(8), seconds(1));
        assert_ne!(another, PathNumber::OTHER, "another has a place");
        // A few that it may be itself change nothing; a path that others use takes none of its share.
        for another in [8, 9] {
            table.number(keys[0], prefix(another), seconds(1));
        }
        assert_eq!(table.number(keys[50], forger, seconds(1)), PathNumber::OTHER);
        let shared = table.number(keys[0], prefix(10), seconds(1));
        let one_more = table.number(keys[50], forger, seconds(1));
        assert_ne!(one_more, PathNumber::OTHER);
        table[one_more].streams = 1;
        assert_eq!(table.number(keys[51], forger, seconds(1)), PathNumber::OTHER);
        // Of its own places it may give one away.
        (table[shared].streams, table[another].streams) = (0, 0);
        let own = table.number(keys[1], forger, seconds(1));
        (table[own].streams, table[own].seen) = (0, seconds(1));
        assert_eq!(table.number(keys[52], forger, seconds(100)), own);
    }
}
