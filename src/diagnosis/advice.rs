//! What to change, in the words of whoever has to change it.
//!
//! Where the intermediary is known, its very setting; where it is not, those whose timers have the value that was seen.
//! Settings of products that were not met here rest on what their makers write, and say so.

use std::time::Duration;

use super::{FindingKind, Product};

/// The settings by which a product does to streams what it does.
#[derive(Clone, Copy, Debug, Default)]
struct Settings {
    /// Ends what is quiet.
    idle: Option<&'static str>,
    /// Ends what is old.
    duration: Option<&'static str>,
    /// Holds events back until a buffer is full, or the stream ends.
    buffering: Option<&'static str>,
    /// Lets go of streams when it is restarted or takes a new configuration.
    restart: Option<&'static str>,
}

fn settings(product: Product) -> Settings {
    let none = Settings::default();
    match product {
        Product::Nginx => Settings {
            idle: Some("set `proxy_read_timeout` (60s by default) in that `location`, to `1h`, say"),
            buffering: Some(
                "set `proxy_buffering off` in that `location`, or let it heed `X-Accel-Buffering` again (`proxy_ignore_headers`)",
            ),
            restart: Some("set `worker_shutdown_timeout`, if a reload must not wait for streams; else leave it out"),
            ..none
        },
        Product::IngressNginx => Settings {
            idle: Some("annotate the Ingress with `nginx.ingress.kubernetes.io/proxy-read-timeout: \"3600\"`"),
            buffering: Some("annotate the Ingress with `nginx.ingress.kubernetes.io/proxy-buffering: \"off\"`"),
            restart: Some(
                "raise `worker-shutdown-timeout` (240s by default) in its ConfigMap: every change of an Ingress starts its \
                 workers anew, and the old ones are killed after that",
            ),
            ..none
        },
        Product::HaProxy => Settings {
            idle: Some(
                "raise `timeout server` (50s in Debian's file) in that `backend`; `timeout client` ends readers that take \
                 nothing, and `timeout tunnel` has no effect on event streams",
            ),
            buffering: Some(
                "set `option http-no-delay` in that `backend`, and leave `compression` out for `text/event-stream`",
            ),
            restart: Some("set `hard-stop-after` generously; without it a reload waits for streams"),
            ..none
        },
        Product::Apache => Settings {
            idle: Some(
                "raise `ProxyTimeout`, or `timeout=` of that `ProxyPass` (`Timeout` by default: 60, or 300 in Debian's file)",
            ),
            buffering: Some("set `flushpackets=on` at that `ProxyPass`"),
            restart: Some("use `apachectl graceful`, or `graceful-stop` with `GracefulShutdownTimeout 0`, its default"),
            ..none
        },
        Product::Squid => Settings {
            idle: Some("raise `read_timeout` (15 minutes by default)"),
            duration: Some("raise `client_lifetime` (1 day by default)"),
            ..none
        },
        Product::Varnish => Settings {
            idle: Some(
                "raise `between_bytes_timeout` (60s by default), in VCL by `set bereq.between_bytes_timeout = 1h;` in `vcl_backend_fetch`",
            ),
            buffering: Some(
                "return `pipe` for event streams in `vcl_recv` (they are subject to `pipe_timeout` then, 60s by default), or \
                 keep `beresp.do_stream` true in `vcl_backend_response`",
            ),
            ..none
        },
        Product::Caddy => Settings {
            idle: Some("raise `read_timeout` of that `transport http`, or leave it out (none by default)"),
            buffering: Some("set `flush_interval -1` in that `reverse_proxy`"),
            restart: Some(
                "set `grace_period` generously, or leave it out, and have its service manager wait as long: a stopped one \
                 ends streams after that. A new configuration does not",
            ),
            ..none
        },
        Product::Envoy => Settings {
            idle: Some("set `stream_idle_timeout: 0s`, or `idle_timeout` of that route (5 minutes by default)"),
            duration: Some(
                "set `timeout: 0s` at that route (15s by default, however much is sent), and leave `max_stream_duration` out",
            ),
            restart: Some("raise `drain-time-s` and `parent-shutdown-time-s` of its command line"),
            ..none
        },
        // Measured: its `idleTimeout` and `readTimeout` end no event stream, silent or not, over HTTP/1.1 or HTTP/2.
        Product::Traefik => Settings {
            duration: Some(
                "set `transport.respondingTimeouts.writeTimeout: 0` of that entry point, as it is by default",
            ),
            buffering: Some(
                "leave the `buffering` middleware out, and `compress` with `excludedContentTypes: text/event-stream`",
            ),
            restart: Some("raise `transport.lifeCycle.graceTimeOut` (10s by default)"),
            ..none
        },
        Product::Lighttpd => Settings {
            idle: Some("raise `read-timeout` of that `proxy.server`, and `server.max-write-idle` (360s by default)"),
            buffering: Some("set `server.stream-response-body = 2`; it does not heed `X-Accel-Buffering`"),
            ..none
        },
        Product::AwsAlb => Settings {
            idle: Some("raise the load balancer's `idle_timeout.timeout_seconds` (60 by default, up to 4000)"),
            ..none
        },
        Product::AwsApiGateway => Settings {
            idle: Some(
                "set the integration's response transfer mode to `STREAM`, and keep heartbeats below 5 minutes, or below 30s \
                 if it is edge-optimised",
            ),
            duration: Some(
                "set the integration's response transfer mode to `STREAM` (15 minutes at most, REST APIs only; else it is 29s \
                 by default, and 30s of an HTTP API), or go past the API Gateway",
            ),
            buffering: Some("set the integration's response transfer mode to `STREAM` (REST APIs only)"),
            ..none
        },
        Product::CloudFront => Settings {
            idle: Some("raise the origin's response timeout (30s by default, up to 120, or more on request)"),
            duration: Some("leave the origin's response completion timeout out"),
            ..none
        },
        Product::Cloudflare => Settings {
            idle: Some(
                "keep heartbeats below 100s (of late its documents say 120s or 125s), which only an Enterprise plan can raise \
                 (`proxy_read_timeout`, up to 6000s)",
            ),
            buffering: Some("use a named tunnel: quick tunnels hold event streams until they end"),
            ..none
        },
        Product::Fastly => Settings {
            idle: Some(
                "raise the backend's `between_bytes_timeout` (10s by default; beyond 60s only for what is passed: clustering and \
                 shielding cap it)",
            ),
            buffering: Some("`return(pass)` for event streams in `vcl_recv`, and `set beresp.do_stream = true;`"),
            ..none
        },
        Product::GoogleCloud => Settings {
            duration: Some("raise the backend service's `timeoutSec` (30s by default, for the whole answer)"),
            ..none
        },
        Product::AzureAppGateway => Settings {
            idle: Some(
                "raise the request timeout of its backend settings (20s or 30s by default, by how they were made)",
            ),
            buffering: Some("switch response buffers off (`globalConfiguration.enableResponseBuffering=false`)"),
            ..none
        },
        Product::AzureFrontDoor => {
            Settings { idle: Some("raise the origin response timeout (30s by default, 16 to 240)"), ..none }
        }
        Product::AzureAppService => {
            Settings { idle: Some("keep heartbeats below 230s, which cannot be raised"), ..none }
        }
        Product::Heroku => Settings { idle: Some("keep heartbeats below 55s, which cannot be raised"), ..none },
        Product::Iis => Settings {
            idle: Some("raise the proxy's `timeout` in ARR (120s, by reports)"),
            buffering: Some(
                "set ARR's `minResponseBuffer` to 0, and switch dynamic compression off for `text/event-stream`",
            ),
            ..none
        },
        Product::NodeProxy => Settings {
            idle: Some("raise `proxyTimeout`, in Next.js `experimental.proxyTimeout` (30s by default)"),
            buffering: Some(
                "leave the `compression` middleware out for `text/event-stream` (`compress: false` in Next.js)",
            ),
            ..none
        },
        _ => none,
    }
}

