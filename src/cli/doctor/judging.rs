//! What the measurements mean: facts in, findings out. Pure.

mod http2;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH};

use super::delay::{Delay, Verdict, is_corked};
use super::finding::{Finding, Level};
use super::half_close::HalfClose;
use super::holding::Holding;
use super::hops::{self, Hop, Mark};
use super::http2::Http2;
use super::lifetimes::{Life, Limit, Limits, limits};
use super::opening::Opening;
use super::remedy;
use super::stream::End;
use super::together::Together;
use super::watching::SILENT;
use crate::cli::progress::took;

/// Everything that was measured until now.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) is_https: bool,
    pub(super) opening: Opening,
    /// What a browser would speak, over TLS.
    pub(super) chosen: Option<String>,
    pub(super) holding: Holding,
    pub(super) delay: Delay,
    pub(super) half_close: HalfClose,
    pub(super) together: Together,
    /// The stream over HTTP/2, where there was one to be.
    pub(super) http2: Option<Http2>,
    pub(super) lives: Vec<Life>,
    /// Of so many watched streams, so many had no answer.
    pub(super) watched: (usize, usize),
}

/// What they mean.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    pub(super) marks: Vec<Mark>,
    /// Marks that name nobody known.
    pub(super) unknown: Vec<String>,
    pub(super) limits: Limits,
    /// How late each event is, where it is.
    pub(super) late: Option<Duration>,
    /// The most important first.
    pub(super) findings: Vec<Finding>,
}

impl Judgement {
    /// How many findings are problems.
    pub(super) fn problems(&self) -> usize {
        self.findings.iter().filter(|finding| finding.level == Level::Problem).count()
    }
}

/// So many clumps are no accident.
const CLUMPS: usize = 3;

/// Of a limit of silence, the share that a heartbeat should stay below: timers and networks vary.
const SAFE: f64 = 0.8;

impl Facts {
    pub(super) fn judged(&self) -> Judgement {
        let none = HeaderMap::new();
        let fields = self.opening.answer.as_ref().map_or(&none, |answer| &answer.fields);
        let has_head = self.opening.answer.is_some();
        // Where no head of a stream comes, that of an answer with an end names the hops.
        let named = if has_head { fields } else { &self.opening.fields };
        let mut marks = hops::marks(named, has_head && self.opening.is_encke);
        let late = self.late();
        if late.is_some_and(is_corked) && marks.iter().all(|mark| mark.hop != Hop::HaProxy) {
            let by = "each event is late by a fifth of a second, as with HAProxy without `option http-no-delay`";
            marks.push(Mark { hop: Hop::HaProxy, by: by.into() });
        }
        let hops: Vec<Hop> = marks.iter().map(|mark| mark.hop).collect();
        // Of what is held back nobody knows when it was sent, but of streams on which nothing is.
        let lives = self.lives.iter().filter(|life| is_silent(life) || !self.opening.is_held()).cloned();
        let limits = limits(&lives.collect::<Vec<_>>(), late.unwrap_or_default());
        let mut findings = Vec::new();
        findings.extend(self.holding(&hops));
        findings.extend(self.delay(&hops));
        findings.extend(self.heartbeats(&hops));
        findings.extend(self.clumps(&hops));
        findings.extend(self.idle(&limits, &hops));
        findings.extend(self.duration(&limits, &hops));
        findings.extend(cuts(&limits));
        findings.extend(self.http2(&limits, &hops));
        findings.extend(self.head(fields, &hops));
        findings.extend(self.together());
        findings.extend(self.unanswered());
        findings.extend(self.versions(&hops));
        findings.extend(self.half_close());
        findings.sort_by_key(|finding| finding.level);
        Judgement { marks, unknown: hops::unknown(named), limits, late, findings }
    }

    /// How late events come, if that is a property of the path.
    fn late(&self) -> Option<Duration> {
        match self.delay.verdict() {
            Some(Verdict::Coalesced(late) | Verdict::Late(late)) => Some(late),
            Some(Verdict::Prompt(_) | Verdict::Missing(_)) => None,
            // Nobody has published: the beginning of a stream beside an answer that is whole at once.
            None => self.late_beginning().filter(|late| is_corked(*late)),
        }
    }

