//! One test for each kind of damage.

use std::fs;
use std::path::Path;

use super::bench::{B, Bench, Dir, edit, fingerprint, pattern, set_len, sidecar};
use super::*;
use crate::content::SyncKind;
use crate::format::header::FileHeader;
use crate::format::volume_config::NameMode;
use crate::units::{PlainLen, PlainOffset};

const MODES: [NameMode; 2] = [NameMode::Encrypted, NameMode::Plain];

fn severities(report: &CheckReport) -> Vec<Severity> {
    let all = report.findings.iter();
    all.map(|finding| finding.severity).collect()
}

/// The only finding of a report.
#[track_caller]
fn only(report: &CheckReport) -> &Finding {
    match report.findings.as_slice() {
        [finding] => finding,
        all => panic!("one finding was due: {all:#?}"),
    }
}

/// Without repair the damage is found mendable and nothing is touched; repair mends it; then all is well.
#[track_caller]
fn is_mended(bench: &Bench, path: &str) -> String {
    let before = fingerprint(&bench.path());
    let found = bench.check();
    let finding = only(&found);
    assert_eq!(
        (finding.severity, finding.path.as_str()),
        (Severity::Mendable, path),
        "{finding:?}"
    );
    assert!(fingerprint(&bench.path()) == before, "a check wrote");
    let mended = bench.repair();
    let finding = only(&mended);
    assert_eq!(
        (finding.severity, finding.path.as_str()),
        (Severity::Mended, path),
        "{finding:?}"
    );
    for again in [bench.repair(), bench.check()] {
        assert_eq!(again.findings, [], "after repair");
    }
    finding.what.clone()
}

/// Damage that only a backup mends: found each time, and nothing is done.
#[track_caller]
fn stays_damage(bench: &Bench) -> Finding {
    let found = bench.check();
    let finding = only(&found).clone();
    assert_eq!(finding.severity, Severity::Damage, "{finding:?}");
    let before = fingerprint(&bench.root().0);
    let own = |(path, ..): &(std::path::PathBuf, Vec<u8>, i64, i64)| {
        path.to_string_lossy().contains("/.envelopefs")
    };
    for _again in 0..2 {
        assert_eq!(only(&bench.repair()), &finding);
    }
    let users = |print: Vec<_>| {
        print
            .into_iter()
            .filter(|entry| !own(entry))
            .collect::<Vec<_>>()
    };
    assert!(
        users(fingerprint(&bench.root().0)) == users(before),
        "repair touched what it cannot mend"
    );
    finding
}

#[test]
fn a_whole_volume_has_nothing_to_find_nor_to_mend() {
    for names in MODES {
        let bench = Bench::new(names);
        bench.put(&bench.root(), b"f", &pattern(20_000, 1));
        bench.put(&bench.root(), b"empty", b"");
        if names == NameMode::Encrypted {
            let dir = bench.mkdir(&bench.root(), &[b'd'; 200]);
            let path = bench.put(&dir, &[b'n'; 255], b"x");
            bench.set_xattr(&path, b"user.comment", b"value");
            bench.symlink(&dir, b"link", b"../f");
        }
        let before = fingerprint(&bench.path());
        for extent in [Extent::All, Extent::First] {
            for repair in [false, true] {
                let report = bench.run(extent, repair);
                assert_eq!(report.findings, []);
                assert_eq!(report.quick, extent == Extent::First);
            }
        }
        let after = fingerprint(&bench.path());
        assert!(after == before, "there was nothing to write");
    }
}

#[test]
fn a_length_that_a_crash_did_not_set_is_set_and_the_content_stays() {
    for names in MODES {
        for physical in [3 * B, 3 * B + 1, 3 * B + 3000, 9 * B + 17] {
            let bench = Bench::new(names);
            let path = bench.put(&bench.root(), b"f", &pattern(10_000, 1));
            set_len(&path, physical);
            let what = is_mended(&bench, "f");
            assert!(what.contains("it ends at byte 10000"), "{what}");
            assert_eq!(bench.content("/f"), pattern(10_000, 1));
            let whole = crate::format::layout::Layout::DEFAULT.physical_len(PlainLen(10_000));
            assert_eq!(path.metadata().unwrap().len(), whole.0);
        }
    }
}