/// Timers that are known by their value alone, for a path whose product is not known.
const BY_VALUE: &[(u64, &str)] = &[
    (10, "Fastly (`between_bytes_timeout`)"),
    (15, "Envoy (a route's `timeout`), Fastly (first byte)"),
    (20, "Azure Application Gateway (request timeout)"),
    (29, "AWS API Gateway (integration timeout)"),
    (
        30,
        "CloudFront and Azure Front Door (origin response timeout), Google Cloud (`timeoutSec`), AWS HTTP APIs, Azure \
         Application Gateway (request timeout), OpenShift (`haproxy.router.openshift.io/timeout`), Next.js (`proxyTimeout`)",
    ),
    (50, "HAProxy (`timeout server` of Debian's file)"),
    (55, "Heroku"),
    (
        60,
        "nginx (`proxy_read_timeout`), AWS ALB (`idle_timeout.timeout_seconds`), Varnish (`between_bytes_timeout`), Apache (`ProxyTimeout`)",
    ),
    (100, "Cloudflare"),
    (120, "Cloudflare, IIS with ARR (`timeout`)"),
    (125, "Cloudflare"),
    (230, "Azure App Service"),
    (240, "ingress-nginx (`worker-shutdown-timeout`), Azure Load Balancer (idle timeout)"),
    (
        300,
        "Apache (Debian's `Timeout`), Envoy (`stream_idle_timeout`), Google Cloud Run (request timeout), AWS API Gateway \
         (silence, with `STREAM`)",
    ),
    (350, "AWS NLB (`tcp.idle_timeout.seconds`), NAT gateways"),
    (360, "lighttpd (`server.max-write-idle`)"),
    (900, "Squid (`read_timeout`), AWS API Gateway (age, with `STREAM`)"),
    (3600, "AWS ALB or nginx with a timer that was raised"),
];

