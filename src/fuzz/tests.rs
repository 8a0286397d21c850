//! Every target for a while: `ENVELOPE_FUZZ_SECONDS` (1) each, from `ENVELOPE_FUZZ_SEED` (random, and told).

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use data_encoding::BASE64;

use super::hunt::{Chance, hunt};
use super::request::{Service, alibaba_request, aws_request};
use super::*;
use crate::crypto::random;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_error| panic!("{variable} is no number: {text}")),
    )
}

fn fuzz(name: &str, target: &dyn Fn(&[u8]) -> String) {
    let seeds = corpus(name);
    let ways: HashSet<_> = seeds.iter().map(|seed| target(seed)).collect();
    assert!(ways.len() >= 3, "the seeds of {name} go {ways:?} only");
    let seed = number("ENVELOPE_FUZZ_SEED").unwrap_or_else(|| u64::from_le_bytes(random::array()));
    let seconds = Duration::from_secs(number("ENVELOPE_FUZZ_SECONDS").unwrap_or(1));
    println!("{name}: ENVELOPE_FUZZ_SEED={seed}, {} s", seconds.as_secs());
    let since = Instant::now();
    match hunt(target, &seeds, &mut Chance::new(seed), |_tried| {
        since.elapsed() < seconds
    }) {
        Ok(tried) => println!("{name}: {tried} inputs, nothing found"),
        Err(found) => panic!(
            "{name} with ENVELOPE_FUZZ_SEED={seed}, after {} inputs: {}\n{}",
            found.after,
            found.said,
            BASE64.encode(&found.input)
        ),
    }
}

#[test]
fn any_ciphertext_blob_is_opened_or_refused() {
    fuzz("ciphertext_blob", &ciphertext_blob);
}

#[test]
fn any_policy_document_is_read_or_refused() {
    fuzz("policy_document", &policy_document);
}

#[test]
fn any_file_header_is_read_or_refused() {
    fuzz("file_header", &file_header);
}

#[test]
fn any_volume_json_is_read_or_refused() {
    fuzz("volume_json", &volume_json);
}

#[test]
fn any_request_of_alibabas_clients_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::new(folder.path());
    fuzz("alibaba_request", &|data| alibaba_request(&service, data));
    service.close();
}

#[test]
fn any_request_of_awss_clients_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::new(folder.path());
    fuzz("aws_request", &|data| aws_request(&service, data));
    service.close();
}

/// The seeds hold requests that are signed right, in each scheme: the fuzzers begin behind the signature too.
#[test]
fn seeds_are_signed_in_every_scheme() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::new(folder.path());
    let mut ways: Vec<_> = corpus("alibaba_request")
        .iter()
        .map(|seed| alibaba_request(&service, seed))
        .collect();
    ways.extend(
        corpus("aws_request")
            .iter()
            .map(|seed| aws_request(&service, seed)),
    );
    for scheme in ["AlibabaV1, ", "Acs3, ", "AwsSigV4, "] {
        let is_signed = ways
            .iter()
            .any(|way| way.starts_with(scheme) && way.contains(" 200 "));
        assert!(is_signed, "{scheme} {ways:#?}");
    }
    service.close();
}

/// A parser that trusts a length in its input, as none here may.
fn trusts_a_length(data: &[u8]) -> String {
    if data.len() < 96 || FileHeader::tag_in(data).is_none() {
        return "short".to_owned();
    }
    let len = u32::from_le_bytes(data[56..60].try_into().unwrap());
    let slots = &data[96..96 + usize::try_from(len).unwrap()];
    format!("{}", slots.is_empty())
}

/// A reader of escapes that takes two digits for granted.
fn trusts_an_escape(data: &[u8]) -> String {
    let at = data.iter().position(|byte| *byte == b'%');
    let digits = at.map(|at| &data[at + 1..at + 3]);
    format!("{}", digits.is_some())
}

#[test]
fn planted_faults_are_found() {
    // What the planted ones say is not for who reads the tests.
    for (name, target) in [
        ("file_header", trusts_a_length as fn(&[u8]) -> String),
        ("alibaba_request", trusts_an_escape),
    ] {
        let found = hunt(&target, &corpus(name), &mut Chance::new(7), |tried| {
            tried < 100_000
        });
        let found = found.expect_err(name);
        assert!(found.said.contains("range end index"), "{found:?}");
        let again = hunt(&target, &corpus(name), &mut Chance::new(7), |tried| {
            tried < 100_000
        });
        let again = again.expect_err(name);
        assert_eq!(
            (again.after, again.input),
            (found.after, found.input),
            "the same seed"
        );
    }
}

#[test]
fn a_parser_without_faults_is_let_be() {
    let tried = hunt(
        &|_data| String::new(),
        &[vec![1, 2, 3]],
        &mut Chance::new(7),
        |tried| tried < 1000,
    );
    assert_eq!(tried.unwrap(), 1000);
}
