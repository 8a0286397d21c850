//! Shows a header.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde::Serialize;

use super::InspectRequest;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::format::header::{FORMAT_VERSION, FileHeader, HeaderError, KeyEpoch, KeySlot};
use crate::units::CipherLen;

/// The longest header that there is, in bytes.
const LONGEST_HEADER: u64 = 2048;

/// What a header says; none of it is authenticated.
#[derive(Debug, Serialize)]
struct Shown {
    file: String,
    format_version: u16,
    block_size: u64,
    header_size: usize,
    file_id: String,
    volume_id: Option<String>,
    /// Plaintext length by the file's size.
    length: u64,
    committed_length: u64,
    generation: u64,
    sparse: bool,
    key_epochs: Vec<ShownEpoch>,
}

#[derive(Debug, Serialize)]
struct ShownEpoch {
    epoch: u32,
    commitment: String,
    slots: Vec<ShownSlot>,
}

#[derive(Debug, Serialize)]
struct ShownSlot {
    key: String,
    key_version: String,
    wrapped_bytes: usize,
}

/// Prints the header of a ciphertext file, without any key.
///
/// # Errors
/// The file cannot be read, or is none of this program's.
pub fn run(request: &InspectRequest) -> Result<(), Failure> {
    let shown = look(&request.file)?;
    if request.json {
        output::print_json(&shown)
    } else {
        output::print(&text(&shown))
    }
}

fn look(path: &Path) -> Result<Shown, Failure> {
    let what = format!("cannot inspect {}", path.display());
    let io = |error: std::io::Error| Failure::new(Exit::Failure, &what, error);
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    (&file)
        .take(LONGEST_HEADER)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    let header = FileHeader::decode(&bytes).map_err(|error| not_readable(&what, &bytes, &error))?;
    let physical = file.metadata().map_err(io)?.len();
    Ok(Shown::of(path, &header, CipherLen(physical)))
}

fn not_readable(what: &str, bytes: &[u8], error: &HeaderError) -> Failure {
    match error {
        HeaderError::NewerVersion(_) => {
            Failure::new(Exit::NewerVolume, what, error).advise("use a newer envelopefs")
        }
        HeaderError::NotOurs if bytes.iter().all(|&byte| byte == 0) => Failure::new(
            Exit::Failure,
            what,
            "the file has no header: it is empty, or a crash came before its first sync",
        ),
        _ => Failure::new(Exit::Failure, what, error),
    }
}

impl Shown {
    fn of(path: &Path, header: &FileHeader, physical: CipherLen) -> Self {
        Self {
            file: path.display().to_string(),
            format_version: FORMAT_VERSION,
            block_size: header.layout.block_len(),
            header_size: header.layout.header_len(),
            file_id: header.file_id.to_string(),
            volume_id: header.volume_id.map(|id| id.to_string()),
            length: header.layout.plain_len(physical).0,
            committed_length: header.committed_len.0,
            generation: header.generation,
            sparse: header.flags.sparse,
            key_epochs: header.epochs.iter().map(ShownEpoch::of).collect(),
        }
    }
}

impl ShownEpoch {
    fn of(epoch: &KeyEpoch) -> Self {
        let slot = |slot: &KeySlot| ShownSlot {
            key: slot.key_uri.to_string(),
            key_version: slot.key_version.clone(),
            wrapped_bytes: slot.wrapped_dek.len(),
        };
        Self {
            epoch: epoch.epoch.0,
            commitment: HEXLOWER.encode(&epoch.commitment),
            slots: epoch.slots.iter().map(slot).collect(),
        }
    }
}

fn text(shown: &Shown) -> String {
    let volume = shown
        .volume_id
        .as_deref()
        .unwrap_or("none: made outside a volume");
    let mut text = format!(
        "{}\n  format            {} (block {} bytes, header {} bytes)\n  file id           {}\n  volume            {volume}\n  \
         length            {} bytes ({} committed, generation {})\n  holes             {}\n",
        shown.file,
        shown.format_version,
        shown.block_size,
        shown.header_size,
        shown.file_id,
        shown.length,
        shown.committed_length,
        shown.generation,
        if shown.sparse { "allowed" } else { "none" },
    );
    for epoch in &shown.key_epochs {
        text.push_str(&format!(
            "  key epoch {}       commitment {}\n",
            epoch.epoch, epoch.commitment
        ));
        for slot in &epoch.slots {
            let version = if slot.key_version.is_empty() {
                "-"
            } else {
                &slot.key_version
            };
            text.push_str(&format!(
                "    key {}  version {version}  {} bytes wrapped\n",
                slot.key, slot.wrapped_bytes
            ));
        }
    }
    text
}
