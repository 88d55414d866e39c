//! The bytes of records, functions and texts, with the redundancy that real ones have.
//!
//! Meshes are slowly changing numbers, textures have few values in blocks, noise is what already
//! compressed media looks like, programs are instruction templates around relative calls.

use super::noise::{Noise, mix};

/// What a record looks like to a compressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// Vertices: about 3 : 1.
    Mesh,
    /// Block-compressed pictures: about 1.5 : 1.
    Texture,
    /// Compressed sound and video: nothing to gain.
    Noise,
}

/// A stretch of content that can be made again from these three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its look.
    pub(crate) kind: RecordKind,
    /// Its identity.
    pub(crate) seed: u64,
    /// Its length in bytes.
    pub(crate) bytes: u64,
}

/// One function of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its identity.
    pub(crate) seed: u64,
}

/// Each instruction template is this long; a call has its 4-byte address at the end.
const INSTRUCTION_BYTES: u64 = 8;

impl Record {
    /// Appends the record.
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        let end = out.len() + usize::try_from(self.bytes).unwrap_or(usize::MAX - out.len());
        let mut noise = Noise::new(self.seed);
        match self.kind {
            RecordKind::Noise => {
                while out.len() < end {
                    out.extend_from_slice(&noise.next().to_le_bytes());
                }
            }
            RecordKind::Texture => append_texture(&mut noise, out, end),
            RecordKind::Mesh => append_mesh(&mut noise, out, end),
        }
        out.truncate(end);
    }
}

/// Blocks of 16 bytes: two end colours that drift, then indices.
fn append_texture(noise: &mut Noise, out: &mut Vec<u8>, end: usize) {
    let mut colour = noise.next();
    while out.len() < end {
        let dice = noise.next();
        colour = colour.wrapping_add(dice & 0x0000_0301_0002_0103);
        out.extend_from_slice(&colour.to_le_bytes());
        let indices = if dice & 0x300 == 0 { 0x5555_5555_5555_5555 } else { dice & 0x33FF_33FF_0FFF_FFFF };
        out.extend_from_slice(&indices.to_le_bytes());
    }
}

/// Positions in fixed point that move by small steps, normals of few directions.
fn append_mesh(noise: &mut Noise, out: &mut Vec<u8>, end: usize) {
    let mut position = [1_000_000u32, 2_000_000, 3_000_000];
    while out.len() < end {
        let dice = noise.next().to_le_bytes();
        for (axis, step) in position.iter_mut().zip(dice) {
            *axis = axis.wrapping_add(u32::from(step));
            out.extend_from_slice(&axis.to_le_bytes());
        }
        let normal = mix(u64::from(dice[3] & 15)).to_le_bytes();
        out.extend_from_slice(&normal[..4]);
    }
}

impl Function {
    /// Its length in bytes: 32 to 254 instructions.
    pub(super) const fn bytes(self) -> u64 {
        (32 + mix(self.seed) % 223) * INSTRUCTION_BYTES - INSTRUCTION_BYTES
    }

    /// Appends the function at address `here`; `addresses` says where its siblings begin.
    pub(super) fn append(self, here: u64, addresses: &[(u64, u64)], out: &mut Vec<u8>) {
        const TEMPLATES: [[u8; 4]; 8] = [
            [0x48, 0x8B, 0x45, 0xF8],
            [0x48, 0x89, 0x5D, 0xE8],
            [0x0F, 0xB6, 0x04, 0x0A],
            [0x48, 0x83, 0xC4, 0x28],
            [0x31, 0xC0, 0x85, 0xD2],
            [0x48, 0x8D, 0x0D, 0x00],
            [0xF3, 0x0F, 0x10, 0x05],
            [0x74, 0x1C, 0x48, 0x39],
        ];
        let mut noise = Noise::new(self.seed ^ 0xF00D);
        let mut at = here;
        let end = here + self.bytes();
        while at < end {
            let dice = noise.next();
            let operand = if dice.is_multiple_of(4) {
                out.extend_from_slice(&[0x90, 0x90, 0x90, 0xE8]);
                let target = callee(dice >> 3, addresses);
                target.wrapping_sub(at + INSTRUCTION_BYTES)
            } else {
                out.extend_from_slice(&TEMPLATES[usize::from(dice.to_le_bytes()[1] & 7)]);
                (dice >> 16) % 40 * 8
            };
            out.extend_from_slice(&operand.to_le_bytes()[..4]);
            at += INSTRUCTION_BYTES;
        }
    }
}

/// The called function is chosen by identity, not by place, so an insertion does not change who
/// calls whom but only where that is. `addresses` is sorted by identity.
fn callee(dice: u64, addresses: &[(u64, u64)]) -> u64 {
    let wanted = 700_000 + dice % addresses.len() as u64;
    let at = addresses.partition_point(|(seed, _)| *seed < wanted).min(addresses.len() - 1);
    addresses[at].1
}

const WORDS: [&str; 48] = [
    "engine", "gear", "track", "corner", "brake", "turbo", "ghost", "replay", "season", "weather", "rain", "dust",
    "grip", "slide", "apex", "sector", "lap", "pit", "crew", "fuel", "tyre", "wing", "drag", "lift", "local",
    "function", "return", "if", "then", "else", "end", "for", "in", "pairs", "spawn", "target", "state", "enter",
    "leave", "update", "delta", "speed", "limit", "signal", "green", "yellow", "red", "flag",
];

/// Appends lines of words.
pub(super) fn append_text(seed: u64, lines: u64, edited: Option<u64>, out: &mut Vec<u8>) {
    let mut noise = Noise::new(seed ^ 0x7E87);
    for line in 0..lines {
        let mut words = Noise::new(noise.next() ^ u64::from(edited == Some(line)));
        out.extend_from_slice(format!("{line:04}").as_bytes());
        for _ in 0..4 + words.below(8) {
            out.push(b' ');
            let word = WORDS[usize::from(words.next().to_le_bytes()[2]) % WORDS.len()];
            out.extend_from_slice(word.as_bytes());
        }
        out.push(b'\n');
    }
}
