//! Key material that its owner brings.

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::change::random_bytes;
use crate::kms::engine::error::{ErrorKind, KmsError};
use crate::kms::engine::holder::on_worker;
use crate::kms::engine::ids;
use crate::kms::engine::model::named;
use crate::kms::engine::model::{
    KeyId, KeyRef, KeySpec, KeyState, KeyVersion, KeyVersionId, Origin, VersionCause,
};
use crate::kms::engine::operation::{Call, Needs, Operation, States};
use crate::kms::engine::ops::export::ExportAlgorithm;
use crate::kms::material::{Material, wrapping};
use crate::kms::root::Thing;
use crate::kms::store::Write;
use crate::kms::store::import::ImportToken;
use crate::kms::store::keys::{Counts, KeyRecord, VersionRecord};

/// How long a token is good (both clouds).
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24);
const TOKEN_LEN: usize = 64;

/// What is needed to wrap material for its import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportParameters {
    pub key: KeyId,
    /// To be given back as it is.
    pub token: Vec<u8>,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// 24 hours on.
    pub expires: Timestamp,
}

/// The size of the RSA key that material is wrapped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WrappingKeySpec {
    EcSm2,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

named!(WrappingKeySpec {
    EcSm2 = "EC_SM2",
    Rsa2048 = "RSA_2048",
    Rsa3072 = "RSA_3072",
    Rsa4096 = "RSA_4096",
});

/// A public key and a token for one import.
#[derive(Debug, Clone)]
pub struct GetParametersForImport {
    pub key: KeyRef,
    pub algorithm: ExportAlgorithm,
    pub spec: WrappingKeySpec,
}

impl Operation for GetParametersForImport {
    const ACTION: &'static str = "GetParametersForImport";
    type Answer = ImportParameters;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        if (self.algorithm == ExportAlgorithm::Sm2Pke) != (self.spec == WrappingKeySpec::EcSm2) {
            return Err(KmsError::invalid(
                "WrappingKeySpec",
                "The wrapping key's spec and the wrapping algorithm do not go together.",
            ));
        }
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let entry = call.key()?;
        check_external(entry.key.origin)?;
        let spec = self.spec.key_spec();
        let wrapping = on_worker(move || Material::generate(spec)).await?;
        let token = random_bytes(TOKEN_LEN);
        let id = token_id(&token);
        let thing = Thing::ImportKey { token: &id };
        let record = ImportToken {
            private_key: call.engine.root.wrap(thing, wrapping.secret()),
            id,
            key: entry.key.id.clone(),
            algorithm: self.algorithm.name().to_owned(),
            spec: self.spec.name().to_owned(),
            created: call.now,
            expires: call.now + TOKEN_LIFE,
        };
        let (mut write, _) = call.begin_change(States::Any).await?;
        write.insert_import_token(&record).await?;
        call.engine.commit(write).await?;
        Ok(ImportParameters {
            key: record.key,
            token: token.to_vec(),
            public_key: wrapping.public_key_der()?.to_vec(),
            expires: record.expires,
        })
    }
}

/// Takes the material; the second time it must be the same.
#[derive(Debug, Clone)]
pub struct ImportKeyMaterial {
    pub key: KeyRef,
    pub token: Vec<u8>,
    pub material: Vec<u8>,
    /// When the material is to be forgotten; `None` for never.
    pub expires: Option<Timestamp>,
}

impl Operation for ImportKeyMaterial {
    const ACTION: &'static str = "ImportKeyMaterial";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Changeable))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let entry = call.key()?;
        check_external(entry.key.origin)?;
        if self.expires.is_some_and(|expires| expires <= call.now) {
            return Err(KmsError::invalid(
                "KeyMaterialExpireUnix",
                "The time at which the material is forgotten is over already.",
            ));
        }
        let material = self.unwrap(&call, entry.key.spec).await?;
        self.keep(&call, &material).await
    }
}

/// Forgets imported material; the key waits for it again.
#[derive(Debug, Clone)]
pub struct DeleteKeyMaterial {
    pub key: KeyRef,
}

impl Operation for DeleteKeyMaterial {
    const ACTION: &'static str = "DeleteKeyMaterial";
    type Answer = KeyId;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        check_external(call.key()?.key.origin)?;
        let (mut write, mut record) = call.begin_change(States::Any).await?;
        forget_material(&mut write, &mut record).await?;
        call.engine.commit(write).await?;
        Ok(record.key.id)
    }
}

