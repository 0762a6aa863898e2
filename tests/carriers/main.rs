//! Streams over real sockets, by the socket carrier and by the ordinary one: both say the same, whatever a peer does.
//!
//! What is theirs alone is told apart by the head: an answer that has left hyper says `connection: close`.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what cannot go on here is a failed test")]

mod client;
mod server;

use std::time::Duration;

use client::FOLLOW;
use encke::delivery::SocketOptions;
use encke::net::Options;
use server::{Carrier, Server};

/// Both of them.
const CARRIERS: [Carrier; 2] = [Carrier::Ordinary, Carrier::Socket];

/// Whether the answer has left hyper, by its head.
fn has_left(head: &str) -> bool {
    head.contains("\r\nconnection: close\r\n")
}

#[tokio::test]
async fn a_stream_is_the_same_on_both() {
    let mut seen = Vec::new();
    for carrier in CARRIERS {
        let server = Server::start(carrier).await;
        let mut client = server.client().await;
        client.send("GET /stream?limit=3 HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let head = client.head().await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\ntransfer-encoding: chunked\r\n"),
            "{head}"
        );
        assert_eq!(has_left(&head), carrier == Carrier::Socket, "{head}");
        server.publish(&["one", "two", "three", "four"]).await;
        let content = client.chunks().await;
        assert!(content.contains("encke.hello") && content.contains("encke.bye"), "{content}");
        seen.push(content);
        server.ended("limit", 1).await;
        if carrier == Carrier::Socket {
            client.at_end().await;
        }
        drop(client);
        server.closed().await;
    }
    assert_eq!(told(&seen[0]), told(&seen[1]));
}

/// What a stream tells, but for the names of logs and streams, and for times, which are drawn.
fn told(content: &str) -> Vec<String> {
    let lines = content.lines().filter(|line| !line.starts_with("retry:") && !line.contains('{'));
    lines
        .map(|line| match line.strip_prefix("id: ").and_then(|cursor| cursor.split_once('-')) {
            Some((_, offset)) => format!("id: {offset}"),
            None => line.to_owned(),
        })
        .collect()
}

#[tokio::test]
async fn two_gets_in_one_segment_are_one_stream_and_no_silence() {
    for carrier in CARRIERS {
        let server = Server::start(carrier).await;
        let mut client = server.client().await;
        client.send(FOLLOW.repeat(2)).await;
        client.until("encke.hello").await;
        for data in ["one", "two"] {
            server.publish(&[data]).await;
            client.until(&format!("data: {data}\n\n")).await;
        }
        assert_eq!(client.text().matches("HTTP/1.1 200 OK").count(), 1, "{carrier:?}");
        drop(client);
        server.left("closed", 1).await;
        server.closed().await;
    }
}

#[tokio::test]
async fn what_is_no_plain_get_stays_where_it_is() {
    let server = Server::start(Carrier::Socket).await;
    let mut client = server.client().await;
    client.send("GET /stream?limit=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel").await;
    assert!(!has_left(&client.head().await), "with content");
    client.send("lo").await;
    server.publish(&["one"]).await;
    assert!(client.chunks().await.contains("data: one\n\n"));

    let mut client = server.client().await;
    client
        .send("HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\nPOST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    assert!(!has_left(&client.head().await), "HEAD");
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && client.until("hi").await.ends_with("hi"), "{answer}");

    let mut client = server.client().await;
    client.send("GET /stream?coded HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let head = client.head().await;
    assert!(!has_left(&head) && head.contains("content-encoding: "), "what a layer has changed: {head}");
}

#[tokio::test]
async fn a_stream_goes_until_the_connection_closes_for_http_1_0() {
    for carrier in CARRIERS {
        let server = Server::start(carrier).await;
        let mut client = server.client().await;
        client.send("GET /stream?limit=2 HTTP/1.0\r\n\r\n").await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && !head.contains("transfer-encoding"), "{head}");
        server.publish(&["one", "two", "three"]).await;
        let content = client.rest().await;
        assert!(content.contains("data: two\n\n") && content.contains("encke.bye"), "{content}");
        assert!(!content.contains("three"), "{content}");
        server.ended("limit", 1).await;
    }
}

