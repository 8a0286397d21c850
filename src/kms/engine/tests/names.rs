//! Names that move while somebody else moves them.

use std::sync::OnceLock;

use super::*;
use crate::kms::engine::model::Tag;
use crate::kms::engine::operation::Call;
use crate::kms::engine::ops::names::{
    CreateAlias, DeleteAlias, TagResource, UntagResource, UpdateAlias,
};
use crate::kms::engine::service::now;

const NAME: &str = "alias/app";

/// Moves the name from `one` to `other`, and then does what was allowed while it was `one`'s.
async fn late<O: Operation>(
    bench: &Bench,
    target: &Key,
    operation: O,
) -> Result<O::Answer, KmsError> {
    let engine = &bench.engine;
    let before = engine.entry(&alias(NAME), now()).await.unwrap();
    let moved = UpdateAlias {
        name: NAME.to_owned(),
        key: id(target),
    };
    bench.run(moved).await.unwrap();
    let found = OnceLock::new();
    // A name's own key is the first of what takes it away, and the second of what moves it.
    let new = engine.entry(&id(target), now()).await.unwrap();
    let (first, second) = if O::ACTION == DeleteAlias::ACTION {
        (before, None)
    } else {
        (new, Some(before))
    };
    let call = Call {
        engine,
        caller: &bench.admin,
        now: now(),
        first: Some(first),
        second,
        found: &found,
    };
    operation.run(call).await
}

#[test]
fn a_name_moves_and_goes_from_the_key_it_was_allowed_for_alone() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let [one, other] = [bench.key(symmetric()).await, bench.key(symmetric()).await];
        let create = CreateAlias {
            name: NAME.to_owned(),
            key: id(&one),
        };
        bench.run(create).await.unwrap();
        let delete = DeleteAlias {
            name: NAME.to_owned(),
        };
        let error = late(&bench, &other, delete).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidState);
        let stays = bench.engine.store.alias(NAME).await.unwrap().unwrap();
        assert_eq!(stays.key, other.id);
        let update = UpdateAlias {
            name: NAME.to_owned(),
            key: id(&one),
        };
        let error = late(&bench, &one, update).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidState);
        let mut write = bench.engine.store.write().await.unwrap();
        let gone = write.update_alias("alias/none", &one.id, &other.id, now());
        assert!(!gone.await.unwrap());
        assert!(!write.delete_alias(NAME, &other.id).await.unwrap());
        assert!(write.delete_alias(NAME, &one.id).await.unwrap());
        drop(write);
        bench.engine.close().await;
    });
}

#[test]
fn tags_are_taken_away_as_many_at_once_as_a_key_has() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let names = |count: u32| (0..count).map(|nth| nth.to_string());
        let tag = TagResource {
            key: id(&key),
            tags: names(50)
                .map(|key| Tag {
                    key,
                    value: String::new(),
                })
                .collect(),
        };
        bench.run(tag).await.unwrap();
        let untag = |count| UntagResource {
            key: id(&key),
            tag_keys: names(count).collect(),
        };
        assert_eq!(
            bench.kind_of(untag(51)).await,
            Some(ErrorKind::LimitExceeded)
        );
        assert_eq!(bench.engine.store.tags(&key.id).await.unwrap().len(), 50);
        bench.run(untag(50)).await.unwrap();
        assert_eq!(bench.engine.store.tags(&key.id).await.unwrap(), []);
        bench.engine.close().await;
    });
}