/// Whose timer has this value: none fires early, and few a thirtieth late.
fn by_value(limit: Duration) -> Option<&'static str> {
    let seconds = limit.as_secs_f64();
    BY_VALUE
        .iter()
        .find(|(value, _)| (*value as f64 * 0.995..=*value as f64 * 1.03).contains(&seconds))
        .map(|(_, who)| *who)
}

/// What ends quiet streams, and what to do about it.
#[must_use]
pub fn on_idle_limit(product: Product, limit: Duration) -> String {
    timer(product, limit, settings(product).idle)
}

/// What ends old streams, and what to do about it.
#[must_use]
pub fn on_duration_limit(product: Product, limit: Duration) -> String {
    timer(product, limit, settings(product).duration)
}

fn timer(product: Product, limit: Duration, setting: Option<&'static str>) -> String {
    match (setting, by_value(limit)) {
        (Some(setting), _) => known(product, setting),
        (None, Some(who)) => {
            format!(
                "look for a timer of {:.0} s on the way; these have one by default, or by their makers' documents: {who}",
                limit.as_secs_f64()
            )
        }
        (None, None) => format!("look for a timer of {:.1} s on the way, and raise it", limit.as_secs_f64()),
    }
}

/// What holds events back, and what to do about it.
#[must_use]
pub fn on_buffering(product: Product) -> String {
    settings(product).buffering.map_or_else(
        || {
            "look for something on the way that keeps answers until they end or a buffer is full: response buffering, \
             compression, a virus scanner; have it let `text/event-stream` through"
                .to_owned()
        },
        |setting| known(product, setting),
    )
}

/// What is slow, and what to do about it.
#[must_use]
pub fn on_delay(product: Product) -> String {
    match product {
        // Measured: each event 0.2 s later, as it waits for an acknowledgement (Nagle).
        Product::HaProxy => on_buffering(product),
        _ => {
            "see what the network and the machines on the way are busy with; `encke doctor` from where the clients are \
              measures the delay of each event"
                .to_owned()
        }
    }
}

/// What keeps streams open whose clients have gone, and what to do about it.
#[must_use]
pub fn on_zombies(product: Product) -> String {
    let setting = match product {
        Product::HaProxy => {
            "set `option abortonclose` in `defaults` (2.6 does not heed it in a `backend`; 3.3 has it by default): without \
             it, it learns of a client that left at a write"
        }
        Product::Apache | Product::Varnish | Product::Lighttpd => {
            "shorten `--heartbeat` of this gateway: it learns of a client that left at a write"
        }
        _ => "shorten `--heartbeat` of this gateway: most proxies learn of a client that is lost at a write",
    };
    if product == Product::Unknown { setting.to_owned() } else { known(product, setting) }
}

/// What gives a browser room for more streams.
pub const ON_H1_STARVED: &str = "serve HTTPS (`--tls-cert`, or a proxy that speaks HTTP/2 with browsers): one connection has room for many \
                                 streams then; or have the tabs of a page share one stream (`SharedWorker`, `BroadcastChannel`)";

/// The name of the setting that a finding is about, if its product is known.
#[must_use]
pub fn setting(product: Product, kind: FindingKind) -> Option<&'static str> {
    let of = settings(product);
    let advice = match kind {
        FindingKind::IdleLimit => of.idle,
        FindingKind::DurationLimit => of.duration,
        FindingKind::Restarts => of.restart,
        FindingKind::Buffering => of.buffering,
        // As `on_delay` and `on_zombies` advise.
        FindingKind::Delayed if product == Product::HaProxy => of.buffering,
        FindingKind::Zombies if product == Product::HaProxy => return Some("option abortonclose"),
        FindingKind::Delayed
        | FindingKind::Zombies
        | FindingKind::NatIdle
        | FindingKind::SlowReaders
        | FindingKind::H1Starved => None,
    };
    advice?.split('`').nth(1)
}

/// What lets go of many streams at once, and what to do about it.
#[must_use]
pub fn on_restart(product: Product) -> String {
    settings(product).restart.map_or_else(
        || "see what was restarted or reloaded on the way at those times".to_owned(),
        |setting| known(product, setting),
    )
}

/// A setting of a product; of one that was not met here it is said that it rests on documents.
fn known(product: Product, setting: &str) -> String {
    if product.is_tested() {
        format!("{}: {setting}", product.title())
    } else {
        format!("{} (by its marks and its maker's documents; not tested here): {setting}", product.title())
    }
}
