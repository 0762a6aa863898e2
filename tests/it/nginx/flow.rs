//! What passes through while all is well.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::{Following, ask, field, file_of, publish};
use crate::support::gateway::Gateway;
use crate::support::nginx::{Configuration, Nginx};
use crate::support::wait_for;

#[test]
fn each_event_reaches_curl_before_the_next_is_published() {
    let gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()));
    each_event_flows_at_once(&nginx.url());
}

#[test]
fn with_keep_alive_each_event_reaches_curl_before_the_next_is_published() {
    let gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()).with_keep_alive());
    each_event_flows_at_once(&nginx.url());
}

#[track_caller]
fn each_event_flows_at_once(base: &str) {
    let transports = [
        ("sse", "text/event-stream"),
        ("ndjson", "application/x-ndjson"),
        ("multipart-replace", "multipart/x-mixed-replace"),
    ];
    // Open before anything is published: the heads come at once.
    let streams = transports.map(|(transport, media_type)| {
        let stream = Following::open(&format!("{base}/events/flow/a?transport={transport}"), &[]);
        assert!(stream.head.starts_with("HTTP/1.1 200 "), "{}", stream.head);
        assert!(field(&stream.head, "content-type").starts_with(media_type), "{}", stream.head);
        stream
    });
    streams[0].until("event: encke.hello");
    streams[1].until("encke.hello");
    for number in 1..=5 {
        let data = format!("event-{number}");
        publish(base, "flow/a", &data);
        for stream in &streams {
            stream.until(&data);
        }
    }
}

#[test]
fn the_gateway_is_spoken_to_in_http_1_0_and_told_who_asks() {
    let gateway = Gateway::start(&["--dev"]);
    let relay = Relay::before(gateway.address());
    let nginx = Nginx::start(&Configuration::shipped(&relay.authority()));
    let stream = Following::open(&format!("{}/events/flow/b%2Fc?x=%20", nginx.url()), &[]);
    stream.until("encke.hello");
    publish(&nginx.url(), "flow/b/c", "one");
    stream.until("data: one");

    let exchange = relay.exchange(0);
    assert!(exchange.asked.starts_with("GET /events/flow/b%2Fc?x=%20 HTTP/1.0\r\n"), "{}", exchange.asked);
    assert_eq!(field(&exchange.asked, "host"), nginx.authority(), "with the port that the client asked");
    assert_eq!(field(&exchange.asked, "x-forwarded-for"), "127.0.0.1");
    assert_eq!(field(&exchange.asked, "x-forwarded-proto"), "http");
    // What HTTP/1.0 can read: no chunks, the end of the connection is the end of the content.
    assert!(exchange.answered.starts_with("HTTP/1.0 200 OK\r\n"), "{}", exchange.answered);
    assert_eq!(field(&exchange.answered, "transfer-encoding"), "");
    assert_eq!(field(&exchange.answered, "x-accel-buffering"), "no", "which is why nginx holds nothing back");
    let (_, content) = exchange.answered.split_once("\r\n\r\n").expect("a head and its end");
    assert!(content.ends_with("data: one\n\n"), "{content}");
}

#[test]
fn with_keep_alive_publishes_and_polls_share_a_connection() {
    let gateway = Gateway::start(&["--dev"]);
    let relay = Relay::before(gateway.address());
    let nginx = Nginx::start(&Configuration::shipped(&relay.authority()).with_keep_alive());
    publish(&nginx.url(), "flow/d", "one");
    publish(&nginx.url(), "flow/d", "two");
    let poll = ask(&format!("{}/events/flow/d?transport=long-poll&last=2", nginx.url()), &[]);
    assert!(poll.body.contains("one") && poll.body.contains("two"), "{}", poll.body);
    let asked = relay.exchange(0).asked;
    let lines: Vec<_> = asked.lines().filter(|line| line.contains(" HTTP/")).collect();
    let expected = [
        "POST /events/flow/d HTTP/1.1",
        "POST /events/flow/d HTTP/1.1",
        "GET /events/flow/d?transport=long-poll&last=2 HTTP/1.1",
    ];
    assert_eq!(lines.len(), expected.len(), "{asked}");
    assert!(lines.iter().zip(expected).all(|(line, expected)| line.ends_with(expected)), "{lines:#?}");
}

#[test]
fn a_long_poll_waits_and_goes_on_from_its_cursor() {
    let gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()));
    let url = format!("{}/events/flow/e", nginx.url());
    let poll = |cursor: &str| format!("{url}?transport=long-poll&lastEventId={cursor}");
    let edge = ask(&format!("{url}?transport=long-poll"), &[]);
    let cursor = edge.field("encke-cursor").to_owned();

    let waiting = std::thread::spawn({
        let url = poll(&cursor);
        move || ask(&url, &[])
    });
    wait_for("the poll to wait", || super::metric(&gateway, "encke_streams_active", &["transport=\"long-poll\""]) == 1);
    publish(&nginx.url(), "flow/e", "first");
    let first = waiting.join().expect("the poll is answered");
    assert!(first.body.contains("first"), "{}", first.body);

    publish(&nginx.url(), "flow/e", "second");
    let second = ask(&poll(first.field("encke-cursor")), &[]);
    assert!(second.body.contains("second") && !second.body.contains("first"), "{}", second.body);
    assert_eq!(second.field("encke-resume"), "resumed");
}

