//! Ctrl-C: ends the program, or only the answer or the training step.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static SPARED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C runs `clean_up` and ends the program with exit code 130.
pub fn ends_program(clean_up: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(move || {
        clean_up();
        end();
    })?)
}

/// From now on Ctrl-C ends the program with exit code 130. The one after a call of [`spares_once`] does not: it calls
/// `noticed`, and [`happened`] returns true.
pub fn ends_program_unless_spared(noticed: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(move || {
        if !SPARED.swap(false, Ordering::Relaxed) {
            end();
        }
        INTERRUPTED.store(true, Ordering::Relaxed);
        noticed();
    })?)
}

/// The next Ctrl-C does not end the program.
pub fn spares_once() {
    SPARED.store(true, Ordering::Relaxed);
}

fn end() -> ! {
    if std::io::stderr().is_terminal() {
        let _ = writeln!(std::io::stderr());
    }
    std::process::exit(130);
}

/// From now on Ctrl-C only makes [`happened`] return true.
pub fn is_noticed() -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))?)
}

/// Whether Ctrl-C was pressed since the last call.
pub fn happened() -> bool {
    INTERRUPTED.swap(false, Ordering::Relaxed)
}
