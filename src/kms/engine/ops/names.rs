//! Aliases and tags.

use crate::kms::engine::model::{Alias, KeyRef, Page, PageRequest, Tag};
use crate::kms::engine::operation::{Engine, Operation};
use crate::kms::engine::{Caller, KmsError};

/// Gives a key a name.
#[derive(Debug, Clone)]
pub struct CreateAlias {
    /// With `alias/`, 1 to 255 characters of `[A-Za-z0-9/_-]`; `alias/aws/` and `alias/acs` are kept.
    pub name: String,
    pub key: KeyRef,
}

impl Operation for CreateAlias {
    const ACTION: &'static str = "CreateAlias";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Gives a name to another key.
#[derive(Debug, Clone)]
pub struct UpdateAlias {
    pub name: String,
    pub key: KeyRef,
}

impl Operation for UpdateAlias {
    const ACTION: &'static str = "UpdateAlias";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Takes a name away.
#[derive(Debug, Clone)]
pub struct DeleteAlias {
    pub name: String,
}

impl Operation for DeleteAlias {
    const ACTION: &'static str = "DeleteAlias";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// The aliases by name.
#[derive(Debug, Clone)]
pub struct ListAliases {
    /// `Some` for one key's.
    pub key: Option<KeyRef>,
    pub page: PageRequest,
}

impl Operation for ListAliases {
    const ACTION: &'static str = "ListAliases";
    type Answer = Page<Alias>;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Sets tags: at most 50 a key, keys to 128 and values to 256 characters.
#[derive(Debug, Clone)]
pub struct TagResource {
    pub key: KeyRef,
    pub tags: Vec<Tag>,
}

impl Operation for TagResource {
    const ACTION: &'static str = "TagResource";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Takes tags away.
#[derive(Debug, Clone)]
pub struct UntagResource {
    pub key: KeyRef,
    pub tag_keys: Vec<String>,
}

impl Operation for UntagResource {
    const ACTION: &'static str = "UntagResource";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// A key's tags.
#[derive(Debug, Clone)]
pub struct ListResourceTags {
    pub key: KeyRef,
    pub page: PageRequest,
}

impl Operation for ListResourceTags {
    const ACTION: &'static str = "ListResourceTags";
    type Answer = Page<Tag>;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}
