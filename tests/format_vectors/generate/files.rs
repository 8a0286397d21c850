//! Whole ciphertext files.

use envelopefs::format::chunk::{self, ChunkContext, ChunkNonce};
use envelopefs::units::ChunkIndex;

use super::*;

/// How a file is made: what every chunk is sealed with.
struct File {
    header: FileHeader,
    plaintext: Vec<u8>,
    /// The epoch that seals each chunk; 0 makes a hole.
    chunks: Vec<u32>,
}

/// The nonce of chunk `index` when `epoch` sealed it: one session an epoch.
fn nonce(epoch: u32, index: u64) -> ChunkNonce {
    let text = format!("session-{epoch:04}\0\0\0\0tail{index:04}");
    let mut bytes: [u8; 24] = text.into_bytes().try_into().expect("24 bytes");
    bytes[12..16].copy_from_slice(&(index as u32).to_le_bytes());
    ChunkNonce(bytes)
}

/// One chunk of the file, as `epoch` seals it.
fn sealed(header: &FileHeader, epoch: u32, index: u64, plaintext: &[u8]) -> Vec<u8> {
    let keys = FileKeys::derive(&secret(&dek(epoch)), &header.file_id).expect("memory");
    let (context, nonce) = (
        ChunkContext::new(header.layout, header.file_id),
        nonce(epoch, index),
    );
    let index = ChunkIndex(index);
    let mut area = vec![0; header.layout.area_len(index)];
    let subkey = keys.content().subkey(nonce.prefix());
    chunk::seal(
        &context,
        &subkey,
        &nonce,
        EpochId(epoch),
        index,
        plaintext,
        &mut area,
    );
    area
}

impl File {
    fn bytes(&self) -> Vec<u8> {
        let layout = self.header.layout;
        let mut bytes = encoded(&self.header);
        for (index, &epoch) in (0..).zip(&self.chunks) {
            let start = layout.chunk_start(ChunkIndex(index)).0 as usize;
            let end = layout.chunk_start(ChunkIndex(index + 1)).0 as usize;
            let plaintext = &self.plaintext[start..end.min(self.plaintext.len())];
            match epoch {
                0 => bytes.resize(bytes.len() + layout.area_len(ChunkIndex(index)), 0),
                epoch => bytes.extend(sealed(&self.header, epoch, index, plaintext)),
            }
        }
        let len = PlainLen(self.plaintext.len() as u64);
        bytes.resize(layout.physical_len(len).0 as usize, 0);
        bytes
    }

    fn case(&self, name: &str) -> FileCase {
        FileCase {
            name: name.to_owned(),
            deks: vec![dek(1), dek(2)],
            plaintext: Image::of(&self.plaintext),
            file: Image::of(&self.bytes()),
        }
    }
}

fn one_chunk_file(layout: Layout, len: usize) -> File {
    let epochs = vec![epoch_of(1, &FILE_ID, vec![slot(KEYRING, "1", 72)])];
    let header = of_volume(draft(layout, FILE_ID, epochs, len as u64), &volume_id());
    File {
        header,
        plaintext: text(len),
        chunks: vec![1],
    }
}

pub(super) fn one_chunk() -> Vectors<FileCase, Change> {
    let short = one_chunk_file(Layout::DEFAULT, 100);
    let mut hint_lost = short.case("a short file, size hint lost in a crash");
    hint_lost.file = Image::of(&short.bytes()[..4096]);
    Vectors {
        description: "Files of one block, whole: header, chunk 0, the hole at the end whose \
                      length is the plaintext's."
            .to_owned(),
        must_pass: vec![
            short.case("a short file"),
            one_chunk_file(Layout::DEFAULT, 0).case("an empty file"),
            one_chunk_file(layout(4096, 2048), 2000).case("a full chunk 0"),
            hint_lost,
            longer_chunk(),
        ],
        must_fail: [bad_chunk_fields(), bad_chunk_places()].concat(),
    }
}

/// An append reached the chunk and neither the size nor, in a block of several pages, the header.
fn longer_chunk() -> FileCase {
    let appended = one_chunk_file(layout(8192, 1024), 150);
    let header = FileHeader {
        committed_len: PlainLen(100),
        ..appended.header.clone()
    };
    let mut appended = File {
        header: of_volume(header, &volume_id()),
        ..appended
    };
    let mut bytes = appended.bytes();
    appended.plaintext.truncate(100);
    bytes.truncate(8192 + 100);
    FileCase {
        file: Image::of(&bytes),
        ..appended.case("a chunk longer than length and size say")
    }
}

