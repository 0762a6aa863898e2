//! HTML forms without a script, and pages that may not send any.

use super::{KEY, data, gateway};
use crate::support::gateway::Gateway;
use crate::support::http::Request;

const FORM: &str = "application/x-www-form-urlencoded";

fn form(target: &str, content: &str) -> Request {
    Request::post(target, content).field("Content-Type", FORM)
}

#[test]
fn a_field_of_a_form_is_an_event() {
    let gateway = Gateway::start(&["--dev"]);
    let home = format!("http://{}", gateway.address());
    let send = |content: &str, referer: Option<&str>| {
        let mut request =
            form("/events/chat?form=text&type=said", content).host(gateway.address()).field("Origin", &home);
        if let Some(referer) = referer {
            request = request.field("Referer", referer);
        }
        request.ask(gateway.address())
    };
    let answer = send("text=a+%26+b%0D%0Ac&send=Send", None);
    assert_eq!((answer.status, answer.content.len()), (204, 0), "{answer:?}");
    let page = format!("{home}/chat.html?room=1");
    let answer = send("text=d", Some(&page));
    assert_eq!((answer.status, answer.field("location")), (303, Some(page)), "back to the page");
    assert_eq!(send("text=e", Some("https://elsewhere.example/")).status, 204, "and to no other");
    for (content, status, words) in [
        ("texts=d", 400, "no field `text`"),
        ("text=d&text=e", 400, "more than one field"),
        ("text=%FF", 400, "not UTF-8"),
    ] {
        let answer = send(content, None);
        assert_eq!(answer.status, status, "{content}");
        assert!(answer.text().contains(words), "{content}: {}", answer.text());
    }
    let other =
        Request::post("/events/chat?form=text", "text=d").field("Content-Type", "multipart/form-data; boundary=x");
    assert_eq!(other.host(gateway.address()).ask(gateway.address()).status, 415);
    let poll = Request::get("/events/chat?transport=long-poll&lastEventId=earliest").ask(gateway.address()).json();
    let said: Vec<&str> =
        poll["events"].as_array().expect("events").iter().filter_map(|event| event["data"].as_str()).collect();
    assert_eq!(said, ["a & b\r\nc", "d", "e"]);
    assert_eq!(poll["events"][0]["type"], "said");
}

#[test]
fn a_form_on_a_page_of_another_origin_is_refused_however_its_browser_says_so() {
    let gateway = Gateway::start(&["--dev"]);
    let home = format!("http://{}", gateway.address());
    let check = |fields: &[(&str, &str)], status: u16| {
        for target in ["/events/chat?form=text", "/events/chat"] {
            let mut request = form(target, "text=a").host(gateway.address());
            for (name, value) in fields {
                request = request.field(name, value);
            }
            let answer = request.ask(gateway.address());
            let expected = if status == 403 {
                403
            } else if target.contains('?') {
                status
            } else {
                201
            };
            assert_eq!(answer.status, expected, "{target} {fields:?}: {}", answer.text());
        }
    };
    check(&[("Origin", "https://evil.example")], 403);
    check(&[("Origin", "null")], 403);
    check(&[("Sec-Fetch-Site", "cross-site")], 403);
    check(&[("Sec-Fetch-Site", "same-site")], 403);
    check(&[("Referer", "https://evil.example/page")], 403);
    check(&[("Referer", "nonsense")], 403);
    check(&[("Referer", &format!("{home}@evil.example/"))], 403);
    check(&[("Origin", &home), ("Sec-Fetch-Site", "same-origin")], 204);
    check(&[("Sec-Fetch-Site", "same-origin")], 204);
    check(&[("Sec-Fetch-Site", "none")], 204);
    check(&[("Referer", &format!("{home}/page"))], 303);
    check(&[("Referer", "http://localhost:3000/page")], 204);
    check(&[], 204);
}

#[test]
fn outside_dev_a_form_needs_the_key_like_anything_else() {
    let gateway = gateway(&[]);
    assert_eq!(form("/events/chat?form=text", "text=a").ask(gateway.address()).status, 401);
    assert_eq!(form("/events/chat?form=text", "text=a").bearer(KEY).ask(gateway.address()).status, 204);
    assert_eq!(data(&gateway), ["a"]);
}
