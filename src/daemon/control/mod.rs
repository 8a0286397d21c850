//! The control socket of a mount: one request in JSON on one line, one answer on one line.
//!
//! `{"op":"status"}` → `{"answer":"status","status":{…}}`;
//! `{"op":"counters"}` → the same, and no key provider is asked how it is;
//! `{"op":"lock"}` → `{"answer":"done"}` when all keys are gone;
//! `{"op":"unlock"}`, with `"passphrase"` in Base64 where one was asked for → `{"answer":"done"}`, `{"answer":"passphrase"}`
//! where a human must give one, `{"answer":"denied","message":"…"}`, `{"answer":"unavailable","message":"…"}`;
//! `{"op":"wait"}` → `{"answer":"done"}` when the daemon has written everything and is about to
//! exit; `{"op":"run","work":{…}}` → a line `{"answer":"event","event":{…}}` several times a second while a run over all
//! files is under way, and at last `{"answer":"report","report":{…}}` or `{"answer":"failure","failure":{…}}`; it stops
//! when the asker closes; `{"op":"policy-get"}`, `{"op":"policy-set","policy":"…"}`, `{"op":"policy-remove"}`,
//! `{"op":"policy-reload"}` → `{"answer":"policy","policy":"…"}` with the policy that is in force;
//! `{"answer":"error","message":"…"}` for anything else. Only root and the user whose mount
//! it is are answered.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::runs::{Event, RunFailure, RunReport, RunRequest};
use crate::crypto::move_wiped;

pub use client::{Client, ControlError, Unlocking, Waiting};
pub use server::{
    ControlServer, NotUnlocked, PolicyCall, PolicyRefusal, Served, prepare_folder, serve,
};

use secret::Secret;

mod client;
mod secret;
mod server;

/// What a client asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    op: Op,
    /// Of `unlock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passphrase: Option<Secret>,
    /// What a run is to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    work: Option<RunRequest>,
    /// The text of a policy that is to be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
}

