//! How many streams one browser holds at once, where each takes one of the few connections that it opens to one host.
//!
//! Only of browsers that come straight over HTTP/1 from an address of one's own: beyond an intermediary it is not seen what they
//! speak with that, and at a public address there may be many of them.

use std::collections::HashMap;
use std::num::NonZeroU32;

/// Browsers by their keyed hashes. As large as there are streams of them.
#[derive(Debug, Default)]
pub(super) struct Browsers(HashMap<NonZeroU32, u32>);

impl Browsers {
    /// How many connections of HTTP/1.1 a browser opens to one host, over all tabs (Chromium, Firefox, Safari).
    pub(super) const CONNECTIONS: u32 = 6;

    /// One opens one more. Answers how many it has now.
    pub(super) fn open(&mut self, browser: NonZeroU32) -> u32 {
        let count = self.0.entry(browser).or_default();
        *count += 1;
        *count
    }

    /// One of them has ended.
    pub(super) fn close(&mut self, browser: NonZeroU32) {
        let Some(count) = self.0.get_mut(&browser) else { return };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&browser);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_browser_is_counted_and_forgotten_when_it_has_gone() {
        let [one, other] = [1, 2].map(|number| NonZeroU32::new(number).expect("not 0"));
        let mut browsers = Browsers::default();
        assert_eq!([one, one, other, one].map(|browser| browsers.open(browser)), [1, 2, 1, 3]);
        browsers.close(one);
        assert_eq!(browsers.open(one), 3);
        for browser in [one, one, one, other, other] {
            browsers.close(browser);
        }
        assert!(browsers.0.is_empty());
    }
}
