//! Servers that are slow, cut off, or answer what is no KMIP.

use std::io::Read as _;
use std::time::Instant;

use super::super::double::{Double, send};
use super::super::ttlv::MESSAGE_MAX;
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
