//! How many streams one browser holds at once, where each takes one of the few connections that it opens to one host.
//!
//! Only of browsers that seem to come straight over HTTP/1 from an address of one's own: beyond an intermediary it is not seen
//! what they speak with that, and at a public address there may be many of them. Where there are more streams than one browser can
//! have, an intermediary that leaves no sign has brought many.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::path::PathNumber;

/// Browsers by their keyed hashes. As large as there are streams of them.
#[derive(Debug, Default)]
pub(super) struct Browsers(HashMap<NonZeroU32, Held>);

#[derive(Debug)]
struct Held {
    streams: u32,
    /// Whether there were ever more than one browser can have.
    are_many: bool,
    path: PathNumber,
}

impl Browsers {
    /// How many connections of HTTP/1.1 a browser opens to one host, over all tabs (Chromium, Firefox, Safari).
    pub(super) const CONNECTIONS: u32 = 6;

    /// One opens one more.
    pub(super) fn open(&mut self, browser: NonZeroU32, path: PathNumber) {
        let held = self.0.entry(browser).or_insert(Held { streams: 0, are_many: false, path });
        held.streams += 1;
        held.are_many |= held.streams > Self::CONNECTIONS;
        held.path = path;
    }

    /// One of them has ended.
    pub(super) fn close(&mut self, browser: NonZeroU32) {
        let Some(held) = self.0.get_mut(&browser) else { return };
        held.streams -= 1;
        if held.streams == 0 {
            self.0.remove(&browser);
        }
    }

    /// The paths of those that have all their connections in use. Cost: a look at each browser.
    pub(super) fn starved(&self) -> impl Iterator<Item = PathNumber> {
        let starved = self.0.values().filter(|held| held.streams == Self::CONNECTIONS && !held.are_many);
        starved.map(|held| held.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_six_is_starved_and_who_has_more_is_not_one() {
        let [one, other] = [1, 2].map(|number| NonZeroU32::new(number).expect("not 0"));
        let (mut browsers, path) = (Browsers::default(), PathNumber(3));
        (0..5).for_each(|_| browsers.open(one, path));
        browsers.open(other, path);
        assert_eq!(browsers.starved().count(), 0);
        browsers.open(one, path);
        assert_eq!(browsers.starved().collect::<Vec<_>>(), [path]);
        browsers.open(one, path);
        browsers.close(one);
        assert_eq!(browsers.starved().count(), 0, "they are several");
        (0..6).for_each(|_| browsers.close(one));
        browsers.close(other);
        assert!(browsers.0.is_empty());
    }
}
