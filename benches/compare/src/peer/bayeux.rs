//! What a client of a Bayeux server does before it opens its `EventSource`: handshake and subscription.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Registers a new client and subscribes it; the id of the client.
pub(super) fn enrol(server: SocketAddr, topic: &str) -> Result<String> {
    let mut connection = BufReader::new(TcpStream::connect(server).context("connect for a handshake")?);
    connection.get_ref().set_read_timeout(Some(Duration::from_secs(20)))?;
    connection.get_ref().set_nodelay(true)?;
    let handshake = json!([{
        "channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["eventsource", "long-polling"]
    }]);
    let answer = exchange(&mut connection, &handshake)?;
    let client = answer[0]["clientId"].as_str().context("the handshake gave no clientId")?.to_owned();
    let subscription =
        json!([{ "channel": "/meta/subscribe", "clientId": client, "subscription": format!("/{topic}") }]);
    let answer = exchange(&mut connection, &subscription)?;
    ensure!(answer[0]["successful"] == true, "the subscription was refused");
    Ok(client)
}

fn exchange(connection: &mut BufReader<TcpStream>, messages: &Value) -> Result<Value> {
    let body = messages.to_string();
    let head = format!(
        "POST /bayeux HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.get_mut().write_all([head, body].concat().as_bytes())?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        ensure!(connection.read_line(&mut line)? > 0, "the server closed a Bayeux connection");
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut content = vec![0; length];
    connection.read_exact(&mut content)?;
    serde_json::from_slice(&content).context("a Bayeux answer is no JSON")
}
