//! The files that a rotated log left beside its path, and which of them comes after the one that is read.
//!
//! A log may be rotated more than once between two looks. What lies between the file that was read and the one that the
//! path names now is then found by its name, which is the path's and a number or a date, and by its times.

use std::cmp::{Ordering, Reverse};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What compressing a file adds to its name.
const COMPRESSED: [&str; 9] = [".gz", ".bz2", ".xz", ".zst", ".lz4", ".lzma", ".Z", ".br", ".zip"];

/// What comes between a file and the one that the path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Between {
    /// The oldest of the files that were written after ours and can be read.
    pub(super) next: Option<PathBuf>,
    /// Before that one (or the path) there may be lines that cannot be read.
    pub(super) doubt: bool,
    /// Whether our own file is still there, so that what came after it is known.
    pub(super) anchored: bool,
}

/// Looks for what comes between `ours`, a file that was rotated away, and the one that `path` names now.
pub(super) fn between(path: &Path, ours: &Metadata) -> Between {
    let (current, inode) = (fs::metadata(path).ok(), |found: &Metadata| (found.dev(), found.ino()));
    let mut siblings = siblings(path);
    siblings.retain(|sibling| current.as_ref().is_none_or(|current| inode(current) != inode(&sibling.found)));
    // While a file is being compressed, and until it is removed, it is there twice.
    let plain: Vec<Suffix> = siblings.iter().filter(|found| !found.compressed).map(|s| s.suffix.clone()).collect();
    siblings.retain(|sibling| !sibling.compressed || !plain.contains(&sibling.suffix));

    let mut copies = siblings.iter().filter(|s| s.compressed && s.found.mtime() == ours.mtime());
    let own = siblings.iter().find(|sibling| inode(&sibling.found) == inode(ours)).or_else(|| {
        // Compressing keeps the time. Two files of that same second are one too many to say which is ours.
        copies.next().filter(|_| copies.next().is_none())
    });
    let own = own.map(|own| (own.path.clone(), own.suffix.clone()));
    let suffix = own.as_ref().map(|(_, suffix)| suffix);
    // A number before the extension may also tell two logs apart (`worker-2.log`): such names count only if ours is one.
    siblings.retain(|sibling| sibling.suffix.at_end || suffix.is_some_and(|own| own.is_alike(&sibling.suffix)));
    siblings.retain(|sibling| own.as_ref().is_none_or(|(path, _)| *path != sibling.path) && sibling.found.len() > 0);

    let mut doubt = false;
    siblings.retain(|sibling| {
        let order = sibling.compare(ours, suffix);
        doubt |= order.is_none();
        order == Some(Ordering::Greater)
    });
    siblings.sort_by_cached_key(|s| (s.modified(), s.found.created().ok(), s.suffix.clone()));
    let next = siblings.iter().position(|sibling| !sibling.compressed);
    doubt |= next.map_or(!siblings.is_empty(), |next| next > 0);
    Between { next: next.map(|next| siblings.swap_remove(next).path), doubt, anchored: own.is_some() }
}

/// A file beside the path whose name says that it was rotated away from it.
struct Sibling {
    path: PathBuf,
    suffix: Suffix,
    compressed: bool,
    found: Metadata,
}

impl Sibling {
    fn modified(&self) -> Option<SystemTime> {
        self.found.modified().ok()
    }

    /// Whether it was written after `ours` (which has that suffix, if it has one), or before; `None` if that cannot be
    /// said.
    fn compare(&self, ours: &Metadata, suffix: Option<&Suffix>) -> Option<Ordering> {
        let by_time = self.modified().cmp(&ours.modified().ok());
        let by_name = suffix.and_then(|own| own.is_alike(&self.suffix).then(|| self.suffix.cmp(own)));
        let by_name = by_name.unwrap_or(Ordering::Equal);
        if self.compressed {
            return Some(by_name.then(by_time)); // Its times may be those of its compression.
        }
        if by_time != by_name.reverse() {
            return Some(by_time.then(by_name));
        }
        // Numbers that count upwards, an old file that is still written to, or nothing to tell them apart by.
        match (self.found.created(), ours.created()) {
            (Ok(it), Ok(ours)) if it != ours => Some(it.cmp(&ours)),
            _ => None,
        }
    }
}

