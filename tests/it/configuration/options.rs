//! Each limit that an option sets is the one that holds.

use super::{Files, KEY, metric, publish};
use crate::support::http::{Connection, Request};
use crate::support::wait_for;

#[test]
fn sizes_and_counts_are_those_of_the_file() {
    let files = Files::with(
        "read = \"public\"\nevent-bytes = \"1KiB\"\nhead-bytes = \"8KiB\"\nmax-topics = 3\nbatch-bytes = \"4KiB\"\n",
    );
    let gateway = files.gateway();
    let batch = |events: usize| {
        let events = vec![format!("{{\"topic\":\"a\",\"data\":\"{}\"}}", "x".repeat(900)); events].join(",");
        let request = Request::post("/events", format!("[{events}]")).field("Content-Type", "application/json");
        request.bearer(KEY).ask(gateway.address()).status
    };
    assert_eq!((batch(4), batch(5)), (201, 413));
    assert_eq!(publish(&gateway, "a", &"x".repeat(1024)).status, 201);
    let refused = publish(&gateway, "a", &"x".repeat(1025));
    assert_eq!(refused.status, 413);
    assert!(refused.text().contains("at most 1024 bytes"), "{}", refused.text());

    assert_eq!(publish(&gateway, "a?topic=b&topic=c", "x").status, 201);
    let refused = publish(&gateway, "a?topic=b&topic=c&topic=d", "x");
    assert!(refused.status == 400 && refused.text().contains("at most 3 topics"), "{}", refused.text());
    let topics = |count: usize| {
        let names: Vec<String> = (0..count).map(|at| format!("topic=t{at}")).collect();
        Request::get(&format!("/events?{}&transport=long-poll&timeout=0", names.join("&"))).ask(gateway.address())
    };
    assert_eq!((topics(3).status, topics(4).status), (200, 400));

    let with_head = |bytes: usize| {
        let mut connection = Connection::open(gateway.address());
        connection.offer(Request::get("/events/a?transport=long-poll&timeout=0").field("X", "x".repeat(bytes)).bytes());
        connection.head().status
    };
    assert_eq!((with_head(7 << 10), with_head(9 << 10)), (200, 431));
}

#[test]
fn only_the_transports_of_the_list_are_offered() {
    let gateway = Files::with("read = \"public\"\ntransports = [\"ndjson\", \"long-poll\"]\n").gateway();
    let ask = |target: &str, accept: &str| {
        let mut connection = Connection::open(gateway.address());
        connection.send(Request::get(target).field("Accept", accept).bytes());
        let head = connection.head();
        (head.status, head.field("content-type").unwrap_or_default())
    };
    assert_eq!(ask("/events/a?transport=sse", "*/*").0, 400);
    assert_eq!(ask("/events/a?transport=ndjson", "*/*").0, 200);
    assert_eq!(ask("/events/a", "text/event-stream"), (200, "application/x-ndjson".to_owned()));
    let refused = Request::get("/events/a?transport=sse").ask(gateway.address());
    assert!(refused.text().contains("there are ndjson, long-poll"), "{}", refused.text());
}

#[test]
fn a_head_that_is_late_and_a_connection_that_is_idle_are_ended_when_the_file_says() {
    let gateway = Files::with("head-timeout = 1\nkeep-alive = 1\n").gateway();
    let mut late = Connection::open(gateway.address());
    late.send("GET /events/a HTTP/1.1\r\nHost:");
    assert_eq!(late.answer().status, 408);
    let mut idle = Connection::open(gateway.address());
    idle.send(Request::post("/events/a", "x").bearer(KEY).bytes());
    assert_eq!(idle.answer().status, 201);
    assert_eq!(idle.rest(), b"", "it is closed, long before the default of 75 s");
}

#[test]
fn streams_are_told_the_heartbeat_and_a_retry_of_the_range() {
    let gateway = Files::with("read = \"public\"\nheartbeat = 7\nretry = \"700ms-701ms\"\n").gateway();
    let mut stream = Connection::open(gateway.address());
    stream.send(Request::get("/events/a").bytes());
    stream.head();
    let hello = stream.chunks_until("\n\n");
    assert!(hello.contains("\"heartbeat\":7"), "{hello}");
    assert!(hello.contains("retry: 700\n") || hello.contains("retry: 701\n"), "{hello}");
}

#[test]
fn no_more_is_kept_in_memory_than_the_file_says_and_the_rest_is_read_from_the_log() {
    let files = Files::with("read = \"public\"\nlive-bytes = \"1MiB\"\nlive-events = 1024\nreplays = 1\n");
    let gateway = files.gateway();
    let data = "x".repeat(100_000);
    for _ in 0..40 {
        assert_eq!(publish(&gateway, "a", &data).status, 201);
    }
    wait_for("the newest event to be in memory", || metric(&gateway, "encke_pages_pinned_bytes", "") > 0.0);
    let all = Request::get("/events/a?transport=long-poll&timeout=0&lastEventId=earliest").ask(gateway.address());
    assert_eq!(all.json()["more"], true, "{all:?}");
    assert!(metric(&gateway, "encke_page_loads_total", "") > 0.0, "the oldest are not in memory");
    let held = metric(&gateway, "encke_pages_pinned_bytes", "") + metric(&gateway, "encke_pages_cached_bytes", "");
    // Each of the two may pass its limit by the page that it must hold, and by what was rendered since.
    assert!(held < f64::from(6 << 20), "{held}");
}

#[test]
fn a_reader_that_takes_nothing_is_ended_when_the_file_says() {
    let gateway = Files::with("read = \"public\"\nstall = 10\n").gateway();
    let mut stalled = Connection::open(gateway.address());
    stalled.send(Request::get("/events/a").bytes());
    stalled.head();
    let data = "x".repeat(1 << 20);
    // More than the sockets of both sides hold.
    for _ in 0..24 {
        assert_eq!(publish(&gateway, "a", &data).status, 201);
    }
    let ended = || metric(&gateway, "encke_stream_ends_total", "slow_reader");
    wait_for("the stream to end, long before the default of 120 s", || ended() == 1.0);
    assert_eq!(metric(&gateway, "encke_stalled_total", ""), 1.0);
}
