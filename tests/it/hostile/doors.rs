//! Who may come in: pages of other origins, foreign names for our address, and whoever has no key.

use super::publish::assert_stored;
use super::{KEY, assert_guarded, assert_refused, gateway};
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Connection, Request};

const POLL: &str = "/events/t?transport=long-poll&timeout=0";

#[test]
fn pages_of_other_origins_may_not_publish() {
    let gateway = Gateway::start(&["--dev", "--cors-origin", "https://app.example"]);
    let port = gateway.address().split_once(':').expect("a port").1;
    let post = |origin: &str| Request::post("/events/t", "x").host(gateway.address()).field("Origin", origin);
    for origin in [
        "https://evil.example",
        "https://app.example.evil.example",
        "https://app.example:8443",
        "http://app.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://xlocalhost",
        "http://10.0.0.1",
        "chrome-extension://abcdef",
        "file://",
        "null",
        "",
        "*",
    ] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let mut request = Request::new(method, "/events/t").content("x").field("Origin", origin);
            request = request.host(gateway.address());
            let answer = request.ask(gateway.address());
            assert_refused(&format!("{method} {origin}"), &answer, 403, "list it with --cors-origin");
            assert_eq!(answer.field("access-control-allow-origin"), None, "{origin}");
        }
    }
    // What a form can send without asking first is refused like anything else.
    let form = post("https://evil.example").field("Content-Type", "application/x-www-form-urlencoded");
    assert_refused("a form", &form.ask(gateway.address()), 403, "may not publish here");
    let cut = Request::post("/streams/x/cut", "").field("Origin", "https://evil.example").ask(gateway.address());
    assert_refused("cut", &cut, 403, "may not publish here");
    for origin in [
        &format!("http://127.0.0.1:{port}"),
        "https://app.example",
        "http://localhost:3000",
        "http://a.localhost",
        "https://127.0.0.1",
        "http://[::1]:5173",
    ] {
        assert_stored(origin, &post(origin).ask(gateway.address()));
    }
    assert_stored("no page", &Request::post("/events/t", "x").ask(gateway.address()));
    let own = Request::post("/events/t", "x").host("box.localhost:99").field("Origin", "http://box.localhost:99");
    assert_stored("the origin itself", &own.ask(gateway.address()));
}

#[test]
fn outside_dev_no_origin_is_listed_but_our_own() {
    let gateway = gateway();
    let post = |host: &str, origin: &str| {
        Request::post("/events/t", "x").bearer(KEY).host(host).field("Origin", origin).ask(gateway.address())
    };
    assert_refused("loopback", &post("events.example", "http://localhost:3000"), 403, "--cors-origin");
    assert_refused("another port", &post("events.example", "https://events.example:8443"), 403, "--cors-origin");
    assert_stored("our own", &post("events.example", "https://events.example"));
}

#[test]
fn a_foreign_name_for_our_address_is_refused_under_dev() {
    let gateway = Gateway::start(&["--dev", "--host", "box.example"]);
    for host in [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "xlocalhost",
        "box.example.evil.example",
        "127.0.0.1.",
        "2130706433.example",
    ] {
        for request in
            [Request::get(POLL), Request::post("/events/t", "x"), Request::get("/"), Request::get("/metrics")]
        {
            let answer = request.host(host).ask(gateway.address());
            if host == "127.0.0.1." {
                assert!(answer.status < 300, "a trailing dot is part of no name");
            } else {
                assert_refused(host, &answer, 421, "add it with --host");
            }
        }
    }
    let target = format!("http://evil.example{POLL}");
    assert_refused("in the target", &Request::get(&target).ask(gateway.address()), 421, "--host");
    for host in [
        "127.0.0.1",
        "127.0.0.1:1",
        "192.168.1.7",
        "[::1]:8080",
        "[fe80::1]",
        "localhost",
        "LOCALHOST:80",
        "localhost.",
        "a.b.localhost",
        "box.example",
        "Box.Example:8080",
    ] {
        assert_eq!(Request::get(POLL).host(host).ask(gateway.address()).status, 200, "{host}");
    }
}

