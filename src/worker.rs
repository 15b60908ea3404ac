//! Worker threads: each is one OS thread with a runtime of its own, so that everything a connection
//! touches stays on one core: its socket's reactor, its tasks, its shard, its upstream pool.

use std::{future::Future, io, pin::Pin, thread};

use tokio::{
    runtime::Builder,
    sync::watch,
    task::{LocalSet, spawn_local},
};

/// A task that stays on its worker's thread.
pub type LocalTask = Pin<Box<dyn Future<Output = ()>>>;

/// Makes a task once its worker's thread and runtime exist.
pub type Start = Box<dyn FnOnce() -> LocalTask + Send>;

/// A thread with a current-thread runtime.
#[derive(Debug)]
pub struct Worker {
    name: String,
    thread: thread::JoinHandle<()>,
}

impl Worker {
    /// Starts a thread called `name` that runs `tasks` until `end` turns true (or its sender is
    /// gone). Then it drops them, and with them every connection that the worker still has.
    ///
    /// # Errors
    /// The system gives no thread, or no descriptors for a reactor.
    pub fn spawn(name: String, tasks: Vec<Start>, end: watch::Receiver<bool>) -> io::Result<Self> {
        // Built here, not on the thread, so that its failure is the caller's to report.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            let tasks_of_thread = LocalSet::new();
            tasks_of_thread.block_on(&runtime, run(tasks, end));
            drop(tasks_of_thread);
            runtime.shutdown_background();
        })?;
        Ok(Self { name, thread })
    }

    /// Waits for the thread's end.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!(worker = self.name, "worker thread panicked");
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
    use std::sync::mpsc;

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
        let worker = Worker::spawn("worker-7".to_owned(), vec![start], ended).unwrap();
        assert_eq!(receiver.recv().unwrap(), "named");
        end.send(true).unwrap();
        worker.join();
        assert_eq!(receiver.recv().unwrap(), "dropped");
    }
}
