//! The configurations of other proxies that `docs/deploy.md` shows, tried as they stand there; and a base path behind nginx.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use reqwest::Url;

use super::{KEY, directory, serve};
use crate::support::PATIENCE;
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Connection, Request};
use crate::support::nginx::{Configuration, Nginx};
use crate::support::process::Process;
use crate::support::server::started;
use crate::support::wait_for;

/// The block of the document that is marked so.
fn shown(mark: &str) -> String {
    let document = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy.md"));
    let document = document.expect("the document");
    let block = document.split(&format!("```{mark}\n")).nth(1).and_then(|rest| rest.split("```").next());
    block.unwrap_or_else(|| panic!("no block is marked {mark}")).to_owned()
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} stands once in what is shown");
    text.replace(from, to)
}

/// Starts a proxy with what `configure` makes for a free port, and waits until it passes a request on.
fn start(configure: impl Fn(u16) -> Command) -> (Process, String) {
    let passes = |port| {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
        let request = b"GET /events/t?transport=long-poll HTTP/1.0\r\nHost: www.example.com\r\n\r\n";
        connection.write_all(request).ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        answer.contains("\"cursor\":").then_some(())
    };
    let (process, port) = started(configure, |_, port| passes(port).is_some());
    (process, format!("127.0.0.1:{port}"))
}

/// What an `EventSource` would be given.
fn ask_for_a_stream(address: &str) -> (Answer, Connection) {
    let mut connection = Connection::open(address);
    let request = Request::get("/events/demo/chat").host("www.example.com").field("Accept", "text/event-stream");
    connection.send(request.bytes());
    (connection.head(), connection)
}

/// Events pass at once, and whoever comes while the gateway is away is told to come back.
fn works(proxy: &str, mut gateway: Gateway) {
    let (head, mut stream) = ask_for_a_stream(proxy);
    assert_eq!(head.status, 200, "{head:?}");
    stream.chunks_until("encke.hello");
    for text in ["first", "second"] {
        let answer = Request::post("/events/demo/chat", text).host("www.example.com").ask(proxy);
        assert_eq!(answer.status, 201, "{answer:?}");
        stream.chunks_until(&format!("data: {text}"));
    }
    drop(stream);
    gateway.kill9();
    wait_for("the proxy to answer in place of the gateway", || {
        let (head, mut rest) = ask_for_a_stream(proxy);
        let is_stream = head.field("content-type").is_some_and(|media| media.starts_with("text/event-stream"));
        head.status == 200 && is_stream && {
            let length = head.field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            rest.take(length) == b"retry: 3000\n\n"
        }
    });
    let answer = Request::post("/events/demo/chat", "x").host("www.example.com").ask(proxy);
    assert!(matches!(answer.status, 502 | 503), "a publisher hears the truth: {answer:?}");
}

#[test]
fn haproxy_works_as_it_is_shown() {
    let gateway = Gateway::start(&["--dev", "--host", "www.example.com"]);
    let directory = directory();
    let file = directory.path().join("haproxy.cfg");
    let (proxy, address) = start(|port| {
        let text = replaced(&shown("haproxy"), "127.0.0.1:80\n", &format!("127.0.0.1:{port}\n"));
        std::fs::write(&file, replaced(&text, "127.0.0.1:8080", gateway.address())).expect("it can be written");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        command
    });
    assert!(!proxy.errors().contains("WARNING"), "{}", proxy.errors());
    works(&address, gateway);
}

#[test]
fn caddy_works_as_it_is_shown() {
    let gateway = Gateway::start(&["--dev", "--host", "www.example.com"]);
    let directory = directory();
    let file = directory.path().join("Caddyfile");
    let (_proxy, address) = start(|port| {
        let text = replaced(&shown("caddy"), "http://www.example.com", &format!("http://www.example.com:{port}"));
        let text = replaced(&text, "127.0.0.1:8080", gateway.address());
        std::fs::write(&file, format!("{{\n\tadmin off\n}}\n{text}")).expect("it can be written");
        let mut command = Command::new("caddy");
        command.arg("run").arg("--adapter").arg("caddyfile").arg("--config").arg(&file);
        command.env("HOME", directory.path()).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        command
    });
    works(&address, gateway);
}

/// Everything that the page at `path` loads is there, asked for as a browser would.
fn page_is_whole(proxy: &str, path: &str) {
    let get = |url: &Url| Request::get(url.path()).host(proxy).field("Accept", "text/html").ask(proxy);
    let page_url = Url::parse(&format!("http://{proxy}{path}")).expect("a URL");
    let page = get(&page_url);
    assert!(page.status == 200 && page.text().contains("<title>Encke"), "{path}: {page:?}");
    let text = page.text();
    let named = ["href=\"", "src=\""].iter().flat_map(|name| text.split(name).skip(1));
    let mut open: Vec<Url> =
        named.filter_map(|rest| rest.split('"').next()).map(|link| page_url.join(link).expect("a link")).collect();
    assert!(open.len() > 3, "{open:?}");
    let mut seen = BTreeSet::new();
    while let Some(url) = open.pop() {
        if !seen.insert(url.to_string()) {
            continue;
        }
        let file = get(&url);
        assert_eq!(file.status, 200, "{path} loads {url}");
        let text = file.text();
        if url.path().ends_with(".js") {
            let imports = text.split(" from \"").skip(1).filter_map(|rest| rest.split('"').next());
            open.extend(imports.map(|import| url.join(import).expect("an import")));
        }
    }
    assert!(seen.len() > 10, "{seen:?}");
}

