//! The server that everybody writes first: axum, `Sse`, and a broadcast channel for each topic.
//!
//! `TCP_NODELAY` is on, which `axum::serve` leaves off: with it off, small writes wait 40 ms for acknowledgements.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt};

type Topics = Arc<Mutex<HashMap<String, broadcast::Sender<String>>>>;

/// How many events a subscriber may be behind. What it was further behind is lost, and it is not told.
const CAPACITY: usize = 128;

fn topic(topics: &Topics, name: &str) -> broadcast::Sender<String> {
    let mut topics = topics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    topics.entry(name.to_owned()).or_insert_with(|| broadcast::channel(CAPACITY).0).clone()
}

async fn subscribe(
    Path(name): Path<String>,
    State(topics): State<Topics>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = BroadcastStream::new(topic(&topics, &name).subscribe());
    let events = events.filter_map(|event| Some(Ok(Event::default().data(event.ok()?))));
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

async fn publish(Path(name): Path<String>, State(topics): State<Topics>, data: String) {
    // There may be nobody who listens.
    let _ = topic(&topics, &name).send(data);
}

/// Serves on a free port of the loopback until the process ends; tells `listening` where.
pub fn run(listening: impl FnOnce(std::net::SocketAddr)) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let app = Router::new().route("/{topic}", get(subscribe).post(publish)).with_state(Topics::default());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        listening(listener.local_addr()?);
        let listener = listener.tap_io(|socket| {
            let _ = socket.set_nodelay(true);
        });
        Ok(axum::serve(listener, app).await?)
    })
}