    fn late_beginning(&self) -> Option<Duration> {
        self.opening.first_event?.checked_sub(self.opening.at_once?)
    }

    fn holding(&self, hops: &[Hop]) -> Option<Finding> {
        let (opening, waited) = (&self.opening, took(self.opening.patience));
        if opening.first_event.is_some() || (!opening.is_encke && opening.answer.is_some()) {
            return None;
        }
        let what = if opening.answer.is_some() { "the first event" } else { "not even the head" };
        let finding = match (opening.is_encke, self.holding.released_by) {
            (true, Some(bytes)) => Finding::problem(
                "buffered",
                format!("A hop holds back the beginning of a stream until about {bytes} bytes have come together."),
            )
            .by(format!("in {waited} {what} came without padding, and the first event with {bytes} bytes of it"))
            .mended_by([format!("until then: `padding={bytes}` in the URL of the stream")]),
            (true, None) => Finding::problem(
                "held",
                "A hop holds the whole answer back: clients see nothing before the stream ends, or see it by the bufferful.",
            )
            .by(format!(
                "in {waited} {} of the stream came{}, while an answer with an end takes {}",
                if opening.answer.is_some() { "the head, but no event" } else { "not even the head" },
                if self.holding.is_tried { ", also behind 64 KiB of padding" } else { "" },
                opening.at_once.map_or("its time".into(), took),
            )),
            (false, _) => Finding::problem("held", "The answer is held back, or the server does not begin it.")
                .by(format!("not even the head of the stream came in {waited}"))
                .mended_by(["the server: send the head, and a comment, as soon as a stream is opened"]),
        };
        Some(finding.mended_by(remedy::holding(hops)))
    }

    fn delay(&self, hops: &[Hop]) -> Option<Finding> {
        let corked = |late: Duration, evidence: String| {
            let says = format!("Each event is late by about {}: a hop waits for more before it sends.", took(late));
            Finding::problem("delayed", says).by(evidence).mended_by(remedy::coalescing(hops))
        };
        let of = self.delay.late.len();
        match self.delay.verdict() {
            Some(Verdict::Coalesced(late)) => {
                Some(corked(late, format!("{of} published events came {} after their receipts (median)", took(late))))
            }
            Some(Verdict::Late(late)) => Some(
                Finding::problem("late", format!("Events are late: half of them by more than {}.", took(late)))
                    .by(format!("{of} published events, compared with their receipts"))
                    .mended_by(remedy::holding(hops)),
            ),
            Some(Verdict::Missing(missing)) => Some(
                Finding::problem(
                    "missing",
                    format!("{missing} of {} published events did not come.", self.delay.published),
                )
                .by(format!("none in {} after the last one", took(self.opening.patience)))
                .mended_by(remedy::holding(hops)),
            ),
            Some(Verdict::Prompt(_)) => None,
            None => {
                let late = self.late()?;
                let [event, answer] = [self.opening.first_event?, self.opening.at_once?].map(took);
                let evidence = format!(
                    "the first event of the quickest of three streams came after {event}, a whole answer after {answer}"
                );
                Some(corked(late, evidence))
            }
        }
    }

    fn heartbeats(&self, hops: &[Hop]) -> Option<Finding> {
        if self.opening.is_held() {
            return None; // That says it all.
        }
        let overdue = self.lives.iter().filter_map(|life| Some((life.overdue()?, life.beat?)));
        let (silence, beat) = overdue.max()?;
        let says = "Heartbeats come late, together, or not at all: a hop holds small pieces back.";
        Some(
            Finding::problem("heartbeats", says)
                .by(format!(
                    "nothing came for {} on a stream on which something is sent every {}",
                    took(silence),
                    took(beat)
                ))
                .mended_by(remedy::holding(hops)),
        )
    }

