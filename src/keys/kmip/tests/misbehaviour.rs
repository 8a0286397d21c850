//! Servers that are slow, cut off, or answer what is no KMIP.

use std::io::Read as _;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::super::double::{Double, send};
use super::super::message::{Operation, tag};
use super::super::ttlv::{self, MESSAGE_MAX, Writer};
use super::*;

/// Within three times what a call may take, on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

/// The head of a response of this length.
fn head(len: u32) -> Vec<u8> {
    [&[0x42, 0x00, 0x7B, 0x01][..], &len.to_be_bytes()].concat()
}

fn refused(double: &Double) -> String {
    let began = Instant::now();
    let (why, text) = kind(double.open().generate(&CONTEXT));
    assert_eq!(why, KeyErrorKind::Unavailable, "{text}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    text
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    for double in [
        Double::raw(|mut stream| {
            // Reads what it is sent, and holds the connection.
            let _read = stream.read_to_end(&mut Vec::new());
        }),
        Double::answering("server", |_tls, _request| {}),
    ] {
        let text = refused(&double);
        assert!(text.contains("in time"), "{text}");
    }
}

#[test]
fn all_who_wait_for_a_server_that_says_nothing_share_one_timeout() {
    const WAITERS: usize = 8;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let double = Double::raw(move |mut stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        let _read = stream.read_to_end(&mut Vec::new());
    });
    let provider = double.open();
    let all_here = Barrier::new(WAITERS);
    std::thread::scope(|scope| {
        for _ in 0..WAITERS {
            scope.spawn(|| {
                all_here.wait();
                let (why, text) = kind(provider.generate(&CONTEXT));
                assert_eq!(why, KeyErrorKind::Unavailable, "{text}");
                assert!(text.contains("in time"), "{text}");
            });
        }
    });
    // One that came late, on a machine under load, may have asked for itself.
    let asked = connections.load(Ordering::SeqCst);
    assert!(asked <= WAITERS / 2, "{asked}");
}

