//! Requests to the key service: a head and a body as text, read and answered by both dialects.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::runtime::Runtime;

use super::ACCOUNT;
use crate::keys::{FileProvider, KeyProvider as _, ProviderOptions, Providers};
use crate::kms::api::alibaba::{self, Asked};
use crate::kms::api::{Answer, Asking, Place, aws};
use crate::kms::audit::TrailOptions;
use crate::kms::auth::{AuthError, Form, Request, SignedRequest};
use crate::kms::engine::ids::KeyNames;
use crate::kms::engine::model::{KeyRef, KeySpec, KeyUsage, Origin, ProtectionLevel};
use crate::kms::engine::ops::admin::CreatePrincipal;
use crate::kms::engine::ops::keys::CreateKey;
use crate::kms::engine::ops::names::CreateAlias;
use crate::kms::engine::{Caller, Dialect, Engine, EngineOptions, Initial};
use crate::kms::store::Location;

const REGION: &str = "cn-local";
/// When the seeds were signed, and with what.
const NOW: &str = "2026-11-22T12:00:00Z";
const SECRET: &[u8] = b"testsecret";
/// Whoever asks may use keys, and change nothing.
const POLICY: &str = r#"{"Version":"1","Statement":[{"Effect":"Allow","Resource":"*","Action":["kms:Encrypt","kms:Decrypt",
    "kms:ReEncrypt*","kms:GenerateDataKey","kms:GenerateDataKeyWithoutPlaintext","kms:GenerateRandom","kms:GenerateMac",
    "kms:VerifyMac","kms:Sign","kms:Verify","kms:ExportDataKey","kms:Describe*","kms:List*","kms:Get*"]}]}"#;

/// A key service to ask, with some keys.
#[derive(Debug)]
pub struct Service {
    runtime: Runtime,
    engine: Arc<Engine>,
    place: Place,
    now: Timestamp,
}

impl Service {
    /// Makes one in an empty folder, which is the caller's to take away.
    ///
    /// # Panics
    ///
    /// Where there cannot be one.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a fuzzer without its service ends")]
    pub fn new(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let root = FileProvider::create(&folder.join("root.json")).expect("a root key");
        let options = EngineOptions {
            location: Location::Sqlite(folder.join("kms.db")),
            providers: Arc::new(Providers::new(ProviderOptions::default())),
            trail: TrailOptions::none(),
            hsm: None,
            keys_cached: 1000,
        };
        let initial = Initial {
            names: KeyNames {
                account: ACCOUNT.to_owned(),
                region: REGION.to_owned(),
            },
            root: root.uri().clone(),
            administrator: "admin".to_owned(),
        };
        let engine = runtime.block_on(async {
            let (engine, _access_key) = Engine::create(options, initial).await.expect("a service");
            furnish(&engine).await;
            engine
        });
        Self {
            runtime,
            engine,
            place: Place::new(REGION, ACCOUNT).expect("a place"),
            now: NOW.parse().expect("a time"),
        }
    }

    fn asking(&self, dialect: Dialect) -> Asking<'_> {
        let caller = Caller {
            principal: "reader".to_owned(),
            dialect,
            address: Some(Ipv4Addr::new(192, 0, 2, 1).into()),
            ..Caller::local("fuzz")
        };
        Asking {
            engine: &self.engine,
            caller,
            place: &self.place,
        }
    }

    /// Closes it.
    pub fn close(self) {
        self.runtime.block_on(self.engine.close());
    }
}

#[expect(clippy::expect_used, reason = "a fuzzer without its keys ends")]
async fn furnish(engine: &Engine) {
    let caller = Caller::local("fuzz");
    let reader = CreatePrincipal {
        name: "reader".to_owned(),
        policy: POLICY.to_owned(),
    };
    engine.perform(&caller, reader).await.expect("a principal");
    for (name, spec, usage) in [
        ("alias/app", KeySpec::Aes256, KeyUsage::EncryptDecrypt),
        ("alias/sign", KeySpec::EcP256, KeyUsage::SignVerify),
        ("alias/mac", KeySpec::Hmac256, KeyUsage::GenerateVerifyMac),
    ] {
        let create = CreateKey {
            description: String::new(),
            spec,
            usage,
            origin: Origin::Service,
            protection: ProtectionLevel::Software,
            rotation_period: None,
            tags: Vec::new(),
            policy: None,
        };
        let key = engine.perform(&caller, create).await.expect("a key");
        let alias = CreateAlias {
            name: name.to_owned(),
            key: KeyRef::Id(key.id),
        };
        engine.perform(&caller, alias).await.expect("an alias");
    }
}

