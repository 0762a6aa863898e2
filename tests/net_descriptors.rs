//! A process out of descriptors. Alone in its binary, because every other test would fail with it.

use std::convert::Infallible;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use encke::net::{Content, Counters, Listener, Local, Options, serve};
use encke::shutdown::Shutdown;
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

#[tokio::test]
async fn a_listener_without_descriptors_waits_and_then_serves() {
    let options = Options::default();
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let Ok(Local::Tcp(address)) = listener.place() else { panic!("an address") };
    let (shutdown, counters) = (Shutdown::default(), Arc::<Counters>::default());
    let service =
        tower::service_fn(|_: Request<Content>| async { Ok::<_, Infallible>(Response::new(Body::from("served"))) });
    let socket = TcpSocket::new_v4().unwrap();
    let hog: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    shutdown.spawn(serve(vec![listener], service, options, shutdown.clone(), Arc::clone(&counters)));

    let mut client = socket.connect(address).await.unwrap();
    let begun = tokio::time::Instant::now();
    while counters.accept_errors.load(Ordering::Relaxed) < 3 {
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed().as_millis() >= 30, "10 and 20 ms lie between three errors");
    assert_eq!(counters.accepted.load(Ordering::Relaxed), 0);

    drop(hog);
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("served"), "{answer}");
}
