//! Real packages, installed and purged by the real dpkg, so that it writes its log.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::wait_for;

/// Many tiny packages. None of them is installed any more when this is dropped.
pub(super) struct Packages {
    _directory: TempDir,
    names: Vec<String>,
    archives: Vec<PathBuf>,
}

impl Packages {
    /// Builds `count` packages that hold nothing but a file each.
    pub(super) fn build(count: usize) -> Self {
        let user = fs::metadata("/proc/self").expect("this process has a directory").uid();
        assert_eq!(user, 0, "only root can install packages: run this test as root");
        let directory = tempfile::Builder::new().prefix("encke-packages-").tempdir().expect("a temporary directory");
        let names: Vec<_> = (0..count).map(|number| format!("encke-test-{}-{number}", std::process::id())).collect();
        let build = |name: &String| {
            let tree = directory.path().join(name);
            fs::create_dir_all(tree.join("DEBIAN")).expect("a directory of the package");
            let control = format!(
                "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n\
                 Description: written to the log by a test\n"
            );
            fs::write(tree.join("DEBIAN/control"), control).expect("a file of the package");
            let archive = directory.path().join(format!("{name}.deb"));
            let mut command = Command::new("dpkg-deb");
            command.args(["--build", "--root-owner-group", "-Znone"]).arg(&tree).arg(&archive);
            let built = command.output().expect("dpkg-deb runs (package dpkg)");
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            archive
        };
        let archives = names.iter().map(build).collect();
        Self { _directory: directory, names, archives }
    }

    /// Installs all of them and purges them again: about a dozen lines in the log for each.
    pub(super) fn come_and_go(&self) {
        dpkg("--install", &self.archives);
        dpkg("--purge", &self.names);
    }
}

impl Drop for Packages {
    fn drop(&mut self) {
        // After a failure some may still be there. What is not installed is only warned of.
        let _ = Command::new("dpkg").args(["--force-unsafe-io", "--purge"]).args(&self.names).output();
    }
}

/// Runs dpkg; another one may have its lock for a while.
fn dpkg(action: &str, packages: &[impl AsRef<OsStr>]) {
    wait_for("dpkg to do its work", || {
        // Without a sync for each file, which nobody will miss.
        let done =
            Command::new("dpkg").arg("--force-unsafe-io").arg(action).args(packages).output().expect("dpkg runs");
        let words = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() || words.contains("lock"), "{words}");
        done.status.success()
    });
}
