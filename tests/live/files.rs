//! File contents: every way to write, read, grow, cut and map a file.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::thread;

use rustix::fs::{FallocateFlags, copy_file_range, fallocate};

use crate::harness::{Volume, errno, noise, run, shell};

/// Plaintext bytes in the first block and in each other one, in a volume made with the defaults.
const FIRST: u64 = 3024;
const OTHER: u64 = 4048;

fn open_rw(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .unwrap()
}

#[test]
fn a_file_of_any_size_reads_back_after_a_new_mount() {
    let sizes: Vec<u64> = [0, FIRST, FIRST + OTHER, FIRST + 9 * OTHER, 1 << 20]
        .into_iter()
        .flat_map(|size| [size.saturating_sub(1), size, size + 1])
        .collect();
    for block_size in ["4K", "64K", "1M"] {
        let volume = Volume::create(&["--block-size", block_size]);
        let mount = volume.mount();
        for size in &sizes {
            fs::write(mount.path(&size.to_string()), noise(*size, *size as usize)).unwrap();
        }
        let mount = mount.again();
        for size in &sizes {
            let path = mount.path(&size.to_string());
            assert_eq!(
                fs::metadata(&path).unwrap().len(),
                *size,
                "blocks of {block_size}"
            );
            assert!(
                fs::read(&path).unwrap() == noise(*size, *size as usize),
                "{size} {block_size}"
            );
        }
    }
}

#[test]
fn a_write_anywhere_changes_these_bytes_and_no_others() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let path = mount.path("file");
    let mut expected = noise(1, 100_000);
    fs::write(&path, &expected).unwrap();
    let file = open_rw(&path);
    for (number, start) in [0, 1, FIRST - 1, FIRST, FIRST + OTHER - 3, 50_000, 99_990]
        .into_iter()
        .enumerate()
    {
        for len in [1, 7, 4096, 9000] {
            let patch = noise(number as u64 + 100, len);
            file.write_all_at(&patch, start).unwrap();
            let (from, to) = (start as usize, start as usize + len);
            expected.resize(expected.len().max(to), 0);
            expected[from..to].copy_from_slice(&patch);
        }
    }
    drop(file);
    assert!(fs::read(&path).unwrap() == expected);
    let mount = mount.again();
    assert!(fs::read(mount.path("file")).unwrap() == expected);
}

#[test]
fn appends_of_two_writers_all_arrive_whole() {
    const LINES: usize = 500;
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let path = mount.path("log");
    let append = |word: &str| {
        let mut log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap();
        (0..LINES).for_each(|_| log.write_all(format!("{word}\n").as_bytes()).unwrap());
    };
    thread::scope(|scope| {
        scope.spawn(|| append("one"));
        scope.spawn(|| append("three"));
    });
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().filter(|line| *line == "one").count(), LINES);
    assert_eq!(text.lines().filter(|line| *line == "three").count(), LINES);
    assert_eq!(text.lines().count(), 2 * LINES);
}

#[test]
fn truncation_cuts_and_growth_reads_as_zeros() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let path = mount.path("file");
    fs::write(&path, noise(1, 20_000)).unwrap();
    let file = open_rw(&path);
    let mut expected = noise(1, 20_000);
    for len in [FIRST + OTHER + 5, FIRST, 10, 30_000, FIRST + 1, 0, 9000] {
        file.set_len(len).unwrap();
        expected.resize(len as usize, 0);
        assert!(fs::read(&path).unwrap() == expected, "cut to {len}");
    }
    drop(file);
    let mount = mount.again();
    assert!(fs::read(mount.path("file")).unwrap() == expected);
}

#[test]
fn sparse_files_take_no_space_and_say_where_their_data_is() {
    const GIB: u64 = 1 << 30;
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let path = mount.path("sparse");
    let mut file = open_rw(&path);
    file.write_all_at(b"end", GIB).unwrap();
    file.sync_all().unwrap();

    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), GIB + 3);
    assert!(
        metadata.blocks() * 512 < 1 << 20,
        "{} blocks",
        metadata.blocks()
    );
    let data = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(4 << 20)).unwrap();
    assert!(data > GIB - 8192 && data <= GIB, "data starts at {data}");
    let hole = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(8192)).unwrap();
    assert!(hole < GIB / 2, "a hole starts at {hole}");

    let mut middle = [1; 4096];
    file.seek(SeekFrom::Start(GIB / 2)).unwrap();
    file.read_exact(&mut middle).unwrap();
    assert_eq!(middle, [0; 4096]);
}

#[test]
fn punched_holes_read_as_zeros_and_free_their_space() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let path = mount.path("file");
    fs::write(&path, noise(1, 1 << 20)).unwrap();
    let file = open_rw(&path);
    file.sync_all().unwrap();
    let full = fs::metadata(&path).unwrap().blocks();

    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, 10_001, 900_000).unwrap();
    drop(file);
    let mut expected = noise(1, 1 << 20);
    expected[10_001..910_001].fill(0);
    let mount = mount.again();
    assert!(fs::read(mount.path("file")).unwrap() == expected);
    let left = fs::metadata(mount.path("file")).unwrap().blocks();
    assert!(left < full / 2, "{left} of {full} blocks are left");
}

