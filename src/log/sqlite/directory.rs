//! The directory of a log, and the lock that keeps it to one process.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::OpenError;

/// The database in `directory`.
pub(super) fn database(directory: &Path) -> PathBuf {
    directory.join("encke.db")
}

/// The write-ahead log of the database in `directory`.
pub(super) fn write_ahead_log(directory: &Path) -> PathBuf {
    directory.join("encke.db-wal")
}

/// Makes the directory and takes its lock, which ends when the file is closed (and so with the process, however it dies).
///
/// Blocks up to `patience`, so that a restart may overlap with the drain of the process before it.
pub(super) fn lock(directory: &Path, patience: Duration) -> Result<File, OpenError> {
    let failed = |source| OpenError::Directory { directory: directory.to_owned(), source };
    make(directory).map_err(failed)?;
    let path = directory.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    // The operating system has no lock with a time limit, so it is asked again and again.
    let mut left = patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if left.is_zero() => {
                return Err(OpenError::InUse { directory: directory.to_owned() });
            }
            Err(TryLockError::WouldBlock) => {
                let nap = left.min(Duration::from_millis(50));
                std::thread::sleep(nap);
                left -= nap;
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
}

/// Directories that only their owner may look into: who may read the log is decided at the gateway's doors.
fn private() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Whether the locked file is still the one in the directory: otherwise what is written goes where nobody will find it.
pub(super) fn is_there(directory: &Path, lock: &File) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (Ok(held), Ok(found)) = (lock.metadata(), fs::metadata(directory.join("lock"))) else { return false };
        (held.dev(), held.ino()) == (found.dev(), found.ino())
    }
    #[cfg(not(unix))]
    directory.join("lock").exists()
}

/// Makes the directory and those above it, each entry synced: a file that is safe in a directory that is not is lost.
fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make(parent)?;
    match private().create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) if cfg!(unix) => File::open(parent)?.sync_all(),
        Ok(()) => Ok(()), // Elsewhere a directory cannot be opened as a file.
    }
}
