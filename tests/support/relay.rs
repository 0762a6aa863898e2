//! A small intermediary: it hands bytes on between clients and a gateway, and does on the way what an intermediary may do.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A relay on a port of its own, for as long as it is held.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    gateway: String,
    manner: Manner,
    /// The manner was shown, where it is shown once; the relay passes on everything from then on.
    done: AtomicBool,
    over: AtomicBool,
}

enum Manner {
    Bytewise,
    CutOnceAfter(Vec<u8>),
    FirstAnswer(Vec<u8>),
}

impl Relay {
    /// Writes each byte of an answer by itself.
    pub(crate) fn bytewise(gateway: &str) -> Self {
        Self::start(gateway, Manner::Bytewise)
    }

    /// Breaks the first answer that holds these bytes off behind them.
    pub(crate) fn cut_once_after(gateway: &str, bytes: &[u8]) -> Self {
        Self::start(gateway, Manner::CutOnceAfter(bytes.to_vec()))
    }

    /// Gives this answer to the first `GET` itself: what stood here before the gateway did.
    pub(crate) fn first_answer(gateway: &str, answer: &[u8]) -> Self {
        Self::start(gateway, Manner::FirstAnswer(answer.to_vec()))
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn start(gateway: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (done, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Arc::new(Shared { gateway: gateway.to_owned(), manner, done, over });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // Whoever is gone in the middle is no failure of the relay: the test sees what became of it.
                std::thread::spawn(move || drop(shared.serve(client)));
            }
        });
        Self { address, shared }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // The accepting thread wakes by this connection and looks.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut begun = vec![0; 16 * 1024];
        let length = client.read(&mut begun)?;
        begun.truncate(length);
        if let Manner::FirstAnswer(answer) = &self.manner
            && begun.starts_with(b"GET ")
            && !self.done.swap(true, Ordering::Relaxed)
        {
            return client.write_all(answer);
        }
        let mut gateway = TcpStream::connect(&self.gateway)?;
        gateway.write_all(&begun)?;
        let (mut from_client, mut to_gateway) = (client.try_clone()?, gateway.try_clone()?);
        std::thread::spawn(move || {
            let _ = io::copy(&mut from_client, &mut to_gateway);
            let _ = to_gateway.shutdown(Shutdown::Write);
        });
        let passed = self.pass_on(&mut gateway, &mut client);
        // The other direction ends with these, too.
        let _ = (gateway.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both));
        passed
    }

    fn pass_on(&self, gateway: &mut TcpStream, client: &mut TcpStream) -> io::Result<()> {
        let mut passed = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let length = gateway.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            let bytes = &buffer[..length];
            match &self.manner {
                Manner::Bytewise => bytes.iter().try_for_each(|byte| client.write_all(&[*byte]))?,
                Manner::CutOnceAfter(end) if !self.done.load(Ordering::Relaxed) => {
                    let before = passed.len();
                    passed.extend(bytes);
                    let at = passed.windows(end.len()).position(|window| window == end);
                    // Of two answers that come to it at the same moment one is cut.
                    let at = at.filter(|_| !self.done.swap(true, Ordering::Relaxed));
                    let reached = at.map_or(passed.len(), |at| at + end.len());
                    client.write_all(&passed[before.min(reached)..reached])?;
                    if at.is_some() {
                        return Ok(());
                    }
                }
                Manner::CutOnceAfter(_) | Manner::FirstAnswer(_) => client.write_all(bytes)?,
            }
        }
    }
}
