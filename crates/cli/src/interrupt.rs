//! Ctrl-C: ends the program, or only the answer.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C runs `clean_up` and ends the program with exit code 130.
pub fn ends_program(clean_up: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(move || {
        clean_up();
        if std::io::stderr().is_terminal() {
            let _ = writeln!(std::io::stderr());
        }
        std::process::exit(130);
    })?)
}

/// From now on Ctrl-C is only noticed, for [`happened`].
pub fn is_noticed() -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))?)
}

/// Whether Ctrl-C was pressed since the last call.
pub fn happened() -> bool {
    INTERRUPTED.swap(false, Ordering::Relaxed)
}
