//! Limits that the system sets for a process (`ulimit`), and errors that name them.

#[cfg(unix)]
use std::alloc::{GlobalAlloc, Layout, System};
use std::io;

use crate::memory;

/// The error number of "too many open files", on Linux and macOS.
const TOO_MANY_FILES: i32 = 24;

/// The limit of a resource; `None` if there is none.
#[cfg(unix)]
fn limit(read: impl FnOnce(&mut libc::rlimit) -> i32) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    let known = read(&mut limit) == 0 && limit.rlim_cur != libc::RLIM_INFINITY;
    #[allow(clippy::unnecessary_cast, reason = "some systems count in signed numbers")]
    known.then_some(limit.rlim_cur as u64)
}

/// Bytes of address space that this process may use (`ulimit -v`); `None` if there is no limit.
pub fn address_space() -> Option<u64> {
    #[cfg(unix)]
    // SAFETY: `limit` is a valid `rlimit` that the call may write to, and the resource is one that the system knows.
    return limit(|limit| unsafe { libc::getrlimit(libc::RLIMIT_AS, limit) });
    #[cfg(not(unix))]
    None
}

/// Files that this process may have open (`ulimit -n`); `None` if there is no limit.
pub fn open_files() -> Option<u64> {
    #[cfg(unix)]
    // SAFETY: `limit` is a valid `rlimit` that the call may write to, and the resource is one that the system knows.
    return limit(|limit| unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit) });
    #[cfg(not(unix))]
    None
}

/// Bytes that a file may have which this process writes (`ulimit -f`); `None` if there is no limit.
pub fn file_size() -> Option<u64> {
    #[cfg(unix)]
    // SAFETY: `limit` is a valid `rlimit` that the call may write to, and the resource is one that the system knows.
    return limit(|limit| unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, limit) });
    #[cfg(not(unix))]
    None
}

/// Bytes of address space that are left within the limit; `None` if there is no limit, or if its use cannot be read.
pub fn address_space_left() -> Option<u64> {
    Some(address_space()?.saturating_sub(memory::of_process("VmSize:")?))
}

/// The error with the limit that caused it, if it is one of those that limits cause.
pub fn explained(error: io::Error) -> io::Error {
    let with = |limit: Option<u64>| limit.map_or_else(|| "no more".into(), |limit| limit.to_string());
    let problem = match error.kind() {
        _ if error.raw_os_error() == Some(TOO_MANY_FILES) => {
            format!("too many open files; this process may have {} open (ulimit -n)", with(open_files()))
        }
        io::ErrorKind::FileTooLarge => {
            format!(
                "the file would be too large; this process may write files of {} bytes (ulimit -f)",
                with(file_size())
            )
        }
        io::ErrorKind::OutOfMemory => match address_space() {
            Some(limit) => format!("no memory is left; this process may use {} MiB (ulimit -v)", limit >> 20),
            None => return error,
        },
        _ => return error,
    };
    io::Error::new(error.kind(), problem)
}

/// Prepares a program for limits of its process; to be called first.
///
/// With a limit of address space, the C library's allocator shares one area between threads: it would reserve 64 MiB for
/// each. A file that grows beyond its limit is an error of the write, and does not end the process.
pub fn prepare() {
    #[cfg(unix)]
    {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        if address_space().is_some() {
            // SAFETY: an option of the allocator, set before any other thread runs.
            unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
        }
        // SAFETY: to ignore a signal runs no code of ours in a handler.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    }
}

/// The system's allocator. When memory runs out, the program ends with exit code 1 and an error that names the limit,
/// where Rust would abort the process.
#[cfg(unix)]
pub struct Allocator;

// SAFETY: every call goes to `System` with the caller's arguments. Its result is returned as it is, unless the process ends.
#[cfg(unix)]
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is that of `System`.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout, as the caller promises of this allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`, which is that of `System`.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: `pointer` came from `System` with this layout, and `size` is as the caller promises of this allocator.
        given(unsafe { System.realloc(pointer, layout, size) }, size)
    }
}

#[cfg(unix)]
#[inline]
fn given(pointer: *mut u8, size: usize) -> *mut u8 {
    if pointer.is_null() {
        end_out_of_memory(size);
    }
    pointer
}

/// Writes why memory ran out to stderr, and ends the process with exit code 1. Allocates nothing.
#[cfg(unix)]
#[cold]
#[inline(never)]
fn end_out_of_memory(size: usize) -> ! {
    use std::io::Write;
    let mut text = [0; 256];
    let mut rest = &mut text[..];
    // The message fits into the buffer.
    let _ = match address_space() {
        Some(limit) => writeln!(
            rest,
            "error: no memory is left for {size} bytes: this process may use {} MiB (ulimit -v). Raise the limit, or use \
             fewer threads (-t) or a shorter context (--ctx).",
            limit >> 20
        ),
        None => writeln!(
            rest,
            "error: no memory is left for {size} bytes. Close other programs, or use a shorter context (--ctx)."
        ),
    };
    let written = 256 - rest.len();
    // SAFETY: the first `written` bytes of `text` are initialised and live; writing and ending run no code of this program.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), written);
        libc::_exit(1)
    }
}
