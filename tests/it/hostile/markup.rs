//! The live page shows names, types and data that look like markup as what they are: text.

use std::fs;
use std::path::Path;

use super::publish::assert_stored;
use crate::support::browser::{Browser, Kind};
use crate::support::gateway::Gateway;
use crate::support::http::{Request, encoded};
use crate::support::page_server::{PageServer, page};
use crate::support::wait_for;

#[test]
fn markup_is_text_on_the_live_page_in_chromium() {
    is_text(Kind::Chromium);
}

#[test]
fn markup_is_text_on_the_live_page_in_firefox() {
    is_text(Kind::Firefox);
}

fn is_text(kind: Kind) {
    let gateway = Gateway::start(&["--dev"]);
    let server = PageServer::start();
    let run = format!("fetch('{}',{{method:'POST',body:1}})", server.url("/result"));
    server.page(
        "/",
        &page("await report('the page runs'); document.body.innerHTML = `<img src=x onerror=\"RUN\">`;")
            .replace("RUN", &run),
    );
    let control = Browser::open(kind, &server.url("/"), &[]);
    assert_eq!(server.result(), "the page runs");
    assert_eq!(server.result(), 1, "such markup does run where it is taken for markup");
    drop(control);

    // Were it taken for markup here, it would also ask the gateway for a picture that it does not have.
    let image = format!("<img src=/no-such-picture onerror={run}>");
    let topic = format!("a{image}</title><script>{run}</script>");
    let kind_of_event = format!("</b>{image}");
    let data = format!("</code></li>{image}<script>{run}</script>");
    let address = format!(
        "{}/events?topic={}&types={}&lastEventId=earliest",
        gateway.url(),
        encoded(&topic),
        encoded(format!("message, {kind_of_event}")),
    );
    let publish = |number: usize| {
        let kind = if number.is_multiple_of(2) { format!("&type={}", encoded(&kind_of_event)) } else { String::new() };
        let key = format!("{image}{number}");
        let target = format!("/events?topic={}&key={}{kind}", encoded(&topic), encoded(&key));
        assert_stored("markup", &Request::post(&target, &data).ask(gateway.address()));
    };
    publish(0);
    let _browser = Browser::open(kind, &address, &[]);
    // A poll is sent when the answer before it has been put on the page: after many of them, the first have been drawn.
    let polls = || gateway.metric("encke_stream_opens_total", &["transport=\"long-poll\""]);
    let shown = |transport: &str| gateway.metric("encke_delivered_total", &[&format!("transport=\"{transport}\"")]);
    for number in 1..30 {
        let before = polls();
        publish(number);
        wait_for("the page to show an event and ask for more", || polls() > before);
    }
    for transport in ["sse", "ndjson", "long-poll"] {
        wait_for(&format!("all events to come over {transport}"), || shown(transport) >= 30.0);
    }
    assert_eq!(gateway.metric("encke_refused_total", &["reason=\"not_found\""]), 0.0, "nobody asked for the picture");

    // What might have run has reported before this does.
    let address = server.url("");
    Request::post("/result", "\"nothing ran\"").ask(address.trim_start_matches("http://"));
    assert_eq!(server.result(), "nothing ran");
}

#[test]
fn the_live_page_allows_no_script_but_its_own_files() {
    let gateway = Gateway::start(&["--dev"]);
    for request in
        [Request::get("/"), Request::get("/events/t").field("Accept", "text/html"), Request::get("/static/live.js")]
    {
        let policy = request.ask(gateway.address()).field("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
    }
    // And were there no policy: its scripts make no markup out of text.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("static");
    let mut scripts = 0;
    for file in fs::read_dir(folder).expect("the page's files") {
        let path = file.expect("a file").path();
        let text = fs::read_to_string(&path).expect("text");
        scripts += usize::from(path.extension().is_some_and(|extension| extension == "js"));
        for maker in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "srcdoc", "eval(", "new Function"]
        {
            assert!(!text.contains(maker), "{} has {maker}", path.display());
        }
    }
    assert!(scripts > 5, "the page has scripts");
}
