//! What the fuzz targets reach of this module: what lies in a row of the file.

use bytes::Bytes;

use super::codec::{begin, decode, encode, encoded_len};

/// Any bytes are events or an error; events are written as what is read again.
pub fn row(data: &[u8]) {
    let Ok(events) = decode(&Bytes::copy_from_slice(data)) else { return };
    let mut row = Vec::new();
    begin(&mut row);
    for event in &events {
        let before = row.len();
        encode(event, &mut row);
        assert_eq!(row.len() - before, encoded_len(event));
    }
    assert_eq!(decode(&row.into()).as_ref(), Ok(&events));
}
