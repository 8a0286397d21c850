//! The control socket of a mount: one request in JSON on one line, one answer on one line.
//!
//! `{"op":"status"}` → `{"answer":"status","status":{…}}`;
//! `{"op":"wait"}` → `{"answer":"done"}` when the daemon has written everything and is about to
//! exit; `{"op":"policy-get"}`, `{"op":"policy-set","policy":"…"}`, `{"op":"policy-remove"}`, `{"op":"policy-reload"}` →
//! `{"answer":"policy","policy":"…"}` with the policy that is in force; `{"answer":"error","message":"…"}` for anything else. Only root and the user whose mount
//! it is are answered.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use client::{Client, ControlError, Waiting};
pub use server::{ControlServer, PolicyCall, PolicySource, StatusSource, serve};

mod client;
mod server;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    op: Op,
    /// The text of a policy that is to be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Op {
    PolicyGet,
    PolicyReload,
    PolicyRemove,
    PolicySet,
    Status,
    Wait,
}

impl Request {
    fn of(op: Op) -> Self {
        Self { op, policy: None }
    }
}

impl From<PolicyCall> for Request {
    fn from(call: PolicyCall) -> Self {
        match call {
            PolicyCall::Get => Self::of(Op::PolicyGet),
            PolicyCall::Reload => Self::of(Op::PolicyReload),
            PolicyCall::Remove => Self::of(Op::PolicyRemove),
            PolicyCall::Set(text) => Self {
                op: Op::PolicySet,
                policy: Some(text),
            },
        }
    }
}

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "answer")]
enum Answer {
    Done,
    Error { message: String },
    Policy { policy: Option<String> },
    Status { status: Value },
}

/// A policy, escaped.
const MAX_REQUEST: usize = 4 * crate::policy::MAX_LEN;
const MAX_ANSWER: usize = 1 << 20;

/// Reads up to the end of the line, which is not part of the result. Whoever writes more than
/// `max` bytes, or closes before the line ends, is refused.
fn read_line(stream: &mut impl Read, max: usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut part = [0; 4096];
    loop {
        let len = match stream.read(&mut part) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let read = part.get(..len).unwrap_or_default();
        let end = read.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(read.get(..end.unwrap_or(len)).unwrap_or_default());
        if line.len() > max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the line is too long",
            ));
        }
        match end {
            Some(_) => return Ok(line),
            None if len == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => {}
        }
    }
}

