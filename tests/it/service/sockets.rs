//! Sockets of the file system, and such as systemd passes.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use super::{KEY, clean, directory, serve};
use crate::support::process::Process;
use crate::support::{PATIENCE, wait_for};

/// What curl says to a socket.
fn curl(socket: &Path, args: &[&str]) -> String {
    let output: Output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60", "--unix-socket"])
        .arg(socket)
        .args(args)
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Starts a gateway on these sockets and waits until it says so.
fn start(listen: &str, admin: &str) -> Process {
    let mut command = serve();
    command.args(["--store", "memory", "--read", "public", "--listen", listen, "--admin", admin]);
    let process = Process::spawn(command);
    let without_mode = |address: &str| address.split('?').next().unwrap_or_default().to_owned();
    for expected in [format!("listening on {}", without_mode(listen)), format!("admin on {}", without_mode(admin))] {
        assert_eq!(process.line(PATIENCE).as_ref(), Some(&expected), "{}", process.errors());
    }
    process
}

#[test]
fn clients_and_operators_are_served_over_unix_sockets() {
    let directory = directory();
    let (public, admin) = (directory.path().join("public"), directory.path().join("admin"));
    let mut gateway = start(&format!("unix:{}?mode=666", public.display()), &format!("unix:{}", admin.display()));
    for (path, mode) in [(&public, 0o666), (&admin, 0o660)] {
        assert_eq!(std::fs::metadata(path).expect("a socket").permissions().mode() & 0o777, mode);
    }

    let bearer = format!("Authorization: Bearer {KEY}");
    let stored = curl(&public, &["-H", &bearer, "-d", "hello", "http://localhost/events/t"]);
    assert!(stored.starts_with("{\"id\":\""), "{stored}");
    let poll = "http://any.example/events/t?transport=long-poll&lastEventId=earliest";
    assert!(curl(&public, &[poll]).contains("\"data\":\"hello\""));
    assert!(curl(&admin, &["http://localhost/health/live"]).contains("live"));
    assert!(curl(&admin, &["http://localhost/health/ready?for=publish"]).contains("ready"));
    assert!(curl(&admin, &["http://localhost/metrics"]).contains("encke_published_total 1\n"));

    // A proxy may stand before the socket, so that pages and names are guarded as on a port.
    let status = ["-o", "/dev/null", "-w", "%{http_code}"];
    assert_eq!(curl(&admin, &[&status[..], &["http://evil.example/metrics"]].concat()), "421");
    let from_page = ["-H", &bearer, "-H", "Origin: http://evil.example", "-d", "x", "http://localhost/events/t"];
    assert_eq!(curl(&public, &[&status[..], &from_page].concat()), "403");
    let own_page = ["-H", &bearer, "-H", "Origin: https://www.example", "-d", "x", "http://www.example/events/t"];
    assert_eq!(curl(&public, &[&status[..], &own_page].concat()), "201");

    gateway.terminate();
    assert!(gateway.wait(PATIENCE).success());
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0, "its sockets went with it");
}

#[test]
fn a_socket_that_a_killed_gateway_left_is_taken_over_and_a_served_one_is_not() {
    let directory = directory();
    let (public, admin) = (directory.path().join("public"), directory.path().join("admin"));
    let addresses = (format!("unix:{}", public.display()), format!("unix:{}", admin.display()));
    let mut killed = start(&addresses.0, &addresses.1);
    killed.kill9();
    assert!(public.exists() && admin.exists());

    let _gateway = start(&addresses.0, &addresses.1);
    assert!(curl(&admin, &["http://localhost/health/live"]).contains("live"));
    let refuse = |listen: &str, words: &[&str]| {
        let mut command = serve();
        command.args(["--store", "memory", "--listen", listen, "--admin", "127.0.0.1:0"]);
        let mut second = Process::spawn(command);
        assert_eq!(second.wait(PATIENCE).code(), Some(1), "{}", second.errors());
        for word in words {
            assert!(second.errors().contains(word), "{word:?} is not in {}", second.errors());
        }
    };
    refuse(&addresses.0, &["cannot listen on unix:", "another process serves this socket"]);
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").expect("a file");
    refuse(&format!("unix:{}", file.display()), &["cannot listen on unix:", "no socket"]);
    assert_eq!(std::fs::read(&file).expect("the file"), b"precious");
    refuse("unix:/nowhere/at/all", &["cannot listen on unix:/nowhere/at/all"]);
    refuse("systemd", &["systemd has passed no such socket"]);
    assert!(curl(&admin, &["http://localhost/health/live"]).contains("live"), "the first one goes on");
}

