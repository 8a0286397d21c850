//! Data keys made ahead for new files: a pool for each set of keys that new files get.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::format::volume_config::{KeyScope, VolumeConfig};
use crate::keys::{Pool, PoolOptions};
use crate::threads;
use crate::units::KeyUri;

use super::file_keys::FileMaterial;

/// Pools kept at a time, the volume's own among them. Of a volume with keys for more folders, those that were used last.
const KEPT: usize = 8;
/// What another pool makes ahead beside the volume's own, as a part of that: all together as much again.
const PART: usize = KEPT;
/// Data keys made ahead where that asks no service: refilled below the first, up to the second.
pub(super) const LOCAL: (usize, usize) = (64, 256);
/// How often it is looked whether a pool that is not kept is still in use.
const LOOKS_EVERY: Duration = Duration::from_millis(10);

/// What wraps the data keys of some files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileKeys {
    /// The key provider, each data key by itself, or the volume key.
    pub(super) scope: KeyScope,
    /// By which keys; none where the volume key does.
    pub(super) keys: Vec<KeyUri>,
}

impl FileKeys {
    /// Those of files of no folder with keys of its own.
    pub(super) fn of_volume(config: &VolumeConfig) -> Self {
        Self {
            scope: config.key_scope,
            keys: match config.key_scope {
                KeyScope::File => config.keys.clone(),
                KeyScope::Volume => Vec::new(),
            },
        }
    }
}

/// Material that was made ahead, for the keys of this generation.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) material: FileMaterial,
    pub(super) generation: u64,
}

/// The pools, that which was used last behind the others.
#[derive(Debug, Default)]
pub(super) struct Pools(Mutex<Vec<(FileKeys, Arc<Pool<Ahead>>)>>);

impl Pools {
    /// The pool for these keys; `begin` makes one where there is none.
    pub(super) fn of(
        &self,
        keys: &FileKeys,
        begin: impl FnOnce() -> Pool<Ahead>,
    ) -> Arc<Pool<Ahead>> {
        let mut pools = self.0.lock();
        let known = pools.iter().position(|(of, _pool)| of == keys);
        let (of, pool) = match known {
            Some(at) => pools.remove(at),
            None => (keys.clone(), Arc::new(begin())),
        };
        pools.push((of, Arc::clone(&pool)));
        let surplus = pools.len().saturating_sub(KEPT);
        let dropped: Vec<_> = pools.drain(..surplus).collect();
        drop(pools);
        dropped.into_iter().for_each(|(_of, pool)| end(pool));
        pool
    }

    /// Drops all that was made ahead, and the pools of keys that new files do not get any more.
    pub(super) fn clear(&self, in_use: impl Fn(&FileKeys) -> bool) {
        let mut pools = self.0.lock();
        let (kept, dropped): (Vec<_>, Vec<_>) = std::mem::take(&mut *pools)
            .into_iter()
            .partition(|(of, _pool)| in_use(of));
        kept.iter().for_each(|(_of, pool)| pool.clear());
        *pools = kept;
        drop(pools);
        dropped.into_iter().for_each(|(_of, pool)| end(pool));
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.lock().len()
    }
}

/// Drops a pool once nobody waits for it: on a thread of its own, for what it is making may take long.
fn end(pool: Arc<Pool<Ahead>>) {
    pool.clear();
    let wait_and_drop = move || {
        let mut pool = pool;
        loop {
            let waits = pool.stats().waiting > 0;
            match Arc::try_unwrap(pool) {
                Ok(last) if !waits => return drop(last),
                Ok(last) => pool = Arc::new(last),
                Err(held) => pool = held,
            }
            thread::sleep(LOOKS_EVERY);
        }
    };
    if let Err(error) = threads::spawn("key-pool-end", wait_and_drop) {
        tracing::warn!(%error, "no thread to wait for the end of a pool of data keys");
    }
}

/// How much a pool makes ahead.
pub(super) fn options(is_local: bool, is_own: bool) -> PoolOptions {
    let options = match is_local {
        true => PoolOptions::fixed(LOCAL.0, LOCAL.1),
        false => PoolOptions::growing(),
    };
    match is_own {
        true => options,
        false => options.part_of(PART),
    }
}
