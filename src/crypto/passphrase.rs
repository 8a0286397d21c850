//! A key of a passphrase: Argon2id (RFC 9106).

use std::collections::TryReserveError;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use crate::crypto::secret::{LockedMemoryError, SecretKey};

/// What a guess at a passphrase costs. It stands in the key slot, so it is hostile until checked:
/// [`Argon2Params::check`] bounds what [`stretch`] may be made to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Argon2Params {
    /// Memory in KiB, RFC 9106's `m`.
    pub memory_kib: u32,
    /// Passes over the memory, RFC 9106's `t`.
    pub passes: u32,
    /// Lanes, RFC 9106's `p`. They run one after the other here.
    pub lanes: u32,
}

impl Argon2Params {
    /// The most memory: 2 GiB, that of RFC 9106's first recommendation.
    pub const MEMORY_KIB_MAX: u32 = 2 * 1024 * 1024;
    /// The most passes times memory in KiB: 8 GiB, some seconds of work.
    pub const WORK_KIB_MAX: u64 = 8 * 1024 * 1024;
    /// The most lanes.
    pub const LANES_MAX: u32 = 64;

    /// Parameters within bounds.
    ///
    /// # Errors
    /// As [`Argon2Params::check`].
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, Argon2ParamsError> {
        let params = Self {
            memory_kib,
            passes,
            lanes,
        };
        params.check()?;
        Ok(params)
    }

    /// Whether RFC 9106 allows these, and they ask for no more than this process will do.
    ///
    /// # Errors
    /// The first parameter that is out of bounds.
    pub fn check(self) -> Result<(), Argon2ParamsError> {
        if self.lanes == 0 || self.lanes > Self::LANES_MAX {
            return Err(Argon2ParamsError::Lanes(self.lanes));
        }
        if self.memory_kib < 8 * self.lanes || self.memory_kib > Self::MEMORY_KIB_MAX {
            return Err(Argon2ParamsError::Memory(self.memory_kib));
        }
        let work_kib = u64::from(self.memory_kib) * u64::from(self.passes);
        if self.passes == 0 || work_kib > Self::WORK_KIB_MAX {
            return Err(Argon2ParamsError::Passes(self.passes));
        }
        Ok(())
    }
}

impl Default for Argon2Params {
    /// 64 MiB, 3 passes, one lane: RFC 9106's second recommendation but for the lanes.
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
            lanes: 1,
        }
    }
}

/// Parameters of Argon2id that are not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Argon2ParamsError {
    /// None, or too many.
    #[error("Argon2id with {0} lanes: expected 1 to {max}", max = Argon2Params::LANES_MAX)]
    Lanes(u32),
    /// Less than 8 KiB a lane, or too much.
    #[error("Argon2id with {0} KiB of memory: expected 8 a lane to {max}", max = Argon2Params::MEMORY_KIB_MAX)]
    Memory(u32),
    /// None, or too many for so much memory.
    #[error("Argon2id with {0} passes: expected 1 or more, and at most {max} KiB in all passes", max = Argon2Params::WORK_KIB_MAX)]
    Passes(u32),
}

