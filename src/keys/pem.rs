//! PEM (RFC 7468): the blocks of a file of keys and certificates. What is read may be a private key, so
//! it passes through buffers that are wiped only.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// What stands between a BEGIN and its END.
pub(super) struct Block {
    /// What the BEGIN line says, as `PUBLIC KEY`.
    pub(super) label: String,
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// Every block of a file, in order. Text around them is passed over.
///
/// # Errors
/// In words, without anything of the contents: a block that does not end, that is not base64, or that is
/// encrypted in the way of before PKCS#8.
pub(super) fn blocks(bytes: &[u8]) -> Result<Vec<Block>, &'static str> {
    let mut blocks = Vec::new();
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        if let Some(label) = marked(line, b"-----BEGIN ") {
            let der = body(label, &mut lines)?;
            let label = String::from_utf8_lossy(label).into_owned();
            blocks.push(Block { label, der });
        }
    }
    Ok(blocks)
}

/// Reads up to the END of `label`.
fn body<'a>(
    label: &[u8],
    lines: &mut impl Iterator<Item = &'a [u8]>,
) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    // Of a size that never grows: a file of keys has 64 KiB at most.
    let mut text = Zeroizing::new(Vec::with_capacity(64 * 1024));
    for line in lines {
        if marked(line, b"-----END ").is_some_and(|end| end == label) {
            return decoded(&text);
        }
        if line.contains(&b':') {
            return Err("is encrypted, or has headers");
        }
        if line.starts_with(b"-") {
            return Err("has a block without its END");
        }
        text.extend_from_slice(line);
    }
    Err("has a block without its END")
}

fn decoded(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    const BROKEN: &str = "has a block that is not base64";
    let len = BASE64.decode_len(text.len()).map_err(|_error| BROKEN)?;
    let mut der = Zeroizing::new(vec![0; len]);
    let len = BASE64.decode_mut(text, &mut der).map_err(|_error| BROKEN)?;
    der.truncate(len);
    Ok(der)
}

/// The label of a BEGIN or END line.
fn marked<'a>(line: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(mark)?.strip_suffix(b"-----")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(text: &str) -> Result<Vec<(String, Vec<u8>)>, &'static str> {
        let of = |block: Block| (block.label, block.der.to_vec());
        Ok(blocks(text.as_bytes())?.into_iter().map(of).collect())
    }

    #[test]
    fn blocks_come_in_order_whatever_stands_around_them() {
        let text = "Subject: me\r\n-----BEGIN A B-----\r\nAAEC\r\nAw==\r\n-----END A B-----\r\n\
                    words\n-----BEGIN C-----\n-----END C-----";
        let expected = [
            ("A B".to_owned(), vec![0, 1, 2, 3]),
            ("C".to_owned(), vec![]),
        ];
        assert_eq!(labels(text).unwrap(), expected);
        assert_eq!(labels("").unwrap(), []);
        assert_eq!(labels("no PEM at all").unwrap(), []);
    }

    #[test]
    fn broken_and_encrypted_blocks_are_refused() {
        for (text, why) in [
            ("-----BEGIN A-----\nAAEC\n", "END"),
            ("-----BEGIN A-----\nAAEC\n-----END B-----\n", "END"),
            (
                "-----BEGIN A-----\nAAEC\n-----BEGIN A-----\nAA==\n-----END A-----\n",
                "END",
            ),
            ("-----BEGIN A-----\nAAE\n-----END A-----\n", "base64"),
            ("-----BEGIN A-----\nAA!=\n-----END A-----\n", "base64"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAEC\n-----END RSA PRIVATE KEY-----\n",
                "encrypted",
            ),
        ] {
            assert!(labels(text).unwrap_err().contains(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(der: Vec<u8>, width in 1_usize..100) {
            let base64 = BASE64.encode(&der);
            let lines: Vec<_> = base64.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
            let text = format!("-----BEGIN X-----\n{}\n-----END X-----\n", lines.join("\n"));
            prop_assert_eq!(labels(&text), Ok(vec![("X".to_owned(), der)]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "(-----BEGIN A-----|-----END A-----|[A-Za-z=:\n-])*") {
            drop(blocks(&bytes));
            drop(blocks(text.as_bytes()));
        }
    }
}
