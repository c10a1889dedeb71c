//! Metrics of the process, with the names that Prometheus' own client libraries give them.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use sterna::kernels::{limits, memory};

use crate::app::now;

/// Units of time in /proc/self/stat, for each second: `USER_HZ`, which is 100 on all systems that Rust supports.
const TICKS: f64 = 100.0;

/// What the system tells about this process. Only Linux has the files; elsewhere these metrics are left out.
pub struct Process {
    memory: Gauge,
    cpu: Counter<f64, AtomicU64>,
    files: Gauge,
}

impl Process {
    /// Adds the metrics of the process to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let process = Self { memory: Gauge::default(), cpu: Counter::default(), files: Gauge::default() };
        let start: Gauge = Gauge::default();
        start.set(now() as i64);
        registry.register_with_unit(
            "process_start_time",
            "Unix time at which the server started",
            Unit::Seconds,
            start,
        );
        if resident().is_some() {
            let help = "Memory in use, with the mapped pages of files";
            registry.register_with_unit("process_resident_memory", help, Unit::Bytes, process.memory.clone());
        }
        if cpu_seconds().is_some() {
            let help = "Time that CPUs spent on this process";
            registry.register_with_unit("process_cpu", help, Unit::Seconds, process.cpu.clone());
        }
        if open_files().is_some() {
            registry.register("process_open_fds", "Open files and connections", process.files.clone());
        }
        if let Some(limit) = limits::open_files() {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(limit).unwrap_or(i64::MAX));
            registry.register("process_max_fds", "Limit of open files and connections", gauge);
        }
        process
    }

    /// Reads the present figures. One that cannot be read stays as it is.
    pub fn update(&self) {
        if let Some(bytes) = resident() {
            self.memory.set(bytes);
        }
        if let Some(seconds) = cpu_seconds() {
            self.cpu.inner().store(seconds.to_bits(), Relaxed);
        }
        if let Some(files) = open_files() {
            self.files.set(files);
        }
    }
}

/// Resident memory in bytes.
fn resident() -> Option<i64> {
    i64::try_from(memory::resident()?).ok()
}

/// Seconds of all CPUs in this process and in the system on its behalf.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may have spaces. Fields 14 and 15 are the times.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

/// Number of open files, without the folder that is read for it.
fn open_files() -> Option<i64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(entries).ok().map(|count| count - 1)
}
