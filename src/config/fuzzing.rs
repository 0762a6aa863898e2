//! What the fuzz targets reach of this module: the file.

use std::path::Path;

use super::file::parse;

/// Any text is options, or a list of faults that each name a place in the text.
pub fn file(data: &[u8]) {
    thread_local! {
        static COMMAND: clap::Command = super::command(&super::Names {
            transports: vec![("sse", ""), ("ndjson", "")],
            stores: vec![("sqlite", ""), ("memory", "")],
        });
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Err(faults) = COMMAND.with(|command| parse(Path::new("file"), text, command)) else { return };
    assert!(!faults.is_empty(), "a fault has words");
    for fault in faults {
        let mut parts = fault.split(':');
        let line = (parts.next() == Some("file")).then(|| parts.next()?.parse::<usize>().ok()).flatten();
        let column = parts.next().and_then(|column| column.parse::<usize>().ok());
        // The end of the text is a place, too.
        let columns = line.and_then(|line| Some(text.split('\n').nth(line.checked_sub(1)?)?.chars().count() + 1));
        assert!(matches!((column, columns), (Some(1..), Some(most)) if column <= Some(most)), "{fault:?} in {text:?}");
    }
}
