//! What each published event carries, so that every subscriber can tell exactly what it got.

use memchr::memmem::Finder;

/// The shortest content that can carry a marker.
pub const MIN_BYTES: usize = 50;

/// Which event of which topic this is, and when it was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Counts from 0 in each topic.
    pub sequence: u64,
    /// Nanoseconds of the clock of the load.
    pub sent: u64,
    /// Number of the topic.
    pub topic: u32,
}

impl Marker {
    /// Writes content of exactly `bytes` bytes: digits of fixed width, then padding. Nothing in it needs escaping in JSON.
    pub fn write(self, bytes: usize, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(b"seq=");
        digits(self.sequence, 10, out);
        out.extend_from_slice(b";ts=");
        digits(self.sent, 20, out);
        out.extend_from_slice(b";top=");
        digits(u64::from(self.topic), 6, out);
        out.push(b';');
        out.resize(begin + bytes.max(MIN_BYTES), b'x');
    }
}

/// Finds markers in a line of data, wherever a server has put them: as they were, in quotes, in an array.
pub struct Markers(Finder<'static>);

impl Default for Markers {
    fn default() -> Self {
        Self(Finder::new(b"seq="))
    }
}

impl Markers {
    /// Tells `found` each marker in `line`.
    pub fn each(&self, line: &[u8], mut found: impl FnMut(Marker)) {
        let mut rest = line;
        // Mostly the data is the marker as it was published.
        while let Some(at) = if rest.starts_with(b"seq=") { Some(0) } else { self.0.find(rest) } {
            rest = &rest[at..];
            match parse(rest) {
                Some(marker) => {
                    found(marker);
                    rest = &rest[MIN_BYTES..];
                }
                None => rest = &rest[4..],
            }
        }
    }
}

fn parse(text: &[u8]) -> Option<Marker> {
    let text = text.get(..MIN_BYTES)?;
    if &text[14..18] != b";ts=" || &text[38..43] != b";top=" || text[49] != b';' {
        return None;
    }
    let topic = u32::try_from(number(&text[43..49])?).ok()?;
    Some(Marker { sequence: number(&text[4..14])?, sent: number(&text[18..38])?, topic })
}

fn number(digits: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
    }
    Some(value)
}

fn digits(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let begin = out.len();
    out.resize(begin + width, b'0');
    for place in out[begin..].iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &[u8]) -> Vec<Marker> {
        let mut found = Vec::new();
        Markers::default().each(line, |marker| found.push(marker));
        found
    }

    #[test]
    fn a_marker_is_read_back_however_it_is_wrapped() {
        let marker = Marker { sequence: 12, sent: 1_234_567_890_123, topic: 9999 };
        let mut data = Vec::new();
        marker.write(100, &mut data);
        assert_eq!(data.len(), 100);
        let data = String::from_utf8(data).unwrap();
        assert_eq!(found(data.as_bytes()), [marker]);
        assert_eq!(found(format!("[{{\"data\":\"{data}\"}},{{\"data\":\"{data}\"}}]").as_bytes()), [marker, marker]);
    }

    #[test]
    fn what_is_no_marker_is_none() {
        for line in
            ["", "seq=", "seq=0000000001", "seq=000000000x;ts=00000000000000000001;top=000001;", "{\"stream\":1}"]
        {
            assert_eq!(found(line.as_bytes()), [], "{line}");
        }
    }
}