impl From<Op> for Request {
    fn from(op: Op) -> Self {
        Self {
            op,
            passphrase: None,
            work: None,
            policy: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Op {
    Counters,
    Lock,
    PolicyGet,
    PolicyReload,
    PolicyRemove,
    PolicySet,
    Run,
    Status,
    Unlock,
    Wait,
}

impl From<PolicyCall> for Request {
    fn from(call: PolicyCall) -> Self {
        match call {
            PolicyCall::Get => Op::PolicyGet.into(),
            PolicyCall::Reload => Op::PolicyReload.into(),
            PolicyCall::Remove => Op::PolicyRemove.into(),
            PolicyCall::Set(text) => Self {
                policy: Some(text),
                ..Op::PolicySet.into()
            },
        }
    }
}

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "answer")]
enum Answer {
    Denied { message: String },
    Done,
    Error { message: String },
    Event { event: Event },
    Failure { failure: RunFailure },
    Passphrase,
    Policy { policy: Option<String> },
    Report { report: RunReport },
    Status { status: Value },
    Unavailable { message: String },
}

/// Room for a policy, escaped; for a passphrase, and for the keys that a run is about.
const MAX_REQUEST: usize = 4 * crate::policy::MAX_LEN;
const MAX_ANSWER: usize = 1 << 20;

/// A line that grows, and leaves nothing of itself behind: there may be a passphrase in it.
#[derive(Default)]
struct Line(Zeroizing<Vec<u8>>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.0.len() + bytes.len();
        if len > self.0.capacity() {
            move_wiped(&mut self.0, len.next_power_of_two());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads up to the end of the line, which is not part of the result. Whoever writes more than
/// `max` bytes, or closes before the line ends, is refused.
fn read_line(stream: &mut impl Read, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Line::default();
    let mut part = Zeroizing::new([0; 4096]);
    loop {
        let len = match stream.read(part.as_mut_slice()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let read = part.get(..len).unwrap_or_default();
        let end = read.iter().position(|byte| *byte == b'\n');
        line.write_all(read.get(..end.unwrap_or(len)).unwrap_or_default())?;
        if line.0.len() > max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the line is too long",
            ));
        }
        match end {
            Some(_) => return Ok(line.0),
            None if len == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => {}
        }
    }
}

fn write_line(stream: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = Line::default();
    serde_json::to_writer(&mut line, message)?;
    line.write_all(b"\n")?;
    stream.write_all(&line.0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;
    use crate::daemon::runs::{Counts, FailureClass, ReencryptRun, SlotsRun};

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn start(folder: &Path) -> ControlServer {
        let mount: Arc<dyn Served> = Arc::new(|| json!({ "pid": 7 }));
        server::serve_in(folder, Path::new("/m"), mount).unwrap()
    }

    fn client(folder: &Path) -> Result<Client, ControlError> {
        Client::connect_in(&[folder.to_owned()], Path::new("/m"), me())
    }

    #[test]
    fn a_line_is_as_long_as_what_it_holds() {
        let mut line = Line::default();
        for _nth in 0..1000 {
            line.write_all(b"0123456789").unwrap();
        }
        assert_eq!(*line.0, b"0123456789".repeat(1000));
        assert!(line.0.capacity() < 2 * line.0.len());
        assert!(
            read_line(&mut &b"short\n"[..], MAX_REQUEST)
                .unwrap()
                .capacity()
                < 100
        );
    }

    #[test]
    fn a_line_ends_where_it_ends() {
        assert_eq!(*read_line(&mut &b"ab\ncd"[..], 10).unwrap(), b"ab");
        assert_eq!(*read_line(&mut &b"\n"[..], 10).unwrap(), b"");
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
            r#"{"op":"unlock","passphrase":7}"#,
            r#"{"op":"unlock","passphrase":"no Base64!"}"#,
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

    /// Opens by `secret`, and fails in every way there is.
    struct Locked {
        secret: Option<&'static [u8]>,
        calls: parking_lot::Mutex<Vec<&'static str>>,
    }

    impl Served for Locked {
        fn status(&self) -> Value {
            json!({})
        }

        fn lock(&self, _uid: u32) {
            self.calls.lock().push("lock");
        }

        fn unlock(&self, passphrase: Option<&[u8]>, _uid: u32) -> Result<(), NotUnlocked> {
            self.calls.lock().push("unlock");
            match (self.secret, passphrase) {
                (None, _) => Err(NotUnlocked::Unavailable("no answer".into())),
                (Some(_), None) => Err(NotUnlocked::PassphraseWanted),
                (Some(secret), Some(given)) if secret == given => Ok(()),
                (Some(_), Some(_)) => Err(NotUnlocked::Denied("wrong".into())),
            }
        }
    }

    #[test]
    fn a_mount_is_locked_and_unlocked_by_a_passphrase_of_any_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let secret: &'static [u8] = b"\xff\x00 pass\n\"word";
        let mount = Arc::new(Locked {
            secret: Some(secret),
            calls: parking_lot::Mutex::default(),
        });
        let served: Arc<dyn Served> = Arc::clone(&mount) as Arc<dyn Served>;
        let _server = server::serve_in(dir.path(), Path::new("/m"), served).unwrap();
        let client = || client(dir.path()).unwrap();
        client().lock().unwrap();
        assert_eq!(client().unlock(None).unwrap(), Unlocking::PassphraseWanted);
        let wrong = client().unlock(Some(b"wrong")).unwrap_err();
        assert!(matches!(wrong, ControlError::KeyDenied(why) if why == "wrong"));
        assert_eq!(client().unlock(Some(secret)).unwrap(), Unlocking::Done);
        let longest = client().unlock(Some(&[b'x'; 4096])).unwrap_err();
        assert!(matches!(longest, ControlError::KeyDenied(_)), "{longest}");
        assert_eq!(
            *mount.calls.lock(),
            ["lock", "unlock", "unlock", "unlock", "unlock"]
        );
    }

    #[test]
    fn a_provider_that_is_out_of_reach_is_told_from_one_that_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let mount: Arc<dyn Served> = Arc::new(Locked {
            secret: None,
            calls: parking_lot::Mutex::default(),
        });
        let _server = server::serve_in(dir.path(), Path::new("/m"), mount).unwrap();
        let error = client(dir.path()).unwrap().unlock(None).unwrap_err();
        assert!(matches!(error, ControlError::KeyUnavailable(_)), "{error}");
    }

    #[test]
    fn a_request_shows_no_passphrase() {
        let request: Request =
            serde_json::from_str(r#"{"op":"unlock","passphrase":"c2VjcmV0"}"#).unwrap();
        let shown = format!("{request:?}");
        assert!(
            !shown.contains("c2Vj") && !shown.contains("secret"),
            "{shown}"
        );
        assert_eq!(**request.passphrase.unwrap().bytes(), *b"secret");
    }

    /// Carries out runs by a closure.
    struct Runs<F>(F);

    impl<F> Served for Runs<F>
    where
        F: Fn(&RunRequest, &mut dyn FnMut(Event) -> bool) -> Result<RunReport, RunFailure>
            + Send
            + Sync,
    {
        fn status(&self) -> Value {
            json!({})
        }

        fn lock(&self, _uid: u32) {}

        fn run(
            &self,
            request: &RunRequest,
            tell: &mut dyn FnMut(Event) -> bool,
        ) -> Result<RunReport, RunFailure> {
            (self.0)(request, tell)
        }
    }

    fn start_with(
        folder: &Path,
        runs: impl Fn(&RunRequest, &mut dyn FnMut(Event) -> bool) -> Result<RunReport, RunFailure>
        + Send
        + Sync
        + 'static,
    ) -> ControlServer {
        server::serve_in(folder, Path::new("/m"), Arc::new(Runs(runs))).unwrap()
    }

    fn progress(files: u64) -> Event {
        Event::Progress(Counts {
            files,
            ..Counts::default()
        })
    }

    #[test]
    fn a_run_is_told_of_line_by_line_and_then_reported() {
        let dir = tempfile::tempdir().unwrap();
        let runs = |request: &RunRequest, tell: &mut dyn FnMut(Event) -> bool| {
            assert_eq!(request, &RunRequest::Slots(SlotsRun::default()));
            assert!((0..3000).all(|files| tell(progress(files))));
            Ok(RunReport {
                complete: true,
                ..RunReport::default()
            })
        };
        let _server = start_with(dir.path(), runs);
        let mut heard = 0;
        let request = RunRequest::Slots(SlotsRun::default());
        let asked = client(dir.path()).unwrap();
        let done = asked.run(&request, |event| {
            assert_eq!(event, progress(heard));
            heard += 1;
        });
        assert!(done.unwrap().unwrap().complete);
        assert_eq!(heard, 3000);
    }

    #[test]
    fn a_run_that_fails_says_how_and_one_without_work_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let failure = RunFailure {
            class: FailureClass::Busy,
            why: "another".into(),
        };
        let told = failure.clone();
        let _server = start_with(dir.path(), move |_, _| Err(told.clone()));
        let request = RunRequest::Reencrypt(ReencryptRun::default());
        let asked = client(dir.path()).unwrap().run(&request, |_event| ());
        assert_eq!(asked.unwrap(), Err(failure));
        for request in [
            "{\"op\":\"run\"}\n",
            "{\"op\":\"run\",\"work\":{\"run\":\"wipe\"}}\n",
            "{\"op\":\"run\",\"work\":{\"run\":\"reencrypt\",\"x\":1}}\n",
        ] {
            let answer = client(dir.path()).unwrap().ask_raw(request.as_bytes());
            assert!(matches!(answer, Ok(Answer::Error { .. })), "{answer:?}");
        }
    }

    #[test]
    fn a_run_hears_that_its_asker_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, left) = std::sync::mpsc::channel();
        let sender = std::sync::Mutex::new(sender);
        let runs = move |_request: &RunRequest, tell: &mut dyn FnMut(Event) -> bool| {
            while tell(progress(1)) {
                std::thread::sleep(Duration::from_millis(1));
            }
            sender.lock().unwrap().send(()).unwrap();
            Ok(RunReport::default())
        };
        let _server = start_with(dir.path(), runs);
        let request = Request {
            work: Some(RunRequest::Slots(SlotsRun::default())),
            ..Op::Run.into()
        };
        let mut line = serde_json::to_vec(&request).unwrap();
        line.push(b'\n');
        drop(client(dir.path()).unwrap().ask_raw(&line).unwrap());
        left.recv_timeout(Duration::from_secs(10)).unwrap();
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
        assert!(matches!(refused, ControlError::Refused(why) if why == "it is bad"));
        let refused = ask(PolicyCall::Set("early".to_owned())).unwrap_err();
        assert!(matches!(refused, ControlError::KeyDenied(why) if why == "it is locked"));
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
        let mount: Arc<dyn Served> =
            Arc::new(
                move || match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                    0 => panic!("first"),
                    _ => json!({}),
                },
            );
        let _server = server::serve_in(dir.path(), Path::new("/m"), mount).unwrap();
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
