//! The runtime that a facade owns, so that callers of the library need none.
//!
//! Its one thread is started here and not by tokio, which panics where the system has no thread for it.

use std::{
    io, panic,
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot::{self, Sender},
};

use crate::{Error, ErrorKind};

/// A runtime whose one thread drives sockets, timers and tasks until this is dropped.
#[derive(Debug)]
pub(crate) struct OwnRuntime {
    handle: Handle,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OwnRuntime {
    /// Starts the thread.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Failed`] where the system has no thread, or no descriptors, for it.
    pub(crate) fn start() -> Result<OwnRuntime, Error> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|cause| no_thread(&cause))?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let drive = move || {
            // ends with an error, since nothing is ever sent
            let _ = runtime.block_on(stopped);
            // a name that is still being looked up must not keep a finished run alive
            runtime.shutdown_background();
        };
        let thread = spawn("network", drive)?;
        Ok(OwnRuntime {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A thread of its own for `work`.
///
/// # Errors
/// Of kind [`ErrorKind::Failed`] where the system has none.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(work).map_err(|cause| no_thread(&cause))
}

/// The error of a process that gets no thread, or no descriptor, from the system.
pub(crate) fn no_thread(cause: &io::Error) -> Error {
    let text = format!("the system has no thread or descriptor left for this process: {cause}");
    Error::new(ErrorKind::Failed, text).with_hint("raise the limits on processes and open files (ulimit -u, ulimit -n)")
}

/// Does `work` inside a runtime of its own, whose one thread drives the sockets and timers that `work` starts. The caller
/// waits; a caller that is inside a runtime itself gets a thread for `work`, which may then block.
///
/// # Errors
/// Those of `work`; of kind [`ErrorKind::Failed`] where the system has no thread for the runtime.
pub(crate) fn block_on<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    if Handle::try_current().is_err() {
        return owned(work);
    }
    thread::scope(|scope| {
        let own = thread::Builder::new().spawn_scoped(scope, || owned(work));
        match own.map_err(|cause| no_thread(&cause))?.join() {
            Ok(result) => result,
            Err(panicked) => panic::resume_unwind(panicked),
        }
    })
}

fn owned<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let runtime = OwnRuntime::start()?;
    let _entered = runtime.handle().enter();
    work()
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
    fn a_plain_thread_needs_no_thread() {
        assert_eq!(sleeping().unwrap(), 7);
    }

    #[tokio::test]
    async fn neither_a_task_nor_a_blocking_thread_panics() {
        assert_eq!(sleeping().unwrap(), 7);
        assert_eq!(tokio::task::spawn_blocking(sleeping).await.unwrap().unwrap(), 7);
    }
}
