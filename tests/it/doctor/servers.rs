//! Any other server, none, and a run that is ended early.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{doctor, looked_for, problems, read, report, report_of_a_limit, verdict};
use crate::support::wait_for;

/// A server of event streams that knows nothing but its one event, which every stream begins with. It may end each stream
/// at an age, up to which it repeats it.
struct Plain {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Plain {
    fn start() -> Self {
        Self::serving(serve)
    }

    fn ending_at(age: Duration) -> Self {
        Self::serving(move |socket| tick(socket, age))
    }

    fn serving(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let serve = serve.clone();
                std::thread::spawn(move || serve(socket));
            }
        });
        Self { address, asked }
    }

    fn url(&self) -> String {
        format!("http://{}/stream?token=s3cret", self.address)
    }
}

fn serve(socket: TcpStream) {
    let mut reader = begun(socket);
    let _ = reader.read(&mut [0]); // Until the client leaves.
}

/// Sends ten events a second, whatever comes, and closes the connection in the midst of the answer.
fn tick(socket: TcpStream, age: Duration) {
    let mut socket = begun(socket).into_inner();
    let began = Instant::now();
    for beat in (1..).map(|beat| Duration::from_millis(100) * beat).take_while(|beat| *beat < age) {
        std::thread::sleep(beat.saturating_sub(began.elapsed()));
        if socket.write_all(b"9\r\ndata: 2\n\n\r\n").is_err() {
            return;
        }
    }
    std::thread::sleep(age.saturating_sub(began.elapsed()));
}

/// Reads the request and sends the head and the first event.
fn begun(mut socket: TcpStream) -> BufReader<TcpStream> {
    let mut reader = BufReader::new(socket.try_clone().expect("a socket has handles"));
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
        line.clear();
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = socket.write_all(format!("{head}9\r\ndata: 1\n\n\r\n").as_bytes());
    reader
}

#[test]
fn a_server_that_is_no_gateway_is_looked_at_too() {
    let server = Plain::start();
    let (code, told) = report(&[&server.url(), "--quick"]);
    assert_eq!((code, problems(&told)), (Some(0), vec![]), "{told}");
    assert_eq!((&told["isEncke"], &told["watched"]["streams"]), (&false.into(), &3.into()), "{told}");
    assert!(!told.to_string().contains("s3cret"), "{told}");
}

#[test]
fn who_has_looked_for_long_enough_says_that_it_is_healthy_and_for_how_long() {
    let server = Plain::start();
    let (code, printed, errors) = doctor([&server.url(), "--max-idle=5", "--max-duration=5"]).ended();
    assert_eq!(code, Some(0), "{errors}");
    let last = "\nhealthy: nothing was found that would cut or hold back event streams here, silent for up to 5.00 s and open \
                for up to 5.00 s";
    assert!(printed.trim_end().ends_with(last), "{printed}");
}

#[test]
fn an_age_at_which_busy_streams_are_cut_is_found() {
    let server = Plain::ending_at(Duration::from_secs(3));
    let arguments = [&*server.url(), "--max-idle=5", "--max-duration=5"];
    let told = report_of_a_limit(&arguments, &["duration-limit"], "/duration/limit", 3.0);
    assert_eq!((&told["duration"]["end"], &told["idle"]["limit"]), (&"cut".into(), &serde_json::Value::Null), "{told}");
    assert_eq!((verdict(&told), looked_for(&told)[1]), ("problems", true), "{told}");
}

#[test]
fn where_nothing_can_be_measured_it_says_why() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let gateway = super::gateway();
    for (arguments, words) in [
        (vec![format!("http://u:s3cret@{nobody}/?token=s3cret")], "no connection"),
        (vec![format!("{}/nowhere", gateway.url())], "status 404"),
        (vec![format!("{}/events/t", gateway.url()), "--topic=t".into()], "with --topic the URL is the gateway's"),
        (vec!["s3cret".into()], "a URL here is"),
    ] {
        let (code, printed, errors) = doctor(&arguments).ended();
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{errors}");
        assert!(errors.contains(words) && !errors.contains("s3cret"), "{errors}");
    }
}

#[test]
fn an_interruption_ends_it_with_what_was_learnt() {
    // Streams for the beginning, one that may be compressed, twelve at once, one half-closed, three watched.
    const ALL: usize = 3 + 1 + 12 + 1 + 3;
    for (signal, expected) in [("INT", 130), ("TERM", 0)] {
        let server = Plain::start();
        let mut process = doctor([&server.url(), "--json"]);
        wait_for("all streams to be open", || server.asked.load(Ordering::SeqCst) == ALL);
        process.signal(signal);
        let (code, told) = read(process);
        assert_eq!(code, Some(expected), "{told}");
        assert_eq!((&told["endedEarly"], &told["atOnce"]["open"]), (&true.into(), &12.into()), "{told}");
        assert_eq!(told["idle"]["horizon"], 360_000.0, "{told}");
        assert_eq!((verdict(&told), looked_for(&told)), ("incomplete", [false, false]), "{told}");
        assert!(told["verdict"]["says"].as_str().is_some_and(|says| says.ends_with("let it run to its end")), "{told}");
    }
}
