//! Random operations on two files of a mount, each read compared with a plain vector; a failing history
//! shrinks to a short one, which is printed and kept in random_io.proptest-regressions.
//!
//! `PROPTEST_CASES` sets how many histories each test tries, `PROPTEST_RNG_SEED` which.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, IoSlice, IoSliceMut, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed, TestError, TestRunner};
use rustix::fs::{Advice, FallocateFlags, SeekFrom, copy_file_range, fadvise, fallocate, seek};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2};

use crate::harness::{Mount, Volume, noise, run};

/// No file grows beyond this: several blocks of all but the largest volumes.
const LIMIT: u64 = 300_000;

/// What a direct transfer's place, length and memory are multiples of.
const ALIGNMENTS: [u64; 2] = [512, 4096];

type Checked<T = ()> = Result<T, TestCaseError>;

#[derive(Clone, Debug)]
enum Op {
    Write(usize, Way, u64, u64),
    Read(usize, Way, u64, u64),
    Truncate(usize, u64),
    Allocate(usize, FallocateFlags, u64, u64),
    Copy {
        from: (usize, u64),
        to: (usize, u64),
        len: u64,
    },
    FindHoles(usize),
    Sync(usize, bool),
    DropCache(usize),
    Reopen(usize),
    Remount,
}

/// How data is moved.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Plain,
    /// `preadv2`, `pwritev2` with two parts.
    Vectored,
    /// With `RWF_APPEND`, wherever the offset is; reads as [`Way::Plain`].
    Appending,
    /// With `RWF_DSYNC`; reads as [`Way::Plain`].
    Durable,
    /// `O_DIRECT`, in multiples of this.
    Direct(u64),
    /// Through a shared map in another process, with `msync` or without.
    Mapped {
        flush: bool,
    },
}

/// Every mode that FUSE lets through, and two that it refuses.
const ALLOCATIONS: [FallocateFlags; 7] = [
    FallocateFlags::empty(),
    FallocateFlags::KEEP_SIZE,
    FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE),
    FallocateFlags::ZERO_RANGE,
    FallocateFlags::ZERO_RANGE.union(FallocateFlags::KEEP_SIZE),
    FallocateFlags::COLLAPSE_RANGE,
    FallocateFlags::INSERT_RANGE,
];

// --- histories ------------------------------------------------------------------------------------

/// Anywhere, or close to where chunks and pages begin.
fn place() -> impl Strategy<Value = u64> {
    let edges = prop::sample::select(vec![3024_u64, 4048, 4096, 64_464, 65_488, 65_536]);
    prop_oneof![
        0..LIMIT,
        (edges, 0..4_u64, 0..7_u64).prop_map(|(edge, times, past)| {
            (edge * times + past).saturating_sub(3).min(LIMIT - 1)
        }),
    ]
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![1..64_u64, 1..20_000_u64, 60_000..140_000_u64]
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        3 => Just(Way::Plain),
        2 => Just(Way::Vectored),
        1 => Just(Way::Appending),
        1 => Just(Way::Durable),
        3 => prop::sample::select(&ALIGNMENTS[..]).prop_map(Way::Direct),
        2 => any::<bool>().prop_map(|flush| Way::Mapped { flush }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let file = || 0..2_usize;
    let spot = || (file(), place());
    let allocation = prop::sample::select(&ALLOCATIONS[..]);
    prop_oneof![
        12 => (file(), way(), place(), length()).prop_map(|(f, w, at, len)| Op::Write(f, w, at, len)),
        12 => (file(), way(), place(), length()).prop_map(|(f, w, at, len)| Op::Read(f, w, at, len)),
        4 => (file(), place()).prop_map(|(f, len)| Op::Truncate(f, len)),
        8 => (file(), allocation, place(), length()).prop_map(|(f, m, at, len)| Op::Allocate(f, m, at, len)),
        4 => (spot(), spot(), length()).prop_map(|(from, to, len)| Op::Copy { from, to, len }),
        3 => file().prop_map(Op::FindHoles),
        2 => (file(), any::<bool>()).prop_map(|(f, data)| Op::Sync(f, data)),
        3 => file().prop_map(Op::DropCache),
        2 => file().prop_map(Op::Reopen),
        1 => Just(Op::Remount),
    ]
}

// --- the files, and what they must hold -----------------------------------------------------------

/// One mount, its two files and their models.
struct Bench<'a> {
    volume: &'a Volume,
    options: &'a [&'a str],
    mount: Option<Mount<'a>>,
    mapper: Mapper,
    open: Vec<Open>,
    model: [Vec<u8>; 2],
}