#[test]
fn what_was_written_and_not_committed_becomes_the_files() {
    let bench = Bench::new(NameMode::Encrypted);
    let path = bench.put(&bench.root(), b"f", &pattern(5000, 1));
    let open = bench.reopen(&path);
    open.write(PlainOffset(5000), &pattern(45_000, 2)).unwrap();
    drop(open);
    is_mended(&bench, "f");
    let expected = [pattern(5000, 1), pattern(45_000, 2)].concat();
    assert_eq!(bench.content("/f"), expected);
}

#[test]
fn garbage_behind_the_end_is_cut_off() {
    let bench = Bench::new(NameMode::Encrypted);
    let path = bench.put(&bench.root(), b"f", &pattern(10_000, 1));
    edit(&path, |bytes| {
        bytes.truncate(3 * B as usize);
        bytes.extend(pattern(3 * B as usize + 100, 9));
    });
    is_mended(&bench, "f");
    assert_eq!(bench.content("/f"), pattern(10_000, 1));
}

#[test]
fn what_a_truncation_left_behind_is_cut_off() {
    let bench = Bench::new(NameMode::Encrypted);
    let path = bench.put(&bench.root(), b"f", &pattern(50_000, 1));
    let before = fs::read(&path).unwrap();
    let open = bench.reopen(&path);
    open.resize(PlainLen(10_000)).unwrap();
    drop(open);
    edit(&path, |bytes| {
        bytes.truncate(3 * B as usize);
        bytes.extend(&before[3 * B as usize..]);
    });
    let what = is_mended(&bench, "f");
    assert!(what.contains("10000"), "{what}");
    assert_eq!(bench.content("/f"), pattern(10_000, 1));
}

#[test]
fn chunks_that_open_behind_a_lost_one_are_told_and_never_cut() {
    let bench = Bench::new(NameMode::Encrypted);
    let path = bench.put(&bench.root(), b"f", &pattern(10_000, 1));
    let open = bench.reopen(&path);
    open.write(PlainOffset(10_000), &pattern(30_000, 2))
        .unwrap();
    drop(open);
    edit(&path, |bytes| bytes[4 * B as usize..5 * B as usize].fill(0));
    let ciphertext = fs::read(&path).unwrap();
    for report in [bench.check(), bench.repair(), bench.repair()] {
        let finding = only(&report);
        assert_eq!(finding.severity, Severity::Note);
        assert!(
            finding.what.starts_with("bytes 19216..40000"),
            "{}",
            finding.what
        );
    }
    assert!(fs::read(&path).unwrap() == ciphertext);
    assert_eq!(bench.content("/f").len(), 3024 + 3 * 4048);
}

#[test]
fn damaged_chunks_are_told_by_plaintext_range_neighbours_in_one() {
    let bench = Bench::new(NameMode::Encrypted);
    let dir = bench.mkdir(&bench.root(), b"dir");
    let path = bench.put(&dir, b"file", &pattern(60_000, 1));
    edit(&path, |bytes| {
        for block in [0, 3, 4, 5, 9] {
            bytes[block * B as usize + 2000] ^= 1;
        }
        bytes[12 * B as usize..13 * B as usize].fill(0);
    });
    let report = bench.check();
    let lost: Vec<_> = report
        .findings
        .iter()
        .map(|finding| finding.lost.unwrap())
        .collect();
    let ranges = [
        (0, 3024),
        (3024 + 2 * 4048, 3024 + 5 * 4048),
        (3024 + 8 * 4048, 3024 + 9 * 4048),
        (3024 + 11 * 4048, 3024 + 12 * 4048),
    ];
    assert_eq!(lost, ranges.map(|(from, to)| LostRange { from, to }));
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.path == "dir/file")
    );
    assert!(
        report.findings[1]
            .what
            .starts_with("bytes 11120..23264: chunk 3: ")
    );
    assert_eq!(severities(&bench.repair()), [Severity::Damage; 4]);
}

