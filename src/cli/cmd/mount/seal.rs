//! Which seal a volume must have, and whether it is whole.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::HEXLOWER;

use super::MountRequest;
use crate::cli::errors;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::harmless;
use crate::cli::values::{self, ValueError};
use crate::volume::{Broken, Seal, Volume};

/// `--require-seal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequireSeal {
    /// Whichever.
    Any,
    /// The one whose manifest has this SHA-256.
    This([u8; 32]),
}

impl FromStr for RequireSeal {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "any" {
            return Ok(Self::Any);
        }
        let hash = HEXLOWER.decode(text.as_bytes()).ok();
        let hash = hash.and_then(|hash| hash.try_into().ok());
        hash.map(Self::This)
            .ok_or_else(|| values::malformed(text, "any, or 64 lower-case hexadecimal digits"))
    }
}

impl fmt::Display for RequireSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::This(hash) => f.write_str(&HEXLOWER.encode(hash)),
        }
    }
}

/// The seal of a volume that was opened, held against what is there, and against what is required.
///
/// # Errors
/// [`Exit::SealBroken`].
pub(super) fn check(
    what: &str,
    request: &MountRequest,
    volume: &Volume,
) -> Result<Option<Arc<Seal>>, Failure> {
    let refuse = |why: String| Failure::new(Exit::SealBroken, what, why);
    let older = "an older copy of it may have been put in its place";
    let seal = volume
        .seal()
        .map_err(|error| errors::volume(what, &error))?;
    match (&request.require_seal, seal.as_ref().map(Seal::sha256)) {
        (Some(_), None) => {
            return Err(
                refuse("it is not sealed, and a seal is required".to_owned())
                    .advise(format!("{older}; if all is well, `envelopefs seal` it")),
            );
        }
        (Some(RequireSeal::This(required)), Some(found)) if required != found => {
            let found = HEXLOWER.encode(found);
            let why = format!("it has another seal than the one that is required: {found}");
            return Err(refuse(why).advise(older));
        }
        _ => {}
    }
    let Some(seal) = seal else {
        return Ok(None);
    };
    let broken = seal.check_tree(volume.root());
    let broken = broken.map_err(|error| Failure::new(Exit::Failure, what, error))?;
    if broken.is_empty() {
        return Ok(Some(Arc::new(seal)));
    }
    let why = format!("it is not as it was sealed: {}", told(broken));
    Err(refuse(why).advise(
        "bring it back from a backup; or, if it was you, `envelopefs seal --remove`, look, and seal it anew",
    ))
}

/// The first of what is broken, what came or went before what only changed.
fn told(mut broken: Vec<(String, Broken)>) -> String {
    broken.sort_by_key(|(_, why)| *why == Broken::Attributes);
    let more = broken.len().saturating_sub(3);
    let one = |(path, why): &(String, Broken)| match path.as_str() {
        "" => format!("the ciphertext folder: {why}"),
        path => format!("{}: {why}", harmless(path)),
    };
    let mut parts: Vec<String> = broken.iter().take(3).map(one).collect();
    parts.extend((more > 0).then(|| format!("{more} more")));
    parts.join("; ")
}
