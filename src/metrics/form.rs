//! The forms in which metrics can be had, and which a scraper would rather have (RFC 9110 § 12.5.1).

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Prometheus' older text.
    Text,
    /// `OpenMetrics` 1.0.0, with exemplars.
    OpenMetrics,
}

impl Form {
    /// What a scraper that sent this `Accept` prefers.
    ///
    /// That is `OpenMetrics` if it weighs it more; or as much, if it names it: who names it can read it. One that accepts
    /// anything gets what it always got.
    #[must_use]
    pub fn preferred(accept: &str) -> Self {
        let (open_metrics, text) = (OPEN_METRICS.weighed(accept), TEXT.weighed(accept));
        let named = open_metrics.fit >= Fit::Named;
        if open_metrics.q > 0.0 && (open_metrics.q > text.q || named && open_metrics.q >= text.q) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A format that can be had.
struct Offer {
    kind: &'static str,
    subtype: &'static str,
    version: &'static str,
}

const OPEN_METRICS: Offer = Offer { kind: "application", subtype: "openmetrics-text", version: "1.0.0" };
const TEXT: Offer = Offer { kind: "text", subtype: "plain", version: "0.0.4" };

/// How closely a media range fits, and its weight. The closest decides, whatever stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Weighed {
    fit: Fit,
    q: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Fit {
    None,
    Anything,
    Kind,
    Named,
    Version,
}

impl Offer {
    fn weighed(&self, accept: &str) -> Weighed {
        let nothing = Weighed { fit: Fit::None, q: 0.0 };
        let ranges = split(accept, ',').map(|range| self.range(range));
        ranges.fold(nothing, |best, range| if range > best { range } else { best })
    }

    /// How one media range weighs this format. Parameters that say nothing of what is sent are passed over, such as the
    /// `escaping` of names, none of which need any.
    fn range(&self, range: &str) -> Weighed {
        let mut parts = split(range, ';').map(str::trim);
        let mut fit = self.fit(parts.next().unwrap_or_default());
        let mut q = 1.0;
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim_matches('"');
            if name.eq_ignore_ascii_case("q") {
                // A weight that cannot be read counts as 1.
                q = value.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(1.0);
            } else if name.eq_ignore_ascii_case("version") {
                fit = if fit >= Fit::Named && value == self.version { Fit::Version } else { Fit::None };
            } else if name.eq_ignore_ascii_case("charset") && !value.eq_ignore_ascii_case("utf-8") {
                fit = Fit::None;
            }
        }
        Weighed { fit, q: if fit == Fit::None { 0.0 } else { q } }
    }

    fn fit(&self, media_range: &str) -> Fit {
        match media_range.split_once('/') {
            Some(("*", "*")) => Fit::Anything,
            Some((kind, _)) if !kind.eq_ignore_ascii_case(self.kind) => Fit::None,
            Some((_, "*")) => Fit::Kind,
            Some((_, subtype)) if subtype.eq_ignore_ascii_case(self.subtype) => Fit::Named,
            _ => Fit::None,
        }
    }
}

/// The parts between separators that stand in no quoted string.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        let (was_quoted, was_escaped) = (quoted, escaped);
        escaped = quoted && character == '\\' && !was_escaped;
        quoted ^= character == '"' && !was_escaped;
        character == separator && !was_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::Form::{OpenMetrics, Text};
    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: Form) {
        assert_eq!(Form::preferred(accept), expected, "{accept}");
    }

    #[test]
    fn prometheus_gets_open_metrics() {
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OpenMetrics,
        );
        check(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            OpenMetrics,
        );
        check("text/plain;version=0.0.4;q=1,*/*;q=0.1", Text);
    }

    #[test]
    fn weights_decide() {
        check("application/openmetrics-text;q=0.5, text/plain;q=0.4", OpenMetrics);
        check("application/openmetrics-text;q=0.4, text/plain;q=0.5", Text);
        check("text/plain; q=0.001, application/openmetrics-text; version=1.0.0; q=0.002", OpenMetrics);
        check("application/openmetrics-text;q=0", Text);
        check("application/openmetrics-text;q=0, */*", Text);
        check("text/plain;q=0.1, */*", OpenMetrics);
        check("text/*;q=0.1, application/*;q=0.2", OpenMetrics);
    }

    #[test]
    fn of_equal_weights_it_must_be_named() {
        check("application/openmetrics-text", OpenMetrics);
        check("text/plain, application/openmetrics-text", OpenMetrics);
        check("application/openmetrics-text, */*", OpenMetrics);
        check("application/openmetrics-text;q=0.5, */*;q=0.5", OpenMetrics);
        check("*/*", Text);
        check("application/*, text/*", Text);
        check("", Text);
        check("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", Text);
    }

    #[test]
    fn the_closest_range_decides_for_a_format() {
        check("*/*, application/openmetrics-text;q=0.1, text/plain;q=0.5", Text);
        check("application/*;q=0.1, application/openmetrics-text;version=1.0.0;q=0.9, text/plain;q=0.5", OpenMetrics);
        check(
            "application/openmetrics-text;q=0.9, application/openmetrics-text;version=1.0.0;q=0.1, text/plain;q=0.5",
            Text,
        );
    }

    #[test]
    fn only_the_version_and_the_charset_that_are_sent_fit() {
        check("application/openmetrics-text;version=0.0.1", Text);
        check("application/openmetrics-text;version=2.0.0, */*;q=0.1", Text);
        check("application/openmetrics-text;version=1.0.0;charset=utf-8", OpenMetrics);
        check("application/openmetrics-text;version=1.0.0;charset=UTF-8", OpenMetrics);
        check("application/openmetrics-text;charset=us-ascii", Text);
        check("application/openmetrics-text, text/plain;version=1.0.0", OpenMetrics);
    }

    #[test]
    fn it_is_read_as_it_may_be_written() {
        check(" Application/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=0.8 , text/plain;q=0.7", OpenMetrics);
        check("application/x; note=\"a, application/openmetrics-text;q=1\"", Text);
        check("application/x; note=\"a \\\" , b\", application/openmetrics-text", OpenMetrics);
        check("application/x; note=\"a\", application/openmetrics-text", OpenMetrics);
        check("application/x; note=\"ab\", application/openmetrics-text", OpenMetrics);
        check("application/openmetrics-text;q=nan, text/plain;q=1", OpenMetrics);
        check(",;,=;/,*/,/*", Text);
    }
}