/// A request line, headers, an empty line and a body; as much of them as there is.
struct Framed<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    /// Their names in lower case.
    headers: Vec<(String, &'a str)>,
    body: &'a [u8],
}

impl<'a> Framed<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let end = data.windows(2).position(|two| two == b"\n\n");
        let (head, body) = data.split_at(end.unwrap_or(data.len()));
        let mut lines = std::str::from_utf8(head).ok()?.lines();
        let (method, target) = lines.next()?.split_once(' ')?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |line: &'a str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim()))
        };
        Some(Self {
            method,
            path,
            query,
            headers: lines.map_while(header).collect(),
            body: body.get(2..).unwrap_or_default(),
        })
    }

    fn header(&self, wanted: &str) -> Option<&'a str> {
        let mut named = self.headers.iter().filter(|(name, _)| name == wanted);
        named.next().map(|(_, value)| *value)
    }

    /// Whose it says that it is, and whether that holds.
    fn signature(&self, service: &Service) -> String {
        let headers = self.headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let request = Request {
            method: self.method,
            path: self.path,
            query: self.query,
            headers: &headers,
            body: self.body,
        };
        match SignedRequest::parse(&request, service.now) {
            Err(error) => refusal(&error),
            Ok(signed) => match signed.verify(SECRET) {
                Ok(proven) => format!("{:?}", proven.scheme()),
                Err(error) => refusal(&error),
            },
        }
    }
}

/// By its kind and what is missing, and not by the names that the request has.
fn refusal(error: &AuthError) -> String {
    format!("{error:?}")
        .chars()
        .filter(|one| !one.is_ascii_digit())
        .take(60)
        .collect()
}

/// A request of a client of Alibaba Cloud KMS.
///
/// # Panics
///
/// Where the service fails at it, rather than do or refuse it.
#[must_use]
pub fn alibaba_request(service: &Service, data: &[u8]) -> String {
    let Some(framed) = Framed::parse(data) else {
        return "no request".to_owned();
    };
    let signature = framed.signature(service);
    let body = std::str::from_utf8(framed.body).unwrap_or_default();
    let Ok(form) = Form::parse(&[framed.query, body]) else {
        return format!("{signature}, no form");
    };
    let given = |header, parameter| framed.header(header).or_else(|| form.get(parameter));
    let asked = Asked {
        action: given("x-acs-action", "Action").unwrap_or_default(),
        version: given("x-acs-version", "Version").unwrap_or_default(),
        parameters: &form,
        json_by_default: framed.header("x-acs-action").is_some(),
    };
    let asking = service.asking(Dialect::Alibaba);
    let answer = service.runtime.block_on(alibaba::answer(asking, asked));
    format!("{signature}, {}", checked(&answer))
}

/// A request of a client of AWS KMS.
///
/// # Panics
///
/// As [`alibaba_request`].
#[must_use]
pub fn aws_request(service: &Service, data: &[u8]) -> String {
    let Some(framed) = Framed::parse(data) else {
        return "no request".to_owned();
    };
    let signature = framed.signature(service);
    let asking = service.asking(Dialect::Aws);
    let target = framed.header("x-amz-target").unwrap_or_default();
    let answered = service
        .runtime
        .block_on(aws::answer(asking, target, framed.body));
    format!("{signature}, {}", checked(&answered))
}

/// An answer is JSON or nothing, and no request brings about a failure of the service.
fn checked(answer: &Answer) -> String {
    let code = answer.error.unwrap_or_default();
    // The store is late on a machine that does much else.
    let is_late = ["DependencyTimeoutException", "ServiceUnavailableTemporary"].contains(&code);
    assert!(
        answer.status < 500 || is_late,
        "{} {code}",
        answer.operation
    );
    assert_eq!(answer.status == 200, answer.error.is_none());
    let body = &answer.body.0;
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    assert!(
        is_json || body.is_empty(),
        "{} answers no JSON",
        answer.operation
    );
    format!("{} {} {code}", answer.operation, answer.status)
}