/// What a rotation adds to the name; the greater one is the newer one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Suffix {
    /// It stands after the whole name, and not before the extension.
    at_end: bool,
    rank: Rank,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// `.1` is newer than `.2`.
    Number(Reverse<u32>),
    /// A date or a time, with its parts in the order of their size.
    Stamp(String),
}

impl Suffix {
    /// Whether the two can be compared: two numbers, or two dates of the same form.
    fn is_alike(&self, other: &Self) -> bool {
        let form = |stamp: &str| stamp.replace(|c: char| c.is_ascii_digit(), "0");
        self.at_end == other.at_end
            && match (&self.rank, &other.rank) {
                (Rank::Number(_), Rank::Number(_)) => true,
                (Rank::Stamp(one), Rank::Stamp(other)) => form(one) == form(other),
                _ => false,
            }
    }
}

fn siblings(path: &Path) -> Vec<Sibling> {
    let Some(log) = path.file_name().and_then(OsStr::to_str) else { return Vec::new() };
    let entries = fs::read_dir(directory(path)).into_iter().flatten().flatten();
    let sibling = |entry: fs::DirEntry| {
        let (suffix, compressed) = suffix(log, entry.file_name().to_str()?)?;
        let found = entry.metadata().ok().filter(Metadata::is_file)?;
        Some(Sibling { path: entry.path(), suffix, compressed, found })
    };
    entries.filter_map(sibling).collect()
}

/// The directory in which the path is.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a rotation of `log` added to `name`, and whether the file is compressed; `None` if it is no such name.
fn suffix(log: &str, name: &str) -> Option<(Suffix, bool)> {
    let uncompressed = COMPRESSED.iter().find_map(|ending| name.strip_suffix(ending));
    let (bare, compressed) = (uncompressed.unwrap_or(name), uncompressed.is_some());
    if let Some(rank) = bare.strip_prefix(log).and_then(rank) {
        return Some((Suffix { at_end: true, rank }, compressed));
    }
    let (stem, extension) = log.rsplit_once('.')?;
    let middle = bare.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.')?;
    Some((Suffix { at_end: false, rank: rank(middle)? }, compressed))
}

fn rank(text: &str) -> Option<Rank> {
    let value = text.strip_prefix(['.', '-', '_'])?;
    if value.len() <= 5
        && let Ok(number) = value.parse()
    {
        return Some(Rank::Number(Reverse(number)));
    }
    let is_stamp = value.starts_with(|c: char| c.is_ascii_digit())
        && value.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '_' | '.' | ':' | '+' | 'T' | 'Z'));
    is_stamp.then(|| Rank::Stamp(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_rotations_give_are_known_and_others_are_not() {
        let number = |number| Rank::Number(Reverse(number));
        let stamp = |text: &str| Rank::Stamp(text.to_owned());
        for (name, at_end, rank, compressed) in [
            ("a.log.1", true, number(1), false),
            ("a.log.12.gz", true, number(12), true),
            ("a.log-20240102", true, stamp("20240102"), false),
            ("a.log.2024-01-02T03:04:05Z.zst", true, stamp("2024-01-02T03:04:05Z"), true),
            ("a-20240102.log", false, stamp("20240102"), false),
            ("a.1.log.xz", false, number(1), true),
        ] {
            assert_eq!(suffix("a.log", name), Some((Suffix { at_end, rank }, compressed)), "{name}");
        }
        for name in ["a.log", "a.log.gz", "a.log.state", "a.log.1.new", "a.log~", "a.log1", "b.log.1", "a-b.log", "a.1"]
        {
            assert_eq!(suffix("a.log", name), None, "{name}");
        }
        assert!(number(1) > number(2) && number(2) > number(10) && stamp("20240102") > stamp("20240101"));
    }
}
