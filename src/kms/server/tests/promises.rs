//! SECURITY.md tells the limits that the code has.

use std::time::Duration;

use jiff::SignedDuration;

use crate::audit::sink::QUEUE;
use crate::kms::api::failures::{
    LINES, OF_ONE_SOURCE, Quota, SOURCES_MAX, SUM_EVERY, SUM_LINES_MAX,
};
use crate::kms::api::{console, rest};
use crate::kms::auth::{REMEMBERED, REPEAT_MAX, WINDOW};
use crate::kms::engine::EncryptionContext;
use crate::kms::engine::ops::{access, admin, data, import, names, versions};
use crate::kms::engine::service::{SEEN_WITHIN, STALE_AT_MOST};
use crate::kms::engine::sessions;
use crate::kms::material::blob;
use crate::kms::policy::document;
use crate::kms::server::Limits;
use crate::kms::server::body::SHORT;

fn bytes(count: usize) -> String {
    for (unit, size) in [("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if count.is_multiple_of(size) {
            return format!("{} {unit}", count / size);
        }
    }
    format!("{count} bytes")
}

fn time(time: Duration) -> String {
    let millis = time.as_millis();
    for (unit, size) in [("h", 3_600_000), ("min", 60_000), ("s", 1000)] {
        if millis.is_multiple_of(size) {
            return format!("{} {unit}", millis / size);
        }
    }
    format!("{millis} ms")
}

fn signed(span: SignedDuration) -> String {
    time(span.unsigned_abs())
}

/// What is limited, and to what.
type Row = (&'static str, String);

fn limits() -> Vec<Row> {
    [
        of_the_port(),
        of_what_comes_again(),
        of_failures(),
        of_the_engine(),
    ]
    .concat()
}

fn of_the_port() -> Vec<Row> {
    let of = Limits::default();
    let rate = of.requests_per_second.unwrap();
    let (total, own) = (bytes(of.bodies), bytes(of.bodies_per_source));
    vec![
        ("request line and headers", bytes(of.head)),
        ("body of a signed request", bytes(of.body)),
        (
            "body and plaintext of the REST interface",
            format!("{}, {}", bytes(rest::BODY_MAX), bytes(rest::PLAINTEXT_MAX)),
        ),
        ("body of a console request", bytes(console::BODY_MAX)),
        (
            "memory of bodies longer than 16 KiB",
            format!("{total} in total, {own} of one source"),
        ),
        (
            "connections",
            format!(
                "{} in total, {} of one source",
                of.connections, of.connections_per_source
            ),
        ),
        (
            "requests of one access key",
            format!("{rate} a second, unless the configuration says otherwise"),
        ),
        (
            "TLS handshake; idle connection; request",
            format!(
                "{}; {}; {}",
                time(of.handshake),
                time(of.idle),
                time(of.request)
            ),
        ),
        (
            "requests that still end when the server does",
            time(of.grace),
        ),
    ]
}

fn of_what_comes_again() -> Vec<Row> {
    vec![
        (
            "time of a signed request",
            format!("{} from the server's", signed(WINDOW)),
        ),
        (
            "time of a request of the REST interface",
            format!("{} from the server's", signed(rest::WINDOW)),
        ),
        (
            "nonces that are remembered, of all access keys",
            format!("{REMEMBERED}, each as long as its request could come again"),
        ),
        (
            "the same SigV4 request, which has no nonce",
            format!("may come again for {}", signed(REPEAT_MAX)),
        ),
    ]
}

fn of_failures() -> Vec<Row> {
    let failures = |quota: Quota| {
        let (at_once, each) = (quota.at_once, time(quota.one_every));
        format!("{at_once} at once, then one each {each}")
    };
    vec![
        (
            "access keys given wrong, of one source",
            failures(OF_ONE_SOURCE),
        ),
        (
            "audit lines of requests that prove nothing, of one source",
            failures(OF_ONE_SOURCE),
        ),
        (
            "audit lines of requests that prove nothing, of all",
            failures(LINES),
        ),
        (
            "the rest of these in sum",
            format!("each {}, {SUM_LINES_MAX} sources by name", time(SUM_EVERY)),
        ),
        ("sources that are told apart", SOURCES_MAX.to_string()),
        ("audit lines that wait to be written", QUEUE.to_string()),
    ]
}

fn of_the_engine() -> Vec<Row> {
    let (sessions, of_key) = (sessions::SESSIONS_MAX, sessions::SESSIONS_PER_KEY_MAX);
    vec![
        (
            "console session",
            format!(
                "{} without a request, {} in all",
                signed(sessions::IDLE_MAX),
                signed(sessions::AGE_MAX)
            ),
        ),
        (
            "console sessions",
            format!("{sessions} in total, {of_key} of one access key"),
        ),
        ("plaintext of a ciphertext", bytes(blob::PLAINTEXT_LEN_MAX)),
        ("encryption context", bytes(EncryptionContext::LEN_MAX)),
        (
            "random bytes; data key",
            format!("{} bytes", data::RANDOM_MAX),
        ),
        (
            "policy",
            format!(
                "{}, {} statements",
                bytes(document::LEN_MAX),
                document::STATEMENTS_MAX
            ),
        ),
        (
            "of one key",
            format!(
                "{} versions, {} aliases, {} tags, {} grants",
                versions::VERSIONS_MAX,
                names::ALIASES_MAX,
                names::TAGS_MAX,
                access::GRANTS_MAX
            ),
        ),
        (
            "access keys of a principal",
            admin::CREDENTIALS_MAX.to_string(),
        ),
        (
            "import token",
            format!(
                "{}; with RSAES_PKCS1_V1_5 one attempt",
                signed(import::TOKEN_LIFE)
            ),
        ),
        (
            "a change is seen by the other servers",
            format!(
                "within {}, or within {} whatever breaks",
                time(SEEN_WITHIN),
                time(STALE_AT_MOST)
            ),
        ),
    ]
}

/// `ENVELOPEFS_UPDATE_DOCS=1 cargo test --lib kms::server::tests::promises` writes the table anew.
#[test]
fn the_limits_of_security_md_are_the_codes_own() {
    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md");
    assert_eq!(SHORT, 16 * 1024, "the row of bodies names it");
    let mut table = "| what | limit |\n|---|---|\n".to_owned();
    for (what, limit) in limits() {
        table += &format!("| {what} | {limit} |\n");
    }
    let document = std::fs::read_to_string(PATH).unwrap();
    let begin = "<!-- begin limits -->\n";
    let start = document.find(begin).unwrap() + begin.len();
    let stop = document.find("<!-- end limits -->").unwrap();
    let mut wanted = document.clone();
    wanted.replace_range(start..stop, &table);
    if std::env::var_os("ENVELOPEFS_UPDATE_DOCS").is_some() {
        std::fs::write(PATH, &wanted).unwrap();
    } else {
        assert!(
            document == wanted,
            "SECURITY.md is behind: run this test with ENVELOPEFS_UPDATE_DOCS=1"
        );
    }
}
