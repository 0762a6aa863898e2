//! A multipart stream read strictly: every byte has its place, or it is an error. Written from RFC 2046 § 5.1 and from
//! what the gateway promises: a length that is right, and the next delimiter with each part.

/// One body part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) content: Vec<u8>,
}

impl Part {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// The parts of a response, and what follows the delimiter after the last one; nothing may follow the one that closes.
pub(crate) fn read<'a>(boundary: &str, bytes: &'a [u8]) -> Result<(Vec<Part>, &'a [u8]), String> {
    let delimiter = format!("--{boundary}\r\n");
    let mut rest = bytes.strip_prefix(delimiter.as_bytes()).ok_or("no delimiter at the beginning")?;
    let mut parts = Vec::new();
    while let Some((part, after)) = part(rest)? {
        parts.push(part);
        if let Some(end) = after.strip_prefix(format!("\r\n--{boundary}--\r\n").as_bytes()) {
            return if end.is_empty() { Ok((parts, end)) } else { Err("something follows the end".to_owned()) };
        }
        rest = after.strip_prefix(format!("\r\n{delimiter}").as_bytes()).ok_or("no delimiter after a part")?;
    }
    Ok((parts, rest))
}

/// The part that begins here, if its head is whole.
fn part(bytes: &[u8]) -> Result<Option<(Part, &[u8])>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    if bytes.starts_with(b"--") {
        return Ok(None);
    }
    let head = std::str::from_utf8(&bytes[..end]).map_err(|error| error.to_string())?;
    if head.split("\r\n").last().is_some_and(|line| line.starts_with("--") && line.ends_with("--")) {
        return Ok(None); // The end, behind a field of the part that was open.
    }
    let fields = head.split("\r\n").map(field).collect::<Result<Vec<_>, _>>()?;
    let mut part = Part { fields, content: Vec::new() };
    let len: usize = part.field("content-length").ok_or("no length")?.parse().map_err(|_| "a length that is none")?;
    let body = &bytes[end + 4..];
    part.content = body.get(..len).ok_or("less than the length says")?.to_vec();
    Ok(Some((part, &body[len..])))
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(": ").ok_or_else(|| format!("no field: {line:?}"))?;
    if name.is_empty() || line.contains(|c: char| c.is_control()) {
        return Err(format!("no field: {line:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}
