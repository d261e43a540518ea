//! Reading one file of the log backwards, whole lines only.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memchr::memrchr;

const BLOCK: u64 = 256 * 1024;
/// The longest line, as in reading forward.
const LONGEST: usize = 1 << 20;

pub(super) struct Backward<'f> {
    file: &'f File,
    /// `block[..left]` is still to be returned; it begins at `begin` of the file, and ends with a newline.
    block: Vec<u8>,
    begin: u64,
    left: usize,
}

impl<'f> Backward<'f> {
    /// From `end` of the file; bytes behind the last newline before that are no line.
    pub(super) fn new(file: &'f File, end: u64) -> io::Result<Self> {
        let mut backward = Self { file, block: Vec::new(), begin: end, left: 0 };
        while backward.begin > 0 {
            backward.load()?;
            if let Some(last) = memrchr(b'\n', &backward.block[..backward.left]) {
                backward.left = last + 1;
                break;
            }
            backward.left = 0;
        }
        Ok(backward)
    }

    /// The offset behind the last line that is left.
    pub(super) fn end(&self) -> u64 {
        self.begin + self.left as u64
    }

    /// The line before, as its place in the file and in [`Self::text`].
    pub(super) fn previous(&mut self) -> io::Result<Option<(u64, Range<usize>)>> {
        loop {
            let Some(last) = self.left.checked_sub(1) else { return Ok(None) };
            if let Some(newline) = memrchr(b'\n', &self.block[..last]) {
                self.left = newline + 1;
                return Ok(Some((self.begin + newline as u64 + 1, newline + 1..last)));
            }
            if self.begin == 0 {
                self.left = 0;
                return Ok(Some((0, 0..last)));
            }
            if self.left > LONGEST {
                // Damage: only its beginning is looked for, and the text before it is no record.
                self.block[0] = b'\n';
                self.left = 1;
            }
            self.load()?;
        }
    }

    pub(super) fn text(&self, line: Range<usize>) -> &[u8] {
        &self.block[line]
    }

    fn load(&mut self) -> io::Result<()> {
        let begin = self.begin.saturating_sub(BLOCK);
        let count = (self.begin - begin) as usize;
        let mut block = vec![0; count + self.left];
        self.file.read_exact_at(&mut block[..count], begin)?;
        block[count..].copy_from_slice(&self.block[..self.left]);
        (self.block, self.begin) = (block, begin);
        self.left += count;
        Ok(())
    }
}
