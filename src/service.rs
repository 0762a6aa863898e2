//! What a service manager is told of our state (`sd_notify(3)`): by systemd's protocol, which others speak too.
//!
//! Each word is one datagram. Where nobody listens for them they go nowhere; and one that is lost changes nothing here.

use std::ffi::OsStr;
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The service manager that started us, if one wants to know.
#[derive(Debug, Default)]
pub struct Manager(Option<UnixDatagram>);

/// A manager that does not read must not hold us up for longer.
const PATIENCE: Duration = Duration::from_secs(1);

impl Manager {
    /// The one that listens at `NOTIFY_SOCKET`.
    #[must_use]
    pub fn at(place: Option<&OsStr>) -> Self {
        let connected = place.map(connect).transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "NOTIFY_SOCKET leads nowhere; the service manager is told nothing");
            None
        });
        Self(connected)
    }

    /// We serve, or do so again after a reload.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// What the operator said is read anew; [`Manager::ready`] ends it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration"));
    }

    /// We come to our end.
    pub fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={}", line(status)));
    }

    /// We are alive.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, words: &str) {
        if let Some(socket) = &self.0
            && let Err(error) = socket.send(words.as_bytes())
        {
            tracing::warn!(%error, "the service manager does not listen");
        }
    }
}

fn connect(place: &OsStr) -> io::Result<UnixDatagram> {
    let address = match place.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// One line, whatever it holds.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn check(hears: &UnixDatagram, place: &OsStr) {
        hears.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let manager = Manager::at(Some(place));
        manager.ready("serves\nREADY=0");
        assert_eq!(told(hears), "READY=1\nSTATUS=serves READY=0");
        let before = clock_gettime(ClockId::Monotonic).tv_sec;
        manager.reloading();
        let words = told(hears);
        let micros = words.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.lines().next());
        let seconds = micros.unwrap().parse::<i64>().unwrap() / 1_000_000;
        assert!((before..before + 60).contains(&seconds), "{words}");
        manager.alive();
        assert_eq!(told(hears), "WATCHDOG=1");
        manager.stopping("drains");
        assert_eq!(told(hears), "STOPPING=1\nSTATUS=drains");
    }

    #[test]
    fn the_manager_is_told_at_a_path_and_at_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        check(&UnixDatagram::bind(&path).unwrap(), path.as_os_str());
        let name = format!("encke-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        check(&UnixDatagram::bind_addr(&address).unwrap(), OsStr::new(&format!("@{name}")));
    }

    #[test]
    fn a_manager_that_is_not_there_is_told_nothing() {
        Manager::at(None).ready("serves");
        Manager::at(Some(OsStr::new("/nowhere/notify"))).ready("serves");
        Manager::at(Some(OsStr::new("vsock:2:1234"))).alive();
    }
}
