//! The answers to heads that never became a request, and how a connection is closed so that they arrive.

use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Options;

/// Why a head became no request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    /// It was not complete in time.
    Late,
    /// It was too large.
    Large,
    /// It had more fields, or a longer target, than hyper takes.
    Many,
    /// It was not HTTP/1.1.
    Bad {
        /// Whether it came over TLS.
        tls: bool,
    },
    /// It was not over TLS, and should have been.
    Plain,
}

impl Refusal {
    /// A whole HTTP/1.1 answer with a problem document (RFC 9457).
    fn answer(self, options: &Options) -> String {
        let (status, title, detail) = match self {
            Self::Late => {
                let seconds = options.head_timeout.as_secs_f32();
                let detail = format!("The request head was not complete {seconds} s after its first byte.");
                (408, "Request Timeout", detail)
            }
            Self::Large => {
                let detail = format!("The request line and header fields have more than {} bytes.", options.head_bytes);
                (431, "Request Header Fields Too Large", detail)
            }
            Self::Many => {
                let detail = "The request has more than 100 header fields, or a target of more than 65534 bytes.";
                (431, "Request Header Fields Too Large", detail.to_owned())
            }
            Self::Bad { tls } => {
                let detail = "This is not a request of HTTP/1.1: send a line `METHOD /path HTTP/1.1`, each field as \
                              `Name: value` on a line of its own without control characters, and at most one \
                              Content-Length, in decimal digits.";
                let tls = if tls { "" } else { " TLS is not spoken here." };
                (400, "Bad Request", format!("{detail}{tls}"))
            }
            Self::Plain => (400, "Bad Request", "This port speaks TLS: its URLs begin with https://".to_owned()),
        };
        let problem = serde_json::json!({ "type": "about:blank", "title": title, "status": status, "detail": detail });
        let problem = problem.to_string();
        let date = httpdate::fmt_http_date(SystemTime::now());
        format!(
            "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             cache-control: no-store\r\nx-content-type-options: nosniff\r\ncross-origin-resource-policy: same-origin\r\n\
             referrer-policy: no-referrer\r\nconnection: close\r\ndate: {date}\r\n\r\n{problem}",
            problem.len(),
        )
    }
}

/// Answers and closes. Gives up with the peer that does not take it.
pub(super) async fn refuse<T: AsyncRead + AsyncWrite + Unpin>(mut io: T, refusal: Refusal, options: &Options) {
    let answer = refusal.answer(options);
    let sent = timeout(options.linger, async {
        io.write_all(answer.as_bytes()).await?;
        io.shutdown().await
    });
    if let Ok(Ok(())) = sent.await {
        linger(io, options.linger).await;
    }
}

/// Closes after a last answer.
pub(super) async fn close<T: AsyncRead + AsyncWrite + Unpin>(mut io: T, patience: Duration) {
    if io.shutdown().await.is_ok() {
        linger(io, patience).await;
    }
}

/// Reads on until the peer closes too: closing a socket with unread bytes resets it, and a reset can overtake the answer
/// (RFC 9112 § 9.6).
pub(super) async fn linger<T: AsyncRead + Unpin>(mut io: T, patience: Duration) {
    let drained = timeout(patience, async {
        let mut scrap = [0; 512];
        while let Ok(1..) = io.read(&mut scrap).await {}
    });
    let _ = drained.await; // Either way the socket is closed now.
}
