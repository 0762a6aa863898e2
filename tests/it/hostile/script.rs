//! Published bytes never become script: in two browsers, over each transport, opened in every way a page can.
//!
//! Silence alone proves nothing. So the very same bytes are also served by the page server, and run there; and they do so
//! only after the gateway has delivered every stream and has ended, which ends what the browser was still reading.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::metric;
use super::publish::assert_stored;
use crate::support::browser::{Browser, Kind};
use crate::support::gateway::Gateway;
use crate::support::http::Request;
use crate::support::page_server::PageServer;
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

/// Opens what is in the lists, and after the gateway has gone the controls; at last it goes to a control itself.
const PAGE: &str = r#"
const until = async (path) => {
  while ((await fetch(path)).status !== 200) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};
const open = ([way, url]) => {
  if (way === "tab") {
    return window.open(url);
  }
  const element = document.createElement(way);
  element.rel = "stylesheet";
  element[{ object: "data", link: "href" }[way] ?? "src"] = url;
  document.body.append(element);
  return element;
};
const colour = () => getComputedStyle(document.getElementById("canary")).color;
document.body.innerHTML = "<p id=canary>canary</p>";
await report("the page runs");
EMBEDDED.forEach(open);
await until("/gateway-is-gone");
await report({ colour: colour() });
const style = open(["link", "/css"]);
await new Promise((resolve) => style.addEventListener("load", resolve));
await report({ controlColour: colour() });
CONTROLS.forEach(open);
await until("/controls-have-run");
location = "LAST";
"#;

#[test]
fn published_script_runs_nowhere_in_chromium() {
    // Chromium shows a multipart stream only in images, so the last control is a page.
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
    let (tabs, mut embedded) = opened(gateway.address());
    if kind == Kind::Chromium {
        // Headless Chromium takes one address, so the page opens the other tabs.
        embedded.extend(tabs.iter().map(|url| json!(["tab", url])));
    }
    let controls: Vec<(&str, String)> = CONTROLS.iter().map(|(way, name)| (*way, format!("/{name}?{way}"))).collect();
    let script = PAGE.replace("EMBEDDED", &json!(embedded).to_string());
    let script = script.replace("CONTROLS", &json!(controls).to_string()).replace("LAST", &format!("/{last}?last"));
    server.page("/", &crate::support::page_server::page(&script));

    let tabs: Vec<&str> = tabs.iter().map(String::as_str).collect();
    let options = if kind == Kind::Firefox { &tabs[..] } else { &["--disable-popup-blocking"] };
    let _browser = Browser::open(kind, &server.url("/"), options);
    assert_eq!(server.result(), "the page runs");
    for transport in ["sse", "ndjson", "long-poll", "multipart-replace"] {
        let wanted = WAYS.iter().flat_map(|(_, opened)| *opened).filter(|(by, _)| *by == transport).count();
        let label = format!("transport=\"{transport}\"");
        wait_for(&format!("{wanted} deliveries over {transport}"), || {
            metric(&gateway, "encke_delivered_total", &[&label]) >= f64::from(u32::try_from(wanted).expect("few"))
        });
    }
    gateway.terminate();
    assert!(gateway.wait().success());
    server.file("/gateway-is-gone", "text/plain", "");

    // From here on only what the page server itself serves may report.
    let unstyled = server.result();
    assert!(unstyled["colour"].is_string() && unstyled["colour"] != "rgb(1, 2, 3)", "{unstyled}");
    assert_eq!(server.result()["controlColour"], "rgb(1, 2, 3)");
    let controls: BTreeSet<String> = controls.iter().map(|(_, path)| server.url(path)).collect();
    let last = server.url(&format!("/{last}?last"));
    let allowed = &controls | &BTreeSet::from([last.clone()]);
    wait_until_run(&server, controls, &allowed);
    server.file("/controls-have-run", "text/plain", "");
    wait_until_run(&server, BTreeSet::from([last]), &allowed);
}

/// Waits until all that is `due` has run; panics if anything runs that is not `allowed` to.
#[track_caller]
fn wait_until_run(server: &PageServer, mut due: BTreeSet<String>, allowed: &BTreeSet<String>) {
    while !due.is_empty() {
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
