//! The files of the repository, and words that none of them should hold.

use std::path::Path;
use std::process::Command;

/// A text file with its path from the root of the repository.
pub(crate) struct SourceFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every text file that git knows, or would at the next `git add`: a new file is held to the same rules at once.
pub(crate) fn tracked() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .expect("git runs");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    let mut files = Vec::new();
    for path in names.split_terminator('\0') {
        // A file that was removed but not yet from the index cannot be read; one that is no UTF-8 is no text.
        let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile { path: path.to_owned(), text });
        }
    }
    files
}

/// Home directories and hosts of package registries: they are somebody's, and break for everybody else.
///
/// Written in pieces, so that this file does not hold them.
const FOREIGN: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("registry.", "npmjs.org"),
    concat!("pypi", ".org"),
    concat!("files.", "pythonhosted.org"),
    concat!("deb.", "debian.org"),
    concat!("index.", "crates.io"),
];

/// Each line of a text that holds one of them, in words.
pub(crate) fn foreign(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in FOREIGN {
            if line.match_indices(word).any(|(at, _)| begins_here(&line[..at], word)) {
                found.push(format!("{path}:{}: holds {word}", number + 1));
            }
        }
    }
    found
}

/// Whether a path begins here, rather than goes on: a topic or URL may well have a segment of that name.
fn begins_here(before: &str, word: &str) -> bool {
    !word.starts_with('/') || !before.ends_with(|c: char| c.is_alphanumeric() || "._~-*}/>".contains(c))
}

#[test]
fn a_machines_own_path_is_caught() {
    let home = FOREIGN[2];
    assert_eq!(foreign("a.md", &format!("see\n`{home}ada/x`")), [format!("a.md:2: holds {home}")]);
    assert_eq!(foreign("a.md", &format!("curl localhost:8080/events{home}kitchen")), [""; 0]);
    assert_eq!(foreign("a.md", &format!("from https://{}/simple", FOREIGN[5])).len(), 1);
}
