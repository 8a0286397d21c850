//! Work that takes long: private keys of RSA, new key pairs.

use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use tokio::sync::Semaphore;

use super::error::KmsError;

/// As many at once as there are processors: more would only take turns there, and take the connections' turns too.
/// Who finds no room waits for as long as a request may take.
static ROOM: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let processors = available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(processors))
});

/// Does what takes long on a thread that serves no connections.
pub(super) async fn on_worker<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KmsError> + Send + 'static,
) -> Result<T, KmsError> {
    let room = Arc::clone(&ROOM).acquire_owned().await;
    let room = room.map_err(|_closed| KmsError::internal())?;
    // The room is the work's: it goes on where its request was given up.
    let work = move || {
        let done = work();
        drop(room);
        done
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            tracing::error!(%error, "an operation broke off");
            Err(KmsError::internal())
        })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn no_more_work_at_once_than_there_are_processors_and_given_up_work_counts() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let work = || {
            let running = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
            MOST.fetch_max(running, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(5));
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..60 {
            let task = tasks.spawn(on_worker(work));
            // Some are given up when they have begun, or before.
            if at % 3 == 0 {
                tokio::task::yield_now().await;
                task.abort();
            }
        }
        while tasks.join_next().await.is_some() {}
        let processors = available_parallelism().unwrap().get();
        assert!((1..=processors).contains(&MOST.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_gives_its_room_back() {
        for _ in 0..100 {
            let broken: Result<(), _> = on_worker(|| panic!("on purpose")).await;
            assert!(broken.is_err());
        }
        assert_eq!(on_worker(|| Ok(7)).await, Ok(7));
    }
}
