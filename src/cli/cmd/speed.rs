//! `envelopefs speed`: how fast this machine seals and opens chunks, by implementation of
//! AES-256-GCM and by block size.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::values::{self, ValueError};
use crate::crypto::{Backend, GcmCipher, SecretKey, TAG_LEN};
use crate::format::chunk;

const AFTER: &str = "\
EXAMPLES:
  envelopefs speed
  envelopefs speed --time 20s --json > speed.json";

/// Arguments of `speed`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct SpeedArgs {
    /// Print a JSON array, one object for each block size and operation
    #[arg(long)]
    pub json: bool,

    /// How long to measure in all, 1s to 1h
    #[arg(long, value_name = "DURATION", value_parser = parse_time, default_value = "8s")]
    pub time: Duration,
}

const TIME: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

fn parse_time(text: &str) -> Result<Duration, ValueError> {
    values::parse_duration_in(text, TIME)
}

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeedRequest {
    /// As JSON.
    pub json: bool,
    /// How long in all.
    pub time: Duration,
}

impl From<SpeedArgs> for SpeedRequest {
    fn from(args: SpeedArgs) -> Self {
        Self {
            json: args.json,
            time: args.time,
        }
    }
}

/// Every block size that the format has.
const BLOCKS: [u32; 9] = [
    1 << 12,
    1 << 13,
    1 << 14,
    1 << 15,
    1 << 16,
    1 << 17,
    1 << 18,
    1 << 19,
    1 << 20,
];
/// Each cell is measured this often, in turn with the other backend; the median counts.
const ROUNDS: u32 = 5;
const OPERATIONS: [Operation; 2] = [Operation::Seal, Operation::Open];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Operation {
    Seal,
    Open,
}

/// One row: a block size and an operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Measurement {
    block_size: u32,
    operation: Operation,
    /// Plaintext bytes a second, by [`Backend::ALL`].
    aws_lc_rs: f64,
    rust_crypto: f64,
    /// The first by the second.
    ratio: f64,
}

/// Measures and prints.
///
/// # Errors
/// No memory for a key, or stdout cannot be written.
pub fn run(request: &SpeedRequest) -> Result<(), Failure> {
    if cfg!(debug_assertions) {
        tracing::warn!("a debug build: RustCrypto is slow in it and the ratios mean nothing");
    }
    let measured = measure_all(&BLOCKS, request.time)?;
    if request.json {
        output::print_json(&measured)
    } else {
        output::print(&render(&measured))
    }
}

fn measure_all(blocks: &[u32], time: Duration) -> Result<Vec<Measurement>, Failure> {
    let key = SecretKey::random().map_err(|error| {
        Failure::new(Exit::MemoryNotLocked, "cannot make a key", error)
            .advise("raise the limit on locked memory: `ulimit -l`")
    })?;
    let cells = u32::try_from(blocks.len() * OPERATIONS.len() * Backend::ALL.len());
    let slot = time / cells.unwrap_or(u32::MAX) / ROUNDS;
    let rows = blocks.iter().flat_map(|&block_size| {
        OPERATIONS.map(|operation| measure(&key, block_size, operation, slot))
    });
    Ok(rows.collect())
}