fn bad_chunk_fields() -> Vec<Change> {
    let bytes = one_chunk_file(Layout::DEFAULT, 100).bytes();
    let of = "a short file";
    let flip = |name: &str, error: &str, at: usize| edit(of, name, error, at, &[bytes[at] ^ 1]);
    vec![
        flip("a bit of the nonce's prefix", "forged-chunk", 1024),
        flip("a bit of the nonce's counter", "forged-chunk", 1024 + 12),
        flip("a bit of the nonce's tail", "forged-chunk", 1024 + 23),
        flip("a bit of the tag", "forged-chunk", 1024 + 24),
        edit(of, "a longer length", "forged-chunk", 1024 + 40, &[101]),
        edit(of, "a shorter length", "malformed-chunk", 1024 + 40, &[99]),
        edit(of, "a length of 0", "malformed-chunk", 1024 + 40, &[0]),
        edit(
            of,
            "a length over the capacity",
            "malformed-chunk",
            1024 + 40,
            &3025_u32.to_le_bytes(),
        ),
        edit(
            of,
            "a length of 2^32 - 1",
            "malformed-chunk",
            1024 + 40,
            &[0xFF; 4],
        ),
        edit(
            of,
            "an epoch that the header has not",
            "unknown-epoch",
            1024 + 44,
            &[2],
        ),
        edit(of, "epoch 0", "unknown-epoch", 1024 + 44, &[0]),
        flip("the first bit of the ciphertext", "forged-chunk", 1024 + 48),
        flip(
            "the last bit of the ciphertext",
            "forged-chunk",
            1024 + 48 + 99,
        ),
        edit(
            of,
            "a byte behind the ciphertext",
            "malformed-chunk",
            1024 + 48 + 100,
            &[1],
        ),
        edit(
            of,
            "a byte at the end of the block",
            "malformed-chunk",
            4095,
            &[1],
        ),
    ]
}

fn bad_chunk_places() -> Vec<Change> {
    let short = one_chunk_file(Layout::DEFAULT, 100);
    let of = "a short file";
    let epochs = vec![epoch_of(1, &OTHER_FILE_ID, vec![slot(KEYRING, "1", 72)])];
    let other = draft(Layout::DEFAULT, OTHER_FILE_ID, epochs, 100);
    let other = of_volume(other, &volume_id());
    let zeroed = vec![Zeros {
        at: 1024,
        len: 3072,
    }];
    let mut moved = sealed(&short.header, 1, 1, &text(100));
    moved.truncate(148);
    let other_key = sealed(&short.header, 2, 0, &text(100));
    let mut other_key = other_key[..148].to_vec();
    other_key[44] = 1;
    let grown = of_volume(
        FileHeader {
            committed_len: PlainLen(101),
            ..short.header
        },
        &volume_id(),
    );
    vec![
        Change {
            zeros: zeroed,
            ..change(of, "the chunk zeroed", "hole-at-end")
        },
        replaced(
            of,
            "the header of another file of the same key",
            "forged-chunk",
            &other,
        ),
        edit(of, "a chunk of another place", "forged-chunk", 1024, &moved),
        edit(
            of,
            "a chunk of another key",
            "forged-chunk",
            1024,
            &other_key,
        ),
        replaced(of, "less than the committed length", "cut", &grown),
        edit(of, "a shorter committed length", "header-tag", 32, &[99]),
    ]
}

/// Four chunks, the last short, by two data keys: `reencrypt` is under way.
fn four_chunks() -> File {
    let len = 3024 + 2 * 4048 + 100;
    let epochs = vec![
        epoch_of(1, &FILE_ID, vec![slot(KEYRING, "1", 72)]),
        epoch_of(2, &FILE_ID, vec![slot(KEYRING, "1", 72)]),
    ];
    let header = of_volume(draft(Layout::DEFAULT, FILE_ID, epochs, len), &volume_id());
    File {
        header,
        plaintext: text(len as usize),
        chunks: vec![2, 1, 1, 2],
    }
}

