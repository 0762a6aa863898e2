//! Serves pages to browsers and collects what they report: the way by which a test sees through a browser's eyes.
//!
//! A page loads `/report.js`, which gives it `report(value)` and reports what goes wrong in the page by itself. It comes
//! from another port than the gateway, so its requests there are cross-origin; `--dev` lists every loopback origin.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// How long a page has to report: a browser's first start on a busy machine takes its time.
const PAGE_PATIENCE: Duration = Duration::from_secs(90);

/// A small HTTP server on a port of its own, for as long as it is held.
pub(crate) struct PageServer {
    address: SocketAddr,
    pages: Pages,
    requests: Requests,
    results: Receiver<String>,
}

/// By path.
type Pages = Arc<Mutex<HashMap<String, Answer>>>;

#[derive(Clone)]
struct Answer {
    status: String,
    field: String,
    content: String,
}

/// Method and path of what was asked for, to be told when nothing is reported: how far did the browser come?
type Requests = Arc<Mutex<Vec<String>>>;

impl PageServer {
    /// A server of one page at `/`, whose `script` may call `report(value)` and is a module: it may `await`.
    pub(crate) fn of_script(script: &str) -> Self {
        let server = Self::start();
        server.page("/", &page(script));
        server
    }

    /// A server that has `/report.js` and no page yet.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (sender, results) = channel();
        let (pages, requests) = (Pages::default(), Requests::default());
        let (served, asked) = (Arc::clone(&pages), Arc::clone(&requests));
        std::thread::spawn(move || accept(&listener, &served, &asked, &sender));
        let server = Self { address, pages, requests, results };
        server.file("/report.js", "text/javascript; charset=utf-8", REPORT);
        server
    }

    /// Adds an HTML page, or replaces it.
    pub(crate) fn page(&self, path: &str, html: &str) {
        self.file(path, "text/html; charset=utf-8", html);
    }

    /// Adds a file of another type.
    pub(crate) fn file(&self, path: &str, media_type: &str, content: &str) {
        self.answer(path, "200 OK", format!("Content-Type: {media_type}"), content);
    }

    /// Sends whoever asks for `path` to another address, by a status such as `307 Temporary Redirect`.
    pub(crate) fn redirect(&self, path: &str, status: &str, location: &str) {
        self.answer(path, status, format!("Location: {location}"), "");
    }

    fn answer(&self, path: &str, status: &str, field: String, content: &str) {
        let answer = Answer { status: status.to_owned(), field, content: content.to_owned() };
        self.pages().insert(path.to_owned(), answer);
    }

    /// The address of a page, to be opened by a browser.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next report of a page, in the order of their coming. Panics if the page failed, or is silent for too long.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        self.result_within(PAGE_PATIENCE)
    }

    /// The same with a patience of the test's own.
    #[track_caller]
    pub(crate) fn result_within(&self, patience: Duration) -> Value {
        let report = match self.results.recv_timeout(patience) {
            Ok(report) => report,
            Err(RecvTimeoutError::Timeout) => {
                let requests = self.requests.lock().expect("nothing panics while it holds the requests");
                panic!("the page reported nothing within {patience:?}; the browser asked for {requests:?}")
            }
            Err(RecvTimeoutError::Disconnected) => panic!("the page server has ended"),
        };
        let report: Value = serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error} in {report:?}"));
        if let Some(failure) = report.get("pageFailed") {
            panic!("the page failed: {failure}");
        }
        report
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, HashMap<String, Answer>> {
        self.pages.lock().expect("nothing panics while it holds the pages")
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        // Without the report script a server is over: the accepting thread wakes by this connection and looks.
        self.pages().clear();
        let _ = TcpStream::connect(self.address);
    }
}

/// An HTML page around a script.
pub(crate) fn page(script: &str) -> String {
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>test</title><link rel=\"icon\" href=\"data:,\">\n\
         <script src=\"/report.js\"></script>\n<script type=\"module\">\n{script}\n</script>\n"
    )
}

/// Reports go out one after the other, so that they come in the order of the calls.
const REPORT: &str = r#"
let reported = Promise.resolve();
function report(value) {
  const body = JSON.stringify(value === undefined ? null : value);
  reported = reported.then(() => fetch("/result", { method: "POST", body }));
  return reported;
}
addEventListener("error", (e) => report({ pageFailed: `${e.message} (${e.filename}:${e.lineno})` }));
addEventListener("unhandledrejection", (e) => report({ pageFailed: String((e.reason && e.reason.stack) || e.reason) }));
"#;

fn accept(listener: &TcpListener, pages: &Pages, requests: &Requests, results: &Sender<String>) {
    for connection in listener.incoming() {
        let Ok(connection) = connection else { continue };
        if pages.lock().expect("nothing panics while it holds the pages").is_empty() {
            return;
        }
        let (pages, requests, results) = (Arc::clone(pages), Arc::clone(requests), results.clone());
        // A browser opens connections ahead and leaves them silent, so each has a thread.
        std::thread::spawn(move || {
            // A browser that is gone in the middle is no failure: the test waits for its report.
            let _ = serve(&connection, &pages, &requests, &results);
        });
    }
}

/// Answers one request and closes: enough for a page and its reports.
fn serve(connection: &TcpStream, pages: &Pages, requests: &Requests, results: &Sender<String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let body_bytes = content_length(&mut reader)?;
    if method == "POST" && target == "/result" {
        let mut body = vec![0; body_bytes];
        reader.read_exact(&mut body)?;
        // The test may have seen enough and be over.
        let _ = results.send(String::from_utf8_lossy(&body).into_owned());
        return answer(connection, "204 No Content", "", "");
    }
    let path = target.split('?').next().unwrap_or_default();
    requests.lock().expect("nothing panics while it holds the requests").push(format!("{method} {path}"));
    let page = pages.lock().expect("nothing panics while it holds the pages").get(path).cloned();
    match page {
        Some(page) => answer(connection, &page.status, &format!("{}\r\n", page.field), &page.content),
        None => answer(connection, "404 Not Found", "Content-Type: text/plain\r\n", "no such page in this test"),
    }
}

/// Reads the header fields; the length of the content that follows, 0 without one.
fn content_length(reader: &mut impl BufRead) -> std::io::Result<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { return Ok(length) };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
}

fn answer(mut connection: &TcpStream, status: &str, field: &str, content: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{field}Content-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        content.len()
    );
    connection.write_all(format!("{head}{content}").as_bytes())
}
