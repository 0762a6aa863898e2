//! The backend that Pushpin needs: it says of each request that it is to be held, and on which channel.

use anyhow::Result;
use axum::Router;
use axum::extract::Path;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

async fn hold(Path(topic): Path<String>) -> [(HeaderName, String); 3] {
    [
        (CONTENT_TYPE, "text/event-stream".to_owned()),
        (HeaderName::from_static("grip-hold"), "stream".to_owned()),
        (HeaderName::from_static("grip-channel"), topic),
    ]
}

/// Serves on a free port of the loopback until the process ends; tells `listening` where.
pub fn run(listening: impl FnOnce(std::net::SocketAddr)) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        listening(listener.local_addr()?);
        Ok(axum::serve(listener, Router::new().route("/{topic}", get(hold))).await?)
    })
}