#[test]
fn the_admin_address_has_no_foreign_name_and_its_routes_are_nowhere_else() {
    let gateway = gateway();
    let admin = gateway.admin_url().trim_start_matches("http://");
    for target in ["/metrics", "/health/live", "/health/ready", "/health/ready?for=publish"] {
        assert_refused(target, &Request::get(target).host("evil.example").ask(admin), 421, "add it with --host");
        let answer = Request::get(target).ask(admin);
        assert_eq!(answer.status, 200, "{target}");
        assert_guarded(target, &answer);
        assert_refused(target, &Request::get(target).ask(gateway.address()), 404, "nothing here");
    }
    assert_refused("for", &Request::get("/health/ready?for=x").ask(admin), 400, "`for` can only be `publish`");
    assert_refused("events", &Request::get(POLL).ask(admin), 404, "nothing here");
    assert_refused("publish", &Request::post("/events/t", "x").bearer(KEY).ask(admin), 404, "nothing here");
    // Names are checked only where a page of the operator's own network could be meant.
    assert_eq!(Request::get(POLL).host("events.example").ask(gateway.address()).status, 200);
}

#[test]
fn pages_and_the_cutting_of_streams_are_for_dev() {
    let gateway = gateway();
    let mut stream = Connection::open(gateway.address());
    stream.send(Request::get("/events/t").bytes());
    let id = stream.head().field("encke-stream").expect("an id");
    for id in [id.as_str(), "x", "%ff", ""] {
        let answer = Request::post(&format!("/streams/{id}/cut"), "").bearer(KEY).ask(gateway.address());
        assert_refused(id, &answer, 404, "nothing here");
    }
    for target in ["/", "/static/live.js", "/favicon.ico"] {
        assert_refused(target, &Request::get(target).ask(gateway.address()), 404, "nothing here");
    }

    let dev = Gateway::start(&["--dev"]);
    let cut = |id: &str| Request::post(&format!("/streams/{id}/cut"), "").ask(dev.address());
    for id in ["x", "%ff", "%00", &"0".repeat(32), &"f".repeat(33), "..", "%2e%2e", &"A".repeat(32)] {
        assert_refused(id, &cut(id), 404, "no such stream");
    }
    let mut stream = Connection::open(dev.address());
    stream.send(Request::get("/events/t").bytes());
    let id = stream.head().field("encke-stream").expect("an id");
    assert_eq!(cut(&id).status, 204);
    let words = String::from_utf8(stream.rest()).expect("text");
    assert!(!words.ends_with("0\r\n\r\n"), "it breaks off, and does not end: {words}");
    assert_refused("again", &cut(&id), 404, "no such stream");
}