/// Three chunks, the second a hole.
fn with_hole() -> File {
    let len = 3024 + 4048 + 100;
    let epochs = vec![epoch_of(1, &FILE_ID, vec![slot(KEYRING, "1", 72)])];
    let mut header = draft(Layout::DEFAULT, FILE_ID, epochs, len);
    header.flags.sparse = true;
    let mut plaintext = text(len as usize);
    plaintext[3024..3024 + 4048].fill(0);
    File {
        header: of_volume(header, &volume_id()),
        plaintext,
        chunks: vec![1, 0, 1],
    }
}

/// The size that ends a file with a full chunk.
fn full_tail() -> File {
    let epochs = vec![epoch_of(1, &FILE_ID, vec![slot(KEYRING, "1", 72)])];
    let header = of_volume(draft(Layout::DEFAULT, FILE_ID, epochs, 7072), &volume_id());
    File {
        header,
        plaintext: text(7072),
        chunks: vec![1, 1],
    }
}

pub(super) fn multi_chunk() -> Vectors<FileCase, Change> {
    Vectors {
        description: "Files of several blocks, whole.".to_owned(),
        must_pass: vec![
            with_hole().case("three chunks, the second a hole"),
            four_chunks().case("four chunks, two epochs"),
            full_tail().case("two full chunks"),
        ],
        must_fail: [bad_holes(), bad_rows()].concat(),
    }
}

fn bad_holes() -> Vec<Change> {
    let of = "three chunks, the second a hole";
    let block = |index: usize| Zeros {
        at: index * 4096,
        len: 4096,
    };
    let zeroed = |of: &str, name: &str, error: &str, zeros: Zeros| Change {
        zeros: vec![zeros],
        ..change(of, name, error)
    };
    vec![
        edit(of, "SPARSE cleared", "header-tag", 48, &[0]),
        edit(
            of,
            "one byte in the hole's padding",
            "malformed-chunk",
            2 * 4096 - 1,
            &[1],
        ),
        edit(
            of,
            "one byte in the hole's nonce",
            "short-chunk",
            4096,
            &[1],
        ),
        edit(
            of,
            "a full length in the hole",
            "forged-chunk",
            4096 + 40,
            &[0xD0, 0x0F, 0, 0, 1],
        ),
        zeroed(of, "the last chunk zeroed", "hole-at-end", block(2)),
        zeroed(
            "four chunks, two epochs",
            "a chunk zeroed in a file without holes",
            "hole",
            block(1),
        ),
        zeroed(
            "four chunks, two epochs",
            "chunk 0 zeroed",
            "hole",
            Zeros {
                at: 1024,
                len: 3072,
            },
        ),
        cut(of, "cut behind the hole", "hole-at-end", 2 * 4096),
    ]
}

fn bad_rows() -> Vec<Change> {
    let of = "four chunks, two epochs";
    let file = four_chunks();
    let copy = |from: usize, at: usize| Copied {
        from: from * 4096,
        at: at * 4096,
        len: 4096,
    };
    let copied = |name: &str, copies: Vec<Copied>| Change {
        copies,
        ..change(of, name, "forged-chunk")
    };
    let old_tail = sealed(&file.header, 1, 2, b"the file ended here");
    let other = FileHeader {
        file_id: OTHER_FILE_ID,
        ..file.header
    };
    let other_tail = &sealed(&other, 2, 3, &text(100))[..148];
    vec![
        copied("two chunks exchanged", vec![copy(1, 2), copy(2, 1)]),
        copied("a chunk twice", vec![copy(1, 2)]),
        edit(
            of,
            "a chunk of another file of the same key",
            "forged-chunk",
            3 * 4096,
            other_tail,
        ),
        edit(of, "the other epoch", "forged-chunk", 4096 + 44, &[2]),
        edit(
            of,
            "an epoch that the header has not",
            "unknown-epoch",
            4096 + 44,
            &[3],
        ),
        Change {
            zeros: vec![Zeros {
                at: 2 * 4096,
                len: 4096,
            }],
            ..edit(
                of,
                "an older, short chunk amid the file",
                "short-chunk",
                2 * 4096,
                &old_tail[..67],
            )
        },
        cut(of, "the last block cut", "cut", 3 * 4096),
        cut(of, "all but block 0 cut", "cut", 4096),
        cut(of, "cut inside the header", "truncated", 1000),
        edit(
            of,
            "a shorter committed length, to hide a cut",
            "header-tag",
            32,
            &[0; 8],
        ),
    ]
}
