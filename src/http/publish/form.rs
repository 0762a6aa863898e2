//! What an HTML form without a script sends: one of its fields is the data of an event.

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::super::App;
use super::super::guard;
use super::super::problem::Problem;
use super::super::query::form_values;
use super::content::{Content, media_type};
use super::one;
use super::share::Share;
use super::target::Named;
use crate::event::Publisher;

/// The content, and as much for the other fields and for the coding, which makes three characters of one.
const ROOM: usize = 4;

pub(super) async fn publish(
    app: &App,
    publisher: Publisher,
    named: Named,
    field: &str,
    parts: &Parts,
    content: Content,
) -> Result<Response, Problem> {
    let is_form =
        media_type(&parts.headers)?.is_some_and(|media| media.essence() == "application/x-www-form-urlencoded");
    if !is_form {
        let detail = "a form is sent as application/x-www-form-urlencoded, which is what browsers do unasked";
        return Err(content.refuse(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)).await);
    }
    let mut most = one::most(app);
    most.bytes *= ROOM;
    let content = content.whole(most, Share::new(app, publisher)).await?;
    let data = data(&content, field)?;
    if data.len() > app.options.event_bytes {
        let detail = format!("an event has at most {} bytes of data", app.options.event_bytes);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    one::append(app, publisher, named, data.into(), None)?.await?;
    Ok(back(parts).map_or_else(|| StatusCode::NO_CONTENT.into_response(), see))
}

/// The value of the field, which must be there once. The others are the form's own affair.
pub(super) fn data(content: &[u8], field: &str) -> Result<String, Problem> {
    let text = std::str::from_utf8(content).map_err(|_| Problem::bad("a form is sent percent-encoded, in UTF-8"))?;
    let mut values = form_values(text, field);
    let name: String = field.chars().take(64).collect();
    let value = values.next().ok_or_else(|| Problem::bad(format!("the form has no field `{name}`")))??;
    if values.next().transpose()?.is_some() {
        return Err(Problem::bad(format!("the form has more than one field `{name}`")));
    }
    Ok(value.into_owned())
}

/// The page that the form is on, if it is one of this origin.
pub(super) fn back(parts: &Parts) -> Option<HeaderValue> {
    let referer = parts.headers.get(header::REFERER)?;
    let page = guard::origin_of(referer.to_str().ok()?)?;
    let here = parts.uri.authority().cloned().or_else(|| {
        let host = parts.headers.get(header::HOST)?;
        Authority::try_from(host.as_bytes()).ok()
    })?;
    guard::is_same(&page, &here, guard::is_over_tls(&parts.extensions)).then(|| referer.clone())
}

fn see(page: HeaderValue) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, page)]).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn one_field_of_a_form_is_the_data() {
        let check = |form: &str, expected: Result<&str, &str>| match (data(form.as_bytes(), "data"), expected) {
            (Ok(data), Ok(expected)) => assert_eq!(data, expected, "{form}"),
            (Err(problem), Err(words)) => assert!(problem.detail().contains(words), "{form}: {}", problem.detail()),
            (told, expected) => panic!("{form}: {told:?} and not {expected:?}"),
        };
        check("data=a+b%26c%0D%0Ad&send=Send", Ok("a b&c\r\nd"));
        check("send=Send&data=", Ok(""));
        check("data", Ok(""));
        check("date=a", Err("no field `data`"));
        check("", Err("no field `data`"));
        check("data=a&data=b", Err("more than one field"));
        check("data=%FF", Err("the form is not UTF-8"));
        check("data=%zz", Err("two hexadecimal digits"));
        check("data=é", Ok("é"));
    }

    #[test]
    fn only_a_page_of_this_origin_is_gone_back_to() {
        let back = |referer: &str| {
            let request =
                Request::post("/events/t").header(header::HOST, "a.example:81").header(header::REFERER, referer);
            back(&request.body(()).expect("a request").into_parts().0).is_some()
        };
        assert!(back("http://a.example:81/page?x=1"));
        assert!(!back("javascript://a.example:81/%0aalert(1)") && !back("data://a.example:81/,x"));
        assert!(back("https://A.example:81/"));
        for referer in [
            "http://a.example/",
            "http://b.example:81/",
            "http://a.example:81@b.example/",
            "/page",
            "nonsense",
            "javascript:x",
        ] {
            assert!(!back(referer), "{referer}");
        }
    }
}