#[test]
fn the_lost_range_of_the_last_chunk_ends_with_the_file() {
    let bench = Bench::new(NameMode::Plain);
    let path = bench.put(&bench.root(), b"f", &pattern(10_000, 1));
    edit(&path, |bytes| bytes[2 * B as usize + 60] ^= 1);
    let finding = stays_damage(&bench);
    assert_eq!(
        finding.lost,
        Some(LostRange {
            from: 7072,
            to: 10_000
        })
    );
}

#[test]
fn a_cut_below_the_committed_length_is_told_and_the_file_is_not_filled_up() {
    for sparse in [false, true] {
        let bench = Bench::new(NameMode::Encrypted);
        let path = bench.put(&bench.root(), b"f", &pattern(60_000, 1));
        if sparse {
            let open = bench.reopen(&path);
            open.punch_hole(PlainOffset(4000), 10_000).unwrap();
            open.sync(SyncKind::All).unwrap();
        }
        for len in [10 * B, 5 * B + 100, B] {
            set_len(&path, len);
            let finding = stays_damage(&bench);
            let from = 3024 + (len / B - 1) * 4048;
            assert_eq!(finding.lost, Some(LostRange { from, to: 60_000 }));
            assert_eq!(path.metadata().unwrap().len(), len);
        }
    }
}

#[test]
fn a_new_file_that_was_never_synced_becomes_an_empty_one() {
    for names in MODES {
        for zeros in [0, 1, 4096, 70_000] {
            let bench = Bench::new(names);
            fs::write(bench.place(&bench.root(), b"new"), vec![0; zeros]).unwrap();
            is_mended(&bench, "new");
            assert_eq!(bench.content("/new"), b"");
        }
    }
}

#[test]
fn a_zeroed_header_with_content_behind_it_is_left_for_a_backup() {
    let bench = Bench::new(NameMode::Encrypted);
    let path = bench.put(&bench.root(), b"f", &pattern(30_000, 1));
    edit(&path, |bytes| bytes[..B as usize].fill(0));
    let finding = stays_damage(&bench);
    assert_eq!(
        finding.lost,
        Some(LostRange {
            from: 0,
            to: 30_000
        })
    );
}

#[test]
fn headers_that_do_not_open_are_left_for_a_backup() {
    for at in [0, 9, 17, 33, 65, 97, 200] {
        let bench = Bench::new(NameMode::Encrypted);
        let path = bench.put(&bench.root(), b"f", &pattern(30_000, 1));
        edit(&path, |bytes| bytes[at] ^= 1);
        assert_eq!(stays_damage(&bench).path, "f", "{at}");
    }
}

/// A file whose only key is gone, while another still opens the volume.
fn with_a_key_gone() -> Bench {
    let bench = Bench::with_keys(NameMode::Plain, 2);
    let path = bench.put(&bench.root(), b"f", &pattern(9000, 1));
    edit(&path, |bytes| {
        let mut header = FileHeader::decode(bytes).unwrap();
        header.epochs[0].slots.remove(0);
        header.encode(&mut bytes[..1024]).unwrap();
    });
    assert_eq!(bench.check().findings, [], "the second key opens it");
    fs::remove_file(bench.home.path().join("key-1")).unwrap();
    bench
}

#[test]
fn a_key_that_is_gone_is_no_damage_and_nothing_is_done_to_its_file() {
    let bench = with_a_key_gone();
    set_len(&bench.path().join("f"), 3 * B);
    let before = fingerprint(&bench.path());
    for repair in [false, true] {
        let report = bench.run(Extent::All, repair);
        assert_eq!(severities(&report), [Severity::KeyDenied], "{report:#?}");
    }
    let users = |print: Vec<(std::path::PathBuf, Vec<u8>, i64, i64)>| {
        print.into_iter().find(|(path, ..)| path.ends_with("f"))
    };
    assert_eq!(users(fingerprint(&bench.path())), users(before));
}

