//! Packages that run on Node, each with the few lines around it that its own documents show.

use std::process::Stdio;

use anyhow::Result;

use super::running::{Part, Starting, first_line, listening};
use super::{Door, Programs, Running, Setting};

pub(super) fn faye(programs: &Programs, setting: &Setting) -> Result<Running> {
    let (starting, address) = start(programs, setting, "faye.mjs")?;
    let content = r#"[{"channel":"/{topic}","data":"{data}"}]"#;
    let door = Door::new(address, "/bayeux/{session}", "/bayeux").content("application/json", content).bayeux();
    Ok(starting.done(door))
}

pub(super) fn better_sse(programs: &Programs, setting: &Setting) -> Result<Running> {
    let (starting, address) = start(programs, setting, "better-sse.mjs")?;
    Ok(starting.done(Door::new(address, "/{topic}", "/{topic}")))
}

fn start(programs: &Programs, setting: &Setting, script: &str) -> Result<(Starting, std::net::SocketAddr)> {
    let mut starting = Starting::new(programs, setting)?;
    let script = programs.node.join(script);
    let child = starting.run(Part::Server, "node", |command| {
        command.arg(script).stdout(Stdio::piped()).env("NODE_ENV", "production");
    })?;
    let address = listening(child)?;
    Ok((starting, address))
}

pub(super) fn version(programs: &Programs, package: &str) -> String {
    let file = programs.node.join("node_modules").join(package).join("package.json");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let version = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|json| json["version"].as_str().map(str::to_owned));
    format!(
        "{} on Node {}",
        version.unwrap_or_else(|| "unknown".to_owned()),
        first_line("node".as_ref(), &["--version"])
    )
}
