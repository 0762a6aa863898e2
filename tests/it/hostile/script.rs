//! Published bytes never become script: in two browsers, over each transport, opened in every way a page can.
//!
//! Silence alone proves nothing. So the very same bytes are also served by the page server, and run there; and they do so
//! only after the gateway has delivered every stream and has ended, which ends what the browser was still reading.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::publish::assert_stored;
use crate::support::browser::{Browser, Kind};
use crate::support::gateway::Gateway;
use crate::support::http::{Request, encoded};
use crate::support::page_server::{PageServer, page};
use crate::support::wait_for;

/// Name, content type, and the document around the script. A name is the topic as well.
const PAYLOADS: &[(&str, &str, &str)] = &[
    (
        "html",
        "text/html",
        "<!doctype html><title>x</title><p>shown</p><script>RUN</script><img src=\"x:\" onerror='RUN'>",
    ),
    ("svg", "image/svg+xml", "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>RUN</script></svg>"),
    ("xhtml", "application/xhtml+xml", XHTML),
    ("xml", "text/xml", XHTML),
    ("javascript", "application/javascript", "RUN"),
    ("plain", "text/plain", "<!doctype html><title>x</title><script>RUN</script>"),
    ("css", "text/css", "#canary { color: rgb(1, 2, 3) }"),
];

const XHTML: &str = "<html xmlns=\"http://www.w3.org/1999/xhtml\"><head><title>x</title></head>\
    <body><script>RUN</script></body></html>";

/// What is opened in a way, or as `tab`: in a tab of its own. The transport, then the payload.
const WAYS: &[(&str, &[(&str, &str)])] = &[
    ("tab", EVERYTHING),
    ("iframe", EVERYTHING),
    (
        "object",
        &[("sse", "html"), ("multipart-replace", "html"), ("multipart-replace", "svg"), ("multipart-replace", "xml")],
    ),
    (
        "embed",
        &[("sse", "html"), ("multipart-replace", "html"), ("multipart-replace", "svg"), ("multipart-replace", "xml")],
    ),
    ("img", &[("multipart-replace", "svg"), ("multipart-replace", "html")]),
    (
        "script",
        &[
            ("sse", "javascript"),
            ("ndjson", "javascript"),
            ("long-poll", "javascript"),
            ("multipart-replace", "javascript"),
        ],
    ),
    ("link", &[("sse", "css"), ("ndjson", "css"), ("long-poll", "css"), ("multipart-replace", "css")]),
];

const EVERYTHING: &[(&str, &str)] = &[
    ("sse", "html"),
    ("ndjson", "html"),
    ("long-poll", "html"),
    ("multipart-replace", "html"),
    ("multipart-replace", "svg"),
    ("multipart-replace", "xhtml"),
    ("multipart-replace", "xml"),
    ("multipart-replace", "javascript"),
    ("multipart-replace", "plain"),
];

/// The same bytes from the page server, which do run: the way and the payload.
const CONTROLS: &[(&str, &str)] = &[
    ("iframe", "html"),
    ("iframe", "svg"),
    ("iframe", "xhtml"),
    ("iframe", "xml"),
    ("object", "html"),
    ("embed", "html"),
    ("script", "javascript"),
];

/// What both pages can do.
const OPEN: &str = r#"
const until = async (path) => {
  while ((await fetch(path)).status !== 200) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};
const open = ([way, url]) => {
  const element = document.createElement(way);
  element.rel = "stylesheet";
  element[{ object: "data", link: "href" }[way] ?? "src"] = url;
  document.body.append(element);
  return element;
};
const colour = () => getComputedStyle(document.getElementById("canary")).color;
document.body.innerHTML = "<p id=canary>canary</p>";
"#;

/// Embeds what the gateway has.
const EMBEDDING: &str = r#"
await report("the page runs");
EMBEDDED.forEach(open);
await until("/delivered");
await report({ colour: colour() });
"#;

/// Waits for the end of the gateway, embeds the same bytes from the page server, and at last goes to them itself.
///
/// A page of its own, as the other may not live so long: when many streams in its frames end at once, Chromium (156) at
/// times drops it.
const CONTROL: &str = r#"
await until("/gateway-is-gone");
const style = open(["link", "/css"]);
await new Promise((resolve) => style.addEventListener("load", resolve));
await report({ controlColour: colour() });
CONTROLS.forEach(open);
await until("/controls-have-run");
location = "LAST";
"#;

#[test]
fn published_script_runs_nowhere_in_chromium() {
    // Chromium shows a multipart stream as a picture, also in a tab, so the last control is a page.
    runs_nowhere(Kind::Chromium, "html");
}

#[test]
fn published_script_runs_nowhere_in_firefox() {
    // Firefox shows the parts of a multipart stream as documents, and runs what is in them.
    runs_nowhere(Kind::Firefox, "multipart");
}

