//! Under which path of its host the gateway is.

use std::str::FromStr;

/// A value of `--base-path`: empty, or as in `/live`, without a slash at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(String);

impl BasePath {
    /// What stands before the path of each route.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BasePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_suffix('/').unwrap_or(text);
        if path.is_empty() {
            return Ok(Self::default());
        }
        let is_segment = |segment: &str| {
            // Those that every proxy and browser passes on as they are (RFC 3986 § 2.3).
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
            // `events` is where events are: clients would not know which is meant.
            !matches!(segment, "" | "." | ".." | "events") && segment.bytes().all(plain)
        };
        let good = path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_segment));
        if good {
            Ok(Self(path.to_owned()))
        } else {
            Err("a base path is as in /live or /tools/live: letters, digits and -._~ between slashes, and no /events"
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_plain_segments() {
        for (text, path) in [("", ""), ("/", ""), ("/live", "/live"), ("/live/", "/live"), ("/a.b/c-d_~", "/a.b/c-d_~")]
        {
            assert_eq!(text.parse::<BasePath>().map(|path| path.0), Ok(path.to_owned()), "{text}");
        }
        for text in
            ["live", "//", "/live//", "//live", "/a//b", "/..", "/a/./b", "/a b", "/a%20b", "/{x}", "/a?b", "/é"]
        {
            assert!(text.parse::<BasePath>().is_err(), "{text}");
        }
    }
}
