//! What can go wrong with the database, by what the caller or the operator does about it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::ErrorCode;

use super::super::{AppendError, StoreError};

/// Why the log could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or used.
    #[error("the directory {} cannot be used", directory.display())]
    Directory {
        /// Which directory.
        directory: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the log open.
    #[error("{} is used by another process; stop that one first, or give this one its own directory", directory.display())]
    InUse {
        /// Which directory.
        directory: PathBuf,
    },
    /// A later version wrote the file.
    #[error("{} was written by a later version of Encke (format {found}; this one reads format {known})", file.display())]
    Newer {
        /// Which file.
        file: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format this version reads.
        known: i64,
    },
    /// The file is something else.
    #[error("{} is not a log of Encke", file.display())]
    Foreign {
        /// Which file.
        file: PathBuf,
        /// How that was found out, if by an error.
        #[source]
        source: Option<StoreError>,
    },
    /// The file is one of ours, but not whole.
    #[error("{} is damaged: {what}; restore it from a backup, or move the directory away to begin an empty log", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        what: &'static str,
        /// How that was found out, if by an error.
        #[source]
        source: Option<StoreError>,
    },
    /// The disk is full, and reading needs a file that is not there.
    #[error("{} cannot be opened: there is no room on its disk; free some first", file.display())]
    NoRoom {
        /// Which file.
        file: PathBuf,
        /// What SQLite says.
        #[source]
        source: StoreError,
    },
    /// The file could not be read or written.
    #[error("{} cannot be opened", file.display())]
    Unusable {
        /// Which file.
        file: PathBuf,
        /// What SQLite says.
        #[source]
        source: StoreError,
    },
}

impl OpenError {
    /// What an error of SQLite says about a file that is being opened.
    pub(super) fn of_sqlite(file: &std::path::Path, error: rusqlite::Error) -> Self {
        let (file, code) = (file.to_owned(), error.sqlite_error_code());
        let extended = error.sqlite_error().map(|error| error.extended_code);
        let source: StoreError = error.into();
        match code {
            Some(ErrorCode::NotADatabase) => Self::Foreign { file, source: Some(source) },
            Some(ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { file, what: "its structure is broken", source: Some(source) }
            }
            Some(ErrorCode::DiskFull) => Self::NoRoom { file, source },
            // The file of shared memory cannot be made as large as it must be.
            _ if extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => Self::NoRoom { file, source },
            _ => Self::Unusable { file, source },
        }
    }
}

/// Why a commit did not happen. Nothing of it was stored.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The disk is full. The log goes on: the next commit may fit.
    Full,
    /// Another program has locked the file for writing. The log goes on.
    Locked,
    /// Anything else. What the disk holds is not known any more, so nothing further is written: after a failed sync the
    /// kernel may have dropped the pages it could not write, and trying again would seem to succeed.
    Broken(Broken),
}

/// The error after which a log is read only.
#[derive(Clone, Debug, thiserror::Error)]
#[error("an earlier write failed")]
pub(super) struct Broken(#[source] Arc<dyn std::error::Error + Send + Sync>);

impl Broken {
    /// What made the log read only.
    pub(super) fn of(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            _ => Self::Broken(Broken::of(error)),
        }
    }
}

impl Failure {
    /// What each waiting publisher is told.
    pub(super) fn refusal(&self) -> AppendError {
        match self {
            Self::Full => AppendError::Full,
            Self::Locked => AppendError::Busy { retry_after: RETRY_AFTER },
            Self::Broken(broken) => AppendError::ReadOnly(Some(Box::new(broken.clone()))),
        }
    }
}

/// When a publisher should try again that was refused because too much was waiting.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_sqlite_says_of_a_file_is_told_by_what_to_do() {
        let opened = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            OpenError::of_sqlite(std::path::Path::new("encke.db"), error)
        };
        assert!(matches!(opened(ffi::SQLITE_NOTADB), OpenError::Foreign { .. }));
        assert!(matches!(opened(ffi::SQLITE_CORRUPT), OpenError::Damaged { .. }));
        for full in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE] {
            assert!(matches!(opened(full), OpenError::NoRoom { .. }), "{full}");
        }
        for other in [ffi::SQLITE_IOERR, ffi::SQLITE_IOERR_READ, ffi::SQLITE_CANTOPEN, ffi::SQLITE_BUSY] {
            assert!(matches!(opened(other), OpenError::Unusable { .. }), "{other}");
        }
    }
}
