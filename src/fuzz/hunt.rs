//! A small fuzzer: changes seeds at random and keeps what went another way than all before, so that it gets further from
//! there. The same seed of chance makes the same inputs.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// No input is longer.
const LEN_MAX: usize = 32 * 1024;
/// So many inputs that went another way are kept.
const KEPT_MAX: usize = 4096;
/// What parsers look at.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\x80",
    b"\r\n",
    b"\n\n",
    b"%",
    b"%00",
    b"%ff",
    b"&",
    b"=",
    b"+",
    b";",
    b":",
    b"/",
    b"*",
    b"?",
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[[[[[[[[",
    b"\"",
    b"\\",
    b"\\ud800",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"1e999",
    b"{}",
    b"[]",
    b"\"\"",
    b"Deny",
    b"NotAction",
    b"NotResource",
    b"Condition",
    b"ForAnyValue:",
    b"IfExists",
    b"IpAddress",
    b"0.0.0.0/0",
    b"::/0",
    b"Action",
    b"Signature",
    b"EncryptionContext",
    b"KeyId",
    b"alias/app",
    b"alias/sign",
    b"alias/mac",
    b"arn:aws:kms:cn-local:123456789012:",
];

/// An input at which the target panicked.
#[derive(Debug)]
pub struct Found {
    /// The input.
    pub input: Vec<u8>,
    /// What the panic said.
    pub said: String,
    /// How many inputs were tried before.
    pub after: u64,
}

/// Random numbers (SplitMix64): good enough to choose by, and the same for the same seed everywhere.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// From this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`; 0 where that is 0.
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.next().checked_rem(bound).unwrap_or(0)).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let at = self.below(list.len());
        list.get(at)
    }
}

/// Tries the seeds themselves, and then what chance makes of them, for as long as `goes_on` says, which is told how many
/// were tried. The number of inputs that were tried.
///
/// # Errors
///
/// The first input at which the target panics.
pub fn hunt(
    target: &dyn Fn(&[u8]) -> String,
    seeds: &[Vec<u8>],
    chance: &mut Chance,
    mut goes_on: impl FnMut(u64) -> bool,
) -> Result<u64, Found> {
    let mut kept = seeds.to_vec();
    let mut ways = HashSet::new();
    let mut tried = 0;
    for seed in seeds {
        ways.insert(try_one(target, seed, tried)?);
        tried += 1;
    }
    while goes_on(tried) {
        let input = changed(&kept, chance);
        let way = try_one(target, &input, tried)?;
        tried += 1;
        if kept.len() < KEPT_MAX && ways.insert(way) {
            kept.push(input);
        }
    }
    Ok(tried)
}

fn try_one(target: &dyn Fn(&[u8]) -> String, input: &[u8], after: u64) -> Result<String, Found> {
    catch_unwind(AssertUnwindSafe(|| target(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let said = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Found {
            input: input.to_vec(),
            said: said.unwrap_or_default(),
            after,
        }
    })
}

/// One of the inputs, changed in one to four places.
fn changed(kept: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut input = chance.of(kept).cloned().unwrap_or_default();
    for _ in 0..=chance.below(4) {
        change(&mut input, kept, chance);
    }
    input.truncate(LEN_MAX);
    input
}

fn change(input: &mut Vec<u8>, kept: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(input.len() + 1);
    match chance.below(8) {
        0 => flip(input, at, 1 << chance.below(8)),
        1 => flip(input, at, chance.byte()),
        2 => {
            let end = (at + 1 + chance.below(16)).min(input.len());
            input.drain(at.min(end)..end);
        }
        3 => input.truncate(at),
        4 => {
            let piece = piece(input, chance);
            insert(input, at, &piece);
        }
        5 => {
            let other = chance.of(kept).cloned().unwrap_or_default();
            let piece = piece(&other, chance);
            insert(input, at, &piece);
        }
        6 => {
            let word = chance.of(WORDS).copied().unwrap_or_default();
            insert(input, at, word);
        }
        _ => {
            let word = chance.of(WORDS).copied().unwrap_or_default();
            let end = (at + word.len()).min(input.len());
            input.splice(at..end, word.iter().copied());
        }
    }
}

fn flip(input: &mut [u8], at: usize, bits: u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= bits;
    }
}

fn piece(of: &[u8], chance: &mut Chance) -> Vec<u8> {
    let start = chance.below(of.len());
    let len = 1 + chance.below(64);
    of.iter().skip(start).take(len).copied().collect()
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    input.splice(at..at, piece.iter().copied());
}
