//! The `Dockerfile`, as far as it can be tried without an engine: a linter has nothing to say, everything that goes into an
//! image is there and enough for a build, and the health check tells a gateway that lives from one that does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::directory;
use crate::support::gateway::Gateway;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The instructions, each on one line, without comments.
fn instructions() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("Dockerfile")).expect("a Dockerfile");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    let joined = lines.replace("\\\n", " ");
    let instructions = joined.lines().filter_map(|line| line.trim().split_once(' '));
    instructions.map(|(name, rest)| (name.to_owned(), rest.trim().to_owned())).collect()
}

fn all(name: &str) -> Vec<String> {
    instructions().into_iter().filter(|(given, _)| given == name).map(|(_, rest)| rest).collect()
}

#[test]
fn a_linter_finds_nothing_in_the_dockerfile() {
    let hadolint = root().join("tests/.deps/python/bin/hadolint");
    let output = Command::new(hadolint).arg(root().join("Dockerfile")).output();
    let output = output.expect("hadolint runs (`tests/run --install-only` installs it)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_goes_into_the_image_is_there_and_enough() {
    let ignored = fs::read_to_string(root().join(".dockerignore")).expect("a .dockerignore");
    assert!(ignored.lines().any(|line| line == "*"), "nothing goes in but what is named");
    let let_in: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let copied: Vec<String> = all("COPY")
        .iter()
        .filter(|copy| !copy.starts_with("--from="))
        .flat_map(|copy| {
            let words: Vec<String> = copy.split_whitespace().map(str::to_owned).collect();
            words[..words.len() - 1].to_vec()
        })
        .collect();
    assert_eq!(copied, let_in, "what is copied and what .dockerignore lets in");

    // With nothing else beside it, Cargo finds all that the build is made of, as it is locked.
    let build = directory();
    for name in &copied {
        copy(&root().join(name), &build.path().join(name));
    }
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--locked", "--offline", "--format-version=1", "--manifest-path"]);
    let output = metadata.arg(build.path().join("Cargo.toml")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // What the sources take in lies among it, too.
    for file in files(&build.path().join("src")) {
        let text = fs::read_to_string(&file).expect("a source");
        for taken in text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let path = file.parent().expect("a directory").join(taken);
            assert!(path.exists(), "{} takes in {taken}, which is not copied", file.display());
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        return;
    }
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

#[test]
fn the_image_is_pinned_and_runs_as_nobody_in_particular() {
    for image in all("FROM") {
        let (name, tag) = image.split(' ').next().and_then(|image| image.split_once(':')).expect("an image with a tag");
        let version = tag.split('-').next().unwrap_or_default();
        assert!(matches!(name, "rust" | "debian") && version.split('.').count() >= 2, "{image}");
        if name == "rust" {
            let wanted = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
            let wanted = wanted.split("rust-version = \"").nth(1).and_then(|rest| rest.split('"').next());
            assert!(version.starts_with(wanted.expect("a version")), "{image} builds what wants {wanted:?}");
        }
    }
    let user = all("USER").pop().expect("a user");
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id >= 10_000)), "{user}");
    assert_eq!(all("STOPSIGNAL"), ["SIGTERM"]);
    assert_eq!(all("ENTRYPOINT"), ["[\"encke\"]"]);
    assert_eq!(all("EXPOSE"), ["8080"]);
    let environment = all("ENV").concat();
    let data = all("VOLUME").pop().expect("a volume");
    assert!(environment.contains(&format!("ENCKE_DATA={data}")) && environment.contains("ENCKE_LISTEN=0.0.0.0:8080"));
    let help = Command::new(env!("CARGO_BIN_EXE_encke")).args(["serve", "--help"]).output().expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for variable in environment.split_whitespace().filter_map(|pair| pair.split('=').next()) {
        assert!(help.contains(&format!("[env: {variable}=")), "{variable}");
    }
}

#[test]
fn the_health_check_tells_a_gateway_that_lives_from_one_that_does_not() {
    let check = all("HEALTHCHECK").pop().expect("a health check");
    let (_, command) = check.split_once("CMD ").expect("its command");
    let command: Vec<String> = serde_json::from_str(command).expect("in the form of a JSON list");
    let mut gateway = Gateway::start_with(&[], &[("ENCKE_PUBLISH_KEY", super::KEY)]);
    let admin = gateway.admin_url().rsplit(':').next().expect("a port").to_owned();
    let healthy = || {
        let here: Vec<String> = command.iter().map(|word| word.replace("/8081", &format!("/{admin}"))).collect();
        assert_ne!(here, command, "it asks the admin address");
        Command::new(&here[0]).args(&here[1..]).output().expect("bash runs").status.success()
    };
    assert!(healthy());
    gateway.kill9();
    assert!(!healthy());
}