// --- names ----------------------------------------------------------------------------------------

const LONG: [u8; 200] = [b'n'; 200];

fn with_long_name() -> (Bench, std::path::PathBuf) {
    let bench = Bench::new(NameMode::Encrypted);
    let path = bench.put(&bench.root(), &LONG, &pattern(9000, 1));
    (bench, path)
}

/// The name is lost and told; repair brings the entry back under another, and the next run is content.
#[track_caller]
fn comes_back(bench: &Bench, content: &str) -> String {
    let found = bench.check();
    assert_eq!(
        severities(&found),
        [Severity::Damage, Severity::Mendable],
        "{found:#?}"
    );
    let repaired = bench.repair();
    assert!(repaired.worst() == Some(Severity::Damage), "{repaired:#?}");
    let back = bench
        .listed()
        .iter()
        .find(|path| path.contains("/recovered-"))
        .cloned();
    let back = back.expect("something came back");
    let told = repaired.findings.iter().any(|finding| {
        let name = back.split('/').nth(1).unwrap();
        finding.severity == Severity::Mended && finding.what.contains(&format!("/{name}"))
    });
    assert!(told, "{repaired:#?}");
    assert_eq!(bench.content(&format!("{back}{content}")), pattern(9000, 1));
    assert_eq!(bench.repair().findings, []);
    back
}

#[test]
fn a_long_name_without_its_full_form_comes_back_under_another() {
    let (bench, path) = with_long_name();
    fs::remove_file(sidecar(&path)).unwrap();
    comes_back(&bench, "");
}

#[test]
fn a_long_name_whose_full_form_was_changed_comes_back_and_the_wrong_form_goes() {
    let (bench, path) = with_long_name();
    fs::remove_file(sidecar(&path)).unwrap();
    std::os::unix::fs::symlink("nonsense", sidecar(&path)).unwrap();
    comes_back(&bench, "");
    assert!(sidecar(&path).symlink_metadata().is_err());
}

#[test]
fn a_folder_whose_long_name_is_lost_comes_back_with_all_that_is_in_it() {
    let bench = Bench::new(NameMode::Encrypted);
    let dir = bench.mkdir(&bench.root(), &LONG);
    bench.put(&dir, b"inside", &pattern(9000, 1));
    fs::remove_file(sidecar(&dir.0)).unwrap();
    let found = bench.check();
    assert_eq!(severities(&found), [Severity::Damage, Severity::Mendable]);
    bench.repair();
    let listed = bench.listed();
    assert!(
        listed[0].starts_with("/recovered-") && listed[0].ends_with("/inside"),
        "{listed:?}"
    );
    assert_eq!(bench.content(&listed[0]), pattern(9000, 1));
    assert_eq!(bench.repair().findings, []);
}

#[test]
fn exchanged_full_forms_are_put_where_they_belong() {
    let (bench, one) = with_long_name();
    let two = bench.put(&bench.root(), &[b'm'; 200], b"two");
    let aside = bench.path().join("aside");
    fs::rename(sidecar(&one), &aside).unwrap();
    fs::rename(sidecar(&two), sidecar(&one)).unwrap();
    fs::rename(aside, sidecar(&two)).unwrap();
    let repaired = bench.repair();
    // The second is overwritten by what belongs there only after the first was read.
    assert!(repaired.worst() <= Some(Severity::Damage), "{repaired:#?}");
    assert_eq!(bench.repair().findings, []);
    assert_eq!(bench.anywhere().len(), 4);
}

#[test]
fn the_full_form_of_a_name_that_is_gone_is_removed_and_named() {
    let (bench, path) = with_long_name();
    fs::remove_file(path).unwrap();
    let name = String::from_utf8(LONG.to_vec()).unwrap();
    is_mended(&bench, &name);
}

