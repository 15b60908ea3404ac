//! Worker threads: each is one OS thread with a runtime of its own, so that everything a connection
//! touches stays on one core: its socket's reactor, its tasks, its shard, its upstream pool.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
};

use parking_lot::Mutex;
use tokio::{
    runtime::Builder,
    sync::watch,
    task::{LocalSet, spawn_local},
};

use crate::clock::{self, Millis};

/// A task that stays on its worker's thread.
pub type LocalTask = Pin<Box<dyn Future<Output = ()>>>;

/// Makes a task once its worker's thread and runtime exist.
pub type Start = Box<dyn FnOnce() -> LocalTask + Send>;

/// A thread with a current-thread runtime.
#[derive(Debug)]
pub struct Worker {
    name: String,
    thread: thread::JoinHandle<()>,
    /// Nothing ever comes; the sender goes with the thread. Locked so that a worker may be shared.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Worker {
    /// Starts a thread called `name` that runs what `prepare` returns until `end` turns true (or its
    /// sender is gone). Then it drops it, and with it every connection that the worker still has.
    ///
    /// `prepare` runs at once, within the thread's runtime: what it registers there and cannot have
    /// is the caller's to report.
    ///
    /// # Errors
    /// That of `prepare`; or the system gives no thread, or no descriptors for a reactor.
    pub fn spawn<E: From<io::Error>>(
        name: String,
        prepare: impl FnOnce() -> Result<Vec<Start>, E>,
        end: watch::Receiver<bool>,
    ) -> Result<Self, E> {
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot start thread {name}: {error}"))
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let tasks = {
            let _inside = runtime.enter();
            prepare()?
        };
        let (alive, ended) = mpsc::sync_channel(0);
        let work = move || {
            let tasks_of_thread = LocalSet::new();
            tasks_of_thread.block_on(&runtime, run(tasks, end));
            drop(tasks_of_thread);
            runtime.shutdown_background();
            drop(alive);
        };
        let thread = thread::Builder::new().name(name.clone());
        let thread = thread.spawn(work).map_err(failed)?;
        Ok(Self {
            name,
            thread,
            ended: Mutex::new(ended),
        })
    }

    /// Waits for the thread's end, but not beyond `deadline`: then it is left behind.
    ///
    /// # Errors
    /// Its name and what became of it, if it did not end as it should.
    pub fn join(self, deadline: Millis) -> Result<(), String> {
        let left = deadline.since(clock::now());
        match self.ended.into_inner().recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) => Err(format!("{} hangs", self.name)),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                let panicked = |_| format!("{} panicked", self.name);
                self.thread.join().map_err(panicked)
            }
        }
    }
}

async fn run(tasks: Vec<Start>, mut end: watch::Receiver<bool>) {
    for start in tasks {
        spawn_local(start());
    }
    // An error means that nobody is left who could tell us to end.
    let _ = end.wait_for(|end| *end).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tasks_run_on_the_named_thread_and_are_dropped_at_the_end() {
        struct Told(mpsc::SyncSender<&'static str>);
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.send("dropped");
            }
        }
        let (sender, receiver) = mpsc::sync_channel(4);
        let (end, ended) = watch::channel(false);
        let start: Start = Box::new(move || {
            Box::pin(async move {
                let told = Told(sender);
                let here = thread::current().name() == Some("worker-7");
                let _ = told.0.send(if here { "named" } else { "elsewhere" });
                std::future::pending::<()>().await;
            })
        });
        let worker = spawn("worker-7", start, ended);
        assert_eq!(receiver.recv().unwrap(), "named");
        end.send(true).unwrap();
        assert_eq!(worker.join(soon()), Ok(()));
        assert_eq!(receiver.recv().unwrap(), "dropped");
    }

    fn spawn(name: &str, start: Start, ended: watch::Receiver<bool>) -> Worker {
        Worker::spawn(name.to_owned(), || io::Result::Ok(vec![start]), ended).unwrap()
    }

    fn soon() -> Millis {
        clock::now().after(Duration::from_secs(30))
    }

    #[test]
    fn a_thread_that_hangs_is_left_behind() {
        let (hangs, hanging) = mpsc::sync_channel(0);
        let (release, held) = mpsc::sync_channel::<()>(0);
        let (end, ended) = watch::channel(false);
        let start: Start = Box::new(move || {
            Box::pin(async move {
                hangs.send(()).unwrap();
                let _ = held.recv();
            })
        });
        let worker = spawn("worker-8", start, ended);
        hanging.recv().unwrap();
        end.send(true).unwrap();
        assert_eq!(worker.join(clock::now()), Err("worker-8 hangs".to_owned()));
        drop(release);
    }

    #[test]
    fn what_cannot_be_prepared_is_told() {
        let (_end, ended) = watch::channel(false);
        let prepare = || Err(io::Error::other("no socket"));
        let error = Worker::spawn("worker-9".to_owned(), prepare, ended).unwrap_err();
        assert_eq!(error.to_string(), "no socket");
    }
}
