//! The audit trail.

use std::io::Cursor;

use serde_json::{Map, Value};

use super::*;
use crate::audit::Verifier;
use crate::kms::engine::ops::keys::{DescribeKey, UpdateKeyDescription};

fn lines(text: &str) -> Vec<Map<String, Value>> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Map<String, Value>| line["event"] == "kms-call")
        .collect()
}

fn verify(bench: &Bench, text: &str) -> crate::audit::Report {
    let root = bench.engine.root.audit().unwrap();
    let service = bench.engine.service_id().to_owned();
    let mut verifier = Verifier::new(None).with_seals(root, service);
    verifier.read("audit.log", Cursor::new(text)).unwrap();
    verifier.finish()
}

#[test]
fn every_call_leaves_a_line_granted_or_refused() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let made = bench
            .run(encrypt(id(&key), b"a secret text"))
            .await
            .unwrap();
        let stranger = bench.principal("stranger", NOTHING).await;
        let denied = bench.engine.perform(&stranger, decrypt(&made.blob)).await;
        denied.unwrap_err();
        let refusal = KmsError::new(ErrorKind::SignatureInvalid, "The signature is wrong.");
        bench
            .engine
            .note_refusal(&stranger, "Decrypt", &refusal)
            .unwrap();
        // Its caller goes away while it waits for another change to be made.
        let write = bench.engine.store.write().await.unwrap();
        let describe = UpdateKeyDescription {
            key: id(&key),
            description: "late".to_owned(),
        };
        tokio::select! {
            biased;
            _ = bench.run(describe) => panic!("two wrote at the same time"),
            () = std::future::ready(()) => {}
        }
        drop(write);
        assert!(bench.engine.close().await);

        let text = std::fs::read_to_string(bench.audit_file()).unwrap();
        assert!(!text.contains("a secret text"));
        assert!(!text.contains(bench.access_key.secret.as_str()));
        let lines = lines(&text);
        let with = |action: &str, result: &str| {
            lines
                .iter()
                .find(|line| line["action"] == action && line["result"] == result)
                .unwrap_or_else(|| panic!("no {action} {result} in {text}"))
        };
        with("CreatePrincipal", "granted");
        with("CreateCredential", "granted");
        let granted = with("Encrypt", "granted");
        assert_eq!(granted["principal"], "admin");
        assert_eq!(granted["key_id"], key.id.0);
        assert_eq!(granted["context"], r#"{"app":"test"}"#);
        assert_eq!(granted["address"], "192.0.2.7");
        assert_eq!(granted["access_key"], "EKMSTEST");
        assert_eq!(granted["dialect"], "alibaba");
        assert_eq!(granted["request_id"], bench.admin.request_id);
        let failed = with("Decrypt", "failed");
        assert_eq!(
            (&failed["error"], &failed["principal"]),
            (&Value::from("AccessDenied"), &Value::from("stranger"))
        );
        assert!(
            lines
                .iter()
                .any(|line| line.get("error") == Some(&Value::from("SignatureInvalid")))
        );
        with("UpdateKeyDescription", "abandoned");
        assert!(verify(&bench, &text).intact);
    });
}

#[test]
fn a_line_that_was_changed_or_taken_out_is_found() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        for _ in 0..3 {
            bench.run(DescribeKey { key: id(&key) }).await.unwrap();
        }
        assert!(bench.engine.close().await);
        let text = std::fs::read_to_string(bench.audit_file()).unwrap();
        let report = verify(&bench, &text);
        assert!(report.intact && report.seals_checked, "{report:?}");
        let all: Vec<_> = text.lines().collect();
        for at in 1..all.len() {
            let mut without = all.clone();
            without.remove(at);
            let is_last = at == all.len() - 1;
            let report = verify(&bench, &(without.join("\n") + "\n"));
            // The last one is missed only by who knows that there was one: the session has no end.
            assert!(
                !report.intact || (is_last && !report.notes.is_empty()),
                "line {at}"
            );
            let mut changed = all.clone();
            let other = changed[at]
                .replace("admin", "adnim")
                .replace("\"clean\":true", "\"clean\":false");
            changed[at] = &other;
            if changed != all {
                assert!(
                    !verify(&bench, &(changed.join("\n") + "\n")).intact,
                    "line {at}"
                );
            }
        }
    });
}

#[test]
fn a_call_waits_for_room_in_a_trail_that_is_full_for_a_moment() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let mut permits = Vec::new();
        while let Ok(Some(permit)) = bench.engine.trail.permit() {
            permits.push(permit);
        }
        assert!(permits.len() > 1000);
        let freed = async {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            drop(permits);
        };
        let (done, ()) = tokio::join!(bench.run(encrypt(id(&key), b"x")), freed);
        done.unwrap();
        assert!(bench.engine.close().await);
    });
}