#[tokio::test]
async fn a_stream_may_be_the_last_of_several_requests() {
    let post = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    let last = "GET /stream HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for carrier in CARRIERS {
        for (pipelined, get) in [(false, FOLLOW), (true, FOLLOW), (false, last), (true, last)] {
            let server = Server::start(carrier).await;
            let mut client = server.client().await;
            if pipelined {
                client.send([post, post, get].concat()).await;
                client.until("hello").await;
                client.until("hello").await;
            } else {
                client.send(post).await;
                client.until("hello").await;
                client.send(get).await;
            }
            client.until("encke.hello").await;
            server.publish(&["news"]).await;
            client.until("data: news\n\n").await;
        }
    }
}

#[tokio::test]
async fn who_leaves_with_the_request_is_let_go() {
    for carrier in CARRIERS {
        let server = Server::start(carrier).await;
        for _ in 0..30 {
            let mut client = server.client().await;
            client.send(FOLLOW).await;
            client.close_side().await;
            client.at_end().await;
            let mut client = server.client().await;
            client.send(FOLLOW).await;
            client.reset();
        }
        server.closed().await;
        let mut client = server.client().await;
        client.send(FOLLOW).await;
        client.until("encke.hello").await;
    }
}

#[tokio::test]
async fn who_leaves_a_stream_is_told_from_who_resets_it() {
    for carrier in CARRIERS {
        let server = Server::start(carrier).await;
        let mut client = server.client().await;
        client.send(FOLLOW).await;
        client.until_chunk("encke.hello").await;
        client.close_side().await;
        server.left("closed", 1).await;
        let mut client = server.client().await;
        client.send(FOLLOW).await;
        client.until_chunk("encke.hello").await;
        client.reset();
        server.left("reset", 1).await;
        server.closed().await;
    }
}

#[tokio::test]
async fn what_a_peer_sends_into_its_stream_is_passed_over_up_to_a_bound() {
    let server = Server::start(Carrier::Socket).await;
    let mut client = server.client().await;
    client.send(FOLLOW).await;
    client.until("encke.hello").await;
    client.send(vec![b'x'; 60_000]).await;
    server.publish(&["one"]).await;
    client.until("data: one\n\n").await;
    client.send(vec![b'x'; 10_000]).await;
    server.ended("unknown", 1).await;
    server.closed().await;
}

#[tokio::test]
async fn a_drain_before_or_after_the_hand_over_is_told_and_ends_the_stream() {
    for carrier in CARRIERS {
        let server = Server::start(carrier).await;
        let (mut early, mut late) = (server.client().await, server.client().await);
        early.send(FOLLOW).await;
        early.until("encke.hello").await;
        late.send("GET /str").await;
        server.accepted(2).await;
        server.shutdown.drain();
        late.send(&FOLLOW["GET /str".len()..]).await;
        for client in [&mut early, &mut late] {
            client.until("encke.bye").await;
            client.until("0\r\n\r\n").await;
            client.at_end().await;
        }
        assert!(server.finish().await, "{carrier:?}: something had to be cut");
        server.ended("server_shutdown", 2).await;
    }
}

/// The sockets hold little, so that most writes are taken in part.
#[tokio::test]
async fn a_slow_reader_is_given_all_of_it() {
    for carrier in CARRIERS {
        let server = Server::start(carrier).await;
        let mut client = server.narrow_client().await;
        client.send("GET /stream?limit=300 HTTP/1.1\r\nHost: h\r\n\r\n").await;
        client.head().await;
        let data: Vec<_> =
            (0..300_usize).map(|number| format!("{number} {}", "x".repeat(number * 37 % 5000))).collect();
        for some in data.chunks(10) {
            server.publish(&some.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
        let content = client.chunks().await;
        let got: Vec<_> = content.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let got: Vec<_> = got.into_iter().filter(|line| !line.starts_with('{')).collect();
        assert!(got == data, "{carrier:?}: {} of {} events", got.len(), data.len());
    }
}

#[tokio::test]
async fn who_takes_nothing_is_ended_as_slow() {
    for carrier in CARRIERS {
        let stall = Duration::from_millis(300);
        let options = Options { stall, ..Options::default() };
        let server = Server::with(carrier, options, SocketOptions { stall, ..SocketOptions::default() }).await;
        let mut client = server.narrow_client().await;
        client.send(FOLLOW).await;
        client.until("encke.hello").await;
        let large = "x".repeat(100_000);
        for _ in 0..60 {
            server.publish(&[&large]).await;
        }
        server.ended("slow_reader", 1).await;
        server.closed().await;
    }
}
