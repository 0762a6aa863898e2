//! The head of an answer.

use anyhow::{Context, Result, bail, ensure};

use super::Content;

/// What a head says that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// How the content is framed.
    pub content: Content,
    /// Whether the server ends the connection after it.
    pub closes: bool,
}

/// Gathers a head, then frames the content.
#[derive(Debug, Default)]
pub struct AnswerReader {
    head: Vec<u8>,
}

const MAX_HEAD: usize = 16 * 1024;

impl AnswerReader {
    /// Takes bytes until the head is complete; how many it took, and the head once it is there.
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, Option<Answer>)> {
        let before = self.head.len();
        self.head.extend_from_slice(input);
        let search_from = before.saturating_sub(3);
        let Some(end) = memchr::memmem::find(&self.head[search_from..], b"\r\n\r\n") else {
            ensure!(self.head.len() <= MAX_HEAD, "the head of an answer is longer than {MAX_HEAD} bytes");
            return Ok((input.len(), None));
        };
        let end = search_from + end + 4;
        let answer = parse(&self.head[..end]);
        // Streams stay open for long: what is no longer needed takes no memory.
        self.head = Vec::new();
        Ok((end - before, Some(answer?)))
    }
}

fn parse(head: &[u8]) -> Result<Answer> {
    let head = std::str::from_utf8(head).context("the head of an answer is no UTF-8")?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let Some(status) = status else { bail!("this is no status line: {status_line:?}") };
    let (mut content, mut closes) = (Content::UntilClose, false);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked") {
            content = Content::CHUNKED;
        } else if name.eq_ignore_ascii_case("content-length") && content == Content::UntilClose {
            content = Content::Length(value.trim().parse().context("Content-Length is no number")?);
        } else if name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close") {
            closes = true;
        }
    }
    if matches!(status, 204 | 304) {
        content = Content::Length(0);
    }
    Ok(Answer { status, content, closes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_may_come_in_pieces_and_leaves_the_content() {
        let input = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello";
        for cut in 1..input.len() - 5 {
            let mut reader = AnswerReader::default();
            let (mut taken, mut answer) = reader.feed(&input[..cut]).unwrap();
            if answer.is_none() {
                let second = reader.feed(&input[taken..]).unwrap();
                taken += second.0;
                answer = second.1;
            }
            assert_eq!(&input[taken..], b"hello", "cut at {cut}");
            assert_eq!(answer, Some(Answer { status: 201, content: Content::Length(5), closes: false }));
        }
    }

    #[test]
    fn the_framing_is_told() {
        let check =
            |head: &str, content: Content| assert_eq!(parse(head.as_bytes()).unwrap().content, content, "{head}");
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", Content::CHUNKED);
        check("HTTP/1.0 200 OK\r\n\r\n", Content::UntilClose);
        check("HTTP/1.1 204 No Content\r\n\r\n", Content::Length(0));
        assert!(parse(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap().closes);
        assert!(parse(b"SSH-2.0\r\n\r\n").is_err());
    }
}
