//! `encke check`, and a start with a configuration that cannot be.

use std::os::unix::fs::PermissionsExt;

use super::{Files, KEY};
use crate::support::PATIENCE;

#[test]
fn everything_that_is_wrong_with_a_file_is_told_with_line_and_column() {
    let files =
        Files::with("hartbeat = 20\n\n[[topics]]\nmatch = \"news/**\"\nread = \"token\"\nkeep = { evnets = 1 }\n");
    let (code, printed, errors) = files.check(&[]);
    assert_eq!((code, printed.as_str()), (1, ""));
    let expected = "encke.toml:1:1: there is no option `hartbeat`; did you mean `heartbeat`?\n\
                    encke.toml:5:8: read: `token` is a word of a later release; today there are \"key\" and \"public\"\n\
                    encke.toml:6:10: keep has no `evnets`; did you mean `events`?\n";
    assert_eq!(errors, expected);
}

#[test]
fn what_does_not_go_together_is_told_at_once() {
    let (code, _, errors) = Files::with("cors-origin = \"*\"\n").check(&[("PORT", "http")]);
    assert_eq!(code, 1);
    for words in ["PORT: \"http\" is not a port", "publishing needs a key", "--cors-origin *"] {
        assert!(errors.contains(words), "{words:?} is not in {errors}");
    }
    let files = Files::with("cors-origin = \"*\"\n[[topics]]\nmatch = \"a\"\nread = \"public\"\n");
    let (code, _, errors) = files.check(&[("ENCKE_PUBLISH_KEY", KEY)]);
    assert_eq!((code, errors.as_str()), (0, ""), "something is public");
}

#[test]
fn a_start_with_a_wrong_file_is_refused_as_the_check_refuses_it() {
    let files = Files::with("heartbeat = 4\nlisten = \"127.0.0.1:0\"\n");
    let mut process = crate::hostile::start::serve(&["--config", &files.file(), "--dev"], &[]);
    assert_eq!(process.wait(PATIENCE).code(), Some(1));
    let errors = process.errors();
    assert!(errors.contains("encke.toml:1:13: heartbeat: 4 is not in 5..=3600"), "{errors}");
    // A flag wins over the file, but a file that is wrong is wrong.
    let mut process = crate::hostile::start::serve(&["--config", &files.file(), "--dev", "--heartbeat", "20"], &[]);
    assert_eq!(process.wait(PATIENCE).code(), Some(1));
}

#[test]
fn keys_are_never_shown_and_one_that_all_can_read_is_warned_of() {
    let files = Files::with("publish-key-file = \"KEY\"\n");
    let key = files.path("key");
    files.write("encke.toml", &format!("publish-key-file = \"{}\"\n", key.display()));
    files.write("key", &format!("{KEY}\nanother-{KEY}\n"));
    let with_mode = |mode| {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        files.check(&[])
    };
    let (code, printed, errors) = with_mode(0o600);
    assert_eq!((code, errors.as_str()), (0, ""), "{printed}");
    assert!(printed.contains("# 2 publish keys, not shown") && !printed.contains(KEY), "{printed}");
    let (code, printed, errors) = with_mode(0o644);
    assert_eq!(code, 0, "{printed}");
    assert!(errors.contains("is open to every user of this machine (mode 644)") && !errors.contains(KEY), "{errors}");
    files.write("key", "hunter2-hunter2 hunter2");
    let (code, _, errors) = with_mode(0o600);
    assert!(code == 1 && errors.contains("it needs at least 16") && !errors.contains("hunter2"), "{errors}");
    files.write("encke.toml", &format!("publish-key = \"{KEY}\"\n"));
    let (code, _, errors) = with_mode(0o600);
    assert!(code == 1 && errors.contains("encke.toml:1:1: `publish-key`") && !errors.contains(KEY), "{errors}");
}

