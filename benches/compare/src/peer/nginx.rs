//! nginx: with Nchan as a server of its own, and as a plain reverse proxy before the gateway.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};

use super::own::{Store, encke_beside};
use super::running::{Part, Starting, first_line, free_port, wait_for_answer};
use super::{Door, Programs, Running, Setting};

/// One worker, no access log, connections that are never closed for their age, files in `directory`.
fn configuration(directory: &Path, load: &str, server: &str) -> String {
    let directory = directory.display();
    format!(
        "{load}
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 32768; }}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_timeout 3600;
  keepalive_requests 1000000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
{server}
}}
"
    )
}

pub(super) fn nchan(programs: &Programs, setting: &Setting) -> Result<Running> {
    let mut starting = Starting::new(programs, setting)?;
    let port = free_port()?;
    let ping = setting.heartbeat.map_or(0, |every| every.as_secs());
    let server = format!(
        "  nchan_shared_memory_size 2g;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/pub/(.+)$ {{
      nchan_publisher;
      nchan_channel_id $1;
      nchan_message_buffer_length 200;
      nchan_message_timeout 10m;
    }}
    location ~ ^/sub/(.+)$ {{
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
      nchan_eventsource_ping_interval {ping};
      nchan_eventsource_ping_comment beat;
    }}
  }}"
    );
    run(&mut starting, "load_module modules/ngx_nchan_module.so;", &server)?;
    let door = Door::new(SocketAddr::from(([127, 0, 0, 1], port)), "/sub/{topic}", "/pub/{topic}");
    wait_for_answer(&door)?;
    Ok(starting.done(door))
}

/// The gateway with nginx before its readers; publishers go to the gateway itself.
pub(super) fn before_encke(programs: &Programs, setting: &Setting) -> Result<Running> {
    let mut starting = Starting::new(programs, setting)?;
    let behind = encke_beside(&mut starting, programs, setting, Store::Memory)?;
    let port = free_port()?;
    let server = format!(
        "  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://{};
      proxy_read_timeout 1h;
    }}
  }}",
        behind.events
    );
    run(&mut starting, "", &server)?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let door = behind.events_at(address);
    wait_for_answer(&door.clone().publishing_at(address))?;
    Ok(starting.done(door))
}

fn run(starting: &mut Starting, load: &str, server: &str) -> Result<()> {
    let file = starting.directory().join("nginx.conf");
    fs::write(&file, configuration(starting.directory(), load, server)).context("nginx.conf")?;
    starting.run(Part::Server, "nginx", |command| {
        // Before it has read its configuration nginx would write to the distribution's log.
        command.args(["-e", "stderr", "-c"]).arg(&file);
    })?;
    Ok(())
}

pub(super) fn version() -> String {
    let nchan = first_line("dpkg-query".as_ref(), &["-W", "-f", "${Version}", "libnginx-mod-nchan"]);
    format!("{}, Nchan {nchan}", first_line("nginx".as_ref(), &["-v"]))
}