/// One file, open twice: by way of the kernel's cache and past it.
struct Open {
    cached: File,
    direct: File,
}

impl<'a> Bench<'a> {
    fn new(volume: &'a Volume, options: &'a [&'a str]) -> Self {
        Self {
            volume,
            options,
            mount: None,
            mapper: Mapper::start(),
            open: Vec::new(),
            model: [Vec::new(), Vec::new()],
        }
    }

    fn check(&mut self, ops: &[Op]) -> Checked {
        self.open.clear();
        self.model = [Vec::new(), Vec::new()];
        for file in 0..2 {
            drop(File::create(self.path(file))?);
            let opened = self.open_file(file)?;
            self.open.push(opened);
        }
        for (step, op) in ops.iter().enumerate() {
            self.apply(op, step)
                .map_err(|error| TestCaseError::fail(format!("step {step}, {op:?}: {error}")))?;
        }
        (0..2).try_for_each(|file| self.compare_whole(file))?;
        self.remount()?;
        (0..2).try_for_each(|file| self.compare_whole(file))
    }

    fn path(&mut self, file: usize) -> std::path::PathBuf {
        let mount = || self.volume.mount_with(self.options);
        self.mount
            .get_or_insert_with(mount)
            .path(["one", "two"][file])
    }

    fn open_file(&mut self, file: usize) -> Checked<Open> {
        let path = self.path(file);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let cached = options.open(&path)?;
        let direct = options.custom_flags(libc::O_DIRECT).open(&path)?;
        Ok(Open { cached, direct })
    }

    fn remount(&mut self) -> Checked {
        self.open.clear();
        if let Some(mount) = self.mount.take() {
            mount.unmount();
        }
        for file in 0..2 {
            let opened = self.open_file(file)?;
            self.open.push(opened);
        }
        Ok(())
    }

    fn apply(&mut self, op: &Op, step: usize) -> Checked {
        match *op {
            Op::Write(file, way, at, len) => {
                self.write(file, way, at, &noise(step as u64, len as usize))
            }
            Op::Read(file, way, at, len) => self.read(file, way, at, len),
            Op::Truncate(file, len) => {
                self.open[file].cached.set_len(len)?;
                self.model[file].resize(len as usize, 0);
                Ok(())
            }
            Op::Allocate(file, mode, at, len) => self.allocate(file, mode, at, len),
            Op::Copy { from, to, len } => self.copy(from, to, len),
            Op::FindHoles(file) => self.find_holes(file),
            Op::Sync(file, true) => Ok(self.open[file].cached.sync_data()?),
            Op::Sync(file, false) => Ok(self.open[file].cached.sync_all()?),
            Op::DropCache(file) => {
                self.open[file].cached.sync_all()?;
                Ok(fadvise(&self.open[file].cached, 0, None, Advice::DontNeed)?)
            }
            Op::Reopen(file) => {
                self.open[file] = self.open_file(file)?;
                Ok(())
            }
            Op::Remount => self.remount(),
        }
    }

    fn write(&mut self, file: usize, way: Way, at: u64, data: &[u8]) -> Checked {
        let len = self.model[file].len();
        let cached = &self.open[file].cached;
        let at = match way {
            Way::Plain => {
                cached.write_all_at(data, at)?;
                at
            }
            Way::Vectored => write_vectored(cached, data, at, ReadWriteFlags::empty())?,
            Way::Durable => write_vectored(cached, data, at, ReadWriteFlags::DSYNC)?,
            Way::Appending => {
                write_vectored(cached, data, at, ReadWriteFlags::APPEND)?;
                len as u64
            }
            Way::Direct(unit) => return self.write_direct(file, unit, at, data),
            Way::Mapped { flush } => return self.write_mapped(file, flush, at, data),
        };
        lay_over(&mut self.model[file], at, data);
        Ok(())
    }

    fn write_direct(&mut self, file: usize, unit: u64, at: u64, data: &[u8]) -> Checked {
        let at = at - at % unit;
        let len = data.len().next_multiple_of(unit as usize);
        let mut memory = Aligned::new(len);
        memory.slice()[..data.len()].copy_from_slice(data);
        self.open[file].direct.write_all_at(memory.slice(), at)?;
        lay_over(&mut self.model[file], at, memory.slice());
        Ok(())
    }

    fn write_mapped(&mut self, file: usize, flush: bool, at: u64, data: &[u8]) -> Checked {
        let there = within(&self.model[file], at, data.len() as u64);
        if there.is_empty() {
            return Ok(());
        }
        let (path, data) = (self.path(file), &data[..there.len()]);
        self.mapper.write(&path, at, data, flush)?;
        lay_over(&mut self.model[file], at, data);
        Ok(())
    }

    fn read(&mut self, file: usize, way: Way, at: u64, len: u64) -> Checked {
        let got = match way {
            Way::Plain | Way::Appending | Way::Durable => {
                read_fully(&self.open[file].cached, at, &mut vec![1; len as usize])?
            }
            Way::Vectored => read_vectored(&self.open[file].cached, at, len)?,
            Way::Direct(unit) => {
                let (at, len) = (at - at % unit, len.next_multiple_of(unit));
                let mut memory = Aligned::new(len as usize);
                let got = read_fully(&self.open[file].direct, at, memory.slice())?;
                return self.compare(file, at, len, &got);
            }
            Way::Mapped { .. } => {
                if within(&self.model[file], at, len).is_empty() {
                    return Ok(());
                }
                let path = self.path(file);
                self.mapper.read(&path, at, len)?
            }
        };
        self.compare(file, at, len, &got)
    }

    fn compare(&self, file: usize, at: u64, len: u64, got: &[u8]) -> Checked {
        let want = &self.model[file][within(&self.model[file], at, len)];
        prop_assert_eq!(got.len(), want.len(), "bytes read at {}", at);
        let differs = got.iter().zip(want).position(|(got, want)| got != want);
        prop_assert!(
            differs.is_none(),
            "file {} differs at byte {}",
            file,
            at + differs.unwrap_or(0) as u64
        );
        Ok(())
    }

    fn compare_whole(&mut self, file: usize) -> Checked {
        let len = self.model[file].len() as u64;
        prop_assert_eq!(fs::metadata(self.path(file))?.len(), len);
        for way in [Way::Plain, Way::Direct(4096), Way::Mapped { flush: false }] {
            self.read(file, way, 0, len + 1)?;
        }
        self.find_holes(file)
    }

    fn allocate(&mut self, file: usize, mode: FallocateFlags, at: u64, len: u64) -> Checked {
        let done = fallocate(&self.open[file].cached, mode, at, len);
        if mode.intersects(FallocateFlags::COLLAPSE_RANGE | FallocateFlags::INSERT_RANGE) {
            prop_assert_eq!(done, Err(Errno::OPNOTSUPP));
            return Ok(());
        }
        done?;
        let model = &mut self.model[file];
        if !mode.contains(FallocateFlags::KEEP_SIZE) {
            let end = (at + len) as usize;
            model.resize(model.len().max(end), 0);
        }
        if mode.intersects(FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE) {
            let there = within(model, at, len);
            model[there].fill(0);
        }
        Ok(())
    }

    fn copy(&mut self, from: (usize, u64), to: (usize, u64), len: u64) -> Checked {
        let there = within(&self.model[from.0], from.1, len);
        let data = self.model[from.0][there].to_vec();
        let (source, target) = (&self.open[from.0].cached, &self.open[to.0].cached);
        let (mut at, mut to_at, mut left) = (from.1, to.1, data.len());
        if from.0 == to.0 && at < to_at + left as u64 && to_at < at + left as u64 {
            let copied = copy_file_range(source, Some(&mut at), target, Some(&mut to_at), left);
            prop_assert_eq!(copied, Err(Errno::INVAL), "onto itself");
            return Ok(());
        }
        while left > 0 {
            let copied = copy_file_range(source, Some(&mut at), target, Some(&mut to_at), left)?;
            prop_assert!(copied > 0, "{} bytes are left", left);
            left -= copied;
        }
        lay_over(&mut self.model[to.0], to.1, &data);
        Ok(())
    }

    /// All that is not said to be data reads as zeros, and what is said lies inside the file.
    fn find_holes(&self, file: usize) -> Checked {
        let (cached, model) = (&self.open[file].cached, &self.model[file]);
        let end = model.len() as u64;
        let mut at = 0;
        while at < end {
            let data = match seek(cached, SeekFrom::Data(at)) {
                Err(Errno::NXIO) => end,
                found => found?,
            };
            prop_assert!((at..=end).contains(&data), "data at {} of {}", data, end);
            let zeros = model[at as usize..data as usize]
                .iter()
                .all(|byte| *byte == 0);
            prop_assert!(zeros, "data in the hole {}..{}", at, data);
            if data == end {
                break;
            }
            at = seek(cached, SeekFrom::Hole(data))?;
            prop_assert!(
                (data + 1..=end).contains(&at),
                "a hole at {} after {}",
                at,
                data
            );
        }
        for past in [end, end + 1] {
            prop_assert_eq!(seek(cached, SeekFrom::Data(past)), Err(Errno::NXIO));
            prop_assert_eq!(seek(cached, SeekFrom::Hole(past)), Err(Errno::NXIO));
        }
        Ok(())
    }
}

/// What of `at..at + len` lies in the file.
fn within(model: &[u8], at: u64, len: u64) -> Range<usize> {
    let end = (at + len).min(model.len() as u64) as usize;
    (at as usize).min(end)..end
}

/// A write of nothing does not lengthen a file.
fn lay_over(model: &mut Vec<u8>, at: u64, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let end = at as usize + data.len();
    model.resize(model.len().max(end), 0);
    model[at as usize..end].copy_from_slice(data);
}

// --- system calls -----------------------------------------------------------------------------------

fn write_vectored(file: &File, data: &[u8], at: u64, flags: ReadWriteFlags) -> Checked<u64> {
    let (one, other) = data.split_at(data.len() / 3);
    let written = pwritev2(file, &[IoSlice::new(one), IoSlice::new(other)], at, flags)?;
    prop_assert_eq!(written, data.len());
    Ok(at)
}

fn read_vectored(file: &File, at: u64, len: u64) -> Checked<Vec<u8>> {
    let mut data = vec![1; len as usize];
    let (one, other) = data.split_at_mut(len as usize / 3);
    let mut parts = [IoSliceMut::new(one), IoSliceMut::new(other)];
    let got = preadv2(file, &mut parts, at, ReadWriteFlags::empty())?;
    data.truncate(got);
    Ok(data)
}

/// Reads until `memory` is full or the file ends.
fn read_fully(file: &File, at: u64, memory: &mut [u8]) -> Checked<Vec<u8>> {
    let mut got = 0;
    while got < memory.len() {
        match file.read_at(&mut memory[got..], at + got as u64)? {
            0 => break,
            more => got += more,
        }
    }
    Ok(memory[..got].to_vec())
}

/// Memory that begins at a page, as `O_DIRECT` may ask.
struct Aligned {
    memory: Vec<u8>,
    range: Range<usize>,
}

impl Aligned {
    fn new(len: usize) -> Self {
        let memory = vec![0; len + 4096];
        let start = memory.as_ptr().align_offset(4096);
        Self {
            memory,
            range: start..start + len,
        }
    }

