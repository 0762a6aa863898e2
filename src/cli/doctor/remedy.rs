//! What to change: the setting of a hop that is known, or of those that are so by default.

use std::time::Duration;

use super::hops::Hop;

/// A timer of a hop: what it is by default in seconds, and the setting that changes it.
type Timer = (Hop, &'static [u64], &'static str);

/// Timers that end a stream on which nothing passes.
const IDLE: &[Timer] = &[
    (Hop::Nginx, &[60], "nginx: raise `proxy_read_timeout` (60s by default) where the stream is passed on"),
    (
        Hop::HaProxy,
        &[50],
        "HAProxy: raise `timeout server` (50s in Debian's file); `timeout client` and `timeout tunnel` have no effect here",
    ),
    (Hop::Apache, &[60, 300], "Apache httpd: raise `ProxyTimeout`, or `timeout=` of `ProxyPass`"),
    (Hop::Varnish, &[60], "Varnish: raise `between_bytes_timeout` (60s by default) of the backend"),
    (Hop::Envoy, &[300], "Envoy: raise `stream_idle_timeout` (5m by default) of the connection manager"),
    (Hop::Alb, &[60], "AWS ALB: raise `idle_timeout.timeout_seconds` (60 by default, up to 4000)"),
    (
        Hop::Nlb,
        &[350],
        "AWS NLB: raise `tcp.idle_timeout.seconds` (350 by default, up to 6000; fixed for TLS listeners)",
    ),
    (
        Hop::Cloudflare,
        &[100, 120, 125],
        "Cloudflare: its 100 to 125 s can be raised by Enterprise only: let the server beat more often",
    ),
    (Hop::CloudFront, &[30], "CloudFront: raise the origin response timeout (30 s by default, up to 120)"),
    (
        Hop::Fastly,
        &[10],
        "Fastly: raise `between_bytes_timeout` (10 s by default) of the backend; beyond 60 s only for what is passed",
    ),
    (Hop::Heroku, &[55], "Heroku: its 55 s are fixed: let the server beat more often"),
    (
        Hop::ApiGateway,
        &[29, 30, 300],
        "AWS API Gateway: response transfer mode STREAM (silent for 5 minutes at most, edge-optimised for 30 s), or a way \
         past it",
    ),
    (Hop::AzureAppGateway, &[20, 30], "Azure Application Gateway: raise the request timeout of the backend settings"),
    (Hop::AzureFrontDoor, &[30, 60], "Azure Front Door: raise the origin response timeout (up to 240 s)"),
    (Hop::AzureAppService, &[230], "Azure App Service: its 230 s are fixed: let the server beat more often"),
    (Hop::AzureLoadBalancer, &[240], "Azure Load Balancer: raise its idle timeout (4 minutes by default)"),
    (Hop::Iis, &[120], "IIS with ARR: raise the proxy's time-out (120 s, by reports)"),
    (Hop::Squid, &[900], "Squid: raise `read_timeout` (15 minutes by default)"),
    (
        Hop::Node,
        &[30, 120],
        "a proxy in Node.js: raise its `proxyTimeout` and `timeout`; Next.js: `experimental.proxyTimeout`",
    ),
    (Hop::Caddy, &[], "Caddy: raise `read_timeout` of the `transport http` block"),
    (
        Hop::Lighttpd,
        &[360],
        "lighttpd: raise `server.max-write-idle` (360s by default), and `read-timeout` of the host in `proxy.server`",
    ),
];

/// Timers that end a stream however busy it is.
const DURATION: &[Timer] = &[
    (
        Hop::Envoy,
        &[15],
        "Envoy: `timeout: 0s` in the route (15s by default, of the whole answer), and no `max_stream_duration`",
    ),
    (
        Hop::Google,
        &[30, 300],
        "Google Cloud: raise `timeoutSec` of the backend service (30 by default, of the whole answer), or the request \
         timeout of Cloud Run (300 by default, up to 3600)",
    ),
    (Hop::ApiGateway, &[29, 30, 900], "AWS API Gateway: response transfer mode STREAM (15 minutes), or a way past it"),
    (Hop::CloudFront, &[], "CloudFront: take the response completion timeout away"),
    (
        Hop::IngressNginx,
        &[240],
        "ingress-nginx: raise `worker-shutdown-timeout` (240s by default); each reload ends what is older",
    ),
    (Hop::Node, &[30, 120], "a server or proxy in Go or Node.js: no write timeout for streams (120 s in some)"),
    (Hop::Traefik, &[], "Traefik: `respondingTimeouts.writeTimeout: 0` of the entry point, as it is by default"),
    (Hop::Nginx, &[], "nginx: `worker_shutdown_timeout` ends streams at a reload; nothing else does by age"),
    (Hop::HaProxy, &[], "HAProxy: `hard-stop-after` ends streams at a reload; nothing else does by age"),
];

