//! Input to measure with: repeatable bytes, files and a build tree shaped like a game's.

use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// Words that make half of the compressible content repeat.
const PHRASES: [&[u8]; 4] =
    [b"vertex normal tangent uv0 uv1 ", b"<entity id=\"", b"0.0000 1.0000 0.5000 ", b"texture/diffuse/rock_"];

/// Repeatable bytes: half noise, half phrases, so that zstd has about as much to win as in a game's paks.
pub(crate) struct Bytes {
    state: u64,
}

impl Bytes {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    const fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// Bytes that no compressor makes smaller.
    pub(crate) fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length + 8);
        while out.len() < length {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(length);
        out
    }

    /// Bytes as in a game's assets.
    pub(crate) fn assets(&mut self, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(length + 64);
        while out.len() < length {
            let pick = self.next();
            if pick & 1 == 0 {
                out.extend_from_slice(&self.noise(32));
            } else {
                let phrase = PHRASES[usize::try_from(pick >> 8 & 3).unwrap_or_default()];
                out.extend_from_slice(phrase);
                out.extend_from_slice(format!("{:04}", pick >> 16 & 0xFFF).as_bytes());
            }
        }
        out.truncate(length);
        out
    }
}

/// A fresh directory below the working directory.
pub(crate) fn fresh_dir(dir: &Path, name: &str) -> Result<PathBuf> {
    let dir = dir.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// A file of noise.
pub(crate) fn noise_file(path: &Path, bytes: u64) -> Result<()> {
    let mut source = Bytes::new(bytes);
    let mut file = BufWriter::new(File::create(path)?);
    let mut left = bytes;
    while left > 0 {
        let piece = usize::try_from(left.min(1 << 20))?;
        file.write_all(&source.noise(piece))?;
        left -= piece as u64;
    }
    file.into_inner().context("the last bytes of the file")?.sync_all()?;
    Ok(())
}

/// A build: eight paks that make up most of it, and 500 small files. Returns its size in bytes.
pub(crate) fn build_tree(dir: &Path, bytes: u64) -> Result<u64> {
    const PAKS: u64 = 8;
    const SMALL: u64 = 500;
    let mut source = Bytes::new(7);
    let small_bytes = (bytes / 100 / SMALL).max(200);
    let mut sum = 0;
    fs::create_dir_all(dir.join("data/text"))?;
    for index in 0..PAKS {
        let mut file = BufWriter::new(File::create(dir.join(format!("data/pak{index:02}.bin")))?);
        let mut left = (bytes - small_bytes * SMALL).max(PAKS) / PAKS;
        while left > 0 {
            let piece = source.assets(usize::try_from(left.min(1 << 20))?);
            file.write_all(&piece)?;
            left -= piece.len() as u64;
            sum += piece.len() as u64;
        }
        file.flush()?;
    }
    for index in 0..SMALL {
        let content = source.assets(usize::try_from(small_bytes)?);
        fs::write(dir.join(format!("data/text/{index:04}.txt")), &content)?;
        sum += content.len() as u64;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_repeats_and_has_its_length() {
        assert_eq!(Bytes::new(1).assets(1000), Bytes::new(1).assets(1000));
        assert_ne!(Bytes::new(1).noise(1000), Bytes::new(2).noise(1000));
        assert_eq!((Bytes::new(1).assets(777).len(), Bytes::new(1).noise(5).len()), (777, 5));
    }

    #[test]
    fn a_tree_has_about_the_size_asked_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let sum = build_tree(dir.path(), 20 << 20).expect("a tree");
        assert!(sum.abs_diff(20 << 20) < 1 << 20, "{sum}");
    }
}