#[test]
fn an_admin_key_is_read_and_hidden_as_a_publish_key_is() {
    let files = Files::with("");
    let (key, admin) = (files.path("key"), format!("admin-{KEY}"));
    files.write("encke.toml", &format!("admin-key-file = \"{}\"\n", key.display()));
    let check = |text: &str, mode| {
        files.write("key", text);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        let (code, printed, errors) = files.check(&[("ENCKE_PUBLISH_KEY", KEY)]);
        assert!(!printed.contains(KEY) && !errors.contains(KEY), "{printed} {errors}");
        (code, printed, errors)
    };
    let (code, printed, errors) = check(&format!("{admin}\nother-{admin}\n"), 0o600);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(printed.contains("# 1 publish key, not shown\n# 2 admin keys, not shown\n"), "{printed}");
    let (code, _, errors) = check(&admin, 0o644);
    assert!(code == 0 && errors.contains("the admin key in key is open to every user"), "{errors}");
    let (code, _, errors) = check("hunter2", 0o600);
    assert_eq!(code, 1);
    assert!(errors.contains("the admin key has 7 characters; it needs at least 16"), "{errors}");
    assert!(!errors.contains("hunter2"), "{errors}");
    let (code, _, errors) = check(&format!("{admin}\n{KEY}\n"), 0o600);
    assert!(code == 1 && errors.contains("an admin key is a publish key, too"), "{errors}");
    // The variable wins over a file that only the file names, and is no substitute for a publish key.
    let (code, printed, errors) = files.check(&[("ENCKE_PUBLISH_KEY", KEY), ("ENCKE_ADMIN_KEY", &admin)]);
    assert_eq!((code, errors.as_str()), (0, ""), "{printed}");
    assert!(printed.contains("# 1 admin key, not shown") && !printed.contains(&admin), "{printed}");
    let (code, _, errors) = files.check(&[("ENCKE_ADMIN_KEY", &admin)]);
    assert!(code == 1 && errors.contains("publishing needs a key"), "{errors}");
    files.write("encke.toml", "admin-key-file = \"/nowhere/key\"\n");
    let (code, _, errors) = files.check(&[("ENCKE_PUBLISH_KEY", KEY)]);
    assert!(code == 1 && errors.contains("the admin key in /nowhere/key cannot be read"), "{errors}");
    files.write("encke.toml", &format!("admin-key = \"{admin}\"\n"));
    let (code, _, errors) = files.check(&[("ENCKE_PUBLISH_KEY", KEY)]);
    assert!(code == 1 && errors.contains("encke.toml:1:1: `admin-key`") && !errors.contains(&admin), "{errors}");
}

#[test]
fn a_key_of_the_environment_wins_over_a_key_file_that_only_the_file_names() {
    let files = Files::with("publish-key-file = \"/nowhere/key\"\n");
    let (code, _, errors) = files.check(&[]);
    assert!(code == 1 && errors.contains("the publish key in /nowhere/key cannot be read"), "{errors}");
    let (code, _, errors) = files.check(&[("ENCKE_PUBLISH_KEY", KEY)]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let both = [("ENCKE_PUBLISH_KEY", KEY), ("ENCKE_PUBLISH_KEY_FILE", "/elsewhere/key")];
    let (code, _, errors) = files.check(&both);
    assert!(code == 1 && errors.contains("/elsewhere/key"), "{errors}");
}

#[test]
fn a_process_that_is_told_to_check_needs_neither_port_nor_directory() {
    let files = Files::with("dev = true\nlisten = \"192.0.2.1:1\"\ndata = \"/proc/nowhere\"\n");
    let (code, printed, errors) = files.check(&[]);
    assert_eq!((code, errors.as_str()), (0, ""), "{printed}");
}

#[test]
fn whoever_reads_no_further_is_no_fault_and_a_full_disk_is_told() {
    let files = Files::with("");
    for words in [&["check", &files.file()][..], &["configuration"]] {
        let run = |stdout: std::process::Stdio| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_encke"));
            command.args(words).env("ENCKE_PUBLISH_KEY", KEY).stdout(stdout).output().expect("encke runs")
        };
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = run(writer.into());
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
        let output = run(full.into());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with("encke: cannot write to standard output: "), "{told}");
    }
}
