//! What operators are shown of streams and of the network, as a page for people or as JSON for programs.

use std::fmt::Write as _;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// Nothing but its own style, and no script: what stands there came by the network once.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A page for who accepts HTML, else JSON.
pub(super) fn answer(headers: &HeaderMap, page: impl FnOnce() -> String, value: impl FnOnce() -> Value) -> Response {
    let fields = [(header::CACHE_CONTROL, "no-store"), (header::VARY, "Accept")];
    if accepts_html(headers) {
        let own = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
        return (fields, own, page()).into_response();
    }
    (fields, [(header::CONTENT_TYPE, "application/json")], format!("{:#}\n", value())).into_response()
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|accept| accept.to_str().is_ok_and(|text| text.contains("text/html")))
}

/// To the millisecond: what is measured is no better.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// The beginning of a page, up to its title. It renews itself every ten seconds.
pub(super) fn head(title: &str) -> String {
    let title = Text(title);
    format!("{TOP}<title>{title} – Encke</title>{STYLE}<body><main><h1>{title}</h1>")
}

/// Text as it stands in HTML.
pub(super) struct Text<'a>(pub(super) &'a str);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut code = false;
        for piece in self.0.chars() {
            match piece {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '`' => {
                    f.write_str(if code { "</code>" } else { "<code>" })?;
                    code = !code;
                }
                other => f.write_char(other)?,
            }
        }
        if code { f.write_str("</code>") } else { Ok(()) }
    }
}

const TOP: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">";

const STYLE: &str = "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"refresh\" content=\"10\"><style>\
:root{color-scheme:light dark;--line:#8884;--quiet:#777;--warn:#c60}\
body{font:16px/1.5 system-ui,sans-serif;margin:0}main{max-width:72rem;margin:0 auto;padding:1.5rem}\
h1{font-size:1.5rem;margin:0 0 1rem}h2{font-size:1.1rem;margin:1.5rem 0 .5rem}\
.finding{border-left:.3rem solid var(--warn);padding:.1rem 1rem;margin:1rem 0;background:#c601}\
.finding h2{margin:.5rem 0}.finding p{margin:.4rem 0}.well{border-left:.3rem solid #295;padding:.6rem 1rem}\
.ended{border-left:.3rem solid var(--line);padding:.1rem 1rem;margin:1rem 0}.ended p{margin:.3rem 0}a{color:inherit}\
.quiet{color:var(--quiet);font-size:.9rem}code{font:.9em ui-monospace,monospace}\
table{border-collapse:collapse;display:block;overflow-x:auto}th,td{text-align:right;padding:.3rem .8rem;\
border-bottom:1px solid var(--line);white-space:nowrap;font-variant-numeric:tabular-nums}th:first-child,td:first-child{text-align:left}\
</style></head>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_by_the_network_is_text_and_what_is_quoted_is_code() {
        assert_eq!(
            Text("<b>&\"' set `a < b` and `c").to_string(),
            "&lt;b&gt;&amp;&quot;&#39; set <code>a &lt; b</code> and <code>c</code>"
        );
    }
}
