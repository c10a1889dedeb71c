//! The version of the program, and where it was built from.

use std::sync::LazyLock;

use sterna::kernels::Cpu;

/// The version of the release.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The commit that the program was built from; empty if the build could not find it.
pub const COMMIT: &str = env!("COMMIT");

/// "0.1.0 (85fd788c03b1, avx512)": a bug report needs the instruction set too.
pub static SHOWN: LazyLock<String> = LazyLock::new(|| {
    let isa = instruction_set().unwrap_or("unknown instruction set");
    let commit = if COMMIT.is_empty() { String::new() } else { format!("{COMMIT}, ") };
    format!("{RELEASE} ({commit}{isa})")
});

/// The instruction set that `STERNA_ISA` or the CPU chooses.
pub fn instruction_set() -> sterna::Result<&'static str> {
    Ok(Cpu::new(1)?.isa().name())
}
