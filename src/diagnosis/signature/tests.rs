//! The heads under `tests/fixtures/heads` went through real programs; those under `documented` there were written from the
//! vendors' documents, as nobody can run these products here.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// Every kept head of a directory, with the file's name without its ending.
fn heads(directory: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(directory);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

/// `PRODUCT-CLIENT`: clients are the known ends of names.
fn parts(name: &str) -> (&str, &str) {
    let clients =
        ["node-eventsource", "node-fetch", "curl", "curl-h2", "httpx", "requests", "aiohttp", "chromium", "firefox"];
    let client = clients.into_iter().find(|client| name.ends_with(client)).unwrap_or_else(|| panic!("{name}"));
    (&name[..name.len() - client.len() - 1], client)
}

/// What each way was, by the directories' names: nearest to the reader first.
const WAYS: &[(&str, &str)] = &[
    ("direct", "direct/h1.1/0"),
    ("nginx", "nginx/h1.0/1"),
    ("nginx-usual", "nginx/h1.0/1"),
    ("nginx-usual-keepalive", "nginx/h1.1/1"),
    ("haproxy", "haproxy/h1.1/1"),
    ("haproxy-usual", "haproxy/h1.1/1"),
    ("apache", "apache/h1.1/1"),
    ("apache-via", "apache/h1.1/1"),
    ("squid", "squid/h1.1/1"),
    ("squid-forward", "squid/h1.1/1"),
    ("varnish", "varnish/h1.1/1"),
    ("caddy", "caddy/h1.1/1"),
    ("caddy-2.6", "caddy/h1.1/1"),
    ("envoy", "envoy/h1.1/1"),
    ("envoy-no-timeout", "envoy/h1.1/1"),
    ("traefik", "traefik/h1.1/1"),
    ("lighttpd", "lighttpd/h1.1/1"),
    ("caddy+squid+traefik", "traefik/h1.1/3"),
    // Caddy 2.6's own fields are Apache's too, in Envoy's letters: two of the four are told besides Envoy.
    ("apache+varnish+caddy-2.6+envoy", "envoy/h1.1/3"),
];

#[test]
fn real_requests_tell_the_way_they_came() {
    let heads = heads("heads");
    assert!(heads.len() > 100, "only {} heads", heads.len());
    let mut wrong = Vec::new();
    for (name, head) in &heads {
        let (way, client) = parts(name);
        let known = WAYS.iter().find(|(known, _)| *known == way).map(|(_, path)| *path);
        let expected = match (way, client) {
            // What nginx 1.29.7 and later send by default: told only if the reader spoke HTTP/2 with it.
            ("nginx-keepalive", "curl-h2") => "nginx/h1.1/1",
            ("nginx-keepalive", _) => "direct/h1.1/0",
            _ => known.unwrap_or_else(|| panic!("{way} is not in WAYS")),
        };
        let signature = Signature::of_head(head);
        if signature.path().to_string() != expected {
            wrong.push(format!("{name}: {} is not {expected}", signature.path()));
        }
        let family = match client {
            "curl" | "curl-h2" => Agent::Curl,
            "chromium" => Agent::Chromium,
            "firefox" => Agent::Firefox,
            "node-eventsource" | "node-fetch" => Agent::Node,
            _ => Agent::Python,
        };
        assert_eq!(signature.agent, family, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn of_two_intermediaries_the_nearer_is_told() {
    // Caddy before 2.11 leaves nothing that Traefik does not; with both marks either may be the nearer; HAProxy adds
    // nothing to what Envoy wrote in small letters too.
    let farther_is_told = ["traefik+caddy-2.6", "caddy+traefik", "envoy+haproxy"];
    let (mut of_one, mut of_two) = (0, 0);
    for (name, head) in heads("heads/pairs") {
        let pair = name.strip_suffix("-curl").unwrap();
        let (farther, nearer) = pair.split_once('+').unwrap();
        let expected = if farther_is_told.contains(&pair) { farther } else { nearer };
        let path = Signature::of_head(&head).path();
        assert_eq!(path.product().as_str(), expected.trim_end_matches("-2.6"), "{pair}");
        match path.hops() {
            1 => of_one += 1,
            2 => of_two += 1,
            hops => panic!("{pair}: {hops} hops"),
        }
    }
    // The farther one is not seen if it left nothing (nginx, HAProxy) or the nearer put its own in place of it.
    assert_eq!((of_one, of_two), (29, 69));
}

#[test]
fn every_product_is_told_from_some_head_that_is_kept() {
    let real: HashSet<Product> = heads("heads").iter().map(|(_, head)| Signature::of_head(head).product).collect();
    for product in Product::ALL {
        assert_eq!(real.contains(&product), product.is_tested(), "{product:?}");
    }
    let documented: HashSet<Product> =
        heads("heads/documented").iter().map(|(_, head)| Signature::of_head(head).product).collect();
    for product in Product::ALL {
        assert!(product.is_tested() || documented.contains(&product), "{product:?}");
    }
}

#[test]
fn documented_marks_tell_their_product() {
    let mut wrong = Vec::new();
    for (name, head) in heads("heads/documented") {
        let (product, rest) = name.split_once('-').unwrap_or((&name, "1"));
        let hops: u8 = rest.parse().unwrap_or(1);
        let signature = Signature::of_head(&head);
        if (signature.product.as_str(), signature.hops) != (product, hops) {
            wrong.push(format!("{name}: {}", signature.path()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn envoy_tells_when_it_will_end_the_response() {
    let head = b"GET / HTTP/1.1\r\nhost: a\r\nx-envoy-expected-rq-timeout-ms: 15000\r\n\r\n";
    assert_eq!(Signature::of_head(head).envoy_timeout_ms, Some(15_000));
    let senseless = b"GET / HTTP/1.1\r\nhost: a\r\nx-envoy-expected-rq-timeout-ms: 15000000000000\r\n\r\n";
    assert_eq!(Signature::of_head(senseless).envoy_timeout_ms, None);
}

#[test]
fn small_letters_tell_something_only_on_http_1() {
    let fields = [("user-agent", "curl/8.0"), ("accept", "*/*")].map(|(n, v)| (n.as_bytes(), v.as_bytes()));
    let path = |protocol| Signature::of_fields(protocol, fields.into_iter()).path().to_string();
    assert_eq!(path(Protocol::Http11), "haproxy/h1.1/1");
    assert_eq!(path(Protocol::Http2), "direct/h2/0");
}

#[test]
fn real_requests_tell_the_way_they_came_on_http_2_by_marks_alone() {
    let heads = heads("heads/h2");
    assert!(heads.len() > 20, "only {} heads", heads.len());
    for (name, head) in &heads {
        let expected = match parts(name).0 {
            "direct" => "direct/h2/0",
            "apache" => "apache/h2/1",
            "caddy" => "caddy/h2/1",
            "envoy" => "envoy/h2/1",
            "traefik" => "traefik/h2/1",
            "haproxy" => "haproxy/h2/1",
            // Without `Via`, and the order of names that Go keeps on HTTP/1.1, nothing is Caddy's alone.
            "caddy-2.6" => "unknown/h2/1",
            other => panic!("{other} is not in this table"),
        };
        let signature = Signature::of_fields(Protocol::Http2, fields_of(head));
        assert_eq!(signature.path().to_string(), expected, "{name}");
        assert_eq!(signature.envoy_timeout_ms.is_some(), expected.starts_with("envoy"), "{name}");
        assert!(!signature.lower_case_names, "{name}");
    }
}

/// The fields of a kept request, a line each.
fn fields_of(kept: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let text = std::str::from_utf8(kept).unwrap();
    text.lines().map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

#[test]
fn hops_are_counted_over_lists_and_lines() {
    let check = |lines: &str, expected: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n{lines}\r\n");
        assert_eq!(Signature::of_head(head.as_bytes()).path().to_string(), expected, "{lines}");
    };
    check("", "direct/h1.1/0");
    check("X-Forwarded-For: 192.0.2.1\r\n", "unknown/h1.1/1");
    check("X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n", "unknown/h1.1/2");
    check("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n", "unknown/h1.1/2");
    check("Forwarded: for=192.0.2.1;proto=http, for=192.0.2.2, for=x, for=y\r\n", "unknown/h1.1/3");
    check("Via: 1.1 a, 1.1 b (squid/5.7)\r\n", "squid/h1.1/2");
    check("Via: 1.1 google, 1.1 Caddy\r\n", "caddy/h1.1/2");
}

#[test]
fn what_is_not_whole_or_not_a_field_is_left_out() {
    let check = |head: &[u8], expected: &str| assert_eq!(Signature::of_head(head).path().to_string(), expected);
    check(b"", "direct/h1.1/0");
    check(b"GET / HT", "direct/h1.1/0");
    check(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: close", "direct/h1.0/0");
    check(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: close\r\n", "nginx/h1.0/1");
    check(b"\r\nGET / HTTP/1.0\nHost: a\nConnection: close\n", "nginx/h1.0/1");
    check(b"GET / HTTP/1.1\r\nX-A: b\r\n X-Varnish: 1\r\n\r\n", "direct/h1.1/0");
    check(b"POST / HTTP/1.1\r\nX-A: b\r\n\r\nX-Varnish: 1\r\n", "direct/h1.1/0");
    check(&[b"GET / HTTP/1.1\r\nX-A: ", &[b'a'; 5000][..], b"\r\nX-Varnish: 1\r\n\r\n"].concat(), "direct/h1.1/0");
}

#[test]
fn every_key_has_a_number_of_its_own() {
    let mut numbers = HashSet::new();
    for product in Product::ALL {
        for protocol in Protocol::ALL {
            for hops in 0..=MANY {
                let index = PathKey { product, protocol, hops }.index();
                assert!(index < PathKey::COUNT && numbers.insert(index));
            }
        }
    }
    assert_eq!(numbers.len(), PathKey::COUNT);
    assert_eq!(PathKey::COUNT, 300);
}

/// Heads of parts that mean something, in any order and number, and of bytes that do not.
fn likely_head() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec![
        "Host",
        "host",
        "Connection",
        "User-Agent",
        "user-agent",
        "Accept",
        "Via",
        "via",
        "X-Forwarded-For",
        "CDN-Loop",
        "Forwarded",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Proto",
        "X-Forwarded-Server",
        "X-Real-Ip",
        "X-Host",
        "X-Varnish",
        "CF-Ray",
        "Fastly-FF",
        "X-Scheme",
        "X-Request-ID",
        "X-Azure-Ref",
        "X-ARR-LOG-ID",
        "",
        "x-envoy-expected-rq-timeout-ms",
        "Surrogate-Capability",
        "X-Amzn-Trace-Id",
    ]);
    let values = prop_oneof![
        prop::sample::select(vec![
            "close",
            "curl/8.0",
            "node",
            "1.1 Caddy",
            "1.1 a (squid/5), 1.1 google",
            "a, b, c",
            ","
        ])
        .prop_map(|value| value.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    let first = prop::sample::select(vec!["GET / HTTP/1.0", "GET / HTTP/1.1", "PRI * HTTP/2.0", ""]);
    (first, prop::collection::vec((names, values), 0..40)).prop_map(|(first, fields)| {
        let mut head = first.as_bytes().to_vec();
        for (name, value) in fields {
            head.extend([b"\r\n", name.as_bytes(), b": ", &value].concat());
        }
        head.extend(b"\r\n\r\n");
        head
    })
}

fn stays_in_bounds(head: &[u8]) -> Result<(), TestCaseError> {
    let signature = Signature::of_head(head);
    prop_assert!(signature.hops <= MANY);
    prop_assert_eq!(signature.hops == 0, signature.product == Product::Direct);
    prop_assert!(signature.path().index() < PathKey::COUNT);
    let label = signature.path().to_string();
    prop_assert!(
        label.len() <= 32 && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_./".contains(&b))
    );
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_give_one_of_the_keys(head in prop::collection::vec(any::<u8>(), 0..6000)) {
        stays_in_bounds(&head)?;
    }

    #[test]
    fn likely_heads_give_a_key_wherever_they_are_cut(head in likely_head(), cut in any::<prop::sample::Index>()) {
        stays_in_bounds(&head)?;
        stays_in_bounds(&head[..cut.index(head.len() + 1)])?;
    }
}

#[test]
fn real_heads_can_be_cut_anywhere() {
    for (_, head) in heads("heads").into_iter().chain(heads("heads/documented")) {
        for end in 0..head.len() {
            stays_in_bounds(&head[..end]).unwrap();
        }
    }
}
