//! The manifest as it stands in its file: a line that says what it is and of which volume, then one for each entry, sorted by path:
//!
//! ```text
//! envelopefs seal 1 VOLUME-ID
//! ATTRIBUTES CONTENT PATH
//! ```
//!
//! Hashes and paths are hexadecimal; `-` stands for no content, and the root's path is empty.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use data_encoding::HEXLOWER;

use crate::units::VolumeId;

/// What is sealed of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) attributes: [u8; 32],
    /// Of regular files.
    pub(super) content: Option<[u8; 32]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    volume: VolumeId,
    /// By ciphertext path.
    pub(super) lines: BTreeMap<Vec<u8>, Line>,
}

impl Manifest {
    pub(super) fn of(volume: VolumeId) -> Self {
        Self {
            volume,
            lines: BTreeMap::new(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut text = head(&self.volume);
        for (path, line) in &self.lines {
            let content = line.content.map(|hash| HEXLOWER.encode(&hash));
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{} {} {}",
                HEXLOWER.encode(&line.attributes),
                content.as_deref().unwrap_or("-"),
                HEXLOWER.encode(path)
            );
        }
        text.into_bytes()
    }

    /// `None` for what [`Manifest::encode`] did not make of this volume.
    pub(super) fn decode(text: &[u8], volume: &VolumeId) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let lines = text.strip_prefix(&head(volume))?.lines();
        let lines: Option<BTreeMap<_, _>> = lines.map(line).collect();
        Some(Self {
            volume: *volume,
            lines: lines?,
        })
    }
}

fn head(volume: &VolumeId) -> String {
    format!("envelopefs seal 1 {volume}\n")
}

fn line(text: &str) -> Option<(Vec<u8>, Line)> {
    let mut fields = text.split(' ');
    let (attributes, content, path) = (fields.next()?, fields.next()?, fields.next()?);
    let content = match content {
        "-" => None,
        hash => Some(hash_of(hash)?),
    };
    let line = Line {
        attributes: hash_of(attributes)?,
        content,
    };
    let path = HEXLOWER.decode(path.as_bytes()).ok()?;
    fields.next().is_none().then_some((path, line))
}

fn hash_of(text: &str) -> Option<[u8; 32]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::of(VolumeId([7; 16]));
        for (path, content) in [(&b""[..], None), (b"a/b\xff\n", Some([2; 32]))] {
            let line = Line {
                attributes: [1; 32],
                content,
            };
            manifest.lines.insert(path.to_vec(), line);
        }
        manifest
    }

    #[test]
    fn a_manifest_reads_back() {
        let text = manifest().encode();
        assert_eq!(
            Manifest::decode(&text, &VolumeId([7; 16])),
            Some(manifest())
        );
    }

    #[test]
    fn what_is_no_manifest_of_the_volume_is_refused() {
        let text = String::from_utf8(manifest().encode()).unwrap();
        let id = VolumeId([7; 16]);
        assert_eq!(Manifest::decode(text.as_bytes(), &VolumeId([8; 16])), None);
        for wrong in [
            String::new(),
            text.replace("seal 1", "seal 2"),
            text.replace(" - ", " -- "),
            text.replace(" - ", " "),
            text.replace("0101", "01"),
            text.replace("0101", "0G01"),
            format!("{text} x"),
            format!("{text}\n"),
        ] {
            assert_eq!(Manifest::decode(wrong.as_bytes(), &id), None, "{wrong}");
        }
    }
}
