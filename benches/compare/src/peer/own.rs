//! The gateway, and the servers of this package.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::running::{CERTIFICATE, Part, Starting, listening};
use super::{Door, Programs, Running, Setting};

/// Of a gateway that lives for one measurement, on the loopback.
pub const KEY: &str = "a-key-for-comparisons";

/// Where the gateway keeps its events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Memory,
    Durable,
}

pub(super) fn encke(programs: &Programs, setting: &Setting, store: Store) -> Result<Running> {
    let mut starting = Starting::new(programs, setting)?;
    let door = encke_beside(&mut starting, programs, setting, store)?;
    Ok(starting.done(door))
}

/// With a certificate of its own making, which [`Running::certificate`] is.
pub(super) fn encke_over_tls(programs: &Programs, setting: &Setting) -> Result<Running> {
    let mut starting = Starting::new(programs, setting)?;
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let (certificate, key) = (starting.directory().join(CERTIFICATE), starting.directory().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let child = starting.run(Part::Server, &programs.encke, |command| {
        plain(command, Store::Memory).arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
    })?;
    let door = door(listening(child)?, setting);
    Ok(starting.done(door))
}

/// Starts a gateway among other processes.
pub(super) fn encke_beside(
    starting: &mut Starting,
    programs: &Programs,
    setting: &Setting,
    store: Store,
) -> Result<Door> {
    let data = starting.directory().join("data");
    let child = starting.run(Part::Server, &programs.encke, |command| {
        plain(command, store).arg("--data").arg(data);
    })?;
    Ok(door(listening(child)?, setting))
}

fn plain(command: &mut Command, store: Store) -> &mut Command {
    command.args(["serve", "--read", "public", "--log-level", "warn"]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    if store == Store::Memory {
        command.args(["--store", "memory"]);
    }
    command.env("ENCKE_PUBLISH_KEY", KEY).stdout(Stdio::piped())
}

fn door(address: SocketAddr, setting: &Setting) -> Door {
    let heartbeat = setting.heartbeat.map(|every| format!("?heartbeat={}", every.as_secs())).unwrap_or_default();
    let subscribe = format!("/events/{{topic}}{heartbeat}");
    Door::new(address, &subscribe, "/events/{topic}").field("Authorization", &format!("Bearer {KEY}"))
}

pub(super) fn bare(programs: &Programs, setting: &Setting, merging: bool) -> Result<Running> {
    let mut arguments = vec!["bare".to_owned()];
    if merging {
        arguments.push("--merging".to_owned());
    }
    if let Some(every) = setting.heartbeat {
        arguments.extend(["--heartbeat".to_owned(), every.as_secs().to_string()]);
    }
    serve(programs, setting, &arguments)
}

pub(super) fn naive(programs: &Programs, setting: &Setting) -> Result<Running> {
    serve(programs, setting, &["naive".to_owned()])
}

fn serve(programs: &Programs, setting: &Setting, arguments: &[String]) -> Result<Running> {
    let mut starting = Starting::new(programs, setting)?;
    let child = starting.run(Part::Server, &programs.own, |command| {
        command.arg("serve").args(arguments).stdout(Stdio::piped());
    })?;
    let door = Door::new(listening(child)?, "/{topic}", "/{topic}");
    Ok(starting.done(door))
}
