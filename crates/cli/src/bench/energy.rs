//! Energy of the processor packages, as the kernel's power capping framework counts it (RAPL, Intel and AMD).
//!
//! Each directory `/sys/class/powercap/intel-rapl:<n>` is a zone. `name` is what it measures ("package-0"; "psys" is
//! the whole machine, including the packages). `energy_uj` counts microjoules and wraps at `max_energy_range_uj`.
//! Source: Documentation/power/powercap/powercap.rst of Linux.

use std::fs;
use std::path::{Path, PathBuf};

const POWERCAP: &str = "/sys/class/powercap";
const NONE: &str = "this machine has no energy counters (RAPL)";

/// A description of what is measured, or why nothing is.
pub fn source() -> String {
    match Meter::start() {
        Ok(_) => "processor packages (RAPL), including other programs; memory is not included".into(),
        Err(problem) => problem,
    }
}

/// The energy counters of all packages, from a starting point on.
pub struct Meter {
    packages: Vec<Package>,
}

struct Package {
    counter: PathBuf,
    /// Microjoules at which the counter wraps, after at least some minutes of full load. Only one wrap is noticed.
    range: u64,
    start: u64,
}

impl Meter {
    /// Starts counting.
    ///
    /// # Errors
    /// The reason why this machine does not provide the counters.
    pub fn start() -> Result<Self, String> {
        Self::of(Path::new(POWERCAP))
    }

    fn of(powercap: &Path) -> Result<Self, String> {
        let zones = fs::read_dir(powercap).map_err(|_| NONE)?;
        let mut packages = Vec::new();
        for zone in zones.flatten().filter(|zone| is_package(&zone.path())) {
            let number = |file: &str| {
                let file = zone.path().join(file);
                read(&file).map_err(|error| format!("energy counter {}: {error}", file.display()))
            };
            let (start, range) = (number("energy_uj")?, number("max_energy_range_uj")?);
            packages.push(Package { counter: zone.path().join("energy_uj"), range, start });
        }
        if packages.is_empty() { Err(NONE.to_owned()) } else { Ok(Self { packages }) }
    }

    /// Joules of all packages since the start, including other programs. `None` if a counter can no longer be read.
    pub fn joules(&self) -> Option<f64> {
        self.packages.iter().map(Package::joules).sum()
    }
}

impl Package {
    fn joules(&self) -> Option<f64> {
        let now = read(&self.counter).ok()?;
        let again = if now < self.start { self.range } else { 0 };
        Some((again as f64 + now as f64 - self.start as f64) / 1e6)
    }
}

/// Whether a zone is a package read through the processor's registers. `intel-rapl-mmio:0` is the same package, read
/// through memory.
fn is_package(zone: &Path) -> bool {
    let named = zone.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("intel-rapl:"));
    named && fs::read_to_string(zone.join("name")).is_ok_and(|name| name.starts_with("package"))
}

fn read(file: &Path) -> std::io::Result<u64> {
    fs::read_to_string(file)?.trim().parse().map_err(|_| std::io::Error::other("not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, zone: &str, name: &str, energy: u64) {
        let zone = dir.join(zone);
        fs::create_dir_all(&zone).unwrap();
        for (file, text) in [("name", name), ("energy_uj", &energy.to_string()), ("max_energy_range_uj", "1000000")] {
            fs::write(zone.join(file), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    #[cfg_attr(windows, ignore = "a file's name has no colon there")]
    fn packages_are_summed_and_counters_start_again() {
        let dir = tempfile::tempdir().unwrap();
        let zones = |first, second, others| {
            write(dir.path(), "intel-rapl:0", "package-0", first);
            write(dir.path(), "intel-rapl:1", "package-1", second);
            write(dir.path(), "intel-rapl:0:0", "core", others);
            write(dir.path(), "intel-rapl:2", "psys", others);
            write(dir.path(), "intel-rapl-mmio:0", "package-0", others);
        };
        zones(900_000, 100, 7);
        let meter = Meter::of(dir.path()).unwrap();
        assert_eq!(meter.joules(), Some(0.0));
        zones(400_000, 250_100, 500_000);
        assert_eq!(meter.joules(), Some(0.75));
        fs::remove_file(dir.path().join("intel-rapl:1/energy_uj")).unwrap();
        assert_eq!(meter.joules(), None);
    }

    #[test]
    #[cfg_attr(windows, ignore = "a file's name has no colon there")]
    fn machines_without_readable_counters_say_so() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "intel-rapl:0", "psys", 1);
        for powercap in [dir.path(), &dir.path().join("missing")] {
            assert!(Meter::of(powercap).is_err_and(|reason| reason.contains("RAPL")));
        }
        write(dir.path(), "intel-rapl:1", "package-0", 1);
        fs::write(dir.path().join("intel-rapl:1/energy_uj"), "much\n").unwrap();
        assert!(Meter::of(dir.path()).is_err_and(|reason| reason.contains("energy_uj: not a number")));
    }
}