#[test]
fn a_base_path_works_behind_nginx_with_and_without_taking_it_off() {
    for (args, pass) in [(&["--dev", "--base-path", "/tools/live"][..], "http://encke"), (&["--dev"], "http://encke/")]
    {
        let gateway = Gateway::start(args);
        let location = format!("location /tools/live/ {{ proxy_pass {pass}; proxy_set_header Host $http_host; }}");
        let nginx = Nginx::start(&Configuration::shipped(gateway.address()).in_server(&location));
        let proxy = nginx.authority();
        for page in ["/tools/live/", "/tools/live/events", "/tools/live/events/demo/clock"] {
            page_is_whole(&proxy, page);
        }
        if args.contains(&"--base-path") {
            page_is_whole(&proxy, "/tools/live/events/a%2Fb/c"); // Else nginx decodes it; the document says so.
        }
        let events = "/tools/live/events/orders/42";
        let from_page = Request::post(events, "x").host(&proxy).field("Origin", format!("http://{proxy}"));
        assert_eq!(from_page.ask(&proxy).status, 201);
        let poll = Request::get(&format!("{events}?transport=long-poll&lastEventId=earliest")).host(&proxy).ask(&proxy);
        assert_eq!(poll.json()["events"][0]["topic"], "orders/42", "{poll:?}");
    }
}

#[test]
fn everything_public_is_below_the_base_path_and_the_admin_address_is_not() {
    let mut gateway =
        Gateway::start_with(&["--read", "public", "--pages", "--base-path", "/live/"], &[("ENCKE_PUBLISH_KEY", KEY)]);
    let address = gateway.address().to_owned();
    assert_eq!(gateway.url(), format!("http://{address}/live"));
    let status = |request: Request| request.ask(&address).status;
    assert_eq!(status(Request::post("/live/events/t", "x").bearer(KEY)), 201);
    assert_eq!(status(Request::get("/live/events/t?transport=long-poll")), 200);
    assert_eq!(status(Request::get("/live/")), 200);
    for outside in
        ["/", "/events/t", "/lively/", "/live%2Fevents/t", "/static/live.js", "/live/health/live", "/metrics"]
    {
        let answer = Request::get(outside).ask(&address);
        assert_eq!(answer.status, 404, "{outside}");
        assert_eq!(answer.field("x-content-type-options").as_deref(), Some("nosniff"), "{outside}");
    }
    assert!(Request::post("/events/t", "x").bearer(KEY).ask(&address).text().contains("/live/events"));
    let slash = Request::get("/live").ask(&address);
    assert_eq!((slash.status, slash.field("location").as_deref()), (308, Some("./live/")));
    let admin = gateway.admin_url().trim_start_matches("http://").to_owned();
    assert_eq!(Request::get("/health/live").ask(&admin).status, 200);
    let metrics = Request::get("/metrics").ask(&admin).text();
    assert!(metrics.contains("encke_published_total 1\n") && metrics.contains("encke_refused_total"), "{metrics}");

    let url = gateway.url().to_owned();
    let mut publish = super::clean(Command::new(env!("CARGO_BIN_EXE_encke")), &["publish", "t", "y", "--url", &url]);
    assert!(publish.output().expect("it runs").status.success());
    gateway.restart();
    assert_eq!(status(Request::get("/live/events/t?transport=long-poll")), 200);
}

#[test]
fn the_token_of_dev_stays_below_the_base_path() {
    let data = directory();
    let mut command = serve();
    command.args(["--dev", "--listen", "0.0.0.0:0", "--base-path", "/live", "--data"]).arg(data.path());
    let process = Process::spawn(command);
    let page = std::iter::from_fn(|| process.line(PATIENCE))
        .find_map(|line| Some(line.split_once("live page")?.1.trim().to_owned()));
    let page = Url::parse(&page.expect("it says where the page is")).expect("a URL");
    let token = page.query().and_then(|query| query.strip_prefix("token=")).expect("a token");
    let address = format!("127.0.0.1:{}", page.port().expect("a port"));
    assert_eq!(page.path(), "/live/");
    let answer = Request::get(&format!("/live/?token={token}")).ask(&address);
    assert_eq!(answer.field("location").as_deref(), Some("./"));
    let cookie = answer.field("set-cookie").expect("a cookie");
    assert!(cookie.contains("; Path=/live;"), "{cookie}");
    assert_eq!(Request::get("/live/").field("Cookie", format!("encke_dev={token}")).ask(&address).status, 200);
    assert_eq!(Request::get("/live/").ask(&address).status, 401);
    assert_eq!(Request::get("/elsewhere").ask(&address).status, 401, "nor is it told what is there");
}
