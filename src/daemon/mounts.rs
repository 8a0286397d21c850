//! The mounts that this process sees: `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// The type under which mounts of this program stand in mountinfo.
pub const FS_TYPE: &str = "fuse.envelopefs";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of the device, as in `0:52`: names the bdi folder in `/sys`.
    pub device: String,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The type, for example `ext4` or [`FS_TYPE`].
    pub fs_type: String,
    /// The source; for mounts of this program what `fsname` said.
    pub source: PathBuf,
    /// Mounted read-only.
    pub read_only: bool,
    /// Who mounted: `user_id=` of a FUSE mount.
    pub owner: Option<u32>,
}

impl Mount {
    /// It is of this program.
    pub fn is_ours(&self) -> bool {
        self.fs_type == FS_TYPE
    }
}

/// All mounts, in the order of mounting.
///
/// # Errors
/// mountinfo cannot be read.
pub fn read() -> io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// The mount that is on top at exactly this path: the last one there.
pub fn at<'m>(mounts: &'m [Mount], mountpoint: &Path) -> Option<&'m Mount> {
    mounts
        .iter()
        .rev()
        .find(|mount| mount.mountpoint == mountpoint)
}

/// The mount at a path that a user gave. The path's last part is not followed at first: what is
/// mounted there may be dead, and asking it would fail or hang.
pub fn find<'m>(mounts: &'m [Mount], path: &Path) -> Option<&'m Mount> {
    let without_last = canonical_parent(path).and_then(|place| at(mounts, &place));
    without_last.or_else(|| at(mounts, &std::fs::canonicalize(path).ok()?))
}

fn canonical_parent(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let (parent, name) = (absolute.parent()?, absolute.file_name()?);
    Some(std::fs::canonicalize(parent).ok()?.join(name))
}

/// Lines that are not as the manual has them are passed over.
fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

/// `36 35 98:0 /root /mountpoint rw,noatime master:1 - ext3 /dev/root rw,user_id=0`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = fields.nth(2)?;
    let mountpoint = fields.nth(1)?;
    let options = fields.next()?;
    // Optional fields, as many as there are, end at a lone dash.
    fields.find(|field| *field == b"-")?;
    let (fs_type, source, super_options) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Mount {
        device: String::from_utf8(device.to_vec()).ok()?,
        mountpoint: unescaped_path(mountpoint),
        fs_type: String::from_utf8(unescape(fs_type)).ok()?,
        source: unescaped_path(source),
        read_only: has_option(options, b"ro") || has_option(super_options, b"ro"),
        owner: owner(super_options),
    })
}

fn has_option(options: &[u8], name: &[u8]) -> bool {
    options
        .split(|byte| *byte == b',')
        .any(|option| option == name)
}

fn owner(super_options: &[u8]) -> Option<u32> {
    let mut options = super_options.split(|byte| *byte == b',');
    let id = options.find_map(|option| option.strip_prefix(b"user_id="))?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

fn unescaped_path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// Space, tab, newline and backslash stand as `\` and three octal digits. Anything else behind a
/// backslash is left as it is.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        match octal(rest) {
            Some((byte, remainder)) => {
                plain.push(byte);
                rest = remainder;
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    plain
}

fn octal(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: &u8| (b'0'..=b'7').contains(byte).then(|| u32::from(byte - b'0'));
    let [b'\\', high, middle, low, rest @ ..] = bytes else {
        return None;
    };
    let value = digit(high)? * 64 + digit(middle)? * 8 + digit(low)?;
    Some((u8::try_from(value).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = b"21 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
        36 35 0:52 / /home/u/a\\040b rw,nosuid,nodev shared:1 master:2 - fuse.envelopefs /srv/x\\054y rw,user_id=1000,group_id=1000\n\
        37 35 0:53 / /ro ro - fuse.envelopefs v rw,user_id=0\n\
        38 35 0:54 / /ro rw - tmpfs tmpfs ro\n";

    #[test]
    fn fields_are_read_with_and_without_optional_ones() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 4);
        let expected = Mount {
            device: "0:52".into(),
            mountpoint: "/home/u/a b".into(),
            fs_type: FS_TYPE.into(),
            source: "/srv/x,y".into(),
            read_only: false,
            owner: Some(1000),
        };
        assert_eq!(mounts[1], expected);
        assert!(mounts[1].is_ours() && !mounts[0].is_ours());
    }

    #[test]
    fn read_only_shows_in_either_option_list() {
        let mounts = parse(TEXT);
        assert!(mounts[2].read_only && mounts[3].read_only && !mounts[0].read_only);
    }

    #[test]
    fn the_topmost_mount_counts() {
        let mounts = parse(TEXT);
        assert_eq!(at(&mounts, Path::new("/ro")).unwrap().fs_type, "tmpfs");
        assert_eq!(at(&mounts, Path::new("/home/u")), None);
        assert_eq!(at(&mounts, Path::new("/home/u/a")), None);
    }

    #[test]
    fn a_path_finds_its_mount_by_either_form() {
        let dir = tempfile::tempdir().unwrap();
        let place = std::fs::canonicalize(dir.path()).unwrap().join("m");
        std::fs::create_dir(&place).unwrap();
        std::os::unix::fs::symlink("m", dir.path().join("link")).unwrap();
        let line = format!("1 2 0:3 / {} rw - fuse.envelopefs v rw", place.display());
        let mounts = parse(line.as_bytes());
        for name in ["m", "m/", "./m", "link", "m/."] {
            assert!(find(&mounts, &dir.path().join(name)).is_some(), "{name}");
        }
        for name in ["", "n", "m/x", ".."] {
            assert!(find(&mounts, &dir.path().join(name)).is_none(), "{name}");
        }
    }

    #[test]
    fn odd_lines_are_passed_over() {
        for line in [
            "",
            " ",
            "1",
            "1 2 3 4 5 6 7",
            "1 2 3 4 5 6 -",
            "1 2 3 4 5 6 - a",
            "1 2 3 4 5 6 - a b",
        ] {
            assert_eq!(parse(line.as_bytes()), vec![], "{line:?}");
        }
    }

    #[test]
    fn escapes_that_are_none_stay() {
        for text in [r"\", r"\1", r"\12", r"\189", r"\777", r"a\x20", r"\\"] {
            assert_eq!(unescape(text.as_bytes()), text.as_bytes(), "{text}");
        }
        assert_eq!(unescape(br"\134040\011\012"), b"\\040\t\n");
    }

    #[test]
    fn this_system_has_a_root_mount() {
        assert!(at(&read().unwrap(), Path::new("/")).is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            drop(parse(&bytes));
        }

        #[test]
        fn escaped_names_read_back(name: Vec<u8>) {
            let escaped: Vec<u8> = name.iter().flat_map(|byte| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                _ => vec![*byte],
            }).collect();
            prop_assert_eq!(unescape(&escaped), name);
        }
    }
}