#[test]
fn names_of_another_folder_are_told_with_what_is_in_them_and_left() {
    let bench = Bench::new(NameMode::Encrypted);
    let dir = bench.mkdir(&bench.root(), b"dir");
    let file = bench.put(&dir, b"f", &pattern(20_000, 1));
    let sub = bench.mkdir(&dir, b"sub");
    let link = bench.symlink(&dir, b"l", b"target");
    for path in [&file, &sub.0, &link] {
        fs::rename(path, bench.path().join(path.file_name().unwrap())).unwrap();
    }
    for report in [bench.check(), bench.repair(), bench.repair()] {
        assert_eq!(severities(&report), [Severity::Damage; 3], "{report:#?}");
        assert_eq!((report.files, report.symlinks), (1, 1));
    }
    assert!(!bench.anywhere().is_empty());
}

#[test]
fn strangers_in_the_ciphertext_folder_are_noted_and_left() {
    let bench = Bench::new(NameMode::Encrypted);
    fs::write(bench.path().join("README"), "dropped").unwrap();
    fs::create_dir(bench.path().join("lost+found")).unwrap();
    fs::write(bench.path().join("lost+found/#12"), "x").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", bench.path().join("link")).unwrap();
    fs::write(bench.path().join(".envelopefs.other"), "x").unwrap();
    fs::write(bench.path().join(".envelopefs/notes"), "x").unwrap();
    for report in [bench.check(), bench.repair()] {
        assert_eq!(report.worst(), Some(Severity::Note), "{report:#?}");
        assert_eq!(report.findings.len(), 6, "{report:#?}");
    }
    for left in [
        "README",
        "lost+found/#12",
        "link",
        ".envelopefs.other",
        ".envelopefs/notes",
    ] {
        assert!(bench.path().join(left).symlink_metadata().is_ok(), "{left}");
    }
}

#[test]
fn a_file_of_the_volume_among_strangers_is_told() {
    let bench = Bench::new(NameMode::Encrypted);
    let path = bench.put(&bench.root(), b"f", b"x");
    fs::create_dir(bench.path().join("lost+found")).unwrap();
    fs::rename(path, bench.path().join("lost+found/#12")).unwrap();
    let report = bench.check();
    assert_eq!(
        severities(&report),
        [Severity::Note, Severity::Damage],
        "{report:#?}"
    );
    assert!(report.findings[1].ciphertext.ends_with("lost+found/#12"));
}

// --- folders --------------------------------------------------------------------------------------

fn id_of(dir: &Dir) -> std::path::PathBuf {
    dir.0.join(".envelopefs.dirid")
}

#[test]
fn an_empty_folder_without_a_readable_id_gets_a_new_one() {
    for target in [None, Some("nonsense"), Some("0123")] {
        let bench = Bench::new(NameMode::Encrypted);
        let dir = bench.mkdir(&bench.root(), b"dir");
        fs::remove_file(id_of(&dir)).unwrap();
        if let Some(target) = target {
            std::os::unix::fs::symlink(target, id_of(&dir)).unwrap();
        }
        is_mended(&bench, "dir");
        bench.put(&dir, b"f", b"works");
        assert_eq!(bench.content("/dir/f"), b"works");
    }
}

#[test]
fn a_folder_that_lost_its_id_keeps_its_names_for_a_backup_of_the_id() {
    let bench = Bench::new(NameMode::Encrypted);
    let dir = bench.mkdir(&bench.root(), b"dir");
    bench.put(&dir, b"f", &pattern(9000, 1));
    bench.put(&dir, &LONG, b"long");
    let id = fs::read_link(id_of(&dir)).unwrap();
    fs::remove_file(id_of(&dir)).unwrap();
    let finding = stays_damage(&bench);
    assert_eq!(finding.path, "dir");
    assert!(
        finding.what.contains(".envelopefs.dirid"),
        "{}",
        finding.what
    );
    std::os::unix::fs::symlink(id, id_of(&dir)).unwrap();
    assert_eq!(bench.check().findings, []);
    assert_eq!(bench.content("/dir/f"), pattern(9000, 1));
}

