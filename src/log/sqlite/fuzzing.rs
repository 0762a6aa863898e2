//! What the fuzz targets reach of this module: what lies in a row of the file.

use bytes::Bytes;

use super::codec::{Stored, begin, decode, encode, encode_gone, encoded_len, erase, scan};
use crate::event::Gone;

/// Any bytes are places or an error. What is read is written as the same, looked through as the same, and erased without
/// a trace on its neighbours.
pub fn row(data: &[u8]) {
    let row = Bytes::copy_from_slice(data);
    let scanned = {
        let mut places = 0_u64;
        scan(&row, |scanned| places = places.saturating_add(scanned.count)).map(|()| places)
    };
    let erased = |number: u64| {
        let mut copy = data.to_vec();
        erase(&mut copy, |at| (at == number).then_some(Gone::Deleted)).map(|count| (count, Bytes::from(copy)))
    };
    let _ = erased(0);
    let Ok(all) = decode(&row) else { return };
    assert_eq!(scanned, Ok(all.len() as u64));

    let mut written = Vec::new();
    begin(&mut written);
    for Stored { event, gone } in &all {
        let before = written.len();
        match gone {
            None => {
                encode(event, &mut written);
                assert_eq!(written.len() - before, encoded_len(event));
            }
            Some(why) => encode_gone(event, *why, 1, &mut written),
        }
    }
    assert_eq!(decode(&written.into()).as_ref(), Ok(&all));

    for number in [0, all.len() / 2] {
        let Some(one) = all.get(number) else { return };
        let (count, row) = erased(number as u64).expect("a row that can be read can be erased");
        assert_eq!(count, u64::from(one.gone.is_none()));
        let left = decode(&row).expect("and read again");
        assert!(left[number].gone.is_some() && left.len() == all.len());
        assert!(left.iter().zip(&all).enumerate().all(|(at, (left, before))| at == number || left == before));
    }
}
