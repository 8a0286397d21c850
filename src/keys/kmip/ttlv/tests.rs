use data_encoding::HEXUPPER_PERMISSIVE;
use proptest::prelude::*;

use super::*;

const TAG: u32 = 0x42_00_20;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    HEXUPPER_PERMISSIVE.decode(digits.as_bytes()).unwrap()
}

/// The examples of the specification (KMIP 1.4 §9.1.2).
#[test]
fn the_specification_s_examples_are_read() {
    for (text, value) in [
        ("42 00 20 02 00000004 00000008 00000000", Value::Integer(8)),
        (
            "42 00 20 03 00000008 01B69B4BA5749200",
            Value::LongInteger(123_456_789_000_000_000),
        ),
        (
            "42 00 20 04 00000010 0000000003FD35EB 6BC2DF4618080000",
            Value::BigInteger(&hex("0000000003FD35EB6BC2DF4618080000")),
        ),
        (
            "42 00 20 05 00000004 000000FF 00000000",
            Value::Enumeration(255),
        ),
        (
            "42 00 20 06 00000008 0000000000000001",
            Value::Boolean(true),
        ),
        (
            "42 00 20 07 0000000B 48656C6C6F20576F 726C640000000000",
            Value::Text("Hello World"),
        ),
        (
            "42 00 20 08 00000003 0102030000000000",
            Value::Bytes(&[1, 2, 3]),
        ),
        (
            "42 00 20 09 00000008 0000000047DA67F8",
            Value::DateTime(1_205_495_800),
        ),
        (
            "42 00 20 0A 00000004 000D2F00 00000000",
            Value::Interval(864_000),
        ),
        (
            "42 00 20 01 00000020 42 00 04 05 00000004 000000FE 00000000 42 00 05 02 00000004 000000FF 00000000",
            Value::Structure(vec![
                Item {
                    tag: 0x42_00_04,
                    value: Value::Enumeration(254),
                },
                Item {
                    tag: 0x42_00_05,
                    value: Value::Integer(255),
                },
            ]),
        ),
    ] {
        let bytes = hex(text);
        assert_eq!(decode(&bytes), Ok(Item { tag: TAG, value }), "{text}");
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).is_err(), "{text} cut to {len}");
        }
        let longer = [&bytes[..], &[0; 8]].concat();
        assert_eq!(decode(&longer), Err(TtlvError::Rest), "{text}");
    }
}

#[test]
fn wrong_lengths_types_paddings_and_values_are_refused() {
    for (text, error) in [
        ("42 00 20 02 00000008 0000000000000008", TtlvError::Length),
        ("42 00 20 02 00000003 0000080000000000", TtlvError::Length),
        ("42 00 20 03 00000004 0000000800000000", TtlvError::Length),
        ("42 00 20 04 00000004 0000000800000000", TtlvError::Length),
        ("42 00 20 05 00000000", TtlvError::Length),
        ("42 00 20 06 00000008 0000000000000002", TtlvError::BadValue),
        ("42 00 20 07 00000001 FF00000000000000", TtlvError::BadValue),
        ("42 00 20 08 00000001 0100000000000001", TtlvError::BadValue),
        ("42 00 20 08 FFFFFFFF 0100000000000000", TtlvError::Length),
        ("42 00 20 08 7FFFFFF9 0100000000000000", TtlvError::Length),
        ("42 00 20 00 00000000", TtlvError::UnknownType),
        (
            "42 00 20 0B 00000008 0000000000000000",
            TtlvError::UnknownType,
        ),
        (
            "42 00 20 01 00000008 42 00 20 01 00000008",
            TtlvError::Length,
        ),
        (
            "42 00 20 01 00000004 42 00 20 01 00000000",
            TtlvError::Length,
        ),
    ] {
        assert_eq!(decode(&hex(text)), Err(error), "{text}");
    }
}

#[test]
fn nesting_has_a_bound() {
    let nested = |depth: usize| {
        (0..depth).fold(Vec::new(), |inner, _level| {
            let length = u32::try_from(inner.len()).unwrap().to_be_bytes();
            [&[0x42, 0, 0x20, STRUCTURE], &length[..], &inner].concat()
        })
    };
    assert!(decode(&nested(DEPTH_MAX)).is_ok());
    assert_eq!(decode(&nested(DEPTH_MAX + 1)), Err(TtlvError::TooDeep));
    assert_eq!(decode(&nested(8000)), Err(TtlvError::TooDeep));
}