fn write_line(stream: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn start(folder: &Path) -> ControlServer {
        let status: StatusSource = Arc::new(|| json!({ "pid": 7 }));
        server::serve_in(folder, Path::new("/m"), status, policies()).unwrap()
    }

    /// Sets nothing, and says what it was asked for.
    fn policies() -> PolicySource {
        Arc::new(|call| match call {
            PolicyCall::Set(text) if text == "bad" => Err("it is bad".to_owned()),
            PolicyCall::Set(text) => Ok(Some(text)),
            PolicyCall::Remove => Ok(None),
            other => Ok(Some(format!("{other:?}"))),
        })
    }

    fn client(folder: &Path) -> Result<Client, ControlError> {
        Client::connect_in(&[folder.to_owned()], Path::new("/m"), me())
    }

    #[test]
    fn a_line_ends_where_it_ends() {
        assert_eq!(read_line(&mut &b"ab\ncd"[..], 10).unwrap(), b"ab");
        assert_eq!(read_line(&mut &b"\n"[..], 10).unwrap(), b"");
        let long = [b'x'; 11];
        assert_eq!(
            read_line(&mut &long[..], 10).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        for cut in [&b""[..], b"ab"] {
            let error = read_line(&mut &*cut, 10).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn messages_look_as_documented() {
        let line = |message: &Answer| serde_json::to_string(message).unwrap();
        assert_eq!(line(&Answer::Done), r#"{"answer":"done"}"#);
        let status = Answer::Status {
            status: json!({ "a": 1 }),
        };
        assert_eq!(line(&status), r#"{"answer":"status","status":{"a":1}}"#);
        let request: Request = serde_json::from_str(r#"{"op":"wait"}"#).unwrap();
        assert_eq!(request.op, Op::Wait);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "",
            "{}",
            "7",
            r#"{"op":"stop"}"#,
            r#"{"op":"status","x":1}"#,
            r#"["wipe"]"#,
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn status_comes_from_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let _server = start(dir.path());
        assert_eq!(
            client(dir.path()).unwrap().status().unwrap(),
            json!({ "pid": 7 })
        );
    }

    #[test]
    fn a_policy_is_set_shown_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let _server = start(dir.path());
        let ask = |call| client(dir.path()).unwrap().policy(call);
        let text = "[[rule]]\naccess = \"deny\"\n".repeat(1000);
        assert_eq!(ask(PolicyCall::Set(text.clone())).unwrap(), Some(text));
        assert_eq!(ask(PolicyCall::Remove).unwrap(), None);
        assert_eq!(ask(PolicyCall::Get).unwrap().as_deref(), Some("Get"));
        assert_eq!(ask(PolicyCall::Reload).unwrap().as_deref(), Some("Reload"));
        let refused = ask(PolicyCall::Set("bad".to_owned())).unwrap_err();
        assert_eq!(refused.to_string(), "it is bad");
        let without = client(dir.path())
            .unwrap()
            .ask_raw(b"{\"op\":\"policy-set\"}\n")
            .unwrap();
        assert!(matches!(without, Answer::Error { .. }), "{without:?}");
    }

    #[test]
    fn waiting_ends_when_the_daemon_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let server = start(dir.path());
        let mut waiting = client(dir.path()).unwrap().wait_for_end().unwrap();
        // The daemon of this test is this process, which goes on: what counts is the word.
        assert!(!waiting.is_over(Duration::from_millis(50)).unwrap());
        server.finish();
        assert!(waiting.is_over(Duration::from_secs(5)).unwrap());
    }

    #[test]
    fn many_may_wait_and_those_who_left_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let server = start(dir.path());
        for _ in 0..200 {
            let waiting = client(dir.path()).unwrap().wait_for_end().unwrap();
            drop(waiting);
            // So that the daemon gets to it: more than a few at a time are told to come again.
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut last = client(dir.path()).unwrap().wait_for_end().unwrap();
        assert!(!last.is_over(Duration::from_millis(50)).unwrap());
        server.finish();
        assert!(last.is_over(Duration::from_secs(5)).unwrap());
    }

    #[test]
    fn nobody_listens_after_the_end() {
        let dir = tempfile::tempdir().unwrap();
        start(dir.path()).finish();
        assert!(matches!(client(dir.path()), Err(ControlError::NoSocket)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_new_one_outlives_the_old_server() {
        let dir = tempfile::tempdir().unwrap();
        let old = start(dir.path());
        let new = start(dir.path());
        old.finish();
        assert!(client(dir.path()).unwrap().status().is_ok());
        drop(new);
        assert!(matches!(client(dir.path()), Err(ControlError::NoSocket)));
    }

    #[test]
    fn odd_requests_get_an_error_and_harm_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let _server = start(dir.path());
        let long = "x".repeat(MAX_REQUEST + 1);
        for request in ["\n", "{}\n", "\0\n", &format!("{long}\n")] {
            let answer = client(dir.path())
                .unwrap()
                .ask_raw(request.as_bytes())
                .unwrap();
            assert!(matches!(answer, Answer::Error { .. }), "{answer:?}");
        }
        assert!(client(dir.path()).unwrap().status().is_ok());
    }

    #[test]
    fn silent_clients_do_not_lock_others_out() {
        let dir = tempfile::tempdir().unwrap();
        let _server = start(dir.path());
        let silent: Vec<_> = (0..server::MAX_CONNECTIONS * 2)
            .map(|_| client(dir.path()).unwrap())
            .collect();
        let end = Instant::now() + server::PATIENCE * 4;
        while client(dir.path()).unwrap().status().is_err() {
            assert!(Instant::now() < end, "still locked out");
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(silent);
    }

    #[test]
    fn a_status_that_panics_ends_its_connection_only() {
        let dir = tempfile::tempdir().unwrap();
        let calls = std::sync::atomic::AtomicU32::new(0);
        let status: StatusSource =
            Arc::new(
                move || match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                    0 => panic!("first"),
                    _ => json!({}),
                },
            );
        let _server = server::serve_in(dir.path(), Path::new("/m"), status, policies()).unwrap();
        assert!(client(dir.path()).unwrap().status().is_err());
        assert!(client(dir.path()).unwrap().status().is_ok());
    }

    #[test]
    fn a_socket_in_a_folder_of_another_user_is_not_asked() {
        let dir = tempfile::tempdir().unwrap();
        let _server = start(dir.path());
        let found = Client::connect_in(&[dir.path().to_owned()], Path::new("/m"), me() + 1);
        assert!(matches!(found, Err(ControlError::NoSocket)));
    }
}
