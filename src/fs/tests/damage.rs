//! What somebody, or a crash, did to the ciphertext behind our back.

use super::*;

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_content_is_an_error_where_it_is_read_and_is_counted() {
    for names in MODES {
        let bench = Bench::new(names);
        bench.put(ROOT, b"f", &pattern(10_000));
        let path = bench.on_disk(b"f");
        let bench = bench.reopened();
        flip(&path, 4096 + 100);
        let ino = bench.find(ROOT, b"f").unwrap().ino;
        let fh = bench.opened(ino, false).unwrap();
        let mut out = [0; 3024];
        assert_eq!(bench.read(fh, 0, &mut out).unwrap(), 3024);
        let error = bench.read(fh, 3024, &mut out).unwrap_err();
        assert_eq!(error.errno(), libc::EIO);
        bench.note_failure("read", Some(ino), None, &error);
        assert_eq!(bench.stats().integrity_failures, 1);
        bench.release(fh).unwrap();
    }
}

#[test]
fn a_damaged_header_does_not_open() {
    for at in [0, 9, 17, 33, 41, 65, 97, 200] {
        let bench = Bench::new(NameMode::Encrypted);
        bench.put(ROOT, b"f", b"content");
        let path = bench.on_disk(b"f");
        let bench = bench.reopened();
        flip(&path, at);
        let ino = bench.find(ROOT, b"f").unwrap().ino;
        let error = bench.opened(ino, false).unwrap_err();
        assert!(error.errno() == libc::EIO, "{at}: {error}");
    }
}

#[test]
fn a_file_of_another_volume_is_refused() {
    let (bench, other) = (
        Bench::new(NameMode::Encrypted),
        Bench::new(NameMode::Encrypted),
    );
    other.put(ROOT, b"f", b"planted");
    bench.put(ROOT, b"f", b"own");
    let (from, to) = (other.on_disk(b"f"), bench.on_disk(b"f"));
    other.shut_down();
    let bench = bench.reopened();
    std::fs::copy(from, to).unwrap();
    let ino = bench.find(ROOT, b"f").unwrap().ino;
    refused(bench.opened(ino, false), libc::EIO);
    refused(bench.opened(ino, true), libc::EIO);
}

#[test]
fn a_file_that_a_crash_left_empty_is_an_error_to_readers_and_new_to_writers() {
    for zeros in [0, 4096] {
        let bench = Bench::new(NameMode::Encrypted);
        bench.put(ROOT, b"f", b"lost");
        let path = bench.on_disk(b"f");
        let bench = bench.reopened();
        std::fs::write(&path, vec![0; zeros]).unwrap();
        let ino = bench.find(ROOT, b"f").unwrap().ino;
        let error = bench.opened(ino, false).unwrap_err();
        assert!(matches!(error, FsError::EmptyFile));
        let fh = bench.opened(ino, true).unwrap();
        bench.write(fh, 0, b"new", false).unwrap();
        bench.release(fh).unwrap();
        let bench = bench.reopened();
        let attr = bench.find(ROOT, b"f").unwrap();
        assert_eq!(bench.content(attr.ino).unwrap(), b"new");
    }
}

#[test]
fn such_a_file_reads_as_empty_where_that_is_accepted() {
    let accepting = FsOptions {
        accept_empty: true,
        ..FsOptions::default()
    };
    let bench = Bench::new(NameMode::Encrypted);
    bench.put(ROOT, b"f", b"lost");
    let path = bench.on_disk(b"f");
    let bench = bench.reopened_with(accepting);
    std::fs::write(&path, b"").unwrap();
    let ino = bench.find(ROOT, b"f").unwrap().ino;
    let fh = bench.opened(ino, false).unwrap();
    assert_eq!(bench.read_all(fh).unwrap(), b"");
    bench.fsync(fh, crate::content::SyncKind::All).unwrap();
    bench.release(fh).unwrap();
    assert_eq!(path.metadata().unwrap().len(), 0, "a reader writes nothing");
}

#[test]
fn an_inode_that_moved_behind_our_back_is_stale() {
    let bench = Bench::new(NameMode::Encrypted);
    let ino = bench.put(ROOT, b"f", b"x");
    let path = bench.on_disk(b"f");
    std::fs::rename(&path, path.with_file_name("elsewhere")).unwrap();
    refused(bench.getattr(ino, None), libc::ESTALE);
    std::fs::write(&path, "another").unwrap();
    refused(bench.getattr(ino, None), libc::ESTALE);
    refused(bench.readlink(ino), libc::ESTALE);
}

#[test]
fn a_long_name_without_its_sidecar_is_left_out_but_found() {
    let bench = Bench::new(NameMode::Encrypted);
    let name = long_name(200, b'n');
    bench.put(ROOT, &name, b"x");
    let path = bench.on_disk(&name);
    let sidecar = format!("{}.n", path.display());
    std::fs::remove_file(sidecar).unwrap();
    assert!(bench.names_in(ROOT).unwrap().is_empty());
    assert!(bench.find(ROOT, &name).is_ok());
    bench.unlink(ROOT, &name).unwrap();
}
