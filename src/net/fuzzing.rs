//! What the fuzz targets reach of this module: a whole connection, and what scans its bytes.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::{Builder, Runtime};

use super::chunks::Chunks;
use super::connection::{self, Seat, Shared};
use super::head::HeadScan;
use super::{Content, Cores, Options};
use crate::shutdown::Shutdown;

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(Builder::new_current_thread().enable_time().build().expect("a runtime without sockets"));
}

/// A connection that says these bytes, in pieces whose length the first byte tells, and ends.
pub fn connection(data: &[u8]) {
    let Some((&step, said)) = data.split_first() else { return };
    let options = Options { linger: Duration::ZERO, head_timeout: Duration::from_millis(50), ..Options::default() };
    let shared =
        Arc::new(Shared { options, counters: Arc::default(), shutdown: Shutdown::default(), cores: Cores::default() });
    let (mut client, server) = duplex(1 << 16);
    let serve = connection::serve(server, None, Seat::default(), tower::service_fn(echo), shared);
    let talk = async move {
        let (mut answers, mut says) = tokio::io::split(&mut client);
        let say = async {
            for piece in said.chunks(usize::from(step) + 1) {
                if says.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let _ = says.shutdown().await;
        };
        let mut answer = Vec::new();
        let (_, read) = tokio::join!(say, answers.read_to_end(&mut answer));
        let http1 = answer.is_empty() || answer.starts_with(b"HTTP/1.");
        // The first frame of HTTP/2 is SETTINGS, on the connection (RFC 9113 § 3.4).
        let http2 = said.starts_with(b"PRI * HTTP/2.0") && answer.get(3) == Some(&4);
        assert!(read.is_err() || http1 || http2, "{answer:?}");
    };
    RUNTIME.with_borrow_mut(|runtime| runtime.block_on(async { tokio::join!(serve, talk) }));
}

async fn echo(request: Request<Content>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    Ok(Response::new(Full::new(body)))
}

/// Where a head, and a chunked body, end does not depend on how the bytes are cut.
pub fn framing(data: &[u8]) {
    let Some((&step, bytes)) = data.split_first() else { return };
    let step = usize::from(step) % 64 + 1;
    let (mut whole, mut pieces) = (HeadScan::default(), HeadScan::default());
    assert_eq!(whole.end(bytes), in_pieces(bytes, step, |piece| pieces.end(piece)), "the end of a head");
    let (mut whole, mut pieces) = (Chunks::new(), Chunks::new());
    assert_eq!(whole.end(bytes), in_pieces(bytes, step, |piece| pieces.end(piece)), "the end of a body");
}

fn in_pieces(bytes: &[u8], step: usize, mut end: impl FnMut(&[u8]) -> Option<usize>) -> Option<usize> {
    bytes.chunks(step).enumerate().find_map(|(number, piece)| Some(number * step + end(piece)?))
}
