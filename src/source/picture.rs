//! A small picture of the time, in seven segments, for readers that show images.
//!
//! A bitmap of one bit a pixel: every browser shows it, and drawing it needs no library. About 2 KiB.

/// What [`clock`] draws.
pub(super) const MEDIA_TYPE: &str = "image/bmp";

const WIDTH: usize = 224;
const HEIGHT: usize = 72;
const MARGIN: usize = 13;
/// Rows of a bitmap fill whole 32-bit words; 224 pixels are seven.
const ROW_BYTES: usize = WIDTH / 8;
/// File header, information header and two colours.
const HEAD_BYTES: usize = 14 + 40 + 2 * 4;

/// The time as `hh:mm:ss` over a bar that fills with the seconds of the minute.
pub(super) fn clock(hour: u8, minute: u8, second: u8) -> Vec<u8> {
    let mut canvas = Canvas::default();
    let mut x = MARGIN;
    for (index, number) in [hour, minute, second].into_iter().enumerate() {
        if index > 0 {
            x += canvas.colon(x);
        }
        x += canvas.digit(x, number / 10 % 10);
        x += canvas.digit(x, number % 10);
    }
    let bar = (WIDTH - 2 * MARGIN) * (usize::from(second.min(59)) + 1) / 60;
    canvas.fill(MARGIN, HEIGHT - 12, bar, 4);
    canvas.into_bitmap()
}

/// Pixels that are on or off; the first row is the uppermost.
struct Canvas([[u8; ROW_BYTES]; HEIGHT]);

impl Default for Canvas {
    fn default() -> Self {
        Self([[0; ROW_BYTES]; HEIGHT])
    }
}

impl Canvas {
    /// Draws one digit and answers how far it reaches, with the space after it.
    fn digit(&mut self, x: usize, digit: u8) -> usize {
        let lit = SEGMENTS[usize::from(digit)];
        for (segment, (left, top, width, height)) in SHAPES.into_iter().enumerate() {
            if lit >> segment & 1 == 1 {
                self.fill(x + left, MARGIN - 3 + top, width, height);
            }
        }
        DIGIT_WIDTH + 6
    }

    /// Draws a colon and answers how far it reaches.
    fn colon(&mut self, x: usize) -> usize {
        self.fill(x, MARGIN + 9, 5, 5);
        self.fill(x, MARGIN + 25, 5, 5);
        5 + 6
    }

    fn fill(&mut self, left: usize, top: usize, width: usize, height: usize) {
        for row in &mut self.0[top..top + height] {
            for x in left..left + width {
                row[x / 8] |= 0x80 >> (x % 8);
            }
        }
    }

    /// BMP version 3: rows from the lowest to the uppermost.
    fn into_bitmap(self) -> Vec<u8> {
        let pixel_bytes = ROW_BYTES * HEIGHT;
        let word = |value: usize| u32::try_from(value).expect("a small picture").to_le_bytes();
        let mut file = Vec::with_capacity(HEAD_BYTES + pixel_bytes);
        file.extend(b"BM");
        file.extend([word(HEAD_BYTES + pixel_bytes), [0; 4], word(HEAD_BYTES)].concat());
        file.extend([word(40), word(WIDTH), word(HEIGHT), [1, 0, 1, 0]].concat());
        file.extend([word(0), word(pixel_bytes), word(2835), word(2835), word(2), word(0)].concat());
        file.extend([DARK, LIT].concat());
        self.0.iter().rev().for_each(|row| file.extend(row));
        file
    }
}

/// Blue, green, red, unused.
const DARK: [u8; 4] = [0x26, 0x1e, 0x14, 0];
const LIT: [u8; 4] = [0xc6, 0xd8, 0x58, 0];

const DIGIT_WIDTH: usize = 24;

/// Left, top, width and height of the segments a to g, within a digit.
const SHAPES: [(usize, usize, usize, usize); 7] =
    [(4, 0, 16, 4), (20, 3, 4, 18), (20, 23, 4, 18), (4, 40, 16, 4), (0, 23, 4, 18), (0, 3, 4, 18), (4, 20, 16, 4)];

/// Which segments each digit lights; the lowest bit is segment a.
const SEGMENTS: [u8; 10] = [0x3f, 0x06, 0x5b, 0x4f, 0x66, 0x6d, 0x7d, 0x07, 0x7f, 0x6f];

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of `bytes` bytes at `at`, least significant first.
    fn number(file: &[u8], at: usize, bytes: usize) -> usize {
        file[at..at + bytes].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
    }

    /// The picture as a decoder sees it, from its uppermost row, one character a pixel.
    fn decode(file: &[u8]) -> Vec<String> {
        let (pixels, width, height) = (number(file, 10, 4), number(file, 18, 4), number(file, 22, 4));
        let stride = width.div_ceil(32) * 4;
        let rows = file[pixels..].chunks(stride).take(height).rev();
        rows.map(|row| (0..width).map(|x| if row[x / 8] << (x % 8) & 0x80 == 0 { ' ' } else { '#' }).collect())
            .collect()
    }

    #[test]
    fn the_file_says_of_itself_what_is_true() {
        let file = clock(12, 34, 56);
        assert_eq!(&file[..2], b"BM");
        assert_eq!(number(&file, 2, 4), file.len());
        assert_eq!(number(&file, 10, 4) + number(&file, 34, 4), file.len());
        assert_eq!((number(&file, 26, 2), number(&file, 28, 2)), (1, 1), "one plane of one bit");
        assert!(file.len() <= 8 << 10, "{} bytes", file.len());
    }

    #[test]
    fn each_digit_lights_its_segments() {
        let picture = decode(&clock(1, 23, 45));
        // The first digit is 0: no middle bar; the fourth is 3: no left side; the last is 5: no upper right corner.
        let lit = |x: usize, y: usize| picture[y].as_bytes()[MARGIN + x] == b'#';
        let digit = |index: usize| index * (DIGIT_WIDTH + 6) + index / 2 * 11;
        let middle = |index| lit(digit(index) + 12, 32);
        assert!(!middle(0) && !middle(1) && middle(2) && middle(3) && middle(4) && middle(5));
        assert!(lit(digit(0), 20) && !lit(digit(3), 20) && lit(digit(5), 20));
        assert!(!lit(digit(5) + 22, 20) && lit(digit(5) + 22, 40));
    }

    #[test]
    fn every_second_looks_different_and_fits() {
        let mut seen = std::collections::HashSet::new();
        for second in 0..60 {
            assert!(seen.insert(clock(23, 59, second)), "second {second}");
        }
        let picture = decode(&clock(23, 59, 59));
        assert!(picture.iter().all(|row| row.ends_with("          ")), "there is a margin to the right");
    }
}
