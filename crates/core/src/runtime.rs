//! The runtime that a facade owns, so that whoever calls the library needs none.

use std::{panic, thread};

use tokio::runtime::{Builder, Handle};

use crate::{Error, ErrorKind};

/// Does `work` inside a runtime of its own, whose one worker drives the sockets and timers that `work` starts. The caller
/// waits; a caller that is inside a runtime itself gets a thread for `work`, which may then block.
///
/// # Errors
/// Those of `work`; of kind [`ErrorKind::Failed`] where the system has no thread for the runtime.
pub(crate) fn block_on<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    if Handle::try_current().is_err() {
        return owned(work);
    }
    thread::scope(|scope| match scope.spawn(|| owned(work)).join() {
        Ok(result) => result,
        Err(panicked) => panic::resume_unwind(panicked),
    })
}

fn owned<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Failed, error))?;
    let result = {
        let _entered = runtime.enter();
        work()
    };
    // a name that is still being looked up must not keep a finished run alive
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sleeping() -> Result<u8, Error> {
        block_on(|| {
            Handle::current().block_on(tokio::time::sleep(Duration::from_millis(1)));
            Ok(7)
        })
    }

    #[test]
    fn a_plain_thread_needs_no_runtime() {
        assert_eq!(sleeping().unwrap(), 7);
    }

    #[tokio::test]
    async fn neither_a_task_nor_a_blocking_thread_panics() {
        assert_eq!(sleeping().unwrap(), 7);
        assert_eq!(tokio::task::spawn_blocking(sleeping).await.unwrap().unwrap(), 7);
    }
}
