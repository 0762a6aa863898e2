//! Bytes from a reader that blocks.

use std::io::{self, Read};

use tokio::sync::mpsc;

/// Opens and reads on a thread of its own: a read from a terminal or a pipe cannot be called off, and a thread of the
/// runtime that hangs in one would keep the process from ending. A few chunks are read ahead.
pub(crate) fn of<R: Read>(
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, chunks) = mpsc::channel(READ_AHEAD);
    std::thread::spawn(move || match open() {
        Ok(reader) => send_all(reader, &sender),
        // No receiver means that the command is over.
        Err(error) => drop(sender.blocking_send(Err(error))),
    });
    chunks
}

/// How many chunks of 64 KiB wait at most.
const READ_AHEAD: usize = 8;

/// Sends what the reader gives until its end, a failure, or until nobody takes it any more.
fn send_all(mut reader: impl Read, chunks: &mpsc::Sender<io::Result<Vec<u8>>>) {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = match reader.read(&mut chunk) {
            Ok(0) => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map(|length| chunk[..length].to_vec()),
        };
        let failed = read.is_err();
        if chunks.blocking_send(read).is_err() || failed {
            return;
        }
    }
}