/// `encke serve` as systemd would start it: by the first connection to one of these sockets.
fn activated(sockets: &[(&Path, &str)], args: &[&str]) -> Process {
    let mut command = clean(Command::new("systemd-socket-activate"), &["-E", &format!("ENCKE_PUBLISH_KEY={KEY}")]);
    for (path, _) in sockets {
        command.arg("--listen").arg(path);
    }
    let names: Vec<&str> = sockets.iter().map(|(_, name)| *name).collect();
    command.arg(format!("--fdname={}", names.join(":")));
    command.args([env!("CARGO_BIN_EXE_encke"), "serve", "--store", "memory", "--read", "public"]).args(args);
    let process = Process::spawn(command);
    wait_for("the sockets to be there", || sockets.iter().all(|(path, _)| path.exists()));
    process
}

#[test]
fn sockets_that_systemd_passes_are_served_by_their_names() {
    let directory = directory();
    let (public, admin) = (directory.path().join("public"), directory.path().join("admin"));
    let sockets = [(public.as_path(), "encke.socket"), (admin.as_path(), "admin")];
    let mut gateway = activated(&sockets, &[]);
    // The connection that starts it is the first that it serves.
    assert!(curl(&public, &["http://localhost/events/t?transport=long-poll"]).contains("\"cursor\":"));
    assert!(curl(&admin, &["http://localhost/health/live"]).contains("live"));
    gateway.terminate();
    assert!(gateway.wait(PATIENCE).success(), "{}", gateway.errors());
    assert!(public.exists() && admin.exists(), "they are systemd's");
}

#[test]
fn a_socket_that_nobody_takes_is_an_error() {
    let directory = directory();
    let (public, admin) = (directory.path().join("public"), directory.path().join("admin"));
    let sockets = [(public.as_path(), "web"), (admin.as_path(), "ops")];
    let args = ["--listen", "systemd:web", "--admin", "127.0.0.1:0"];
    let mut gateway = activated(&sockets, &args);
    let _ = curl(&public, &["http://localhost/"]);
    assert_eq!(gateway.wait(PATIENCE).code(), Some(1));
    let errors = gateway.errors();
    assert!(errors.contains("\"ops\"") && errors.contains("nothing listens on it"), "{errors}");

    std::fs::remove_file(&public).and_then(|()| std::fs::remove_file(&admin)).expect("their maker has ended");
    let gateway = activated(&sockets, &["--listen", "systemd:web", "--admin", "systemd:ops"]);
    assert!(curl(&admin, &["http://localhost/health/live"]).contains("live"), "{}", gateway.errors());
}

#[test]
fn sockets_of_another_process_are_not_touched() {
    let directory = directory();
    let path = directory.path().join("public");
    drop(UnixListener::bind(&path));
    let mut command = serve();
    // As a child of an activated service sees it, if that did not take the variables away.
    command.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "web")]);
    command
        .args(["--store", "memory", "--admin", "127.0.0.1:0"])
        .arg("--listen")
        .arg(format!("unix:{}", path.display()));
    let process = Process::spawn(command);
    assert_eq!(process.line(PATIENCE), Some(format!("listening on unix:{}", path.display())), "{}", process.errors());
}
