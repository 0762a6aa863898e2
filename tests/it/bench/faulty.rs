//! A server that takes events and gives them to its readers with faults, the same to each:
//! the third is left out, and the eighth; the fifth comes twice; the sixth comes after the seventh.
//!
//! At `/numbers` there is a stream of five events, with the ids 1, 2, 5, 5 and 4, and nothing more (204) for whoever comes
//! back to it.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// A server on a port of its own, for as long as it is held.
pub(super) struct Faulty {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    over: bool,
    /// The events of the run that began last, which a new run begins anew.
    run: Vec<u8>,
    events: Vec<Vec<u8>>,
}

/// Which events a reader is given, in their places.
fn faults(events: &[Vec<u8>], given: usize) -> Vec<&[u8]> {
    let order: Vec<usize> = (0..events.len())
        .flat_map(|number| match number {
            2 | 7 => vec![],
            4 => vec![4, 4],
            5 => vec![],
            6 => vec![6, 5],
            other => vec![other],
        })
        .collect();
    order.into_iter().skip(given).map(|number| events[number].as_slice()).collect()
}

impl Faulty {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = accepting.clone();
                if shared.state.lock().expect("no thread panics").over {
                    return;
                }
                // Whoever is gone in the midst is no failure: the test sees what became of it.
                std::thread::spawn(move || drop(shared.serve(client)));
            }
        });
        Self { address, shared }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.shared.state.lock().expect("no thread panics").over = true;
        self.shared.changed.notify_all();
        drop(TcpStream::connect(self.address)); // The accepting thread wakes by this and looks.
    }
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

impl Shared {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(client);
        loop {
            let (line, fields) = head(&mut reader)?;
            if line.is_empty() {
                return Ok(());
            } else if line.starts_with("POST ") {
                let length = fields.iter().find_map(|field| field.strip_prefix("content-length: ")?.parse().ok());
                let mut data = vec![0; length.unwrap_or(0)];
                reader.read_exact(&mut data)?;
                let number = self.take(data);
                let receipt = format!("{{\"id\":\"abcdefgh-{number}\"}}");
                let length = receipt.len();
                write!(reader.get_mut(), "HTTP/1.1 201 Created\r\nContent-Length: {length}\r\n\r\n{receipt}")?;
            } else if line.starts_with("GET /numbers") {
                return numbers(reader.get_mut(), &fields);
            } else {
                return self.stream(reader.get_mut());
            }
        }
    }

    /// Keeps an event, which says of which run it is.
    fn take(&self, data: Vec<u8>) -> usize {
        let mut state = self.state.lock().expect("no thread panics");
        let run = data.split(|byte| *byte == b' ').nth(1).unwrap_or_default().to_vec();
        if state.run != run {
            (state.run, state.events) = (run, Vec::new());
        }
        state.events.push(data);
        self.changed.notify_all();
        state.events.len()
    }

    fn stream(&self, client: &mut TcpStream) -> io::Result<()> {
        client.write_all(STREAM.as_bytes())?;
        let before = self.state.lock().expect("no thread panics").run.clone();
        let mut given = 0;
        loop {
            let mut written = Vec::new();
            {
                let state = self.state.lock().expect("no thread panics");
                let waits =
                    |state: &mut State| !state.over && (state.run == before || faults(&state.events, given).is_empty());
                let state = self.changed.wait_while(state, waits).expect("no thread panics");
                if state.over {
                    return client.shutdown(Shutdown::Both);
                }
                for data in faults(&state.events, given) {
                    written.extend_from_slice(b"data: ");
                    written.extend_from_slice(data);
                    written.extend_from_slice(b"\n\n");
                    given += 1;
                }
            }
            client.write_all(&written)?;
        }
    }
}

fn numbers(client: &mut TcpStream, fields: &BTreeSet<String>) -> io::Result<()> {
    if fields.iter().any(|field| field.starts_with("last-event-id: ")) {
        return client.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
    }
    let events = [1, 2, 5, 5, 4].map(|id| format!("id: {id}\ndata: x\n\n")).concat();
    write!(client, "{STREAM}retry: 1\n{events}")
}

/// The first line of a request, and its fields in lower case; nothing at the end of the connection.
fn head(reader: &mut impl BufRead) -> io::Result<(String, BTreeSet<String>)> {
    let mut lines = reader.by_ref().lines();
    let Some(first) = lines.next().transpose()? else { return Ok((String::new(), BTreeSet::new())) };
    let mut fields = BTreeSet::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        fields.insert(line.to_ascii_lowercase());
    }
    Ok((first, fields))
}