#[test]
fn a_preflight_allows_what_listed_pages_need_and_nothing_else() {
    let gateway = Gateway::start_with(
        &["--read", "public", "--cors-origin", "https://app.example,https://other.example"],
        &[("ENCKE_PUBLISH_KEY", KEY)],
    );
    let preflight = |origin: &str| {
        let request = Request::new("OPTIONS", "/events/t").field("Origin", origin);
        let request = request.field("Access-Control-Request-Method", "POST");
        request
            .field("Access-Control-Request-Headers", "last-event-id,authorization,idempotency-key")
            .ask(gateway.address())
    };
    let listed = |answer: &Answer, name| -> Vec<String> {
        let text = answer.field(name).unwrap_or_default().to_lowercase();
        text.split(',').map(|word| word.trim().to_owned()).collect()
    };
    for origin in ["https://app.example", "https://other.example"] {
        let answer = preflight(origin);
        assert_eq!(answer.status, 200);
        assert_guarded("a preflight", &answer);
        assert_eq!(answer.field("access-control-allow-origin").as_deref(), Some(origin));
        assert_eq!(answer.field("access-control-allow-credentials").as_deref(), Some("true"));
        let allowed = listed(&answer, "access-control-allow-headers");
        for name in ["last-event-id", "if-none-match", "authorization", "idempotency-key", "content-type"] {
            assert!(allowed.iter().any(|allowed| allowed == name), "{name}: {allowed:?}");
        }
        let methods = listed(&answer, "access-control-allow-methods");
        assert!(methods.contains(&"post".to_owned()) && methods.contains(&"get".to_owned()), "{methods:?}");

        let answer = Request::get(POLL).field("Origin", origin).ask(gateway.address());
        assert_eq!(answer.field("access-control-allow-origin").as_deref(), Some(origin));
        let exposed = listed(&answer, "access-control-expose-headers");
        for name in ["encke-stream", "encke-cursor", "encke-resume", "etag"] {
            assert!(exposed.iter().any(|exposed| exposed == name), "{name}: {exposed:?}");
        }
        assert!(listed(&answer, "vary").contains(&"origin".to_owned()), "a cache must not give it to others");
        // A refusal can be read as well, or the page's author learns nothing.
        let refused = Request::post("/events/t", "x").field("Origin", origin).ask(gateway.address());
        assert_refused("no key", &refused, 401, "needs a key");
        assert_eq!(refused.field("access-control-allow-origin").as_deref(), Some(origin));
    }
    for origin in [
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil.example",
        "null",
        "*",
        "http://localhost",
    ] {
        for answer in [preflight(origin), Request::get(POLL).field("Origin", origin).ask(gateway.address())] {
            assert_eq!(answer.field("access-control-allow-origin"), None, "{origin}");
            assert_guarded(origin, &answer);
        }
    }
}

#[test]
fn a_page_of_any_origin_reads_what_is_public_without_credentials_and_nothing_else() {
    let key = [("ENCKE_PUBLISH_KEY", KEY)];
    let shared = |answer: &Answer| answer.field("access-control-allow-origin");
    for (args, page) in [
        (&["--read", "public", "--cors-origin", "*"][..], None),
        (&["--read", "public", "--cors-origin", "https://app.example,*"], Some("https://app.example")),
        (&["--dev", "--cors-origin", "*"], Some("http://localhost:3000")),
    ] {
        let gateway = Gateway::start_with(args, &key);
        let preflight = |origin: &str, method: &str| {
            let request = Request::new("OPTIONS", "/events/t").field("Origin", origin);
            request.field("Access-Control-Request-Method", method).ask(gateway.address())
        };
        for origin in ["https://evil.example", "https://app.example.evil.example", "null"] {
            let metrics = Request::get("/metrics").field("Origin", origin).ask(gateway.address());
            assert_eq!(shared(&metrics), None, "{args:?}: what is for operators is not for every page");
            for method in ["GET", "HEAD"] {
                // A script may ask for more than a page may send.
                let request = Request::new(method, POLL).bearer(KEY).field("Cookie", "a=b").field("Origin", origin);
                let answer = request.ask(gateway.address());
                assert_eq!(shared(&answer).as_deref(), Some("*"), "{args:?} {method}");
                assert_eq!(answer.field("access-control-allow-credentials"), None, "{args:?} {method}");

                let answer = preflight(origin, method);
                assert_eq!(shared(&answer).as_deref(), Some("*"), "{args:?} {method}");
                assert_eq!(answer.field("access-control-allow-credentials"), None, "{args:?} {method}");
                assert_eq!(answer.field("access-control-allow-methods").as_deref(), Some("GET"));
                let headers = answer.field("access-control-allow-headers");
                assert_eq!(headers.as_deref(), Some("last-event-id,if-none-match,cache-control"));
            }
            for method in ["POST", "PUT", "DELETE"] {
                assert_eq!(shared(&preflight(origin, method)), None, "{args:?} {method}");
                let answer = Request::new(method, "/events/t").bearer(KEY).field("Origin", origin);
                let answer = answer.field("Content-Length", "0").ask(gateway.address());
                assert_refused("`*` is for reading", &answer, 403, "--cors-origin");
                assert_eq!(shared(&answer), None, "{args:?} {method}");
            }
        }
        if let Some(page) = page {
            for answer in [
                preflight(page, "POST"),
                preflight(page, "GET"),
                Request::get(POLL).field("Origin", page).ask(gateway.address()),
            ] {
                assert_eq!(shared(&answer).as_deref(), Some(page), "what is listed stays what it was");
                assert_eq!(answer.field("access-control-allow-credentials").as_deref(), Some("true"));
            }
        }
    }
}

