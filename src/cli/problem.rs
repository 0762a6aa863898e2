//! Answers that are no success, and what they mean for the next step.

use std::fmt;
use std::time::Duration;

use http::header::{LOCATION, RETRY_AFTER};
use reqwest::{Response, Url};
use serde::Deserialize;

use super::console::shown;

/// The most that is read of a receipt or a problem document, which is far smaller.
pub(crate) const MAX_ANSWER: usize = 64 << 10;

/// Why a request came to nothing: by what to do next.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No answer, or none that a gateway gives: the other end is away.
    Away(String),
    /// It answered that it cannot now (408, 425, 429, 5xx).
    Later {
        /// What it said.
        problem: Problem,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
    /// It answered that it will not.
    Refused(Problem),
}

/// What an answer says is wrong: a problem document (RFC 9457), or just its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status code of the answer.
    pub status: u16,
    /// Its title, or the status' own words.
    pub title: String,
    /// What to mend; empty if it does not say.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) => f.write_str(why),
            Self::Later { problem, .. } | Self::Refused(problem) => problem.fmt(f),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", shown(&self.title), self.status)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", shown(&self.detail)) }
    }
}

/// What an answer other than 2xx means for the next step.
pub(crate) async fn failure(response: Response) -> Failure {
    failure_with_content(response, MAX_ANSWER).await.0
}

/// The same, and up to `most` bytes of what the answer says.
pub(crate) async fn failure_with_content(mut response: Response, most: usize) -> (Failure, Vec<u8>) {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let content = content(&mut response, most).await.unwrap_or_default();
    let mut problem = Problem::read(status.as_u16(), &content);
    if let (true, Some(location)) = (status.is_redirection(), location) {
        let target = response.url().join(&location).map(|mut url| {
            // Best effort: a URL that has no host has no user information either.
            let _ = url.set_password(None).and_then(|()| url.set_username(""));
            place(&url)
        });
        problem.detail = format!("it is at {}", target.unwrap_or_else(|_| "another address".into()));
    }
    let failure = match status.as_u16() {
        408 | 425 | 429 | 500.. => Failure::Later { problem, after: after.map(Duration::from_secs) },
        _ => Failure::Refused(problem),
    };
    (failure, content)
}

impl Problem {
    /// What an answer of this status and content says.
    pub(crate) fn read(status: u16, content: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Document {
            title: Option<String>,
            detail: String,
        }
        let document: Document = serde_json::from_slice(content).unwrap_or_default();
        let known = http::StatusCode::from_u16(status).ok();
        let own_words = || known.and_then(|known| known.canonical_reason()).unwrap_or("unknown status").to_owned();
        Self { status, title: document.title.unwrap_or_else(own_words), detail: document.detail }
    }
}

/// The content of an answer, up to `most` bytes and what comes with the last of them.
pub(crate) async fn content(response: &mut Response, most: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut content = Vec::new();
    while content.len() < most {
        let Some(chunk) = response.chunk().await? else { break };
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

/// No answer came.
pub(crate) fn away(error: reqwest::Error) -> Failure {
    Failure::Away(cause(error))
}

/// The innermost cause, which is the one that a person can do something about.
pub(crate) fn cause(error: reqwest::Error) -> String {
    let (timeout, connecting) = (error.is_timeout(), error.is_connect());
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    // rustls' own error stands in two of the operating system's kind, which do not name it as their source.
    if innermost.to_string().ends_with("InvalidContentType") {
        return "no connection: the other end does not speak TLS, so its URL begins with http://".into();
    }
    let words = innermost.to_string();
    if words.starts_with("invalid peer certificate: ") {
        return format!("no connection: {words}; name the file of one to trust with --ca");
    }
    match (timeout, connecting) {
        (true, true) => "no connection in time".into(),
        (true, false) => "no answer in time".into(),
        (false, true) => format!("no connection: {innermost}"),
        (false, false) => innermost.to_string(),
    }
}

/// The address without what may be secret in it.
pub(crate) fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_its_own_words() {
        let content = br#"{"type":"about:blank","title":"No such topic","status":404,"detail":"Say \u001b[2J which"}"#;
        let problem = Problem::read(404, content);
        assert_eq!(problem.to_string(), "No such topic (404): Say \\u001b[2J which");
        let bare = Problem::read(502, b"<html>");
        assert_eq!(bare.to_string(), "Bad Gateway (502)");
    }
}