impl ImportKeyMaterial {
    /// The material out of its wrapping, by the private key that the token stands for.
    async fn unwrap(&self, call: &Call<'_>, spec: KeySpec) -> Result<Material, KmsError> {
        let key = &call.key()?.key.id;
        let id = token_id(&self.token);
        let token = call.engine.store.import_token(&id).await?;
        let token = token.filter(|token| token.key == *key).ok_or_else(|| {
            KmsError::new(
                ErrorKind::ImportTokenInvalid,
                "The import token is not one of this key. Ask for new parameters for import.",
            )
        })?;
        if token.expires <= call.now {
            return Err(KmsError::new(
                ErrorKind::ImportTokenExpired,
                "The import token has expired. Ask for new parameters for import.",
            ));
        }
        let parsed =
            ExportAlgorithm::of_name(&token.algorithm).zip(WrappingKeySpec::of_name(&token.spec));
        let (algorithm, wrapping_spec) = parsed.ok_or_else(KmsError::internal)?;
        let thing = Thing::ImportKey { token: &id };
        let private = call.engine.root.unwrap(thing, &token.private_key);
        let private = private.map_err(|_error| KmsError::internal())?;
        let wrapped = self.material.clone();
        on_worker(move || {
            let own = Material::from_secret(wrapping_spec.key_spec(), &private)?;
            wrapping::unwrap(&own, algorithm, &wrapped, spec)
        })
        .await
    }

    /// Keeps the material: as the first version, or as what the first version had before.
    async fn keep(&self, call: &Call<'_>, material: &Material) -> Result<(), KmsError> {
        let (mut write, mut record) = call.begin_change(States::Changeable).await?;
        let engine = call.engine;
        let key = record.key.id.clone();
        let fingerprint = engine.root.fingerprint(&key.0, material.secret());
        let before = write.versions(&key).await?.into_iter().next();
        let id = match &before {
            None => KeyVersionId(ids::uuid()),
            Some(version) => version.version.id.clone(),
        };
        let thing = Thing::Material {
            key: &key.0,
            version: &id.0,
        };
        let wrapped = engine.root.wrap(thing, material.secret());
        match before {
            None => {
                let version = first_version(&record, id.clone(), wrapped, &fingerprint, call.now);
                write.insert_version(&version).await?;
            }
            Some(version) => {
                let same = version.fingerprint.unwrap_or_default().ct_eq(&fingerprint);
                if !bool::from(same) {
                    return Err(KmsError::new(
                        ErrorKind::IncorrectKeyMaterial,
                        "The key had other material before. Only the same material may come again.",
                    ));
                }
                write.set_material(&key, &id, Some(wrapped)).await?;
            }
        }
        // A disabled key stays so, unless its material was gone.
        if crate::kms::engine::entry::state_at(&record.key, call.now) == KeyState::PendingImport {
            record.key.state = KeyState::Enabled;
        }
        record.key.primary = Some(id);
        record.key.material_expires = self.expires;
        write.update_key(&record).await?;
        engine.commit(write).await
    }
}

fn first_version(
    record: &KeyRecord,
    id: KeyVersionId,
    wrapped: Vec<u8>,
    fingerprint: &[u8],
    now: Timestamp,
) -> VersionRecord {
    VersionRecord {
        version: KeyVersion {
            key: record.key.id.clone(),
            id,
            number: 1,
            created: now,
            enabled: true,
            cause: VersionCause::Import,
        },
        material: Some(wrapped),
        fingerprint: Some(fingerprint.to_vec()),
        counts: Counts::default(),
    }
}

/// Destroys a key's imported material. What tells whether it is the same when it comes again stays.
pub(in crate::kms::engine) async fn forget_material(
    write: &mut Write<'_>,
    record: &mut KeyRecord,
) -> Result<(), KmsError> {
    let key = record.key.id.clone();
    for version in write.versions(&key).await? {
        write.set_material(&key, &version.version.id, None).await?;
    }
    if record.key.state != KeyState::PendingDeletion {
        record.key.state = KeyState::PendingImport;
    }
    record.key.material_expires = None;
    write.update_key(record).await?;
    Ok(())
}

fn check_external(origin: Origin) -> Result<(), KmsError> {
    match origin {
        Origin::External => Ok(()),
        Origin::Service => Err(KmsError::new(
            ErrorKind::UnsupportedOrigin,
            "The key's material was made by the service: it is neither imported nor deleted by itself.",
        )),
    }
}

/// The store knows a token by its hash: who reads the store cannot use it.
fn token_id(token: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(token))
}

impl WrappingKeySpec {
    fn key_spec(self) -> KeySpec {
        match self {
            Self::EcSm2 => KeySpec::EcSm2,
            Self::Rsa2048 => KeySpec::Rsa2048,
            Self::Rsa3072 => KeySpec::Rsa3072,
            Self::Rsa4096 => KeySpec::Rsa4096,
        }
    }
}
