//! All instruction sets of this build, and the choice of one at run time.

use crate::set::{Isa, KernelSet};

/// Every set of this build, best first. A new one is a file and a line here.
const ALL: &[&KernelSet] = &[
    #[cfg(target_arch = "x86_64")]
    &crate::x86_64::amx::SET,
    #[cfg(target_arch = "x86_64")]
    &crate::x86_64::avx512::SET,
    #[cfg(target_arch = "x86_64")]
    &crate::x86_64::avxvnni::SET,
    #[cfg(target_arch = "x86_64")]
    &crate::x86_64::avx2::SET,
    &crate::portable::SET,
];

/// Names of all sets in this build, best first.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|set| set.name)
}

/// The sets that this CPU supports, best first; `portable` is always last.
pub fn available() -> impl Iterator<Item = Isa> {
    ALL.iter().filter_map(|set| Isa::new(set))
}

/// The set that defines correct results, which every CPU supports.
///
/// # Panics
/// Never: every CPU supports the set.
pub fn portable() -> Isa {
    Isa::new(&crate::portable::SET).expect("every CPU has it")
}

/// A name that is not an instruction set, or a set that this CPU lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSet {
    name: String,
}

impl std::fmt::Display for UnknownSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = names().any(|name| name == self.name);
        let reason = if known { "is not supported by this CPU" } else { "is not an instruction set of this build" };
        let runs: Vec<_> = available().map(Isa::name).collect();
        write!(f, "`{}` {reason}; this machine runs: {}", self.name, runs.join(", "))
    }
}

impl std::error::Error for UnknownSet {}

/// The set called `name`; the best one for an empty name.
///
/// # Errors
/// If this build has no such set, or this CPU lacks it.
pub fn by_name(name: &str) -> Result<Isa, UnknownSet> {
    from(name)
        .next()
        .filter(|isa| name.is_empty() || isa.name() == name)
        .ok_or_else(|| UnknownSet { name: name.to_owned() })
}

/// The sets that this CPU supports, best first, from the one called `name` on (all for an empty name). Sets are probed
/// lazily: probing AMX requests permission from the operating system.
pub(crate) fn from(name: &str) -> impl Iterator<Item = Isa> {
    ALL.iter().skip_while(move |set| !name.is_empty() && set.name != name).filter_map(|set| Isa::new(set))
}
