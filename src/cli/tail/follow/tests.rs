//! Files that grow, shrink, move and come back.

use std::io::Write;

use super::*;

/// A directory with one log in it, and what was seen of it.
struct Log {
    directory: tempfile::TempDir,
    follow: Follow,
}

impl Log {
    fn new(start: Start, content: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("log"), content).expect("written");
        let follow = Follow::new(directory.path().join("log"), start, false, 100);
        Self { directory, follow }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = File::options().append(true).create(true).open(self.path(name)).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    /// Everything that is there now, in short.
    fn read(&mut self) -> String {
        let mut seen = Vec::new();
        loop {
            match self.follow.next().expect("readable") {
                Step::Line(line) => seen.push(String::from_utf8(line.data.to_vec()).expect("text")),
                Step::Notice(notice) => seen.push(format!("({notice:?})")),
                Step::Idle => return seen.join(" "),
                Step::End => return seen.join(" ") + " (end)",
            }
        }
    }

    fn restart(&mut self, once: bool) {
        let place = self.follow.place().expect("readable").expect("found");
        self.follow = Follow::new(self.path("log"), Start::At(place), once, 100);
    }
}

#[test]
fn lines_come_as_they_are_completed() {
    let mut log = Log::new(Start::Beginning, "one\ntwo\nthr");
    assert_eq!(log.read(), "one two");
    log.append("log", "ee");
    assert_eq!(log.read(), "");
    log.append("log", "\n\nfive\n");
    assert_eq!(log.read(), "three  five");
}

#[test]
fn from_the_end_means_from_the_next_completed_line() {
    let mut log = Log::new(Start::End, "one\ntwo\nthr");
    assert_eq!(log.read(), "");
    log.append("log", "ee\nfour\n");
    assert_eq!(log.read(), "three four");
    let mut log = Log::new(Start::End, &format!("one\n{}", "x".repeat(9000)));
    assert_eq!(log.read(), "");
    log.append("log", "x\nnext\n");
    assert_eq!(log.read(), "x next", "a line that is too long anyway is not looked for");
}

#[test]
fn a_file_that_appears_later_is_read_from_its_start() {
    let mut log = Log::new(Start::End, "");
    fs::remove_file(log.path("log")).expect("removed");
    assert_eq!((log.read(), log.read()), ("(Missing)".into(), String::new()));
    log.append("log", "one\n");
    assert_eq!(log.read(), "(Appeared) one");
}

#[test]
fn a_truncated_file_is_read_again_from_its_start() {
    let mut log = Log::new(Start::Beginning, "one\ntwo\nhal");
    assert_eq!(log.read(), "one two");
    let before = log.follow.place().expect("readable").expect("found");
    fs::write(log.path("log"), "new\n").expect("written");
    assert_eq!(log.read(), "hal (Truncated) new");
    let after = log.follow.place().expect("readable").expect("found");
    assert_eq!((before.truncations, after.truncations, after.offset), (0, 1, 4));
    fs::write(log.path("log"), "grown again beyond where we were\n").expect("written");
    assert_eq!(log.read(), "(Truncated) grown again beyond where we were");
}

#[test]
fn a_rotated_file_is_read_to_its_end_before_the_new_one() {
    let mut log = Log::new(Start::Beginning, "one\n");
    assert_eq!(log.read(), "one");
    log.append("log", "two\n");
    fs::rename(log.path("log"), log.path("log.1")).expect("renamed");
    assert_eq!(log.read(), "two", "no new file yet");
    log.append("log.1", "three\n");
    log.append("log", "");
    assert_eq!(log.read(), "three", "the writer has not opened the new file yet");
    log.append("log.1", "four\nunfinished");
    log.append("log", "five\n");
    assert_eq!(log.read(), "four unfinished (Rotated) five");
    log.append("log", "six\n");
    assert_eq!(log.read(), "six");
}