#[test]
fn damage_in_a_folder_without_its_id_is_found_all_the_same() {
    let bench = Bench::new(NameMode::Encrypted);
    let dir = bench.mkdir(&bench.root(), b"dir");
    let path = bench.put(&dir, b"f", &pattern(9000, 1));
    fs::remove_file(id_of(&dir)).unwrap();
    edit(&path, |bytes| bytes[5000] ^= 1);
    let report = bench.check();
    assert_eq!(severities(&report), [Severity::Damage; 2]);
    assert_eq!(
        report.findings[1].lost,
        Some(LostRange {
            from: 3024,
            to: 7072
        })
    );
}

fn temporary(dir: &Dir) -> std::path::PathBuf {
    dir.0.join(".envelopefs.tmp.0011223344556677")
}

#[test]
fn what_is_left_of_folders_being_made_or_removed_goes() {
    for left in [
        &[][..],
        &[".envelopefs.dirid"],
        &[
            ".envelopefs.dirid",
            "L.47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU.n",
        ],
    ] {
        let bench = Bench::new(NameMode::Encrypted);
        let path = temporary(&bench.root());
        fs::create_dir(&path).unwrap();
        for entry in left {
            std::os::unix::fs::symlink("00112233445566778899aabbccddeeff", path.join(entry))
                .unwrap();
        }
        is_mended(&bench, "");
        assert!(!path.exists());
    }
}

#[test]
fn a_folder_that_was_being_removed_and_is_not_empty_comes_back() {
    let bench = Bench::new(NameMode::Encrypted);
    let dir = bench.mkdir(&bench.root(), b"dir");
    bench.put(&dir, b"came late", &pattern(9000, 1));
    fs::rename(&dir.0, temporary(&bench.root())).unwrap();
    assert_eq!(severities(&bench.check()), [Severity::Mendable]);
    assert_eq!(severities(&bench.repair()), [Severity::Mended]);
    let listed = bench.listed();
    assert!(
        listed[0].starts_with("/recovered-") && listed[0].ends_with("/came late"),
        "{listed:?}"
    );
    assert_eq!(bench.content(&listed[0]), pattern(9000, 1));
    assert_eq!(bench.repair().findings, []);
}

#[test]
fn a_file_under_a_reserved_name_goes_only_if_it_is_blank() {
    let bench = Bench::new(NameMode::Encrypted);
    fs::write(temporary(&bench.root()), vec![0; 5000]).unwrap();
    is_mended(&bench, "");
    let path = bench.put(&bench.root(), b"f", &pattern(9000, 1));
    fs::rename(path, temporary(&bench.root())).unwrap();
    assert_eq!(severities(&bench.repair()), [Severity::Mended]);
    assert_eq!(bench.content(&bench.listed()[0]), pattern(9000, 1));
}

#[test]
fn the_first_name_of_a_new_file_goes_where_the_file_has_its_own_beside() {
    let bench = Bench::new(NameMode::Encrypted);
    let path = bench.put(&bench.root(), b"f", &pattern(9000, 1));
    fs::hard_link(&path, temporary(&bench.root())).unwrap();
    is_mended(&bench, "");
    assert_eq!(bench.listed(), ["/f"]);
    assert_eq!(bench.content("/f"), pattern(9000, 1));

    let folder = bench.mkdir(&bench.root(), b"d");
    let elsewhere = bench.put(&folder, b"g", &pattern(5000, 2));
    fs::hard_link(elsewhere, temporary(&bench.root())).unwrap();
    assert_eq!(severities(&bench.repair()), [Severity::Mended]);
    let recovered = bench
        .listed()
        .into_iter()
        .find(|name| name.starts_with("/recovered-"));
    assert_eq!(bench.content(&recovered.unwrap()), pattern(5000, 2));
}

