//! Whose client a request came from, by family. From `User-Agent`, which anybody can forge: for reports only.

/// The family of a user agent: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Agent {
    /// Chrome, Chromium, and browsers made from it (Edge, Opera, Samsung Internet, web views).
    Chromium,
    /// Firefox and browsers made from it.
    Firefox,
    /// Safari, and every browser on iOS that does not name itself otherwise.
    Safari,
    /// curl and programs of libcurl.
    Curl,
    /// Node's `fetch`, undici, and npm's `eventsource` over it.
    Node,
    /// httpx, aiohttp, requests, urllib.
    Python,
    /// Go's `net/http`.
    Go,
    /// `encke doctor`, which opens streams to see what becomes of them.
    Doctor,
    /// All else, and no `User-Agent` at all.
    Other,
}

impl Agent {
    /// Every family.
    pub const ALL: [Self; 9] = [
        Self::Chromium,
        Self::Firefox,
        Self::Safari,
        Self::Curl,
        Self::Node,
        Self::Python,
        Self::Go,
        Self::Doctor,
        Self::Other,
    ];

    /// The family that a value of `User-Agent` names.
    ///
    /// Cost: one pass over at most 256 bytes for browsers, a few bytes for the others.
    #[must_use]
    pub fn of(user_agent: &[u8]) -> Self {
        let starts =
            |word: &str| user_agent.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
        if starts("mozilla/") {
            return Self::of_browser(&user_agent[..user_agent.len().min(LONGEST)]);
        }
        match () {
            () if starts("curl/") || starts("libcurl") => Self::Curl,
            () if starts("node") || starts("undici") => Self::Node,
            () if starts("python") => Self::Python,
            () if starts("go-http-client") => Self::Go,
            () if starts("encke-doctor/") => Self::Doctor,
            () => Self::Other,
        }
    }

    /// The word for reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::Safari => "safari",
            Self::Curl => "curl",
            Self::Node => "node",
            Self::Python => "python",
            Self::Go => "go",
            Self::Doctor => "encke_doctor",
            Self::Other => "other",
        }
    }

    /// Whether the family writes `User-Agent` with capitals on HTTP/1.x, so that small letters are a hop's doing.
    pub(crate) const fn writes_capitals(self) -> bool {
        !matches!(self, Self::Node | Self::Other)
    }

    /// Whether it is a browser.
    pub(crate) const fn is_browser(self) -> bool {
        matches!(self, Self::Chromium | Self::Firefox | Self::Safari)
    }

    /// Chromium calls itself Safari too, so the order matters. Chrome on iOS (`CriOS`) is Safari's engine.
    fn of_browser(user_agent: &[u8]) -> Self {
        let mut safari = false;
        for at in 0..user_agent.len() {
            let rest = &user_agent[at..];
            match rest[0] {
                b'C' if rest.starts_with(b"Chrome/") => return Self::Chromium,
                b'F' if rest.starts_with(b"Firefox/") => return Self::Firefox,
                b'S' if rest.starts_with(b"Safari/") => safari = true,
                _ => {}
            }
        }
        if safari { Self::Safari } else { Self::Other }
    }
}

/// How much of a browser's `User-Agent` is looked at, in bytes; real ones are about 120.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_by_what_they_call_themselves() {
        let check = |user_agent: &str, family| assert_eq!(Agent::of(user_agent.as_bytes()), family, "{user_agent}");
        check("curl/7.88.1", Agent::Curl);
        check("node", Agent::Node);
        check("undici", Agent::Node);
        check("python-httpx/0.28.1", Agent::Python);
        check("Python/3.11 aiohttp/3.14.5", Agent::Python);
        check("Go-http-client/1.1", Agent::Go);
        let webkit = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)";
        check(&format!("{webkit} Version/18.0 Mobile/15E148 Safari/604.1"), Agent::Safari);
        check(&format!("{webkit} CriOS/150.0 Mobile/15E148 Safari/604.1"), Agent::Safari);
        check(&format!("{webkit} Chrome/150.0.0.0 Safari/537.36 Edg/150.0"), Agent::Chromium);
        check("Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0", Agent::Firefox);
        check("Mozilla/5.0 (compatible; Googlebot/2.1)", Agent::Other);
        check("", Agent::Other);
        check("moz", Agent::Other);
    }
}
