//! What the service manager is told.

use std::os::unix::net::UnixDatagram;

use super::{directory, serve};
use crate::support::PATIENCE;
use crate::support::process::Process;

#[test]
fn the_service_manager_is_told_when_the_gateway_serves_lives_reloads_and_stops() {
    let directory = directory();
    let place = directory.path().join("notify");
    let manager = UnixDatagram::bind(&place).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let told = || {
        let mut buffer = [0; 1024];
        let length = manager.recv(&mut buffer).expect("a word");
        String::from_utf8(buffer[..length].to_vec()).expect("words of UTF-8")
    };

    let mut command = serve();
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"]).arg(directory.path().join("data"));
    command.env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "20000");
    let mut gateway = Process::spawn(command);
    let address = gateway.line(PATIENCE).expect("it listens");
    let address = address.strip_prefix("listening on ").expect("an address");
    assert_eq!(told(), format!("READY=1\nSTATUS=serving on {address}"));
    assert_eq!([told(), told()], ["WATCHDOG=1", "WATCHDOG=1"]);
    let next = || std::iter::repeat_with(told).find(|words| words != "WATCHDOG=1").expect("a word");
    gateway.signal("HUP");
    let reloading = next();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.lines().next());
    assert!(time.is_some_and(|time| time.parse::<u64>().is_ok()), "{reloading}");
    assert_eq!(next(), format!("READY=1\nSTATUS=serving on {address}"));
    gateway.terminate();
    assert_eq!(next(), "STOPPING=1\nSTATUS=draining");
    assert!(gateway.wait(PATIENCE).success());
}

#[test]
fn a_watchdog_of_another_process_is_none_and_a_manager_that_is_gone_stops_nothing() {
    let directory = directory();
    let mut command = serve();
    command.args(["--store", "memory", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", directory.path().join("nobody"));
    command.envs([("WATCHDOG_USEC", "20000"), ("WATCHDOG_PID", "1")]);
    let mut gateway = Process::spawn(command);
    assert!(gateway.line(PATIENCE).is_some_and(|line| line.starts_with("listening on ")));
    gateway.terminate();
    assert!(gateway.wait(PATIENCE).success());
    let errors = gateway.errors();
    assert_eq!(errors.matches("NOTIFY_SOCKET leads nowhere").count(), 1, "{errors}");
}