#[test]
fn a_server_that_trickles_is_given_up() {
    let double = Double::answering("server", |tls, _request| {
        for byte in head(40_000).iter().chain(&[0; 2000]) {
            send(tls, &[*byte]);
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let text = refused(&double);
    assert!(text.contains("in time"), "{text}");
}

#[test]
fn a_cut_connection_is_an_answer_that_is_cut() {
    for len in [0, 1, 7, 8, 20] {
        let double = Double::answering("server", move |tls, _request| {
            let bytes = [head(100), vec![0; 100]].concat();
            send(tls, &bytes[..len]);
            tls.conn.send_close_notify();
            send(tls, &[]);
            drop(tls.sock.shutdown(std::net::Shutdown::Both));
        });
        let text = refused(&double);
        let words = ["is cut", "closes the connection"];
        assert!(
            words.iter().any(|word| text.contains(word)),
            "{len}: {text}"
        );
    }
}

#[test]
fn a_connection_that_is_cut_before_tls_is_told() {
    let text = refused(&Double::raw(drop));
    assert!(text.contains("closes the connection"), "{text}");
}

#[test]
fn nobody_at_the_port_is_told() {
    let double = Double::raw(drop);
    let port = pykmip::free_port();
    let (why, text) = kind(Double { port, ..double }.open().generate(&CONTEXT));
    assert_eq!(why, KeyErrorKind::Unavailable);
    assert!(text.contains("refuses connections"), "{text}");
}

#[test]
fn what_speaks_no_tls_is_told() {
    let text = refused(&Double::raw(|mut stream| {
        use std::io::Write as _;
        let _sent = stream.write_all(b"220 mail.example ESMTP\r\n");
        let _read = stream.read_to_end(&mut Vec::new());
    }));
    assert!(text.contains("TLS"), "{text}");
}

#[test]
fn garbage_and_huge_lengths_are_refused_unread() {
    let most = u32::try_from(MESSAGE_MAX).unwrap();
    for bytes in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        head(u32::MAX),
        head(most),
        [head(16), vec![0xFF; 16]].concat(),
        [head(8), head(0)].concat(),
        // A structure that claims more than there is.
        [head(8), head(80)].concat(),
        head(0),
    ] {
        let double = Double::answering("server", move |tls, _request| send(tls, &bytes));
        let text = refused(&double);
        assert!(text.contains("no KMIP message"), "{text}");
    }
}

#[test]
fn a_server_with_another_name_is_not_trusted() {
    let double = Double::answering("elsewhere", |_tls, _request| {});
    let text = refused(&double);
    assert!(text.contains("cannot be trusted"), "{text}");
}

/// A server that knows of no additional data and of no tag: it passes over both, as over any field that
/// it does not know. Its cipher is none.
fn careless(request: &[u8]) -> Zeroizing<Vec<u8>> {
    let message = ttlv::decode(request).unwrap();
    let item = message.find(tag::BATCH_ITEM).unwrap();
    let asked = item.enumeration(tag::OPERATION).unwrap();
    let payload = item.find(tag::REQUEST_PAYLOAD).unwrap();
    let parameters = payload.find(tag::CRYPTOGRAPHIC_PARAMETERS);
    let cbc = parameters.and_then(|found| found.enumeration(tag::BLOCK_CIPHER_MODE)) == Some(1);
    let is = |operation: Operation| operation.number() == asked;
    let data = payload.bytes(tag::DATA).unwrap_or_default();
    Writer::message(tag::RESPONSE_MESSAGE, |writer| {
        writer.structure(tag::BATCH_ITEM, |writer| {
            writer.enumeration(tag::OPERATION, asked);
            writer.enumeration(tag::RESULT_STATUS, 0);
            writer.structure(tag::RESPONSE_PAYLOAD, |writer| {
                if is(Operation::DiscoverVersions) {
                    Version::NEWEST.write(writer);
                } else if is(Operation::GetAttributes) {
                    for (name, value) in [("State", 2), ("Cryptographic Algorithm", 3)] {
                        writer.structure(tag::ATTRIBUTE, |writer| {
                            writer.text(tag::ATTRIBUTE_NAME, name);
                            writer.enumeration(tag::ATTRIBUTE_VALUE, value);
                        });
                    }
                } else if is(Operation::Encrypt) {
                    let padding = if cbc { &[16; 16][..] } else { &[] };
                    writer.bytes(tag::DATA, &[data, padding].concat());
                    writer.bytes(
                        tag::AUTHENTICATION_TAG,
                        &[0; 16][..if cbc { 0 } else { 16 }],
                    );
                } else if is(Operation::Decrypt) {
                    writer.bytes(tag::DATA, data.get(..32).unwrap_or_default());
                } else {
                    writer.text(tag::UNIQUE_IDENTIFIER, "7");
                }
            });
        });
    })
}

#[test]
fn a_server_that_binds_nothing_is_not_taken_for_one_that_does() {
    let double = Double::answering("server", |tls, request| send(tls, &careless(request)));
    let provider = double.open();
    let health = provider.probe().unwrap();
    assert_eq!(health.mechanism, Some("AES-CBC and a key in between"));
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    // Whatever the server says yes to, what was altered or is another file's does not open.
    for at in 0..wrapped.bytes.len() {
        // The IV means nothing to this cipher, and the padding nothing to this server.
        if (2..18).contains(&at) || (50..66).contains(&at) {
            continue;
        }
        let mut altered = wrapped.clone();
        altered.bytes[at] ^= 1;
        let (why, text) = kind(provider.unwrap(&altered, &CONTEXT));
        assert_eq!(why, KeyErrorKind::Corrupt, "byte {at}: {text}");
    }
    let other = EncryptionContext {
        file: None,
        ..CONTEXT
    };
    assert_eq!(
        kind(provider.unwrap(&wrapped, &other)).0,
        KeyErrorKind::Corrupt
    );
}