#[test]
fn a_restart_goes_on_where_the_last_run_stopped_also_after_a_rotation() {
    let mut log = Log::new(Start::Beginning, "one\n");
    assert_eq!(log.read(), "one");
    log.append("log", "two\n");
    log.restart(false);
    assert_eq!(log.read(), "two");
    log.append("log", "three\n");
    fs::rename(log.path("log"), log.path("log-20240101")).expect("renamed");
    log.append("log", "four\n");
    log.restart(false);
    assert_eq!(log.read(), "three (Rotated) four");
    fs::write(log.path("log"), "a\n").expect("written");
    log.restart(false);
    assert_eq!(log.read(), "(Lost) a");
    fs::rename(log.path("log"), log.path("log.1")).expect("renamed");
    log.append("log", "b\n");
    fs::remove_file(log.path("log.1")).expect("removed");
    log.restart(false);
    assert_eq!(log.read(), "(Lost) b"); // Also where its inode was used again for the new file.
    assert_eq!(log.follow.gaps(), 1);
}

/// Rotates like logrotate: `log.1` becomes `log.2`, `log` becomes `log.1`, and a new `log` holds `content`.
fn rotate(log: &Log, content: &str) {
    for (from, to) in [("log.2", "log.3"), ("log.1", "log.2"), ("log", "log.1")] {
        if log.path(from).exists() {
            fs::rename(log.path(from), log.path(to)).expect("renamed");
        }
    }
    log.append("log", content);
}

/// Puts the time of the last write back, as compressing does and as a long pause would.
fn age(log: &Log, name: &str, seconds: u64) {
    let file = File::options().write(true).open(log.path(name)).expect("opened");
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(seconds)).expect("set");
}

#[test]
fn files_that_were_rotated_away_meanwhile_are_read_in_between() {
    for restart in [false, true] {
        let mut log = Log::new(Start::Beginning, "a1\n");
        assert_eq!(log.read(), "a1");
        log.append("log", "a2\n");
        rotate(&log, "b1\nb2\n");
        rotate(&log, "c1\n");
        log.append("log.state", "no rotated file\n");
        if restart {
            log.restart(false);
        }
        assert_eq!(log.read(), "a2 (Rotated) b1 b2 (Rotated) c1");
        rotate(&log, "d1\n");
        rotate(&log, "e1\n");
        rotate(&log, "");
        if restart {
            log.restart(false);
        }
        assert_eq!(log.read(), "(Rotated) d1 (Rotated) e1", "and the new one is empty");
        log.append("log", "f1\n");
        assert_eq!((log.read().as_str(), log.follow.gaps()), ("(Rotated) f1", 0));
    }
}

#[test]
fn rotated_files_may_have_dates_in_their_names_or_count_upwards() {
    for names in [["log-20240101", "log-20240102"], ["log.1", "log.2"]] {
        let mut log = Log::new(Start::Beginning, "a\n");
        assert_eq!(log.read(), "a");
        age(&log, "log", 60);
        fs::rename(log.path("log"), log.path(names[0])).expect("renamed");
        let born = |name| fs::metadata(log.path(name)).and_then(|found| found.created()).ok();
        log.append("log", "b\n");
        // Where files have a time of birth, it has a grain; and it alone tells of numbers that count upwards.
        while born("log").is_some() && born("log") <= born(names[0]) {
            fs::remove_file(log.path("log")).expect("removed");
            log.append("log", "b\n");
        }
        if born("log").is_none() && names[0] == "log.1" {
            continue;
        }
        fs::rename(log.path("log"), log.path(names[1])).expect("renamed");
        log.append("log", "c\n");
        assert_eq!((log.read().as_str(), log.follow.gaps()), ("(Rotated) b (Rotated) c", 0), "{names:?}");
    }
}

