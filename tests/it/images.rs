//! Pictures that replace one another: JPEG files made by ffmpeg, shown by ffmpeg and by a plain `<img>` in both browsers.

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::clients::publisher::{escaped, post};
use crate::support::browser::{Browser, Kind};
use crate::support::gateway::Gateway;
use crate::support::page_server::{PageServer, page};
use crate::support::process::Process;
use crate::support::{PATIENCE, wait_for};

/// Red, green and blue.
type Colour = [u8; 3];

/// States of a camera, each of one colour, so that what is shown can be told from any other by one pixel.
const COLOURS: [Colour; 7] =
    [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255], [255, 255, 255]];

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
const FRAME_BYTES: usize = WIDTH * HEIGHT * 3;

#[test]
fn ffmpeg_shows_each_state_and_after_a_crash_the_newest() {
    shows_each_state(&["-f", "mpjpeg"], "?transport=multipart-replace");
}

#[test]
fn ffmpeg_is_given_pictures_for_its_name_alone() {
    shows_each_state(&[], "");
}

#[test]
fn an_image_in_chromium_shows_each_state_and_recovers() {
    an_image_shows_each_state(Kind::Chromium);
}

#[test]
fn an_image_in_firefox_shows_each_state_and_recovers() {
    an_image_shows_each_state(Kind::Firefox);
}

fn shows_each_state(format: &[&str], query: &str) {
    let mut gateway = Gateway::start(&["--dev"]);
    let url = format!("{}/events/cam{query}", gateway.url());
    publish(&gateway, COLOURS[0]);
    let mut player = Player::open(format, &url);
    player.shows(COLOURS[0]);
    for &colour in &COLOURS[1..5] {
        publish(&gateway, colour);
        player.shows(colour);
    }
    assert_eq!(player.states(), COLOURS[..5], "each state, none of them twice but in a row");

    gateway.restart();
    player.ends();
    publish(&gateway, COLOURS[5]);
    let player = Player::open(format, &url);
    player.shows(COLOURS[5]);
    publish(&gateway, COLOURS[6]);
    player.shows(COLOURS[6]);
    assert_eq!(player.states(), COLOURS[5..], "the newest, and what came after it");
}

/// Each picture must be shown without another one behind it: Chromium paints a part when the next begins.
fn an_image_shows_each_state(kind: Kind) {
    let mut gateway = Gateway::start(&["--dev"]);
    let server = PageServer::start();
    server.page("/", &page(include_str!("../clients/pages/picture.js")));
    let ask_anew = |cue: &str| server.file("/cue", "text/plain", cue);
    let shows = |colour: Colour| {
        let shown: Vec<u8> = serde_json::from_value(server.result()).expect("a colour");
        assert!(is_nearly(&shown, colour), "shown is {shown:?}, published was {colour:?}");
    };
    ask_anew("first");
    publish(&gateway, COLOURS[0]);
    let events = escaped(&format!("{}/events/cam", gateway.url()));
    let _browser = Browser::open(kind, &server.url(&format!("/?url={events}")), &[]);
    shows(COLOURS[0]);
    for &colour in &COLOURS[1..5] {
        publish(&gateway, colour);
        shows(colour);
    }

    gateway.restart();
    // An <img> does not come back by itself; asked for anew, it shows the newest, and no other before it.
    publish(&gateway, COLOURS[5]);
    ask_anew("second");
    shows(COLOURS[5]);
    publish(&gateway, COLOURS[6]);
    shows(COLOURS[6]);
}

fn publish(gateway: &Gateway, colour: Colour) {
    let outcome = post(gateway.url(), "/events/cam", &[("Content-Type", "image/jpeg")], &jpeg(colour));
    assert!(matches!(outcome, Ok((201, _))), "{outcome:?}");
}

/// A JPEG file of one colour.
fn jpeg([red, green, blue]: Colour) -> Vec<u8> {
    let source = format!("color=c=0x{red:02x}{green:02x}{blue:02x}:s={WIDTH}x{HEIGHT}");
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", &source, "-frames:v", "1", "-f", "mjpeg", "-"])
        .stdin(Stdio::null())
        .output()
        .expect("ffmpeg runs (`tests/run --install-only` installs what is missing)");
    assert!(made.stdout.starts_with(b"\xff\xd8\xff"), "no JPEG: {}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

/// JPEG loses a little.
fn is_nearly(shown: &[u8], colour: Colour) -> bool {
    shown.len() == 3 && shown.iter().zip(colour).all(|(shown, published)| shown.abs_diff(published) < 8)
}

/// An ffmpeg that writes the pixels of each frame to a file.
struct Player {
    process: Process,
    directory: TempDir,
}

impl Player {
    fn open(format: &[&str], url: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new("ffmpeg");
        // With several threads, a frame is given out only when the next ones have come.
        command.args(["-nostdin", "-loglevel", "error", "-threads", "1"]).args(format).args(["-i", url]);
        command.args(["-vsync", "passthrough", "-pix_fmt", "rgb24", "-flush_packets", "1", "-f", "rawvideo"]);
        command.arg(directory.path().join("frames"));
        Self { process: Process::spawn(command), directory }
    }

    /// The colours of the frames, without repetitions: a state that nothing follows is sent once more.
    fn states(&self) -> Vec<Colour> {
        let pixels = fs::read(self.directory.path().join("frames")).unwrap_or_default();
        let mut states: Vec<Colour> = pixels.chunks_exact(FRAME_BYTES).map(colour).collect();
        states.dedup();
        states
    }

    #[track_caller]
    fn shows(&self, colour: Colour) {
        wait_for("a frame to be shown", || self.states().last() == Some(&colour));
    }

    fn ends(&mut self) {
        self.process.wait(PATIENCE);
    }
}

/// Which of the colours a whole frame has.
fn colour(frame: &[u8]) -> Colour {
    let middle = (HEIGHT / 2 * WIDTH + WIDTH / 2) * 3;
    let pixel = &frame[middle..middle + 3];
    let colour = COLOURS.into_iter().find(|colour| is_nearly(pixel, *colour));
    let colour = colour.unwrap_or_else(|| panic!("no colour that was published: {pixel:?}"));
    assert!(frame.chunks_exact(3).all(|pixel| is_nearly(pixel, colour)), "a frame is torn");
    colour
}
