//! Pushpin: four processes, and a backend that says which requests are to be held.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context, Result};

use super::running::{Part, Starting, free_port, listening, wait_for_answer};
use super::{Door, Programs, Running, Setting};

pub(super) fn start(programs: &Programs, setting: &Setting) -> Result<Running> {
    let mut starting = Starting::new(programs, setting)?;
    let backend = starting.run(Part::Beside, &programs.own, |command| {
        command.args(["serve", "grip"]).stdout(Stdio::piped());
    })?;
    let backend = listening(backend)?;
    let (events, control) = (free_port()?, free_port()?);
    let directory = starting.directory().to_owned();
    fs::write(directory.join("routes"), format!("* {backend}\n"))?;
    let file = directory.join("pushpin.conf");
    fs::write(&file, configuration(&directory.display().to_string(), events, control)?).context("pushpin.conf")?;
    starting.run(Part::Server, "pushpin", |command| {
        command.arg("--config").arg(&file).stdout(Stdio::null());
    })?;
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    // The stream's content is what publishers send: Pushpin frames nothing.
    let content = r#"{"items":[{"channel":"{topic}","formats":{"http-stream":{"content":"data: {data}\n\n"}}}]}"#;
    let door = Door::new(address(events), "/{topic}", "/publish/")
        .publishing_at(address(control))
        .content("application/json", content);
    wait_for_answer(&door)?;
    wait_for_answer(&door.clone().publishing_at(address(events)))?;
    Ok(starting.done(door))
}

/// Debian's Pushpin looks for zurl, which asks its backend, as a service of the machine; here it has one of its own. The
/// rate limits, which drop events, are put out of reach; all else is as it comes.
fn configuration(directory: &str, events: u16, control: u16) -> Result<String> {
    Ok(format!(
        "[global]
include={{libdir}}/internal.conf
rundir={directory}
ipc_prefix=compare-

[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{events}
logdir={directory}
log_level=0
client_maxconn=50000

[proxy]
routesfile={directory}/routes
zurl_out_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-in
zurl_out_stream_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-in-stream
zurl_in_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-out

[handler]
push_in_spec=tcp://127.0.0.1:{}
push_in_sub_specs=tcp://127.0.0.1:{}
command_spec=tcp://127.0.0.1:{}
push_in_http_addr=127.0.0.1
push_in_http_port={control}
message_rate=1000000
message_hwm=1000000
",
        free_port()?,
        free_port()?,
        free_port()?
    ))
}
