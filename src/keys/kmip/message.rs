//! KMIP requests and responses (KMIP 1.4 §7): one operation in a message.

use zeroize::Zeroizing;

use super::failure::{Failure, Refusal};
use super::ttlv::{self, Item, MESSAGE_MAX, Writer};

/// Tags (KMIP 1.4 §9.1.3.1).
pub(super) mod tag {
    pub(in super::super) const ATTRIBUTE: u32 = 0x42_0008;
    pub(in super::super) const ATTRIBUTE_NAME: u32 = 0x42_000A;
    pub(in super::super) const ATTRIBUTE_VALUE: u32 = 0x42_000B;
    pub(in super::super) const BATCH_COUNT: u32 = 0x42_000D;
    pub(in super::super) const BATCH_ITEM: u32 = 0x42_000F;
    pub(in super::super) const BLOCK_CIPHER_MODE: u32 = 0x42_0011;
    pub(in super::super) const CRYPTOGRAPHIC_ALGORITHM: u32 = 0x42_0028;
    pub(in super::super) const CRYPTOGRAPHIC_PARAMETERS: u32 = 0x42_002B;
    pub(in super::super) const IV_COUNTER_NONCE: u32 = 0x42_003D;
    pub(in super::super) const MAXIMUM_ITEMS: u32 = 0x42_004F;
    pub(in super::super) const MAXIMUM_RESPONSE_SIZE: u32 = 0x42_0050;
    pub(in super::super) const NAME_TYPE: u32 = 0x42_0054;
    pub(in super::super) const NAME_VALUE: u32 = 0x42_0055;
    pub(in super::super) const OPERATION: u32 = 0x42_005C;
    pub(in super::super) const PADDING_METHOD: u32 = 0x42_005F;
    pub(in super::super) const PROTOCOL_VERSION: u32 = 0x42_0069;
    pub(in super::super) const PROTOCOL_VERSION_MAJOR: u32 = 0x42_006A;
    pub(in super::super) const PROTOCOL_VERSION_MINOR: u32 = 0x42_006B;
    pub(in super::super) const REQUEST_HEADER: u32 = 0x42_0077;
    pub(in super::super) const REQUEST_MESSAGE: u32 = 0x42_0078;
    pub(in super::super) const REQUEST_PAYLOAD: u32 = 0x42_0079;
    pub(in super::super) const RESPONSE_MESSAGE: u32 = 0x42_007B;
    pub(in super::super) const RESPONSE_PAYLOAD: u32 = 0x42_007C;
    pub(in super::super) const RESULT_MESSAGE: u32 = 0x42_007D;
    pub(in super::super) const RESULT_REASON: u32 = 0x42_007E;
    pub(in super::super) const RESULT_STATUS: u32 = 0x42_007F;
    pub(in super::super) const UNIQUE_IDENTIFIER: u32 = 0x42_0094;
    pub(in super::super) const DATA: u32 = 0x42_00C2;
    pub(in super::super) const TAG_LENGTH: u32 = 0x42_00CE;
    pub(in super::super) const ADDITIONAL_DATA: u32 = 0x42_00FE;
    pub(in super::super) const AUTHENTICATION_TAG: u32 = 0x42_00FF;
}

/// What a server is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Decrypt,
    DiscoverVersions,
    Encrypt,
    GetAttributes,
    Locate,
}

impl Operation {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Locate => 0x08,
            Self::GetAttributes => 0x0B,
            Self::DiscoverVersions => 0x1E,
            Self::Encrypt => 0x1F,
            Self::Decrypt => 0x20,
        }
    }
}

/// A version of KMIP, major 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) i32);

impl Version {
    /// The newest that is spoken, and the one that AES-GCM takes.
    pub(in super::super) const NEWEST: Self = Self(4);
    /// The oldest with Encrypt.
    pub(in super::super) const OLDEST: Self = Self(2);

    /// Writes it as KMIP has it.
    pub(super) fn write(self, writer: &mut Writer) {
        writer.structure(tag::PROTOCOL_VERSION, |writer| {
            writer.integer(tag::PROTOCOL_VERSION_MAJOR, 1);
            writer.integer(tag::PROTOCOL_VERSION_MINOR, self.0);
        });
    }
}

/// The message that asks for one operation.
pub(super) fn request(
    version: Version,
    operation: Operation,
    payload: &dyn Fn(&mut Writer),
) -> Zeroizing<Vec<u8>> {
    Writer::message(tag::REQUEST_MESSAGE, |writer| {
        writer.structure(tag::REQUEST_HEADER, |writer| {
            version.write(writer);
            let most = i32::try_from(MESSAGE_MAX).unwrap_or(i32::MAX);
            writer.integer(tag::MAXIMUM_RESPONSE_SIZE, most);
            writer.integer(tag::BATCH_COUNT, 1);
        });
        writer.structure(tag::BATCH_ITEM, |writer| {
            writer.enumeration(tag::OPERATION, operation.number());
            writer.structure(tag::REQUEST_PAYLOAD, payload);
        });
    })
}