/// Timers fire late, never early; the network and a busy machine add to that.
const LATE: f64 = 0.03;

/// What to change where a silent stream is cut after `limit`.
pub(super) fn idle(hops: &[Hop], limit: Duration) -> Vec<String> {
    by(IDLE, hops, limit)
}

/// What to change where any stream is cut at the age of `limit`.
pub(super) fn duration(hops: &[Hop], limit: Duration) -> Vec<String> {
    by(DURATION, hops, limit)
}

/// The timers of known hops, those with this value first; unless there is one, also whose timers have it by default: not
/// every hop names itself.
fn by(timers: &[Timer], hops: &[Hop], limit: Duration) -> Vec<String> {
    let fits = |(_, defaults, _): &&Timer| defaults.iter().any(|default| is_about(limit, *default));
    let known = |timer: &&Timer| hops.contains(&timer.0);
    let (fitting, other): (Vec<_>, Vec<_>) = timers.iter().filter(known).partition(fits);
    let everybody: Vec<_> = timers.iter().filter(|timer| fitting.is_empty() && fits(timer) && !known(timer)).collect();
    let words: Vec<_> = [fitting, other, everybody].concat().into_iter().map(|timer| told(timer.0, timer.2)).collect();
    if words.is_empty() {
        let nobody = "no hop names itself, and none has this value by default: look for it in the timeouts of each";
        return vec![nobody.to_owned()];
    }
    words
}

/// What to change in a hop; of one that was not met in tests it is said that it rests on documents.
fn told(hop: Hop, words: &str) -> String {
    if hop.is_tested() { words.to_owned() } else { format!("{words} (by documents; not tested here)") }
}

/// Whether a measured limit is that of a timer of so many seconds.
fn is_about(limit: Duration, seconds: u64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let ratio = limit.as_secs_f64() / seconds as f64;
    (1.0 - LATE / 2.0..=1.0 + LATE).contains(&ratio)
}

/// Values that timers often have, in seconds.
const USUAL: &[u64] = &[5, 10, 15, 20, 29, 30, 50, 55, 60, 90, 100, 120, 180, 230, 240, 300, 350, 600, 900, 3600];

/// The usual value that a measured limit is, if it is one.
pub(super) fn usual(limit: Duration) -> Option<Duration> {
    USUAL.iter().find(|seconds| is_about(limit, **seconds)).copied().map(Duration::from_secs)
}

/// What to change where a whole answer is held back.
pub(super) fn holding(hops: &[Hop]) -> Vec<String> {
    chosen(
        &[
            (
                Hop::Nginx,
                "nginx: `proxy_buffering off;` where the stream is passed on, or take `X-Accel-Buffering` out of \
                 `proxy_ignore_headers`; no `proxy_cache` there",
            ),
            (Hop::Lighttpd, "lighttpd: `server.stream-response-body = 2`; it does not look at X-Accel-Buffering"),
            (Hop::Iis, "IIS with ARR: response buffer threshold 0 (`minResponseBuffer`), and no `urlCompression`"),
            (Hop::AzureAppGateway, "Azure Application Gateway: `globalConfiguration.enableResponseBuffering=false`"),
            (Hop::ApiGateway, "AWS API Gateway: response transfer mode STREAM (REST APIs only)"),
            (Hop::Fastly, "Fastly: `set beresp.do_stream = true;` and pass"),
            (Hop::Varnish, "Varnish: `set beresp.do_stream = true;` and `return (pass)`"),
            (Hop::Cloudflare, "Cloudflare: a named tunnel in place of a quick one; `response_buffering` off"),
            (Hop::Node, "a proxy in Node.js: no `compression()` for event streams"),
        ],
        hops,
        "an antivirus or TLS inspector on the client's side: exempt this host; until then let clients poll",
    )
}