#[test]
fn length_has_a_bound_before_anything_is_read() {
    let head = |len: u32| {
        let [a, b, c, d] = len.to_be_bytes();
        [0x42, 0, 0x20, STRUCTURE, a, b, c, d]
    };
    assert_eq!(message_len(&head(16), TAG), Ok(24));
    let most = u32::try_from(MESSAGE_MAX - HEAD_LEN).unwrap();
    assert_eq!(message_len(&head(most), TAG), Ok(MESSAGE_MAX));
    for len in [most + 1, u32::MAX, 0x8000_0000] {
        assert_eq!(message_len(&head(len), TAG), Err(TtlvError::TooLong));
    }
    assert_eq!(message_len(&head(16), TAG + 1), Err(TtlvError::BadValue));
    assert_eq!(message_len(b"HTTP/1.1", TAG), Err(TtlvError::BadValue));
    assert_eq!(decode(&vec![0; MESSAGE_MAX + 1]), Err(TtlvError::TooLong));
}

#[test]
fn what_is_asked_for_must_have_its_type() {
    let bytes = Writer::message(1, |writer| {
        writer.text(2, "text");
        writer.bytes(3, b"bytes");
        writer.enumeration(4, 4);
        writer.integer(5, -5);
        writer.integer(5, 6);
        writer.structure(6, |inner| inner.integer(7, 7));
    });
    let item = decode(&bytes).unwrap();
    assert_eq!((item.text(2), item.bytes(2)), (Some("text"), None));
    assert_eq!((item.bytes(3), item.text(3)), (Some(&b"bytes"[..]), None));
    assert_eq!((item.enumeration(4), item.integer(4)), (Some(4), None));
    assert_eq!((item.integer(5), item.enumeration(5)), (Some(-5), None));
    assert_eq!(item.all(5).count(), 2);
    assert_eq!(item.find(6).unwrap().integer(7), Some(7));
    assert_eq!((item.integer(7), item.text(6)), (None, None));
}

fn written(writer: &mut Writer, item: &Item<'_>) {
    match &item.value {
        Value::Structure(items) => writer.structure(item.tag, |inner| {
            items.iter().for_each(|item| written(inner, item));
        }),
        Value::Integer(number) => writer.integer(item.tag, *number),
        Value::Enumeration(number) => writer.enumeration(item.tag, *number),
        Value::Text(text) => writer.text(item.tag, text),
        Value::Bytes(bytes) => writer.bytes(item.tag, bytes),
        other => panic!("nothing writes {other:?}"),
    }
}

#[derive(Clone, Debug)]
enum Tree {
    Bytes(Vec<u8>),
    Integer(i32),
    Structure(Vec<(u32, Self)>),
    Text(String),
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        any::<Vec<u8>>().prop_map(Tree::Bytes),
        any::<i32>().prop_map(Tree::Integer),
        ".*".prop_map(Tree::Text),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        proptest::collection::vec((0_u32..1 << 24, inner), 0..5).prop_map(Tree::Structure)
    })
}

fn item_of(tag: u32, tree: &Tree) -> Item<'_> {
    let value = match tree {
        Tree::Bytes(bytes) => Value::Bytes(bytes),
        Tree::Integer(number) => Value::Integer(*number),
        Tree::Structure(items) => Value::Structure(
            items
                .iter()
                .map(|(tag, tree)| item_of(*tag, tree))
                .collect(),
        ),
        Tree::Text(text) => Value::Text(text),
    };
    Item { tag, value }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(tag in 0_u32..1 << 24, items in proptest::collection::vec((0_u32..1 << 24, trees()), 0..5)) {
        let tree = Tree::Structure(items);
        let item = item_of(tag, &tree);
        let bytes = Writer::message(tag, |writer| {
            item.items().iter().for_each(|inner| written(writer, inner));
        });
        prop_assert_eq!(decode(&bytes), Ok(item));
        let head = bytes.first_chunk().unwrap();
        prop_assert_eq!(message_len(head, tag), Ok(bytes.len()));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
        drop(decode(&bytes));
    }

    #[test]
    fn altered_messages_do_not_panic(tree in trees(), at: prop::sample::Index, byte: u8) {
        let item = item_of(1, &tree);
        let mut bytes = Writer::message(1, |writer| written(writer, &item));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        drop(decode(&bytes));
    }
}