/// Reads the answer to `operation` by its payload.
///
/// # Errors
/// `Refused` where the server refuses; `Known` (`Unavailable`) for what is no answer to it.
pub(super) fn read<T>(
    response: &[u8],
    operation: Operation,
    payload: &dyn Fn(&Item<'_>) -> Option<T>,
) -> Result<T, Failure> {
    const SUCCESS: u32 = 0;
    const FAILED: u32 = 1;
    let message = ttlv::decode(response).map_err(|error| Failure::garbage(&error.to_string()))?;
    if message.tag != tag::RESPONSE_MESSAGE {
        return Err(Failure::garbage("it is no response"));
    }
    let mut items = message.all(tag::BATCH_ITEM);
    let (Some(item), None) = (items.next(), items.next()) else {
        return Err(Failure::garbage("it holds not one answer"));
    };
    match item.enumeration(tag::RESULT_STATUS) {
        Some(SUCCESS) => {}
        Some(FAILED) => {
            let reason = item.enumeration(tag::RESULT_REASON).unwrap_or_default();
            let words = item.text(tag::RESULT_MESSAGE).unwrap_or_default();
            return Err(Failure::Refused(Refusal::new(reason, words)));
        }
        _ => return Err(Failure::garbage("it is neither a success nor a failure")),
    }
    if item.enumeration(tag::OPERATION) != Some(operation.number()) {
        return Err(Failure::garbage("it is of another operation"));
    }
    let read = item.find(tag::RESPONSE_PAYLOAD).and_then(payload);
    read.ok_or_else(|| Failure::garbage("something is missing in it"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A response as a server writes it.
    fn response(status: u32, operation: Operation, count: usize) -> Vec<u8> {
        let bytes = Writer::message(tag::RESPONSE_MESSAGE, |writer| {
            for _ in 0..count {
                writer.structure(tag::BATCH_ITEM, |writer| {
                    writer.enumeration(tag::OPERATION, operation.number());
                    writer.enumeration(tag::RESULT_STATUS, status);
                    writer.enumeration(tag::RESULT_REASON, 0x0C);
                    writer.text(tag::RESULT_MESSAGE, "not you");
                    writer.structure(tag::RESPONSE_PAYLOAD, |writer| {
                        writer.text(tag::UNIQUE_IDENTIFIER, "7");
                    });
                });
            }
        });
        bytes.to_vec()
    }

    fn id(bytes: &[u8]) -> Result<String, Failure> {
        read(bytes, Operation::Encrypt, &|payload| {
            payload.text(tag::UNIQUE_IDENTIFIER).map(str::to_owned)
        })
    }

    #[test]
    fn a_success_is_read_and_a_refusal_is_one() {
        assert_eq!(id(&response(0, Operation::Encrypt, 1)).unwrap(), "7");
        match id(&response(1, Operation::Encrypt, 1)) {
            Err(Failure::Refused(refusal)) => assert_eq!(refusal, Refusal::new(0x0C, "not you")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn anything_else_is_garbage() {
        let good = response(0, Operation::Encrypt, 1);
        let mut request = good.clone();
        request[2] = 0x78;
        let missing = read(&good, Operation::Encrypt, &|payload| {
            payload.bytes(tag::DATA).map(<[u8]>::len)
        });
        assert!(matches!(missing, Err(Failure::Known(_))));
        for bytes in [
            response(0, Operation::Decrypt, 1),
            response(0, Operation::Encrypt, 0),
            response(0, Operation::Encrypt, 2),
            response(2, Operation::Encrypt, 1),
            response(3, Operation::Encrypt, 1),
            good[..good.len() - 8].to_vec(),
            request,
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            Vec::new(),
        ] {
            let error = match id(&bytes) {
                Err(Failure::Known(error)) => error,
                other => panic!("{other:?}"),
            };
            assert!(error.message().contains("no KMIP message"), "{error}");
        }
    }

    #[test]
    fn a_request_is_what_the_specification_says() {
        let bytes = request(Version(4), Operation::Encrypt, &|writer| {
            writer.text(tag::UNIQUE_IDENTIFIER, "7");
        });
        let message = ttlv::decode(&bytes).unwrap();
        let header = message.find(tag::REQUEST_HEADER).unwrap();
        let version = header.find(tag::PROTOCOL_VERSION).unwrap();
        assert_eq!(version.integer(tag::PROTOCOL_VERSION_MAJOR), Some(1));
        assert_eq!(version.integer(tag::PROTOCOL_VERSION_MINOR), Some(4));
        assert_eq!(header.integer(tag::BATCH_COUNT), Some(1));
        let item = message.find(tag::BATCH_ITEM).unwrap();
        assert_eq!(item.enumeration(tag::OPERATION), Some(0x1F));
        let payload = item.find(tag::REQUEST_PAYLOAD).unwrap();
        assert_eq!(payload.text(tag::UNIQUE_IDENTIFIER), Some("7"));
    }

    proptest! {
        #[test]
        fn altered_answers_do_not_panic(at: prop::sample::Index, byte: u8) {
            let mut bytes = response(0, Operation::Encrypt, 1);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            drop(id(&bytes));
        }
    }
}
