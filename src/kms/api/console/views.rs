//! What the engine knows, as the pages' scripts take it: names as the engine spells them, times as RFC 3339 has them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::kms::api::web::WebError;
use crate::kms::audit::recent::{Minute, RecentCall};
use crate::kms::engine::KmsError;
use crate::kms::engine::model::{Grant, GrantConstraint, Key, KeyVersion, PageRequest, Rotation};
use crate::kms::engine::ops::admin::VersionUse;

const DAY: u64 = 24 * 60 * 60;

/// As many as a list gives at once.
pub(super) const PAGE: u32 = 1000;

pub(super) fn page(offset: u64) -> PageRequest {
    PageRequest {
        offset,
        limit: PAGE,
    }
}

/// Days of a period.
pub(super) fn days(days: u32) -> Duration {
    Duration::from_secs(DAY.saturating_mul(days.into()))
}

#[derive(Serialize)]
pub(super) struct KeyView {
    id: String,
    description: String,
    spec: &'static str,
    usage: &'static str,
    origin: &'static str,
    protection: &'static str,
    state: &'static str,
    created: String,
    creator: String,
    deletion: Option<String>,
    material_expires: Option<String>,
    primary: Option<String>,
    rotates: bool,
    rotation: RotationView,
    protected: bool,
    /// Of names only; filled in where aliases were asked for.
    aliases: Vec<String>,
}

impl KeyView {
    pub(super) fn named(self, aliases: Vec<String>) -> Self {
        Self { aliases, ..self }
    }
}

#[derive(Serialize)]
pub(super) struct RotationView {
    days: Option<u64>,
    last: Option<String>,
    next: Option<String>,
}

impl From<Key> for KeyView {
    fn from(key: Key) -> Self {
        use crate::kms::engine::model::Origin;
        Self {
            rotates: key.spec.is_symmetric() && key.origin == Origin::Service,
            id: key.id.0,
            description: key.description,
            spec: key.spec.name(),
            usage: key.usage.name(),
            origin: key.origin.name(),
            protection: key.protection.name(),
            state: key.state.name(),
            created: key.created.to_string(),
            creator: key.creator,
            deletion: key.deletion.map(|time| time.to_string()),
            material_expires: key.material_expires.map(|time| time.to_string()),
            primary: key.primary.map(|version| version.0),
            rotation: key.rotation.into(),
            protected: key.deletion_protection.is_some(),
            aliases: Vec::new(),
        }
    }
}

impl From<Rotation> for RotationView {
    fn from(rotation: Rotation) -> Self {
        let period = rotation.period.filter(|_period| rotation.enabled);
        Self {
            days: period.map(|period| period.as_secs() / DAY),
            last: rotation.last.map(|time| time.to_string()),
            next: rotation.next.map(|time| time.to_string()),
        }
    }
}

#[derive(Serialize)]
pub(super) struct VersionView {
    id: String,
    number: u32,
    created: String,
    enabled: bool,
    cause: &'static str,
    /// How often it was used; `None` where the caller may not know.
    produced: Option<u64>,
    opened: Option<u64>,
    last_used: Option<String>,
}

impl VersionView {
    pub(super) fn new(version: KeyVersion, uses: &[VersionUse]) -> Self {
        let of_it = uses.iter().find(|uses| uses.version == version.id);
        Self {
            id: version.id.0,
            number: version.number,
            created: version.created.to_string(),
            enabled: version.enabled,
            cause: version.cause.name(),
            produced: of_it.map(|uses| uses.produced),
            opened: of_it.map(|uses| uses.opened),
            last_used: of_it
                .and_then(|uses| uses.last_used)
                .map(|time| time.to_string()),
        }
    }
}

#[derive(Serialize)]
pub(super) struct TagView {
    pub(super) key: String,
    pub(super) value: String,
}

#[derive(Serialize)]
pub(super) struct GrantView {
    id: String,
    name: Option<String>,
    grantee: String,
    issuer: String,
    created: String,
    operations: Vec<String>,
    /// `equals` or `subset`, and the pairs.
    constraint: Option<(&'static str, BTreeMap<String, String>)>,
}

impl From<Grant> for GrantView {
    fn from(grant: Grant) -> Self {
        Self {
            id: grant.id,
            name: grant.name,
            grantee: grant.grantee,
            issuer: grant.issuer,
            created: grant.created.to_string(),
            operations: grant.operations,
            constraint: grant.constraint.map(|constraint| match constraint {
                GrantConstraint::Equals(pairs) => ("equals", pairs),
                GrantConstraint::Subset(pairs) => ("subset", pairs),
            }),
        }
    }
}

#[derive(Serialize)]
pub(super) struct CallView {
    at: String,
    action: String,
    principal: String,
    access_key_id: String,
    dialect: &'static str,
    address: Option<String>,
    request_id: String,
    key: Option<String>,
    refusal: Option<RefusalView>,
}

#[derive(Serialize)]
pub(super) struct RefusalView {
    code: &'static str,
    message: String,
}

impl From<KmsError> for RefusalView {
    fn from(error: KmsError) -> Self {
        let WebError { code, message, .. } = error.into();
        Self { code, message }
    }
}

impl From<RecentCall> for CallView {
    fn from(call: RecentCall) -> Self {
        Self {
            at: call.at.to_string(),
            action: call.action,
            principal: call.principal,
            access_key_id: call.access_key_id,
            dialect: call.dialect.name(),
            address: call
                .address
                .map(|address| address.to_canonical().to_string()),
            request_id: call.request_id,
            key: call.key,
            refusal: call.refusal.map(Into::into),
        }
    }
}

#[derive(Serialize)]
pub(super) struct MinuteView {
    /// Milliseconds since 1970 at which it begins.
    start: i64,
    granted: u64,
    refused: u64,
}

impl From<Minute> for MinuteView {
    fn from(minute: Minute) -> Self {
        Self {
            start: minute.number.saturating_mul(60_000),
            granted: minute.granted,
            refused: minute.refused,
        }
    }
}

/// A part of a page that its reader may be refused, while the rest is there.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Part<T> {
    Is(T),
    Refused(RefusalView),
}

impl<T> From<Result<T, WebError>> for Part<T> {
    fn from(result: Result<T, WebError>) -> Self {
        match result {
            Ok(value) => Self::Is(value),
            Err(WebError { code, message, .. }) => Self::Refused(RefusalView { code, message }),
        }
    }
}
