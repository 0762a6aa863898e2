//! Which protocol a new connection speaks, from its first bytes.

use std::future::Future;
use std::io;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, sleep_until};

use super::Options;
use crate::shutdown::Shutdown;

/// What an HTTP/2 client says first (RFC 9113 § 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes told.
#[derive(Debug)]
pub(super) enum Spoken {
    /// The HTTP/2 preface, whole.
    Http2,
    /// Anything else: these bytes, the first of them then.
    Http1(Vec<u8>, Instant),
    /// Nothing in time, or the connection ended. There is nobody to answer.
    Nothing,
    /// A beginning that could still be either, and no more in time.
    Part,
}

/// Reads until the protocol is known: one byte for most requests, all of the preface at most.
///
/// hyper-util's detection costs each connection a second 8 KiB of read buffer; this keeps 24 bytes on the stack, and a
/// connection that says nothing never gets hyper's buffers.
pub(super) async fn sniff<T: AsyncRead + Unpin>(io: &mut T, options: &Options, shutdown: &Shutdown) -> Spoken {
    let mut prefix = [0; PREFACE.len()];
    let Some(mut have @ 1..) = first(io.read(&mut prefix), options, shutdown).await else { return Spoken::Nothing };
    let begun = Instant::now();
    loop {
        if prefix[..have] != PREFACE[..have] {
            return Spoken::Http1(prefix[..have].to_vec(), begun);
        }
        if have == PREFACE.len() {
            return Spoken::Http2;
        }
        tokio::select! {
            biased; // What has come is read, also when the end begins.
            read = io.read(&mut prefix[have..]) => match read {
                Ok(0) | Err(_) => return Spoken::Nothing,
                Ok(read) => have += read,
            },
            () = sleep_until(begun + options.head_timeout) => return Spoken::Part,
            () = shutdown.cutting() => return Spoken::Nothing,
        }
    }
}

/// What comes first of a new connection, by `read`; none if it says nothing in time.
pub(super) async fn first<R>(
    read: impl Future<Output = io::Result<R>>,
    options: &Options,
    shutdown: &Shutdown,
) -> Option<R> {
    let mut read = pin!(read);
    let begun = Instant::now();
    let mut last_call = None;
    loop {
        tokio::select! {
            biased; // What has come is read, also when the end begins.
            read = read.as_mut() => return read.ok(),
            () = sleep_until(begun + options.head_timeout) => return None,
            // It was accepted, so what it is about to ask is answered, if it does so soon: a client that finds its new
            // connection closed cannot know whether it was heard.
            () = shutdown.draining(), if last_call.is_none() => {
                last_call = Some(Instant::now() + options.last_call);
            }
            () = sleep_until(last_call.unwrap_or(begun)), if last_call.is_some() => return None,
            () = shutdown.cutting() => return None,
        }
    }
}
