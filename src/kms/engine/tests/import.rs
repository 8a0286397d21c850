//! Material that its owner brings.

use super::*;
use crate::kms::engine::model::KeyState;
use crate::kms::engine::ops::export::ExportAlgorithm;
use crate::kms::engine::ops::import::{
    DeleteKeyMaterial, GetParametersForImport, ImportKeyMaterial, ImportParameters, WrappingKeySpec,
};
use crate::kms::engine::ops::keys::{DescribeKey, DisableKey};
use crate::kms::engine::service::now;
use crate::kms::material::wrapping;
use jiff::{SignedDuration, Timestamp};
use sqlx::Executor as _;

pub(super) fn external() -> CreateKey {
    CreateKey {
        origin: Origin::External,
        ..symmetric()
    }
}

fn parameters(
    key: &Key,
    algorithm: ExportAlgorithm,
    spec: WrappingKeySpec,
) -> GetParametersForImport {
    GetParametersForImport {
        key: id(key),
        algorithm,
        spec,
    }
}

/// SM2, whose keys are made at once.
async fn sm2(bench: &Bench, key: &Key) -> ImportParameters {
    let parameters = parameters(key, ExportAlgorithm::Sm2Pke, WrappingKeySpec::EcSm2);
    bench.run(parameters).await.unwrap()
}

fn import(
    key: &Key,
    parameters: &ImportParameters,
    material: &[u8],
    expires: Option<Timestamp>,
) -> ImportKeyMaterial {
    let wrapped = wrapping::wrap(ExportAlgorithm::Sm2Pke, &parameters.public_key, material);
    ImportKeyMaterial {
        key: id(key),
        token: parameters.token.clone(),
        material: wrapped.unwrap(),
        expires,
    }
}

pub(super) async fn import_into(
    bench: &Bench,
    key: &Key,
    material: &[u8],
    expires: Option<Timestamp>,
) -> Result<(), KmsError> {
    let parameters = sm2(bench, key).await;
    bench.run(import(key, &parameters, material, expires)).await
}

#[test]
fn material_comes_in_under_every_algorithm() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        for algorithm in ExportAlgorithm::ALL {
            let key = bench.key(external()).await;
            assert_eq!(
                (key.state, key.primary.clone()),
                (KeyState::PendingImport, None)
            );
            let spec = match algorithm {
                ExportAlgorithm::Sm2Pke => WrappingKeySpec::EcSm2,
                _ => WrappingKeySpec::Rsa2048,
            };
            let given = bench.run(parameters(&key, *algorithm, spec)).await.unwrap();
            assert_eq!(given.expires.duration_since(now()).as_hours(), 23);
            let wrapped = wrapping::wrap(*algorithm, &given.public_key, &[7; 32]).unwrap();
            let import = ImportKeyMaterial {
                key: id(&key),
                token: given.token,
                material: wrapped,
                expires: None,
            };
            bench.run(import).await.unwrap();
            let described = bench.run(DescribeKey { key: id(&key) }).await.unwrap();
            assert_eq!(described.state, KeyState::Enabled);
            let blob = bench.run(encrypt(id(&key), b"x")).await.unwrap().blob;
            assert_eq!(bench.kind_of(decrypt(&blob)).await, None);
        }
        bench.engine.close().await;
    });
}

#[test]
fn only_the_same_material_comes_again_and_then_opens_what_it_made() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(external()).await;
        import_into(&bench, &key, &[7; 32], None).await.unwrap();
        let blob = bench.run(encrypt(id(&key), b"x")).await.unwrap().blob;
        bench
            .run(DeleteKeyMaterial { key: id(&key) })
            .await
            .unwrap();
        assert_eq!(
            bench.kind_of(decrypt(&blob)).await,
            Some(ErrorKind::KeyPendingImport)
        );
        let stored = bench.engine.store.versions(&key.id).await.unwrap();
        assert!(stored.iter().all(|version| version.material.is_none()));

        let kind = import_into(&bench, &key, &[8; 32], None)
            .await
            .map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::IncorrectKeyMaterial));
        assert_eq!(
            bench.kind_of(decrypt(&blob)).await,
            Some(ErrorKind::KeyPendingImport)
        );
        import_into(&bench, &key, &[7; 32], None).await.unwrap();
        assert_eq!(bench.kind_of(decrypt(&blob)).await, None);

        bench.run(DisableKey { key: id(&key) }).await.unwrap();
        import_into(&bench, &key, &[7; 32], None).await.unwrap();
        let described = bench.run(DescribeKey { key: id(&key) }).await.unwrap();
        assert_eq!(
            described.state,
            KeyState::Disabled,
            "an import does not enable"
        );
        bench.engine.close().await;
    });
}

