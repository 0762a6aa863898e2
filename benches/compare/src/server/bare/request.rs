//! As much of HTTP as a bare loop must read.

use anyhow::{Context, Result, bail, ensure};

/// What a peer asks for.
pub(super) enum Request {
    Subscribe { target: Vec<u8> },
    Publish { target: Vec<u8>, data: Vec<u8> },
}

const MOST_BYTES: usize = 1 << 20;

/// Takes the first complete request off `input`.
pub(super) fn take_request(input: &mut Vec<u8>) -> Result<Option<Request>> {
    ensure!(input.len() <= MOST_BYTES, "the request is too long");
    let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&input[..end]).context("the head is no UTF-8")?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().context("there is no target")?);
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
    ensure!(length <= MOST_BYTES, "the content is too long");
    let target = target.as_bytes().to_vec();
    let whole = end + 4 + length;
    if input.len() < whole {
        return Ok(None);
    }
    let request = match method {
        "GET" => Request::Subscribe { target },
        "POST" => Request::Publish { target, data: input[end + 4..whole].to_vec() },
        _ => bail!("only GET and POST are known"),
    };
    input.drain(..whole);
    Ok(Some(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_one_by_one_when_they_are_complete() {
        let mut input = b"POST /t HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET /u HTTP/1.1\r\n\r".to_vec();
        let Some(Request::Publish { target, data }) = take_request(&mut input).unwrap() else { panic!("no publish") };
        assert_eq!((target.as_slice(), data.as_slice()), (&b"/t"[..], &b"abc"[..]));
        assert!(take_request(&mut input).unwrap().is_none());
        input.push(b'\n');
        let Some(Request::Subscribe { target }) = take_request(&mut input).unwrap() else { panic!("no subscribe") };
        assert_eq!((target.as_slice(), input.len()), (&b"/u"[..], 0));
    }
}