    /// What a gateway publishes together comes together; of another server's events nobody knows when they were sent.
    fn clumps(&self, hops: &[Hop]) -> Option<Finding> {
        let clumps = self.lives.iter().map(|life| life.clumps).max().unwrap_or_default();
        (clumps >= CLUMPS && !self.opening.is_encke).then(|| {
            let says =
                "Events come in clumps: the server sends them so, or a hop holds them back until there are enough.";
            Finding::advice("clumps", says)
                .by(format!("{clumps} times several events came at once, each time after a second or more of nothing"))
                .mended_by(remedy::holding(hops))
        })
    }

    fn idle(&self, limits: &Limits, hops: &[Hop]) -> Option<Finding> {
        let limit = limits.idle.as_ref()?;
        let at = limit.at;
        let heartbeat = self.opening.heartbeat;
        let evidence = evidence(limit, "after the last byte", limits.silence);
        let is_met = heartbeat.is_none_or(|beat| beat > at.mul_f64(SAFE));
        let beats = |beat: Duration| format!("the server sends something every {}", took(beat));
        let mut finding = if is_met {
            let says = format!(
                "A stream that is silent for {} is cut{}.",
                limited(at),
                heartbeat.map_or(String::new(), |beat| format!(", and {}", beats(beat)))
            );
            Finding::problem("idle-limit", says)
        } else {
            let beat = heartbeat.map_or(String::new(), beats);
            Finding::advice(
                "idle-limit",
                format!("A stream that is silent for {} is cut; that is never met, as {beat}.", limited(at)),
            )
        };
        finding = finding.by(evidence).mended_by(remedy::idle(hops, at));
        if limits.is_mixed {
            finding.evidence +=
                "; others were silent for longer, so only some of the ways to the server have this limit";
        }
        if limits.is_unsure {
            if hops.is_empty() {
                finding = finding.mended_by(remedy::duration(hops, at));
            }
            finding.evidence += "; no stream that was busy became older, so this may be a limit of age, too";
        }
        let beat = at.mul_f64(0.5).as_secs();
        Some(match (is_met, self.opening.is_encke) {
            (true, true) if beat >= 5 => {
                finding.mended_by([format!("or have the gateway beat more often: `encke serve --heartbeat {beat}`")])
            }
            (true, false) => finding.mended_by(["or have the server send a comment (`:`) at least twice in that time"]),
            (true, true) | (false, _) => finding,
        })
    }

    fn duration(&self, limits: &Limits, hops: &[Hop]) -> Option<Finding> {
        let limit = limits.duration.as_ref()?;
        let evidence = evidence(limit, "after the request", limits.silence);
        if limit.end == End::Ended && !self.opening.is_encke {
            let at = limited(limit.at);
            let says = format!("Every stream ends in order at the age of {at}: the server does so, most likely.");
            return Some(Finding::advice("duration-limit", says).by(evidence));
        }
        let says = format!(
            "Every stream is cut at the age of {}, however busy it is: heartbeats do not help.",
            limited(limit.at)
        );
        let finding = Finding::problem("duration-limit", says).by(evidence).mended_by(remedy::duration(hops, limit.at));
        Some(if self.opening.is_encke {
            finding
        } else {
            finding.mended_by(["the server itself: does it end streams?"])
        })
    }