#[test]
fn what_cannot_be_read_or_known_is_told() {
    // The one in between is compressed: found before and after a restart.
    for restart in [false, true] {
        let mut log = Log::new(Start::Beginning, "a\n");
        assert_eq!(log.read(), "a");
        age(&log, "log", 60);
        rotate(&log, "b\n");
        rotate(&log, "c\n");
        fs::rename(log.path("log.1"), log.path("log.1.gz")).expect("renamed");
        if restart {
            log.restart(false);
        }
        assert_eq!((log.read().as_str(), log.follow.gaps()), ("(Gap) c", 1));
    }
    // Ours is removed: that matters if it may have been more than the one rotation.
    for (looked, seen) in [(0, "(Rotated) b"), (5, "(Gap) b")] {
        let mut log = Log::new(Start::Beginning, "a\n");
        assert_eq!(log.read(), "a");
        let named = &mut log.follow.file.as_mut().expect("open").named;
        *named = named.map(|at| at - Duration::from_secs(looked));
        fs::remove_file(log.path("log")).expect("removed");
        log.append("log", "b\n");
        assert_eq!(log.read(), seen);
    }
}

#[test]
fn a_rotation_that_compresses_leaves_no_doubt() {
    let mut log = Log::new(Start::Beginning, "a\n");
    assert_eq!(log.read(), "a");
    log.follow.file.as_mut().expect("open").named = None;
    log.append("log.2.gz", "older");
    age(&log, "log.2.gz", 600);
    age(&log, "log", 60);
    rotate(&log, "b\n");
    log.append("log.1.gz", "half of a");
    assert_eq!((log.read().as_str(), log.follow.gaps()), ("(Rotated) b", 0), "it is not done");
    fs::remove_file(log.path("log.1")).expect("removed");
    age(&log, "log.1.gz", 300);
    fs::rename(log.path("log.1.gz"), log.path("log.2.gz")).expect("renamed");
    age(&log, "log", 60);
    let written = fs::metadata(log.path("log")).and_then(|found| found.modified()).expect("a time");
    fs::remove_file(log.path("log")).expect("removed");
    log.append("log.1.gz", "all of b");
    log.append("log", "c\n");
    let compressed = File::options().write(true).open(log.path("log.1.gz")).expect("opened");
    compressed.set_modified(written).expect("set");
    assert_eq!((log.read().as_str(), log.follow.gaps()), ("(Rotated) c", 0), "it is done");
}

#[test]
fn once_ends_at_the_end_with_the_unfinished_line() {
    let mut log = Log::new(Start::Beginning, "one\ntw");
    log.follow.once = true;
    assert_eq!(log.read(), "one tw (end)");
    log.append("log", "o\n");
    fs::rename(log.path("log"), log.path("log.1")).expect("renamed");
    log.append("log", "three\n");
    log.restart(true);
    assert_eq!(log.read(), "o (Rotated) three (end)");
    fs::remove_file(log.path("log")).expect("removed");
    let mut missing = Follow::new(log.path("log"), Start::Beginning, true, 100);
    assert!(missing.next().is_err());
}

#[test]
fn a_line_that_is_being_written_is_left_to_the_run_that_goes_on() {
    let mut log = Log::new(Start::Beginning, "one\ntw");
    let once = |log: &mut Log| {
        log.restart(true);
        log.follow.goes_on = true;
        log.read()
    };
    log.follow.next().expect("readable");
    assert_eq!(once(&mut log), " (end)");
    log.append("log", "o\nthr");
    assert_eq!(once(&mut log), "two (end)");
    // Nothing more will come to the line of a file that was rotated.
    fs::rename(log.path("log"), log.path("log.1")).expect("renamed");
    log.append("log", "four\n");
    assert_eq!(once(&mut log), "thr (Rotated) four (end)");
}

#[test]
fn a_file_is_known_by_its_first_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let head_of = |content: &str| {
        fs::write(&path, content).expect("written");
        head(&File::open(&path).expect("opened")).expect("readable")
    };
    assert_eq!(head_of("no line yet"), None);
    let first = head_of("first\n");
    assert!(first.is_some() && first == head_of("first\nand more\n") && first != head_of("other\n"));
    let long = "x".repeat(HEAD);
    assert_eq!(head_of(&long), head_of(&format!("{long}yz")));
}