fn runs_nowhere(kind: Kind, last: &str) {
    let mut gateway = Gateway::start(&["--dev"]);
    let server = PageServer::start();
    let run = format!(
        "fetch('{}', {{ method: 'POST', mode: 'no-cors', body: JSON.stringify({{ ran: String(location), \
         by: String((document.currentScript || {{}}).src || '') }}) }})",
        server.url("/result")
    );
    // Once as a script and once as an attribute within apostrophes: no quotation mark may end it early.
    let run = run.replace('\'', "\"");
    for (name, media, document) in PAYLOADS {
        let document = document.replace("RUN", &run);
        let publish = Request::post(&format!("/events/{name}"), &document).field("Content-Type", media);
        assert_stored(name, &publish.ask(gateway.address()));
        server.file(&format!("/{name}"), media, &document);
        if *name == "html" {
            let part = format!("--x\r\nContent-Type: text/html\r\n\r\n{document}\r\n--x--\r\n");
            server.file("/multipart", "multipart/x-mixed-replace;boundary=x", &part);
        }
    }
    let (tabs, embedded) = opened(gateway.address());
    let controls: Vec<(&str, String)> = CONTROLS.iter().map(|(way, name)| (*way, format!("/{name}?{way}"))).collect();
    let embedding = EMBEDDING.replace("EMBEDDED", &json!(embedded).to_string());
    server.page("/embedding", &page(&format!("{OPEN}{embedding}")));
    let control = CONTROL.replace("CONTROLS", &json!(controls).to_string()).replace("LAST", &format!("/{last}?last"));
    server.page("/control", &page(&format!("{OPEN}{control}")));

    let _browser = browse(kind, &tabs, &server.url("/control"), &server.url("/embedding"));
    assert_eq!(server.result(), "the page runs");
    for transport in ["sse", "ndjson", "long-poll", "multipart-replace"] {
        let wanted = WAYS.iter().flat_map(|(_, opened)| *opened).filter(|(by, _)| *by == transport).count();
        let label = format!("transport=\"{transport}\"");
        wait_for(&format!("{wanted} deliveries over {transport}"), || {
            gateway.metric("encke_delivered_total", &[&label]) >= f64::from(u32::try_from(wanted).expect("few"))
        });
    }
    server.file("/delivered", "text/plain", "");
    let unstyled = server.result();
    assert!(unstyled["colour"].is_string() && unstyled["colour"] != "rgb(1, 2, 3)", "{unstyled}");
    gateway.terminate();
    assert!(gateway.wait().success());

    // From here on only what the page server itself serves may report.
    server.file("/gateway-is-gone", "text/plain", "");
    assert_eq!(server.result()["controlColour"], "rgb(1, 2, 3)");
    let controls: BTreeSet<String> = controls.iter().map(|(_, path)| server.url(path)).collect();
    let last = server.url(&format!("/{last}?last"));
    let allowed = &controls | &BTreeSet::from([last.clone()]);
    wait_until_run(&server, controls, &allowed);
    server.file("/controls-have-run", "text/plain", "");
    wait_until_run(&server, BTreeSet::from([last]), &allowed);
}

/// Opens the tabs and the two pages.
fn browse(kind: Kind, tabs: &[String], control: &str, embedding: &str) -> Browser {
    let mut tabs: Vec<&str> = tabs.iter().map(String::as_str).collect();
    tabs.push(control);
    if kind == Kind::Firefox {
        return Browser::open(kind, embedding, &tabs);
    }
    // Headless Chromium takes one address at its start. The embedding page comes last, so that it is the one that is
    // seen: what a hidden page loads beside streams that go on, Chromium puts off.
    tabs.push(embedding);
    let mut browser = Browser::open(kind, tabs[0], &["--remote-debugging-port=0"]);
    let mut debugger = None;
    wait_for("Chromium to say where its debugger listens", || {
        let errors = browser.process().errors();
        let address = errors.split_once("listening on ws://").and_then(|(_, rest)| rest.split_once('/'));
        debugger = address.map(|(address, _)| address.to_owned());
        debugger.is_some()
    });
    let debugger = debugger.expect("it has been waited for");
    for url in &tabs[1..] {
        let opened = Request::new("PUT", &format!("/json/new?{}", encoded(url))).ask(&debugger);
        assert_eq!(opened.status, 200, "{}", opened.text());
    }
    browser
}

/// Waits until all that is `due` has run; panics if anything runs that is not `allowed` to.
#[track_caller]
fn wait_until_run(server: &PageServer, mut due: BTreeSet<String>, allowed: &BTreeSet<String>) {
    while !due.is_empty() {
        eprintln!("still to run: {due:?}"); // Shown if that waits in vain.
        let report = server.result();
        let place = |name: &str| report[name].as_str().filter(|place| !place.is_empty()).map(str::to_owned);
        // What a page loads as a script runs at the address of the page.
        let place = place("by").or_else(|| place("ran")).expect("a place");
        assert!(allowed.contains(&place), "published script has run: {report}");
        due.remove(&place);
    }
}

/// The addresses for tabs, and for each embedding way.
fn opened(address: &str) -> (Vec<String>, Vec<Value>) {
    let port = address.rsplit(':').next().expect("a port");
    let (mut tabs, mut embedded, mut count) = (Vec::new(), Vec::new(), 0);
    for (way, opened) in WAYS {
        for (transport, name) in *opened {
            // A browser opens six connections to a host: a few streams for each of several names.
            let url = format!("http://w{}.localhost:{port}/events/{name}?transport={transport}&last=1", count / 4);
            count += 1;
            match *way {
                "tab" => tabs.push(url),
                _ => embedded.push(json!([way, url])),
            }
        }
    }
    (tabs, embedded)
}