#[test]
fn a_stream_resumes_from_the_last_event_id_on_every_transport() {
    let gateway = Gateway::start(&["--dev"]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()));
    let base = nginx.url();
    let stream = Following::open(&format!("{base}/events/flow/f"), &[]);
    publish(&base, "flow/f", "before");
    let id = stream.until("id: ");
    assert_eq!(id, format!("id: {}", field(&stream.head, "encke-cursor")), "hello says where the stream begins");
    let id = stream.until("id: ").split_off("id: ".len());
    stream.until("data: before");
    drop(stream);

    publish(&base, "flow/f", "missed-1");
    publish(&base, "flow/f", "missed-2");
    let last_event_id = format!("Last-Event-ID: {id}");
    for transport in ["sse", "ndjson"] {
        let url = format!("{base}/events/flow/f?transport={transport}");
        let again = Following::open(&url, &["-H", &last_event_id]);
        assert_eq!(field(&again.head, "encke-resume"), "resumed", "{}", again.head);
        for data in ["missed-1", "missed-2"] {
            // The first line with any event's data is this one: nothing came before it and nothing twice.
            let line = again.find("an event", |line| line.contains("before") || line.contains("missed-"));
            assert!(line.contains(data), "{transport}: {line}");
        }
    }
    let poll = ask(&format!("{base}/events/flow/f?transport=long-poll"), &["-H", &last_event_id]);
    assert!(!poll.body.contains("before"), "{}", poll.body);
    assert!(poll.body.contains("missed-1") && poll.body.contains("missed-2"), "{}", poll.body);
    let pictures =
        Following::open(&format!("{base}/events/flow/f?transport=multipart-replace"), &["-H", &last_event_id]);
    assert_eq!(field(&pictures.head, "encke-resume"), "resumed", "{}", pictures.head);
    pictures.until("missed-2");
}

#[test]
fn keys_pass_and_so_do_the_gateways_refusals() {
    let (key, authorization) = ("nginx-passes-this-key", "Authorization: Bearer nginx-passes-this-key");
    let gateway = Gateway::start_with(&[], &[("ENCKE_PUBLISH_KEY", key)]);
    let nginx = Nginx::start(&Configuration::shipped(gateway.address()));
    let url = format!("{}/events/flow/g", nginx.url());

    let refused = |what: &str, status: u16, answer: &super::Answer| {
        assert_eq!(answer.status, status, "{what}: {}", answer.head);
        assert_eq!(answer.field("content-type"), "application/problem+json", "{what}: {}", answer.head);
        assert!(answer.body.contains("\"detail\""), "{what}: {}", answer.body);
    };
    refused("publishing without the key", 401, &ask(&url, &["-d", "x"]));
    let event_stream = ["-H", "Accept: text/event-stream"];
    refused("reading without the key, which is meant to stop an EventSource", 401, &ask(&url, &event_stream));
    refused("a parameter that is not known", 400, &ask(&format!("{url}?x=y"), &["-d", "x", "-H", authorization]));

    let files = tempfile::tempdir().expect("a temporary directory");
    let send = |bytes| ask(&url, &["-H", authorization, "--data-binary", &file_of(files.path(), bytes)]);
    assert_eq!(send(1 << 20).status, 201, "the largest event");
    refused("an event that is a byte too large", 413, &send((1 << 20) + 1));
    refused("one that is far too large", 413, &send(8 << 20));

    assert_eq!(ask(&url, &["-H", authorization, "-d", "secret"]).status, 201);
    let stream = Following::open(&format!("{url}?last=1"), &["-H", authorization]);
    stream.until("data: secret");
}

/// Stands between nginx and the gateway, passes bytes on, and keeps what each side said.
struct Relay {
    address: std::net::SocketAddr,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

/// What went over one connection so far.
#[derive(Clone, Default)]
struct Exchange {
    asked: String,
    answered: String,
}

impl Relay {
    fn before(gateway: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let exchanges = Arc::new(Mutex::new(Vec::new()));
        let (kept, gateway) = (Arc::clone(&exchanges), gateway.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&gateway) else { return };
                let number = push(&kept);
                pass(&client, &server, Arc::clone(&kept), move |all, text| all[number].asked.push_str(text));
                pass(&server, &client, Arc::clone(&kept), move |all, text| all[number].answered.push_str(text));
            }
        });
        Self { address, exchanges }
    }

    fn authority(&self) -> String {
        self.address.to_string()
    }

    /// What went over the connection of that number.
    #[track_caller]
    fn exchange(&self, number: usize) -> Exchange {
        self.exchanges.lock().expect("no relay panics")[number].clone()
    }
}

fn push(exchanges: &Mutex<Vec<Exchange>>) -> usize {
    let mut exchanges = exchanges.lock().expect("no relay panics");
    exchanges.push(Exchange::default());
    exchanges.len() - 1
}

/// Passes one direction on until its end, which it passes on as well.
fn pass(
    from: &TcpStream,
    to: &TcpStream,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
    keep: impl Fn(&mut Vec<Exchange>, &str) + Send + 'static,
) {
    let clone = |socket: &TcpStream| socket.try_clone().expect("a socket can be cloned");
    let (mut from, mut to) = (clone(from), clone(to));
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            keep(&mut exchanges.lock().expect("no relay panics"), &String::from_utf8_lossy(&buffer[..length]));
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