#[test]
fn a_new_file_that_never_got_its_name_goes_if_it_is_empty() {
    let bench = Bench::new(NameMode::Encrypted);
    let path = bench.put(&bench.root(), b"f", b"");
    fs::rename(path, temporary(&bench.root())).unwrap();
    is_mended(&bench, "");
    assert_eq!(bench.listed(), [""; 0]);
}

// --- the rest -------------------------------------------------------------------------------------

#[test]
fn a_symlinks_target_and_attributes_that_do_not_open_are_left_for_a_backup() {
    let bench = Bench::new(NameMode::Encrypted);
    let path = bench.symlink(&bench.root(), b"link", b"target");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    assert_eq!(stays_damage(&bench).path, "link");
    fs::remove_file(&path).unwrap();

    let path = bench.put(&bench.root(), b"f", b"x");
    let on_disk = bench.set_xattr(&path, b"user.comment", b"value");
    assert_eq!(bench.check().findings, []);
    let node = bench_node(&path);
    let change = crate::storage::XattrSet::Replace;
    node.set_xattr(
        &on_disk,
        b"forged, and long enough to be a sealed value",
        change,
    )
    .unwrap();
    let finding = stays_damage(&bench);
    assert!(
        finding.path == "f" && finding.what.contains("user.envelopefs."),
        "{finding:?}"
    );
    node.remove_xattr(&on_disk).unwrap();
    node.set_xattr(c"user.of.others", b"x", crate::storage::XattrSet::Create)
        .unwrap();
    assert_eq!(bench.check().findings, []);
}

fn bench_node(path: &Path) -> crate::storage::Node {
    use std::os::unix::ffi::OsStrExt as _;
    let name = crate::storage::CName::new(path.file_name().unwrap().as_bytes()).unwrap();
    bench::node(path.parent().unwrap()).child(&name).unwrap()
}

#[test]
fn the_mark_of_a_dead_mount_goes_when_all_was_looked_over() {
    let bench = Bench::new(NameMode::Encrypted);
    let mark = bench.path().join(".envelopefs/in-use");
    fs::write(&mark, "").unwrap();
    is_mended(&bench, "");
    assert!(!mark.exists());
}

#[test]
fn the_mark_stays_where_a_file_could_not_be_looked_over() {
    let bench = with_a_key_gone();
    let mark = bench.path().join(".envelopefs/in-use");
    fs::write(&mark, "").unwrap();
    let report = bench.repair();
    assert!(mark.exists(), "{report:#?}");
    assert_eq!(
        severities(&report),
        [Severity::KeyDenied, Severity::Mendable]
    );
}

#[test]
fn the_rest_of_a_replacement_beside_volume_json_goes() {
    let bench = Bench::new(NameMode::Encrypted);
    let left = bench
        .path()
        .join(".envelopefs/.envelopefs.tmp.0011223344556677");
    fs::copy(bench.path().join(".envelopefs/volume.json"), &left).unwrap();
    is_mended(&bench, "");
    assert!(!left.exists());
}

#[test]
fn a_quick_check_reads_a_block_of_each_file_and_mends_what_that_shows() {
    let bench = Bench::new(NameMode::Encrypted);
    let damaged = bench.put(&bench.root(), b"damaged", &pattern(40_000, 1));
    let short = bench.put(&bench.root(), b"cut", &pattern(40_000, 1));
    let untidy = bench.put(&bench.root(), b"untidy", &pattern(40_000, 1));
    edit(&damaged, |bytes| bytes[5 * B as usize + 100] ^= 1);
    set_len(&short, 4 * B);
    set_len(&untidy, 11 * B + 1);
    let report = bench.run(Extent::First, false);
    assert_eq!((report.files, report.chunks), (3, 3));
    let mut found = severities(&report);
    found.sort();
    assert_eq!(found, [Severity::Mendable, Severity::Damage], "{report:#?}");
    let mut found = severities(&bench.run(Extent::First, true));
    found.sort();
    assert_eq!(found, [Severity::Mended, Severity::Damage]);
    assert_eq!(severities(&bench.check()), [Severity::Damage; 2]);
}