#[test]
fn without_dev_publishing_needs_the_key_and_reading_too_unless_it_is_public() {
    let closed = Gateway::start_with(&[], &[("ENCKE_PUBLISH_KEY", KEY)]);
    let public = gateway();
    let basic = format!("Basic {KEY}");
    let refuse = |gateway: &Gateway, request: &Request, words: &str| {
        let answer = request.ask(gateway.address());
        assert_refused(words, &answer, 401, words);
        assert_eq!(answer.field("www-authenticate").as_deref(), Some("Bearer realm=\"encke\""));
        assert!(!answer.text().contains(KEY), "the key is not told back");
    };
    // To take it for nobody would give what is public, and say nothing of the rest.
    for target in ["/events/t", "/events?topic=**", "/events/t?transport=poll"] {
        for wrong in ["Bearer another-key-than-this-one", "Bearer", "bearer ", "Bearer\tx"] {
            let request = Request::get(target).field("Authorization", "Basic dTpw").field("Authorization", wrong);
            refuse(&public, &request, "reading needs another key");
        }
    }
    let post = Request::post("/events/t", "x");
    for gateway in [&closed, &public] {
        refuse(gateway, &post, "publishing needs a key");
        refuse(gateway, &post.clone().field("Authorization", &basic), "publishing needs a key");
        refuse(gateway, &post.clone().field("Authorization", "Bearer"), "publishing needs another key");
        refuse(gateway, &post.clone().field("Authorization", KEY), "publishing needs a key");
        refuse(gateway, &post.clone().field("Authorization", b"Bearer \xff\xfe"), "publishing needs a key");
        for wrong in [&KEY[1..], &format!("{KEY}x"), &KEY.to_uppercase(), "", &"x".repeat(10_000)] {
            refuse(gateway, &post.clone().bearer(wrong), "publishing needs");
        }
        refuse(gateway, &Request::post(&format!("/events/t?token={KEY}"), "x"), "publishing needs a key");
        assert_stored("the right key", &post.clone().bearer(KEY).ask(gateway.address()));
        let spelt = post.clone().field("Authorization", format!("bearer  {KEY} "));
        assert_stored("RFC 9110 § 11.1", &spelt.ask(gateway.address()));
    }
    for transport in ["sse", "ndjson", "long-poll", "multipart-replace"] {
        let get = |topic: &str| Request::get(&format!("/events/{topic}?transport={transport}&timeout=0"));
        for topic in ["t", "never-published"] {
            refuse(&closed, &get(topic), "reading needs a key");
            refuse(&closed, &get(topic).bearer("another-key-than-this-one"), "reading needs another key");
        }
        let mut stream = Connection::open(closed.address());
        stream.send(get("t").bearer(KEY).bytes());
        let head = stream.head();
        assert_eq!(head.status, 200);
        assert_eq!(head.field("cross-origin-resource-policy").as_deref(), Some("same-origin"), "not for other pages");
        let mut stream = Connection::open(public.address());
        stream.send(get("t").bytes());
        assert_eq!(stream.head().field("cross-origin-resource-policy").as_deref(), Some("cross-origin"));
    }
}