#[test]
fn fallocate_grows_a_file_or_keeps_its_size() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let path = mount.path("file");
    fs::write(&path, "content").unwrap();
    let file = open_rw(&path);
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 50_000).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"content");
    fallocate(&file, FallocateFlags::empty(), 0, 50_000).unwrap();
    let grown = fs::read(&path).unwrap();
    assert_eq!(grown.len(), 50_000);
    assert!(grown.starts_with(b"content") && grown[7..].iter().all(|byte| *byte == 0));
    let collapse = fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096).unwrap_err();
    assert_eq!(collapse.raw_os_error(), libc::EOPNOTSUPP);
}

#[test]
fn copy_file_range_copies_between_files_and_inside_one() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let content = noise(1, 300_000);
    fs::write(mount.path("from"), &content).unwrap();
    let (from, to) = (open_rw(&mount.path("from")), open_rw(&mount.path("to")));

    copy_whole(&from, 1234, &to, 77, 200_000);
    let copied = fs::read(mount.path("to")).unwrap();
    assert!(copied[77..] == content[1234..201_234] && copied[..77] == [0; 77]);

    copy_whole(&from, 0, &from, 250_000, 50_000);
    let copied = fs::read(mount.path("from")).unwrap();
    assert!(copied[250_000..] == content[..50_000] && copied[..250_000] == content[..250_000]);
    run(std::process::Command::new("cp")
        .arg("--reflink=auto")
        .arg(mount.path("to"))
        .arg(mount.path("cp")));
    assert!(fs::read(mount.path("cp")).unwrap() == fs::read(mount.path("to")).unwrap());
}

fn copy_whole(from: &File, mut start: u64, to: &File, mut target: u64, len: usize) {
    let mut left = len;
    while left > 0 {
        let copied = copy_file_range(from, Some(&mut start), to, Some(&mut target), left).unwrap();
        assert!(copied > 0, "{left} bytes are left");
        left -= copied;
    }
}

#[test]
fn memory_maps_see_writes_and_writes_see_memory_maps() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let script = r#"
python3 - <<'END'
import mmap, os
content = bytearray(os.urandom(50_000))
open("file", "wb").write(content)
with open("file", "r+b") as file:
    shared = mmap.mmap(file.fileno(), 0)
    assert shared[:] == content
    for place in (0, 3020, 4090, 7070, 49_990):
        shared[place:place + 10] = content[place:place + 10] = b"0123456789"
    shared.flush()
    assert os.pread(file.fileno(), 50_000, 0) == content
    os.pwrite(file.fileno(), b"written", 20_000)
    content[20_000:20_007] = b"written"
    assert shared[:] == content
    private = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    private[0:4] = b"mine"
    assert os.pread(file.fileno(), 10, 0) == b"0123456789"
    shared.close()
open("copy", "wb").write(content)
END"#;
    shell(mount.root(), script);
    let mount = mount.again();
    shell(mount.root(), "cmp file copy");
}

#[test]
fn a_deleted_file_works_as_long_as_it_is_open() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let path = mount.path("file");
    let mut file = open_rw(&path);
    file.write_all(&noise(1, 10_000)).unwrap();
    fs::remove_file(&path).unwrap();

    file.write_all_at(b"after", 5000).unwrap();
    file.sync_all().unwrap();
    file.set_len(9000).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    let mut expected = noise(1, 9000);
    expected[5000..5005].copy_from_slice(b"after");
    let mut content = vec![1; 9000];
    file.read_exact_at(&mut content, 0).unwrap();
    assert!(content == expected && file.read_at(&mut [0], 9000).unwrap() == 0);
    assert_eq!(errno(fs::metadata(&path)), libc::ENOENT);
}

#[test]
fn many_threads_write_their_own_files_and_stripes_of_a_shared_one() {
    const THREADS: u64 = 8;
    const STRIPE: usize = 10_007;
    const STRIPES: u64 = 20;
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let shared = open_rw(&mount.path("shared"));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (mount, shared) = (&mount, &shared);
            scope.spawn(move || {
                for stripe in (thread..THREADS * STRIPES).step_by(THREADS as usize) {
                    shared
                        .write_all_at(&noise(stripe, STRIPE), stripe * STRIPE as u64)
                        .unwrap();
                    let own = mount.path(&format!("own{stripe}"));
                    fs::write(&own, noise(stripe, 9000)).unwrap();
                    assert!(fs::read(&own).unwrap() == noise(stripe, 9000));
                }
            });
        }
    });
    drop(shared);
    let mount = mount.again();
    let content = fs::read(mount.path("shared")).unwrap();
    let expected: Vec<u8> = (0..THREADS * STRIPES)
        .flat_map(|n| noise(n, STRIPE))
        .collect();
    assert!(content == expected);
}

#[test]
fn locks_hold_between_processes() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let script = r#"
        flock file sh -c 'flock --nonblock file true && exit 9; exit 0'
        flock --nonblock file true
        python3 - <<'END'
import fcntl, os
file = open("file", "w")
fcntl.lockf(file, fcntl.LOCK_EX, 10, 5)
if os.fork() == 0:
    try:
        fcntl.lockf(open("file", "w"), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 14)
        os._exit(9)
    except BlockingIOError:
        os._exit(0)
assert os.wait()[1] == 0
END"#;
    shell(mount.root(), script);
}