#[test]
fn what_does_not_unwrap_or_is_of_another_length_is_refused() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(external()).await;
        let given = sm2(&bench, &key).await;
        for len in [1, 16, 31, 33] {
            let kind = bench
                .kind_of(import(&key, &given, &vec![7; len], None))
                .await;
            assert_eq!(kind, Some(ErrorKind::KeyMaterialInvalid), "{len} bytes");
        }
        let mut changed = import(&key, &given, &[7; 32], None);
        changed.material[90] ^= 1;
        assert_eq!(
            bench.kind_of(changed).await,
            Some(ErrorKind::KeyMaterialInvalid)
        );
        let past = now() - SignedDuration::from_secs(1);
        let kind = bench
            .kind_of(import(&key, &given, &[7; 32], Some(past)))
            .await;
        assert_eq!(
            kind,
            Some(ErrorKind::InvalidParameter("KeyMaterialExpireUnix"))
        );
        let kind = bench
            .kind_of(parameters(
                &key,
                ExportAlgorithm::Sm2Pke,
                WrappingKeySpec::Rsa2048,
            ))
            .await;
        assert_eq!(kind, Some(ErrorKind::InvalidParameter("WrappingKeySpec")));
        bench.engine.close().await;
    });
}

/// Under PKCS #1 v1.5 a token is good for one attempt, whatever comes of it, and both answers are the same for it.
#[test]
fn a_wrapping_key_for_pkcs1_unwraps_once() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        for (algorithm, once) in [
            (ExportAlgorithm::RsaesPkcs1V15, true),
            (ExportAlgorithm::RsaesOaepSha256, false),
        ] {
            let key = bench.key(external()).await;
            let asked = parameters(&key, algorithm, WrappingKeySpec::Rsa2048);
            for is_broken in [false, true] {
                let given = bench.run(asked.clone()).await.unwrap();
                let mut material = wrapping::wrap(algorithm, &given.public_key, &[7; 32]).unwrap();
                if is_broken {
                    material.truncate(255);
                }
                let import = ImportKeyMaterial {
                    key: id(&key),
                    token: given.token.clone(),
                    material,
                    expires: None,
                };
                let wanted = is_broken.then_some(ErrorKind::KeyMaterialInvalid);
                assert_eq!(bench.kind_of(import.clone()).await, wanted);
                let again = if once {
                    Some(ErrorKind::ImportTokenInvalid)
                } else {
                    wanted
                };
                for _ in 0..2 {
                    assert_eq!(bench.kind_of(import.clone()).await, again, "{algorithm:?}");
                }
            }
        }
        bench.engine.close().await;
    });
}

/// Two attempts at the same time are two.
#[test]
fn of_two_attempts_at_once_under_pkcs1_one_is_made() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(external()).await;
        let algorithm = ExportAlgorithm::RsaesPkcs1V15;
        let asked = parameters(&key, algorithm, WrappingKeySpec::Rsa2048);
        let given = bench.run(asked).await.unwrap();
        let import = ImportKeyMaterial {
            key: id(&key),
            token: given.token.clone(),
            material: wrapping::wrap(algorithm, &given.public_key, &[7; 32]).unwrap(),
            expires: None,
        };
        let attempts = tokio::join!(
            bench.kind_of(import.clone()),
            bench.kind_of(import.clone()),
            bench.kind_of(import)
        );
        let kinds = [attempts.0, attempts.1, attempts.2];
        assert_eq!(
            kinds.iter().filter(|kind| kind.is_none()).count(),
            1,
            "{kinds:?}"
        );
        let refused = Some(ErrorKind::ImportTokenInvalid);
        assert_eq!(
            kinds.iter().filter(|kind| **kind == refused).count(),
            2,
            "{kinds:?}"
        );
        bench.engine.close().await;
    });
}

#[test]
fn tokens_are_of_one_key_and_expire() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let [one, other] = [bench.key(external()).await, bench.key(external()).await];
        let given = sm2(&bench, &one).await;
        let stolen = import(&other, &given, &[7; 32], None);
        assert_eq!(
            bench.kind_of(stolen).await,
            Some(ErrorKind::ImportTokenInvalid)
        );
        let mut changed = import(&one, &given, &[7; 32], None);
        changed.token[3] ^= 1;
        assert_eq!(
            bench.kind_of(changed).await,
            Some(ErrorKind::ImportTokenInvalid)
        );

        let over = now() - SignedDuration::from_secs(1);
        let expire =
            sqlx::query("UPDATE import_token SET expires = $1").bind(over.as_millisecond());
        bench.engine.store.pool.execute(expire).await.unwrap();
        let late = import(&one, &given, &[7; 32], None);
        assert_eq!(
            bench.kind_of(late.clone()).await,
            Some(ErrorKind::ImportTokenExpired)
        );
        let much_later = now() + SignedDuration::from_hours(8 * 24);
        bench
            .engine
            .store
            .drop_old_import_tokens(much_later)
            .await
            .unwrap();
        assert_eq!(
            bench.kind_of(late).await,
            Some(ErrorKind::ImportTokenInvalid)
        );
        bench.engine.close().await;
    });
}

#[test]
fn material_of_the_service_is_neither_imported_nor_deleted() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let kind = bench
            .kind_of(parameters(
                &key,
                ExportAlgorithm::Sm2Pke,
                WrappingKeySpec::EcSm2,
            ))
            .await;
        assert_eq!(kind, Some(ErrorKind::UnsupportedOrigin));
        let kind = bench.kind_of(DeleteKeyMaterial { key: id(&key) }).await;
        assert_eq!(kind, Some(ErrorKind::UnsupportedOrigin));
        bench.engine.close().await;
    });
}
