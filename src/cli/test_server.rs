//! A small HTTP/1.1 server for tests, which does what a script says: also what no library's server would do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// One request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What the script wants to happen.
pub(crate) enum Reply {
    /// Cut the connection without an answer.
    Drop,
    /// Answer with these bytes, then keep the connection for the next request.
    Answer(Vec<u8>),
    /// Answer with these bytes once the signal says so.
    Later(watch::Receiver<bool>, Vec<u8>),
    /// Answer with these bytes and close; or hold the connection open until the client leaves.
    Stream(Vec<u8>, Held),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Open,
    Closed,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        let length = body.len();
        Self::Answer(
            format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
                .into(),
        )
    }

    pub(crate) fn stream(body: &str) -> Self {
        Self::Stream(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{body}").into(), Held::Closed)
    }

    pub(crate) fn held_open(self) -> Self {
        match self {
            Self::Stream(bytes, _) => Self::Stream(bytes, Held::Open),
            other => other,
        }
    }

    /// The same answer, once `signal` is true.
    pub(crate) fn not_before(self, signal: watch::Receiver<bool>) -> Self {
        match self {
            Self::Answer(bytes) => Self::Later(signal, bytes),
            other => other,
        }
    }

    pub(crate) fn with_header(self, name: &str, value: &str) -> Self {
        let Self::Answer(bytes) = self else { return self };
        let text = String::from_utf8(bytes).expect("a reply in text");
        Self::Answer(text.replacen("\r\n", &format!("\r\n{name}: {value}\r\n"), 1).into())
    }
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    async fn read(reader: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut request = Self::default();
        let mut line = String::new();
        reader.read_line(&mut line).await.ok().filter(|&length| length > 0)?;
        let mut words = line.split(' ').map(str::to_owned);
        (request.method, request.target) = (words.next()?, words.next()?);
        loop {
            line.clear();
            reader.read_line(&mut line).await.ok().filter(|&length| length > 0)?;
            let Some((name, value)) = line.split_once(':') else { break };
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        request.body = vec![0; length];
        reader.read_exact(&mut request.body).await.ok()?;
        Some(request)
    }
}

type Script = dyn FnMut(usize, &Request) -> Reply + Send;

/// The server; it stops when it is dropped.
pub(crate) struct TestServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    tasks: JoinSet<()>,
}

impl TestServer {
    /// Starts a server that asks `script` what to do with each request, of which it is told the number.
    pub(crate) async fn start(script: impl FnMut(usize, &Request) -> Reply + Send + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), script).await
    }

    /// The same at an address of the caller's choice, such as that of a server that was killed.
    pub(crate) async fn start_at(
        address: SocketAddr,
        script: impl FnMut(usize, &Request) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(script));
        let mut tasks = JoinSet::new();
        let seen = requests.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new(); // Aborted with this task.
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(serve(socket, script.clone(), seen.clone()));
            }
        });
        Self { address, requests, tasks }
    }

    /// Cuts every connection and gives the address back.
    pub(crate) async fn kill(mut self) -> SocketAddr {
        self.tasks.shutdown().await;
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test panicked").clone()
    }
}

async fn serve(socket: TcpStream, script: Arc<Mutex<Script>>, requests: Arc<Mutex<Vec<Request>>>) {
    let mut reader = BufReader::new(socket);
    while let Some(request) = Request::read(&mut reader).await {
        let number = {
            let mut requests = requests.lock().expect("no test panicked");
            requests.push(request.clone());
            requests.len() - 1
        };
        let reply = (script.lock().expect("the script does not panic"))(number, &request);
        match reply {
            Reply::Drop => return,
            Reply::Answer(bytes) => {
                if reader.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Reply::Later(mut signal, bytes) => {
                if signal.wait_for(|&now| now).await.is_err() || reader.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Reply::Stream(bytes, held) => {
                if reader.write_all(&bytes).await.is_ok() && held == Held::Open {
                    let _ = reader.read_u8().await; // Resolves when the client leaves.
                }
                return;
            }
        }
    }
}

/// A writer whose text can be read elsewhere.
#[derive(Clone, Default)]
pub(crate) struct Captured(watch::Sender<String>);

impl Captured {
    pub(crate) fn text(&self) -> String {
        self.0.borrow().clone()
    }

    /// Waits until `words` were written.
    pub(crate) async fn wait_for(&self, words: &str) {
        self.0.subscribe().wait_for(|text| text.contains(words)).await.expect("the writer is there");
    }
}

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send_modify(|text| text.push_str(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