fn measure(key: &SecretKey, block_size: u32, operation: Operation, slot: Duration) -> Measurement {
    let mut benches = Backend::ALL.map(|backend| Bench::new(backend, key, block_size));
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        // In turn, so that a busy moment of the machine strikes both.
        for (bench, rates) in benches.iter_mut().zip(&mut rates) {
            rates.push(bench.rate(operation, slot));
        }
    }
    let [aws_lc_rs, rust_crypto] = rates.map(median);
    let ratio = aws_lc_rs / rust_crypto;
    Measurement {
        block_size,
        operation,
        aws_lc_rs,
        rust_crypto,
        ratio,
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// As long as a chunk's associated data.
const AAD: [u8; 35] = [7; 35];

/// One chunk that is sealed and opened again and again.
struct Bench {
    cipher: Box<dyn GcmCipher>,
    plaintext: Vec<u8>,
    sealed: Vec<u8>,
    tag: [u8; TAG_LEN],
    /// How many chunks between two looks at the clock.
    batch: u32,
}

/// Bytes between two looks at the clock, or one chunk.
const BATCH: u32 = 1 << 17;

const NONCE: [u8; 12] = [9; 12];

impl Bench {
    fn new(backend: Backend, key: &SecretKey, block_size: u32) -> Self {
        let capacity = usize::try_from(block_size).unwrap_or(chunk::OVERHEAD) - chunk::OVERHEAD;
        let cipher = backend.subkey(key, &[3; 12]);
        let plaintext = vec![0; capacity];
        let mut sealed = plaintext.clone();
        let tag = cipher.seal_in_place(&NONCE, &AAD, &mut sealed);
        Self {
            cipher,
            plaintext,
            sealed,
            tag,
            batch: (BATCH / block_size).max(1),
        }
    }

    /// Plaintext bytes a second.
    fn rate(&mut self, operation: Operation, slot: Duration) -> f64 {
        let start = Instant::now();
        let mut chunks = 0.0;
        loop {
            for _ in 0..self.batch {
                self.once(operation);
            }
            chunks += f64::from(self.batch);
            let passed = start.elapsed();
            if passed >= slot {
                let capacity = u32::try_from(self.plaintext.len()).map_or(0.0, f64::from);
                return chunks * capacity / passed.as_secs_f64();
            }
        }
    }

    fn once(&mut self, operation: Operation) {
        match operation {
            // In place over and over: the bytes do not matter for the time. They must not be
            // opened later, so the sealed chunk is another buffer.
            Operation::Seal => {
                let tag = self.cipher.seal_in_place(&NONCE, &AAD, &mut self.plaintext);
                std::hint::black_box(tag);
            }
            Operation::Open => {
                let opened = self.cipher.open_into(
                    &NONCE,
                    &AAD,
                    &self.sealed,
                    &self.tag,
                    &mut self.plaintext,
                );
                std::hint::black_box(opened.is_ok());
            }
        }
    }
}

fn render(measured: &[Measurement]) -> String {
    let mut rows = vec![
        ["block", "", "aws-lc-rs MB/s", "RustCrypto MB/s", "ratio"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(measured.iter().map(|row| {
        vec![
            values::show_size(row.block_size.into()),
            match row.operation {
                Operation::Seal => "seal".to_owned(),
                Operation::Open => "open".to_owned(),
            },
            format!("{:.0}", row.aws_lc_rs / 1e6),
            format!("{:.0}", row.rust_crypto / 1e6),
            format!("{:.2}", row.ratio),
        ]
    }));
    output::columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_measures_something() {
        let measured = measure_all(&[4096, 8192], Duration::from_millis(20)).unwrap();
        assert_eq!(measured.len(), 4);
        assert!(
            measured
                .iter()
                .all(|row| row.aws_lc_rs > 0.0 && row.ratio > 0.0)
        );
    }

    #[test]
    fn what_is_opened_is_authentic() {
        let key = SecretKey::random().unwrap();
        for backend in Backend::ALL {
            let mut bench = Bench::new(backend, &key, 4096);
            bench.rate(Operation::Seal, Duration::ZERO);
            let Bench {
                cipher,
                sealed,
                tag,
                plaintext,
                ..
            } = &mut bench;
            assert!(
                cipher
                    .open_into(&NONCE, &AAD, sealed, tag, plaintext)
                    .is_ok()
            );
        }
    }

    #[test]
    fn the_table_shows_sizes_and_ratios() {
        let row = Measurement {
            block_size: 4096,
            operation: Operation::Open,
            aws_lc_rs: 10.5e9,
            rust_crypto: 3.5e9,
            ratio: 3.0,
        };
        let table = render(std::slice::from_ref(&row));
        assert!(table.lines().nth(1).unwrap().starts_with("4K "), "{table}");
        assert!(table.contains("10500") && table.contains("3.00"));
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(
            (&json["operation"], &json["block_size"]),
            (&"open".into(), &4096.into())
        );
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0, 9.0, 0.5]), 2.0);
        assert_eq!(median(vec![]), 0.0);
    }
}