    fn slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.range.clone()]
    }
}

/// Another process, which maps files on request: a map needs unsafe code here, and is shared there.
struct Mapper {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

const MAPPER: &str = r#"
import mmap, sys
for line in sys.stdin:
    word, at, value, path = line.rstrip("\n").split(" ", 3)
    at = int(at)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
        if word == "read":
            print(shared[at:at + int(value)].hex())
        else:
            data = bytes.fromhex(value)
            shared[at:at + len(data)] = data
            if word == "flush":
                shared.flush()
            print("")
    sys.stdout.flush()
"#;

impl Mapper {
    fn start() -> Self {
        let mut child = Command::new("python3")
            .args(["-c", MAPPER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            requests: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn ask(&mut self, request: &str, path: &std::path::Path) -> Checked<Vec<u8>> {
        writeln!(self.requests, "{request} {}", path.display())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        prop_assert!(answer.ends_with('\n'), "the process that maps has ended");
        let bytes = data_encoding::HEXLOWER.decode(answer.trim_end().as_bytes())?;
        Ok(bytes)
    }

    fn read(&mut self, path: &std::path::Path, at: u64, len: u64) -> Checked<Vec<u8>> {
        self.ask(&format!("read {at} {len}"), path)
    }

    fn write(&mut self, path: &std::path::Path, at: u64, data: &[u8], flush: bool) -> Checked {
        let word = if flush { "flush" } else { "write" };
        let hex = data_encoding::HEXLOWER.encode(data);
        self.ask(&format!("{word} {at} {hex}"), path).map(drop)
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

// --- the kinds of mount ---------------------------------------------------------------------------------

fn try_histories(volume: &Volume, options: &[&str]) {
    let mut config = ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/live/random_io.proptest-regressions",
        ))),
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 12;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(rand_seed());
    }
    eprintln!("{} histories from {:?}", config.cases, config.rng_seed);
    let bench = RefCell::new(Bench::new(volume, options));
    let histories = prop::collection::vec(op(), 1..80);
    let tried = TestRunner::new(config).run(&histories, |ops| bench.borrow_mut().check(&ops));
    drop(bench);
    match tried {
        Ok(()) => {}
        Err(TestError::Fail(reason, ops)) => panic!("{reason}, after {ops:?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

fn rand_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_nanos() as u64
}

#[test]
fn any_history_in_blocks_of_4k_is_that_of_a_vector() {
    try_histories(&Volume::create(&["--block-size", "4K"]), &[]);
}

#[test]
fn any_history_in_blocks_of_64k_is_that_of_a_vector() {
    try_histories(&Volume::create(&["--block-size", "64K"]), &[]);
}

#[test]
fn any_history_in_blocks_of_1m_is_that_of_a_vector() {
    try_histories(&Volume::create(&["--block-size", "1M"]), &[]);
}

#[test]
fn any_history_in_a_shared_mount_is_that_of_a_vector() {
    try_histories(&Volume::create(&[]), &["--shared"]);
}

/// Where less than 128 MiB are free, files are opened past the kernel's cache.
#[test]
fn any_history_on_a_nearly_full_disk_is_that_of_a_vector() {
    let volume = Volume::unmade();
    fs::create_dir(volume.cipher_dir()).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=100M,mode=700", "none"]);
    run(mount.arg(volume.cipher_dir()));
    volume.init(&[]);
    try_histories(&volume, &[]);
}
