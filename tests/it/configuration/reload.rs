//! `SIGHUP`: the configuration is read again, and what a running gateway can take over holds from then on.

use super::{Files, KEY, metric, publish, read};
use crate::support::gateway::Gateway;
use crate::support::http::{Connection, Request};
use crate::support::wait_for;

/// Tells the gateway to read its configuration again, and waits until it says `words` in its log.
#[track_caller]
pub(crate) fn reload(gateway: &mut Gateway, words: &str) -> String {
    let before = gateway.process().errors().len();
    gateway.process().signal("HUP");
    let told = |gateway: &mut Gateway| gateway.process().errors()[before..].to_owned();
    wait_for(words, || told(gateway).contains(words));
    told(gateway)
}

pub(crate) const READ_AGAIN: &str = "the configuration was read again";

#[test]
fn rules_hold_from_the_signal_on() {
    let files = Files::with("[[topics]]\nmatch = \"news\"\nread = \"public\"\n");
    let mut gateway = files.gateway();
    assert_eq!((read(&gateway, "news").status, read(&gateway, "other").status), (200, 401));
    files.write("encke.toml", "[[topics]]\nmatch = \"other\"\nread = \"public\"\n");
    let told = reload(&mut gateway, READ_AGAIN);
    assert!(told.contains("changed=[\"topics\"]"), "{told}");
    assert_eq!((read(&gateway, "news").status, read(&gateway, "other").status), (401, 200));
    files.write("encke.toml", "read = \"public\"\n");
    let told = reload(&mut gateway, READ_AGAIN);
    assert!(told.contains("\"read\"") && told.contains("\"topics\""), "{told}");
    assert_eq!(read(&gateway, "anything").status, 200);
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let files = Files::with("read = \"public\"\n");
    let mut gateway = files.gateway();
    files.write("encke.toml", "read = \"key\"\nhartbeat = 20\n");
    let told = reload(&mut gateway, "the running one goes on");
    assert!(told.contains("encke.toml:2:1: there is no option `hartbeat`"), "{told}");
    assert_eq!(read(&gateway, "a").status, 200);
    std::fs::remove_file(files.path("encke.toml")).expect("it is there");
    let told = reload(&mut gateway, "the running one goes on");
    assert!(told.contains("cannot be read"), "{told}");
    assert_eq!((read(&gateway, "a").status, publish(&gateway, "a", "x").status), (200, 201));
}

#[test]
fn streams_that_may_no_longer_read_end_and_others_go_on() {
    let files =
        Files::with("[[topics]]\nmatch = \"news\"\nread = \"public\"\n[[topics]]\nmatch = \"b\"\nread = \"public\"\n");
    let mut gateway = files.gateway();
    let open = |request: Request| {
        let mut connection = Connection::open(gateway.address());
        connection.send(request.bytes());
        connection
    };
    let stream = |request: Request| {
        let mut stream = open(request);
        assert_eq!(stream.head().status, 200);
        stream.chunks_until("encke.hello");
        stream
    };
    let mut anonymous = stream(Request::get("/events/news"));
    let mut everything = stream(Request::get("/events?topic=**"));
    let mut with_key = stream(Request::get("/events/news").bearer(KEY));
    let mut elsewhere = stream(Request::get("/events/b"));
    let active = || metric(&gateway, "encke_streams_active", "long-poll");
    let mut poll = open(Request::get("/events/news?transport=long-poll&timeout=120&lastEventId=latest"));
    wait_for("the poll to wait", || active() == 1.0);

    files.write("encke.toml", "[[topics]]\nmatch = \"b\"\nread = \"public\"\n");
    gateway.process().signal("HUP");
    for stream in [&mut anonymous, &mut everything] {
        let told = stream.chunks_until("encke.bye");
        let told = if told.contains("expired") { told } else { told + &stream.chunks_until("\n\n") };
        assert!(told.contains("\"reason\":\"expired\""), "{told}");
        assert_eq!(stream.chunk(), None, "and it ends");
    }
    let answer = poll.answer();
    assert_eq!((answer.status, &answer.json()["events"]), (200, &serde_json::json!([])));
    assert_eq!(read(&gateway, "news").status, 401);
    for (topic, stream) in [("news", &mut with_key), ("b", &mut elsewhere)] {
        assert_eq!(publish(&gateway, topic, "still here").status, 201);
        stream.chunks_until("still here");
    }
    let ended = |transport: &str| {
        metric(&gateway, "encke_stream_ends_total{path=\"direct/h1.1/0\",reason=\"auth_expired\"", transport)
    };
    assert_eq!((ended("\"sse\""), ended("\"long-poll\"")), (2.0, 1.0));
}

