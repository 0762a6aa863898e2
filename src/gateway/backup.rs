//! `encke backup FILE`: a copy of the log, also while a gateway writes it.
//!
//! It stands here because it joins what is on both sides: the store that copies, and the terminal that is told of it.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::cli::console::Console;
use crate::cli::progress::{bar, size};
use crate::cli::stop;
use crate::config::{self, ConfigErrors, Source};
use crate::log::sqlite::{self, BackupError, Stage};

/// Copy the log to a file, also while the gateway runs, and print the id of the newest event in it
///
/// The copy is the log as it was at one moment; it is read through before it gets its name. To go back to it, stop the
/// gateway, move the directory of the log away, and put the copy into a new one as encke.db.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted")]
pub struct BackupArgs {
    /// The file to write; its directory must be there, and not be the log's own
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The directory of the log; if it is not given, what the configuration says, or ./encke-data
    #[arg(long, env = "ENCKE_DATA", value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// The configuration of the gateway whose log it is
    #[arg(long, env = "ENCKE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace the file if it is there, once the new copy is whole
    #[arg(long)]
    force: bool,
}

impl BackupArgs {
    /// The directory of the log.
    fn directory(&self) -> Result<PathBuf, ConfigErrors> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        // Also without a file: then it is the default.
        Source::of_file(config::command(&super::names()), self.config.as_deref()).data()
    }
}

/// Copies; `false` if SIGINT or SIGTERM came before it was done, and then nothing is left of it.
///
/// # Errors
/// See [`BackupError`]; or the configuration cannot be used.
pub async fn run(args: BackupArgs) -> anyhow::Result<bool> {
    let data = args.directory()?;
    let unheard = |source: io::Error| BackupError::File { file: args.file.clone(), source: source.into() };
    let signal = stop::signal().map_err(unheard)?;
    let stopped = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stopped);
    let name = args.file.display().to_string();
    let work = tokio::task::spawn_blocking(move || {
        let mut console = Console::stderr(false);
        let copied = sqlite::backup(&data, &args.file, args.force, |stage| {
            console.progress(&match stage {
                Stage::Copying { done, all } => format!("{} {} of {}", bar(done, all), size(done), size(all)),
                Stage::Checking => "checking the copy".to_owned(),
            });
            if told.load(Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        console.note(&format!("{name} holds {} events in {}", copied.events, size(copied.bytes)));
        Ok(copied.newest)
    });
    let mut work = std::pin::pin!(work);
    let copied = tokio::select! {
        done = &mut work => done,
        _ = signal => {
            stopped.store(true, Relaxed);
            work.await
        }
    };
    let newest = match copied.expect("copying does not panic") {
        Err(BackupError::Stopped) => return Ok(false),
        copied => copied?,
    };
    // The copy is there whether anybody reads this or not.
    let _ = writeln!(io::stdout(), "{newest}");
    Ok(true)
}
