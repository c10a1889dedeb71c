//! The engine's thread: drives a runner, runs grammars in parallel, and reads the clock.
//!
//! ```text
//! engine thread    draw ──accept──┐   forward (all sequences)   ┌─ allowed known: draw
//! grammar thread                  └──► accept, what may follow ─┘  otherwise the others go on
//! ```

use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::Event;
use super::grammar::{Executor, Task};
use super::health::Counters;
use super::job::Job;
use super::loaded::Loaded;
use super::reply::Reply;
use super::runner::Runner;
use crate::{Error, Result};

/// Where jobs are submitted.
pub(super) type Jobs = Sender<(Job, Reply)>;

/// Starts a thread that runs jobs until all senders are dropped and all jobs are finished.
///
/// # Errors
/// [`Error::Resources`] if the thread cannot be started.
pub(super) fn start(loaded: Arc<Loaded>) -> Result<(Jobs, JoinHandle<()>)> {
    let (jobs, queue) = channel();
    loaded.counters.set_up(true);
    let run = move || {
        let _down = Down(&loaded.counters);
        drive(Runner::new(loaded.clone(), on_a_thread()), &queue);
    };
    match thread::Builder::new().name("sterna-engine".into()).spawn(run) {
        Ok(thread) => Ok((jobs, thread)),
        Err(error) => {
            let problem = format!("the engine thread could not be started: {error}");
            Err(Error::Resources { problem })
        }
    }
}

/// Marks the engine as down when its thread ends for any reason.
struct Down<'a>(&'a Counters);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        self.0.set_up(false);
    }
}

fn drive(mut runner: Runner, jobs: &Receiver<(Job, Reply)>) {
    loop {
        if runner.is_idle() {
            let Ok((job, reply)) = jobs.recv() else { return };
            runner.accept(job, reply);
        }
        jobs.try_iter().for_each(|(job, reply)| runner.accept(job, reply));
        runner.step();
    }
}

/// Runs tasks on a thread that starts with the first task. If no thread can be started, tasks run immediately.
fn on_a_thread() -> Executor {
    let tasks: OnceLock<Option<Sender<Task>>> = OnceLock::new();
    Arc::new(move |task| {
        let unsent = match tasks.get_or_init(grammar_thread) {
            Some(tasks) => tasks.send(task).err().map(|SendError(task)| task),
            None => Some(task),
        };
        if let Some(task) = unsent {
            task();
        }
    })
}

/// A thread that runs tasks until all senders are dropped.
fn grammar_thread() -> Option<Sender<Task>> {
    let (tasks, queue) = channel::<Task>();
    let run = move || queue.into_iter().for_each(|task| task());
    thread::Builder::new().name("sterna-grammar".into()).spawn(run).ok().map(|_| tasks)
}

/// Runs two functions in parallel, if a thread can be started for the first.
pub(super) fn beside<A: Send, B>(first: impl Fn() -> A + Sync, second: impl FnOnce() -> B) -> (B, A) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("sterna-text".into()).spawn_scoped(scope, &first);
        let second = second();
        let first = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => first(),
        };
        (second, first)
    })
}

/// Adds times to the events of one piece of work.
pub(super) struct Clock {
    submitted: Instant,
    first_draw: Option<Instant>,
    last_token: Option<Instant>,
}

impl Clock {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { submitted: Instant::now(), first_draw: None, last_token: None }
    }

    /// Adds the times to an event.
    pub fn stamp(&mut self, mut event: Event) -> Event {
        let now = Instant::now();
        match &mut event {
            Event::Token { at, .. } => {
                *at = Some(now);
                self.first_draw.get_or_insert(now);
                self.last_token = Some(now);
            }
            Event::Finished { usage, .. } => {
                let first = *self.first_draw.get_or_insert(now);
                usage.prefill_seconds = (first - self.submitted).as_secs_f64();
                usage.decode_seconds = self.last_token.map_or(0.0, |last| (last - first).as_secs_f64());
            }
            Event::Embedding(_) | Event::Hidden { .. } => {}
        }
        event
    }
}