#[test]
fn origins_hosts_limits_and_intervals_are_those_of_the_newest_file() {
    let files = Files::with("read = \"public\"\n");
    let mut gateway = files.gateway();
    let admin = gateway.admin_url().trim_start_matches("http://").to_owned();
    let shared = |gateway: &Gateway| {
        let request = Request::get("/events/a?transport=long-poll&timeout=0").field("Origin", "https://app.example");
        request.ask(gateway.address()).field("access-control-allow-origin")
    };
    let by_name = || Request::get("/health/live").host("gateway.example").ask(&admin).status;
    let topics = |gateway: &Gateway| {
        Request::get("/events?topic=a&topic=b&transport=long-poll&timeout=0").ask(gateway.address()).status
    };
    let page = |gateway: &Gateway| Request::get("/").ask(gateway.address()).status;
    let hello = |gateway: &Gateway| {
        let mut stream = Connection::open(gateway.address());
        stream.send(Request::get("/events/a?transport=sse").bytes());
        let head = stream.head();
        if head.status == 200 { stream.chunks_until("\n\n") } else { head.status.to_string() }
    };
    assert_eq!((shared(&gateway), by_name(), topics(&gateway), page(&gateway)), (None, 421, 200, 404));
    assert_eq!(publish(&gateway, "a", &"x".repeat(2000)).status, 201);
    assert!(hello(&gateway).contains("\"heartbeat\":15"));

    files.write(
        "encke.toml",
        "read = \"public\"\ncors-origin = \"https://app.example\"\nhost = \"gateway.example\"\nmax-topics = 1\npages = true\n\
         heartbeat = 9\nretry = \"600ms\"\nevent-bytes = \"1KiB\"\nbatch-bytes = \"2KiB\"\ndrain = 3\n",
    );
    let told = reload(&mut gateway, READ_AGAIN);
    for name in
        ["cors-origin", "host", "max-topics", "pages", "heartbeat", "retry", "event-bytes", "batch-bytes", "drain"]
    {
        assert!(told.contains(&format!("\"{name}\"")), "{name} is not in {told}");
    }
    assert!(!told.contains("restart"), "{told}");
    let origin = Some("https://app.example".to_owned());
    assert_eq!((shared(&gateway), by_name(), topics(&gateway), page(&gateway)), (origin, 200, 400, 200));
    assert_eq!(publish(&gateway, "a", &"x".repeat(2000)).status, 413);
    let told = hello(&gateway);
    assert!(told.contains("\"heartbeat\":9") && told.contains("retry: 600\n"), "{told}");
    assert_eq!(metric(&gateway, "encke_heartbeat_seconds{path=\"other\"", ""), 9.0);
    let of_the_path = "encke_heartbeat_seconds{path=\"direct/h1.1/0\"} 9\n";
    wait_for("the new heartbeat of a path", || Request::get("/metrics").ask(&admin).text().contains(of_the_path));

    files.write("encke.toml", "read = \"public\"\ntransports = \"ndjson\"\n");
    reload(&mut gateway, READ_AGAIN);
    assert_eq!((shared(&gateway), hello(&gateway)), (None, "400".to_owned()));
}

#[test]
fn what_needs_a_restart_is_named_each_time_and_not_taken() {
    let files = Files::with("head-bytes = \"8KiB\"\n[[topics]]\nmatch = \"b\"\n");
    let mut gateway = files.gateway();
    // Below the last rule that keeps something, rules have no say in that.
    files.write("encke.toml", "head-bytes = \"8KiB\"\n[[topics]]\nmatch = \"b\"\n[[topics]]\nmatch = \"c\"\n");
    assert!(!reload(&mut gateway, READ_AGAIN).contains("keep of topics"));
    let rule = "[[topics]]\nmatch = \"b\"\nkeep = { events = 5 }\n[[topics]]\nmatch = \"c\"\n";
    files.write("encke.toml", &format!("head-bytes = \"9KiB\"\ndev = true\n{rule}"));
    for _ in 0..2 {
        let told = reload(&mut gateway, "wait for a restart");
        assert!(
            told.contains("changed=[]") && told.contains("options=[\"dev\", \"head-bytes\", \"keep of topics\"]"),
            "{told}"
        );
        assert_eq!(Request::post("/events/a", "x").ask(gateway.address()).status, 401, "dev holds from the start only");
    }
}