/// What to change where each event is late by a fifth of a second.
pub(super) fn coalescing(hops: &[Hop]) -> Vec<String> {
    let other = "whoever passes it on: no corking (`TCP_CORK`, `MSG_MORE`), and `TCP_NODELAY`";
    let haproxy = (Hop::HaProxy, "HAProxy: `option http-no-delay` in the backend or in `defaults`");
    let nginx = (Hop::Nginx, "nginx: `tcp_nodelay on;`, and no `proxy_buffering`");
    let chosen = chosen(&[haproxy, nginx], hops, other);
    if chosen.iter().any(|words| words.starts_with("HAProxy")) {
        return chosen;
    }
    std::iter::once(haproxy.1.to_owned()).chain(chosen).collect()
}

/// What to change where an event stream is compressed.
pub(super) fn compression(hops: &[Hop]) -> Vec<String> {
    chosen(
        &[
            (Hop::Nginx, "nginx: take `text/event-stream` out of `gzip_types`"),
            (Hop::HaProxy, "HAProxy: take `text/event-stream` out of `compression type`"),
            (Hop::Apache, "Apache httpd: `SetEnv no-gzip 1` for the stream"),
            (Hop::Traefik, "Traefik: `excludedContentTypes` of `compress`: text/event-stream"),
            (Hop::Caddy, "Caddy: no `encode` for text/event-stream"),
            (Hop::Node, "Express: no `compression()` for event streams"),
            (Hop::Iis, "IIS: no `urlCompression` for the stream"),
        ],
        hops,
        "the server: `Cache-Control: no-transform`, which Caddy, HAProxy and Express obey",
    )
}

/// The settings of known hops, or all.
fn chosen(settings: &[(Hop, &str)], hops: &[Hop], other: &str) -> Vec<String> {
    let words = |(hop, words): &(Hop, &str)| told(*hop, words);
    let known: Vec<_> = settings.iter().filter(|(hop, _)| hops.contains(hop)).map(words).collect();
    if known.is_empty() { settings.iter().map(words).chain([other.to_owned()]).collect() } else { known }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[String], expected: &[&str]) {
        let begins = words.iter().zip(expected).all(|(words, expected)| words.contains(expected));
        assert!(words.len() == expected.len() && begins, "{words:#?} is not {expected:?}");
    }

    #[test]
    fn a_known_hop_is_told_its_own_setting() {
        let seconds = Duration::from_secs_f64;
        check(&idle(&[Hop::Nginx], seconds(60.1)), &["proxy_read_timeout"]);
        check(&idle(&[Hop::Nginx], seconds(4.0)), &["proxy_read_timeout"]);
        check(&idle(&[Hop::Nginx, Hop::HaProxy], seconds(50.0)), &["timeout server", "proxy_read_timeout"]);
        check(&idle(&[Hop::Nginx], seconds(350.5)), &["proxy_read_timeout", "AWS NLB"]);
        check(&duration(&[Hop::Envoy], seconds(15.0)), &["timeout: 0s"]);
        check(&holding(&[Hop::Nginx]), &["proxy_ignore_headers"]);
        check(&coalescing(&[Hop::HaProxy]), &["http-no-delay"]);
        check(&coalescing(&[Hop::Nginx])[..1], &["http-no-delay"]);
    }

    #[test]
    fn what_rests_on_documents_says_so() {
        let says = |words: &[String]| words.iter().map(|words| words.ends_with("not tested here)")).collect::<Vec<_>>();
        assert_eq!(says(&idle(&[Hop::Nginx, Hop::Alb], Duration::from_secs(60))), [false, true]);
        assert_eq!(says(&holding(&[Hop::Nginx, Hop::ApiGateway])), [false, true]);
    }

    #[test]
    fn where_no_hop_is_known_the_value_names_candidates() {
        let first = |limit: f64| idle(&[], Duration::from_secs_f64(limit))[0].clone();
        assert!(first(60.4).starts_with("nginx") && first(50.1).starts_with("HAProxy"));
        assert!(first(100.2).starts_with("Cloudflare") && first(350.3).starts_with("AWS NLB"));
        assert!(first(42.0).contains("no hop names itself"));
        check(&duration(&[], Duration::from_secs_f64(15.02)), &["Envoy"]);
        assert!(holding(&[]).len() > 5);
    }

    #[test]
    fn a_limit_is_a_usual_value_if_it_is_a_little_late() {
        for (measured, expected) in [(60.0, Some(60)), (61.4, Some(60)), (29.2, Some(29)), (45.0, None), (58.0, None)] {
            assert_eq!(usual(Duration::from_secs_f64(measured)), expected.map(Duration::from_secs), "{measured}");
        }
    }
}