    fn head(&self, fields: &HeaderMap, hops: &[Hop]) -> Vec<Finding> {
        let Some(answer) = &self.opening.answer else { return Vec::new() };
        let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok()).map(str::to_ascii_lowercase);
        let mut findings = Vec::new();
        if answer.media_type != "text/event-stream" {
            let says = "A hop has changed the media type: an EventSource gives such a stream up for good.";
            let shown = crate::cli::console::shown(&answer.media_type);
            findings.push(Finding::problem("media-type", says).by(format!("Content-Type is {shown:?}")));
        }
        findings.extend(self.compression(text(CONTENT_ENCODING.as_str()).as_deref(), hops));
        if let Some(length) = text(CONTENT_LENGTH.as_str()) {
            let says = "The stream has a length, so somebody has read it to its end before passing it on.";
            let length = format!("Content-Length: {}", crate::cli::console::shown(&length));
            findings.push(Finding::problem("content-length", says).by(length).mended_by(remedy::holding(hops)));
        }
        if text("age").is_some_and(|age| age.trim() != "0")
            || text("x-cache").is_some_and(|cache| cache.contains("hit"))
        {
            let says = "The stream came out of a cache: readers would be given what others were.";
            findings.push(
                Finding::problem("cached", says)
                    .by("Age, or X-Cache with a hit")
                    .mended_by(["the cache: pass event streams through", "the server: `Cache-Control: no-store`"]),
            );
        }
        let control = text(CACHE_CONTROL.as_str()).unwrap_or_default();
        let lacks = !control.contains("no-transform") || !control.contains("no-store");
        if lacks && self.opening.is_encke {
            let says = "A hop has changed Cache-Control: what stands behind it may compress or keep the stream.";
            let control = if control.is_empty() { "it is gone".into() } else { format!("it is {control:?} now") };
            findings.push(Finding::problem("cache-control", says).by(control).mended_by([
                "the hop that sets it (`proxy_hide_header`, `expires`, `Header set`, a CDN's cache rule): leave it for the stream",
            ]));
        } else if !control.contains("no-transform") {
            let says = "The server does not ask for the stream to be left as it is.";
            findings.push(Finding::advice("cache-control", says).by("no `no-transform` in Cache-Control").mended_by([
                "the server: `Cache-Control: no-store, no-transform`, and `X-Accel-Buffering: no` for nginx",
            ]));
        }
        findings
    }

    /// `forced`: the coding of a stream of which nobody has said that it may have one.
    fn compression(&self, forced: Option<&str>, hops: &[Hop]) -> Option<Finding> {
        let offered = self.opening.compressed.as_ref();
        let coding = forced.or(offered.map(|compressed| compressed.coding.as_str()))?;
        if coding == "identity" {
            return None;
        }
        // Those send each event as soon as it comes, compressed or not.
        let flushes = hops.iter().any(|hop| matches!(hop, Hop::Nginx | Hop::Apache | Hop::Caddy | Hop::Traefik));
        let is_well = forced.is_none() && flushes && offered.is_some_and(|compressed| compressed.has_begun);
        let finding = if is_well {
            Finding::advice(
                "compressed",
                "Browsers are given a compressed stream; this hop sends events on at once all the same.",
            )
        } else {
            Finding::problem("compressed", "A hop compresses the stream: events may wait for a block to be full.")
        };
        let asked = if forced.is_some() { "though nobody asked for it" } else { "to a client that takes any coding" };
        let evidence = format!("Content-Encoding: {}, {asked}", crate::cli::console::shown(coding));
        Some(finding.by(evidence).mended_by(remedy::compression(hops)))
    }

    fn together(&self) -> Option<Finding> {
        let Together { tried, open, troubles } = &self.together;
        if open == tried || self.opening.answer.is_none() {
            return None;
        }
        let words: Vec<_> = troubles.iter().map(|words| crate::cli::console::shown(words)).collect();
        let mut says = format!("Of {tried} streams of one client only {open} are answered at once.");
        if self.chosen.as_deref() == Some("h2") {
            // https://nginx.org/en/docs/http/ngx_http_limit_conn_module.html
            says += " They had a connection each; browsers get HTTP/2 here, where all streams share one, so a limit of connections \
                     meets other clients only (but nginx's `limit_conn` counts each stream of HTTP/2).";
        }
        Some(Finding::problem("at-once", says).by(words.join("; ")).mended_by([
            "the limit of connections of one address (nginx: `limit_conn`; HAProxy: `maxconn`, stick tables; Apache: workers)",
            "or let pages share one stream, and a proxy speak HTTP/2",
        ]))
    }

    fn unanswered(&self) -> Option<Finding> {
        let (streams, failed) = self.watched;
        (failed > 0 && self.together.open == self.together.tried).then(|| {
            let says = format!("{failed} of the {streams} streams that were to be watched had no good answer.");
            Finding::problem("unanswered", says).by("while a dozen were open before").mended_by(["measure again"])
        })
    }

    fn versions(&self, hops: &[Hop]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let answer = self.opening.answer.as_ref();
        if let Some(answer) = answer.filter(|answer| !answer.is_1_1) {
            let closes =
                if answer.ends_with_connection { ", and a stream that is cut looks like one that ends" } else { "" };
            let says = format!("The path answers by HTTP/1.0: no connection is used twice{closes}.");
            findings.push(Finding::advice("http-1.0", says).by("the version in the status line"));
        }
        let six = "Browsers have six connections to a host over HTTP/1.1, over all pages: with six streams, everything else waits";
        if let Some(chosen) = self.chosen.as_ref().filter(|chosen| *chosen != "h2") {
            let mut finding = Finding::problem("no-http2", format!("{six}.")).by(format!(
                "over TLS, HTTP/2 is offered, and {} is chosen (ALPN)",
                crate::cli::console::shown(chosen)
            ));
            finding = if hops.contains(&Hop::Nginx) {
                finding.mended_by(["nginx: `http2 on;` (before 1.25.1: `listen 443 ssl http2;`)"])
            } else {
                finding.mended_by(["let whoever speaks TLS speak HTTP/2 (HAProxy: `alpn h2,http/1.1` on `bind`)"])
            };
            findings.push(finding);
        } else if !self.is_https && answer.is_some() {
            findings.push(
                Finding::advice("no-http2", format!("{six}, and they speak HTTP/2 over TLS only."))
                    .by("the URL is http://")
                    .mended_by(["TLS with HTTP/2 for readers; until then let pages share one stream"]),
            );
        }
        findings
    }

    fn half_close(&self) -> Option<Finding> {
        (self.half_close == HalfClose::Kept).then(|| {
            let says = "A hop keeps streams whose client has said that it asks nothing more; some that do so hear late of clients \
                        that left.";
            let said = if self.is_https { "close_notify and shutdown(SHUT_WR)" } else { "shutdown(SHUT_WR)" };
            Finding::advice("half-close", says)
                .by(format!("open for 2 s after {said}"))
                .mended_by(["HAProxy: `option abortonclose` in `defaults`", "a shorter heartbeat: it finds them by writing"])
        })
    }
}