#[test]
fn a_key_is_changed_without_a_moment_in_which_neither_is_good() {
    let files = Files::with("");
    let key = files.path("key");
    files.write("key", KEY);
    files.write("encke.toml", &format!("publish-key-file = \"{}\"\n", key.display()));
    let mut gateway = Gateway::start(&["--config", &files.file()]);
    let new = "another-key-for-tests-9876543210";
    let with = |gateway: &Gateway, key: &str| Request::post("/events/a", "x").bearer(key).ask(gateway.address()).status;
    assert_eq!((with(&gateway, KEY), with(&gateway, new)), (201, 401));
    files.write("key", &format!("{new}\n{KEY}\n"));
    let told = reload(&mut gateway, READ_AGAIN);
    assert!(told.contains("changed=[\"publish key\"]") && !told.contains(new), "{told}");
    assert_eq!((with(&gateway, KEY), with(&gateway, new)), (201, 201));
    files.write("key", new);
    reload(&mut gateway, READ_AGAIN);
    assert_eq!((with(&gateway, KEY), with(&gateway, new)), (401, 201));
}

#[test]
fn a_stream_of_events_whose_key_is_withdrawn_stores_no_further_line() {
    let files = Files::with("");
    let key = files.path("key");
    files.write("key", KEY);
    let open_to = |topic: &str| {
        let rule = format!("[[topics]]\nmatch = \"{topic}\"\npublish = \"public\"\n");
        files.write("encke.toml", &format!("publish-key-file = \"{}\"\n{rule}", key.display()));
    };
    open_to("in/*");
    let mut gateway = Gateway::start(&["--config", &files.file()]);
    let stream = |target: &str, bearer: Option<&str>| {
        let head = Request::new("POST", target).field("Content-Type", "application/x-ndjson");
        let head = bearer.map_or(head.clone(), |key| head.bearer(key)).field("Transfer-Encoding", "chunked");
        let mut connection = Connection::open(gateway.address());
        connection.send(head.head());
        connection
    };
    let line = "{\"topic\":\"in/a\",\"data\":\"x\"}\n";
    let write = |stream: &mut Connection| stream.send(format!("{:x}\r\n{line}\r\n", line.len()));
    let mut with_key = stream("/events?ack=each", Some(KEY));
    let mut quiet = stream("/events", Some(KEY));
    let mut anybody = stream("/events?ack=each", None);
    for stream in [&mut with_key, &mut anybody] {
        assert_eq!(stream.head().status, 200);
        write(stream);
        stream.chunks_until("\"line\":1");
    }

    // 1. Another key: whoever holds the old one has published the last line, also who does not write just now.
    let new = "another-key-for-tests-9876543210";
    files.write("key", new);
    reload(&mut gateway, READ_AGAIN);
    let told = with_key.chunks_until("\n");
    assert!(told.contains("\"status\":401") && told.contains("\"stopped\":2"), "{told}");
    let answer = quiet.answer();
    assert_eq!((answer.status, &answer.json()["stopped"]), (401, &serde_json::json!(1)));
    // 2. Who needs no key goes on, until other topics are open.
    write(&mut anybody);
    anybody.chunks_until("\"line\":2");
    open_to("elsewhere/*");
    reload(&mut gateway, READ_AGAIN);
    let told = anybody.chunks_until("\n");
    assert!(told.contains("\"status\":401") && told.contains("\"stopped\":3"), "{told}");
}

#[test]
fn the_log_is_as_loud_as_the_file_says() {
    let files = Files::with("log-level = \"info\"\n");
    let mut gateway = files.gateway();
    publish(&gateway, "before", "x");
    assert!(!gateway.process().errors().contains("DEBUG"));
    files.write("encke.toml", "log-level = \"debug\"\n");
    reload(&mut gateway, READ_AGAIN);
    read(&gateway, "after");
    wait_for("a line of the debug level", || gateway.process().errors().contains("DEBUG"));
}

#[test]
fn a_gateway_without_a_file_survives_the_signal() {
    let mut gateway = Gateway::start(&["--dev"]);
    let told = reload(&mut gateway, READ_AGAIN);
    assert!(told.contains("changed=[]"), "{told}");
    assert_eq!(Request::post("/events/a", "x").ask(gateway.address()).status, 201);
}
