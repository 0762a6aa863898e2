//! HTTP/2 in bytes: streams that are not read, and connections without any.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Content, Endless, Seat, shared, whole};
use crate::delivery::Gone;
use crate::net::connection;

/// A frame of HTTP/2 (RFC 9113 § 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What an HTTP/2 client says first, with that much window for each stream, and a request on each of `streams`.
fn http2_requests(window: u32, streams: &[u32]) -> Vec<u8> {
    let settings = frame(4, 0, 0, &[&[0, 4], &window.to_be_bytes()[..]].concat());
    let mut bytes = [&crate::net::sniff::PREFACE[..], &settings].concat();
    for &stream in streams {
        bytes.extend(frame(1, 5, stream, b"\x82\x86\x84")); // HEADERS, all of the request: GET, http, /.
    }
    bytes
}

/// The next frame that is about a stream: kind, flags, stream, content. Answers PINGs and SETTINGS on the way.
async fn stream_frame(client: &mut DuplexStream) -> (u8, u8, u32, Vec<u8>) {
    loop {
        let mut head = [0; 9];
        client.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        client.read_exact(&mut payload).await.unwrap();
        match (head[3], head[4]) {
            (kind @ (4 | 6), 0) => {
                let content = if kind == 6 { &payload[..] } else { &[] };
                client.write_all(&frame(kind, 1, 0, content)).await.unwrap();
            }
            (4 | 6 | 8, _) => {}
            (kind, flags) => {
                let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
                return (kind, flags, stream, payload);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn http2_streams_whose_window_stays_shut_cost_little_and_end_as_stalled_one_by_one() {
    for (window, size) in [(0, 100), (0, 1_000_000), (1, 10_000), (1, 1_000_000), (16_384, 16_384), (20_000, 1000)] {
        let (mut client, server) = duplex(64 * 1024);
        let (ended, mut endings) = mpsc::unbounded_channel();
        let endless = Arc::new(Endless { pulled: Arc::default(), ended });
        let (pulled, shared) = (Arc::clone(&endless.pulled), shared());
        let service = tower::service_fn(move |request| std::future::ready(endless.answer(&request, size)));
        let begun = Instant::now();
        let serve = connection::serve(server, None, Seat::default(), service, Arc::clone(&shared));
        let talk = async {
            client.write_all(&http2_requests(window, &[1, 3])).await.unwrap();
            let mut got = 0;
            let mut reset = Vec::new();
            while reset.len() < 2 {
                let (kind, _, stream, content) = stream_frame(&mut client).await;
                match kind {
                    0 => got += content.len(),
                    3 => reset.push((stream, content)),
                    kind => assert_eq!(kind, 1, "HEADERS"),
                }
            }
            reset.sort();
            let cancel = 8_u32.to_be_bytes().to_vec();
            assert_eq!(reset, [(1, cancel.clone()), (3, cancel)]);
            assert_eq!(got, 2 * window as usize, "each stream's window was filled");
            assert_eq!(begun.elapsed().as_secs(), 120);
            assert_eq!((endings.recv().await, endings.recv().await), (Some(Gone::Stalled), Some(Gone::Stalled)));
            assert_eq!(shared.counters.stalled.load(Ordering::Relaxed), 2);
            let most = 2 * (window as usize + crate::net::outbound::AHEAD + 2 * size);
            let pulled = pulled.load(Ordering::Relaxed);
            assert!(pulled <= most, "{pulled} bytes in frames of {size}");
            // The connection is as good as before.
            client.write_all(&frame(1, 5, 5, b"\x82\x86\x84")).await.unwrap();
            assert_eq!(stream_frame(&mut client).await.2, 5);
            drop(client);
            assert_ne!(endings.recv().await, Some(Gone::Stalled));
        };
        tokio::join!(serve, talk);
    }
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_without_a_stream_ends_when_it_was_idle_for_long_enough() {
    for streams in [&[][..], &[1]] {
        let (mut client, server) = duplex(64 * 1024);
        let service = tower::service_fn(|_: Request<Content>| async {
            tokio::time::sleep(Duration::from_secs(200)).await; // Its stream is open, so this is not idle.
            whole(b"late".to_vec())
        });
        let (begun, shared) = (Instant::now(), shared());
        let serve = connection::serve(server, None, Seat::default(), service, Arc::clone(&shared));
        let talk = async {
            client.write_all(&http2_requests(4000, streams)).await.unwrap();
            let mut kinds = Vec::new();
            while kinds.last() != Some(&7) {
                let next = tokio::time::timeout(Duration::from_secs(1000), stream_frame(&mut client)); // It answers PINGs.
                kinds.push(next.await.expect("the connection is ended").0);
            }
            assert_eq!(kinds.contains(&0), !streams.is_empty(), "what was asked for is answered before");
            assert_eq!(begun.elapsed().as_secs(), 75 + 200 * streams.len() as u64);
            drop(client);
        };
        tokio::join!(serve, talk);
    }
}

#[tokio::test(start_paused = true)]
async fn an_http2_stream_that_is_taken_now_and_then_is_not_stalled() {
    let (mut client, server) = duplex(64 * 1024);
    let body: Vec<u8> = (0..40_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let answer = body.clone();
    let service = tower::service_fn(move |_: Request<Content>| std::future::ready(whole(answer.clone())));
    let (begun, shared) = (Instant::now(), shared());
    let serve = connection::serve(server, None, Seat::default(), service, Arc::clone(&shared));
    let talk = async move {
        client.write_all(&http2_requests(4000, &[1])).await.unwrap();
        let mut got = Vec::new();
        loop {
            let (kind, flags, _, content) = stream_frame(&mut client).await;
            assert!(kind < 2, "it is not reset: {kind}");
            if kind == 0 {
                got.extend(content);
            }
            if flags & 1 == 1 {
                break;
            }
            if kind == 0 && got.len() % 4000 == 0 && got.len() < body.len() {
                let more = tokio::time::Instant::now() + Duration::from_secs(119);
                while tokio::time::timeout_at(more, stream_frame(&mut client)).await.is_ok() {}
                client.write_all(&frame(8, 0, 1, &4000_u32.to_be_bytes())).await.unwrap();
            }
        }
        assert_eq!(got, body);
        assert!(begun.elapsed().as_secs() >= 9 * 119);
    };
    tokio::join!(serve, talk);
    assert_eq!(shared.counters.stalled.load(Ordering::Relaxed), 0);
}