/// A passphrase that gives no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// There is nothing to stretch.
    #[error("the passphrase is empty")]
    Empty,
    /// No locked memory for the key.
    #[error(transparent)]
    Memory(#[from] LockedMemoryError),
    /// Parameters out of bounds.
    #[error(transparent)]
    Params(#[from] Argon2ParamsError),
    /// The passphrase is longer than Argon2id takes (4 GiB).
    #[error("the passphrase is too long")]
    TooLong,
    /// Not even ordinary memory for the work.
    #[error("no memory for Argon2id: {0}")]
    WorkMemory(#[source] TryReserveError),
}

/// The key of a passphrase: Argon2id, version 1.3, 32 bytes. Takes a good part of a second with the
/// default parameters, so not for a thread that others wait for.
///
/// # Errors
/// As [`PassphraseError`] says.
pub fn stretch(
    passphrase: &[u8],
    salt: &[u8; 16],
    params: Argon2Params,
) -> Result<SecretKey, PassphraseError> {
    if passphrase.is_empty() {
        return Err(PassphraseError::Empty);
    }
    params.check()?;
    SecretKey::try_init(|key| argon2id(passphrase, salt, params, key))
}

fn argon2id(
    passphrase: &[u8],
    salt: &[u8],
    params: Argon2Params,
    key: &mut [u8; SecretKey::LEN],
) -> Result<(), PassphraseError> {
    let Argon2Params {
        memory_kib,
        passes,
        lanes,
    } = params;
    let params = Params::new(memory_kib, passes, lanes, Some(SecretKey::LEN))
        .expect("checked parameters are within RFC 9106's bounds");
    let mut memory = WorkMemory::new(params.block_count())?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(passphrase, salt, key, &mut memory)
        .map_err(|_error| PassphraseError::TooLong)
}

/// Argon2's blocks, wiped when dropped: they tell of the passphrase.
struct WorkMemory(Vec<Block>);

impl WorkMemory {
    fn new(blocks: usize) -> Result<Self, PassphraseError> {
        let mut memory = Vec::new();
        memory
            .try_reserve_exact(blocks)
            .map_err(PassphraseError::WorkMemory)?;
        memory.resize(blocks, Block::new());
        Ok(Self(memory))
    }
}

impl AsMut<[Block]> for WorkMemory {
    fn as_mut(&mut self) -> &mut [Block] {
        &mut self.0
    }
}

impl Drop for WorkMemory {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

#[cfg(test)]
mod tests {
    use argon2::{AssociatedData, ParamsBuilder};

    use super::*;
    use crate::crypto::testing::{key_of_hex, unhex};

    const FAST: Argon2Params = Argon2Params {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };

    /// With a secret and associated data, which [`stretch`] has no use for.
    #[test]
    fn the_vector_of_rfc_9106_holds() {
        let params = ParamsBuilder::new()
            .m_cost(32)
            .t_cost(3)
            .p_cost(4)
            .data(AssociatedData::new(&[4; 12]).unwrap())
            .build()
            .unwrap();
        let mut memory = WorkMemory::new(params.block_count()).unwrap();
        let mut tag = [0; 32];
        Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params)
            .unwrap()
            .hash_password_into_with_memory(&[1; 32], &[2; 16], &mut tag, &mut memory)
            .unwrap();
        let expected = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659";
        assert_eq!(tag[..], unhex(expected));
    }

    /// Made by OpenSSL.
    #[test]
    fn stretched_keys_are_fixed() {
        let vectors: [(&[u8], Argon2Params, &str); 2] = [
            (
                b"correct horse",
                FAST,
                "ec71c49e4a2ec59d7c4d748b0a31a96984ab4c6b2b96ea2a1c483f570b6db065",
            ),
            (
                b"\xff\x00\xfe",
                Argon2Params {
                    memory_kib: 256,
                    passes: 2,
                    lanes: 4,
                },
                "c6813aa25a8925b140544a8701aa3d60ad4b2edbfa82ec15953cf870dd698783",
            ),
        ];
        for (passphrase, params, key) in vectors {
            assert_eq!(stretch(passphrase, &[2; 16], params), Ok(key_of_hex(key)));
        }
    }

    #[test]
    fn the_default_is_what_it_is() {
        let key = stretch(b"correct horse", &[2; 16], Argon2Params::default());
        let expected = "21add65b04fa14817ee4f213d069cc1a8658971c70f4458abd348e4a12263aa8";
        assert_eq!(key, Ok(key_of_hex(expected)));
    }

    #[test]
    fn another_passphrase_salt_or_cost_gives_another_key() {
        let key = stretch(b"correct horse", &[2; 16], FAST).unwrap();
        let others = [
            stretch(b"correct horsf", &[2; 16], FAST),
            stretch(b"correct horse ", &[2; 16], FAST),
            stretch(b"correct horse", &[3; 16], FAST),
            stretch(
                b"correct horse",
                &[2; 16],
                Argon2Params {
                    memory_kib: 72,
                    ..FAST
                },
            ),
            stretch(
                b"correct horse",
                &[2; 16],
                Argon2Params { passes: 2, ..FAST },
            ),
            stretch(
                b"correct horse",
                &[2; 16],
                Argon2Params { lanes: 2, ..FAST },
            ),
        ];
        assert!(others.iter().all(|other| other.as_ref().unwrap() != &key));
    }

    #[test]
    fn an_empty_passphrase_is_refused() {
        assert_eq!(stretch(b"", &[2; 16], FAST), Err(PassphraseError::Empty));
    }

    #[test]
    fn hostile_parameters_are_refused_before_any_work() {
        let refusals = [
            ((0, 1, 1), Argon2ParamsError::Memory(0)),
            ((7, 1, 1), Argon2ParamsError::Memory(7)),
            ((31, 1, 4), Argon2ParamsError::Memory(31)),
            (
                (2 * 1024 * 1024 + 1, 1, 1),
                Argon2ParamsError::Memory(2 * 1024 * 1024 + 1),
            ),
            ((u32::MAX, u32::MAX, 1), Argon2ParamsError::Memory(u32::MAX)),
            ((64, 0, 1), Argon2ParamsError::Passes(0)),
            ((64, u32::MAX, 1), Argon2ParamsError::Passes(u32::MAX)),
            ((2 * 1024 * 1024, 5, 1), Argon2ParamsError::Passes(5)),
            ((64, 1, 0), Argon2ParamsError::Lanes(0)),
            ((64 * 1024, 1, 65), Argon2ParamsError::Lanes(65)),
            ((64 * 1024, 1, u32::MAX), Argon2ParamsError::Lanes(u32::MAX)),
        ];
        for ((memory_kib, passes, lanes), refusal) in refusals {
            assert_eq!(Argon2Params::new(memory_kib, passes, lanes), Err(refusal));
            let params = Argon2Params {
                memory_kib,
                passes,
                lanes,
            };
            assert_eq!(stretch(b"x", &[2; 16], params), Err(refusal.into()));
        }
    }

    #[test]
    fn the_bounds_themselves_are_allowed() {
        for (memory_kib, passes, lanes) in [(8, 1, 1), (2 * 1024 * 1024, 4, 64), (8, 1 << 20, 1)] {
            assert!(Argon2Params::new(memory_kib, passes, lanes).is_ok());
        }
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        assert!(matches!(
            WorkMemory::new(usize::MAX),
            Err(PassphraseError::WorkMemory(_))
        ));
    }
}
