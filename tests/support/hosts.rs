//! Two hosts with a network between them: network namespaces (`ip netns`, iproute2) with a pair of virtual Ethernet devices.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the first host is.
pub(crate) const SERVER: &str = "10.99.0.1";
/// Where the second is.
const CLIENT: &str = "10.99.0.2/24";

/// Two hosts, for as long as this is held.
pub(crate) struct Hosts {
    server: String,
    client: String,
}

impl Hosts {
    /// Two hosts that reach one another. Panics if namespaces cannot be made: that takes root.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("encke-{}-{number}-{side}", std::process::id());
        let hosts = Self { server: name("s"), client: name("c") };
        ip(&["netns", "add", &hosts.server]);
        ip(&["-n", &hosts.server, "link", "set", "lo", "up"]);
        hosts.connect();
        hosts
    }

    /// A command on the first host.
    pub(crate) fn on_server(&self, program: &str) -> Command {
        on(&self.server, program)
    }

    /// A command on the second.
    pub(crate) fn on_client(&self, program: &str) -> Command {
        on(&self.client, program)
    }

    /// From now on nothing reaches the second host, and nothing comes from there.
    pub(crate) fn silence_client(&self) {
        ip(&["-n", &self.client, "addr", "del", CLIENT, "dev", "net"]);
    }

    /// The second host is another one, which knows of no connection, at the same address.
    pub(crate) fn replace_client(&mut self) {
        let next = format!("{}n", self.client);
        let former = std::mem::replace(&mut self.client, next);
        ip(&["-n", &self.server, "link", "del", "net"]);
        ip(&["netns", "del", &former]);
        self.connect();
    }

    fn connect(&self) {
        let Self { server, client } = self;
        ip(&["netns", "add", client]);
        ip(&["link", "add", "net", "netns", server, "type", "veth", "peer", "name", "net", "netns", client]);
        ip(&["-n", server, "addr", "add", &format!("{SERVER}/24"), "dev", "net"]);
        ip(&["-n", client, "addr", "add", CLIENT, "dev", "net"]);
        ip(&["-n", server, "link", "set", "net", "up"]);
        ip(&["-n", client, "link", "set", "net", "up"]);
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in [&self.client, &self.server] {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

fn on(host: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host, program]);
    command
}

#[track_caller]
fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).output().expect("ip runs (package iproute2)");
    assert!(done.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}