/// Whether the server was asked to send nothing on this stream.
fn is_silent(life: &Life) -> bool {
    life.beat == Some(Duration::from_secs(SILENT))
}

/// Ends that no limit explains.
fn cuts(limits: &Limits) -> Option<Finding> {
    let (first, end) = limits.others.iter().min_by_key(|(age, _)| *age)?;
    let ages: Vec<_> = limits.others.iter().map(|(age, _)| took(*age)).collect();
    if let End::Other(words) = end {
        return Some(
            Finding::problem("unread", "What came could not be read on as an event stream.")
                .by(format!("at the age of {}: {words}", ages.join(", ")))
                .mended_by(["see whether the URL is that of an event stream, and what it sends: `curl -N`"]),
        );
    }
    let (says, when) = match &ages[..] {
        [_] => ("A stream was cut though it was busy: a restart or reload on the way, or the network.", String::new()),
        _ => (
            "Streams were cut though they were busy, and not at one age: a restart or reload on the way, or the network.",
            format!("at the age of {}; ", ages.join(", ")),
        ),
    };
    Some(
        Finding::problem("cut", says)
            .by(format!("{when}the first, after {}, was {end}", took(*first)))
            .mended_by(["measure again; look into the log of each hop for that moment"]),
    )
}

/// A limit, with the value that it was probably set to.
fn limited(at: Duration) -> String {
    remedy::usual(at).map_or_else(|| took(at), |usual| format!("{} s", usual.as_secs()))
}

fn evidence(limit: &Limit, since: &str, outlived: Duration) -> String {
    let Limit { at, streams, end } = limit;
    let streams = if *streams == 1 { "1 stream was".into() } else { format!("{streams} streams were") };
    let outlived = if outlived < Duration::from_secs(1) {
        String::new()
    } else {
        format!("; a silence of {} was outlived", took(outlived))
    };
    format!("{streams} {end}, {} {since}{outlived}", took(*at))
}
