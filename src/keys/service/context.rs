//! What a wrap is bound to, for services that take an encryption context of names and values.

use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::keys::provider::EncryptionContext;

/// The context as names and values: ids in hexadecimal. A volume key
/// has no `envelopefs:file`, so no two contexts are equal.
#[derive(Serialize)]
pub(crate) struct Context {
    #[serde(rename = "envelopefs:volume")]
    volume: String,
    #[serde(rename = "envelopefs:file", skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl Context {
    pub(crate) fn of(context: &EncryptionContext) -> Self {
        Self {
            volume: HEXLOWER.encode(&context.volume.0),
            file: context.file.map(|file| HEXLOWER.encode(&file.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{FileId, VolumeId};

    #[test]
    fn the_context_is_fixed() {
        let context = EncryptionContext {
            volume: VolumeId([0x1a; 16]),
            file: Some(FileId([2; 16])),
        };
        let json =
            |context: &EncryptionContext| serde_json::to_string(&Context::of(context)).unwrap();
        assert_eq!(
            json(&context),
            r#"{"envelopefs:volume":"1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a","envelopefs:file":"02020202020202020202020202020202"}"#
        );
        let of_volume = EncryptionContext {
            file: None,
            ..context
        };
        assert_eq!(
            json(&of_volume),
            r#"{"envelopefs:volume":"1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a"}"#
        );
    }
}
