//! The end of the process, where going on could lose what was acknowledged.

use crate::StorageError;

/// What the disk holds is unknown from here on, and trying again may report success over lost pages: the next start
/// finds out. A full disk is nobody's bug and leaves no core; whoever makes room may start again.
pub(crate) fn stop(what: &str, error: &StorageError) -> ! {
    tracing::error!(%error, "{what}: the process ends");
    eprintln!("quorate: {what}, the process ends: {error}");
    if let StorageError::DiskFull { .. } = error {
        // SAFETY: ends the process at once. Destructors would wait for threads that wait for the disk.
        unsafe { libc::_exit(1) }
    }
    std::process::abort()
}

/// The disk does not come back from a write. The process would wait for it with everything else.
pub(crate) fn hang(stalled: std::time::Duration) -> ! {
    let seconds = stalled.as_secs();
    tracing::error!(seconds, "the disk has not finished a write of the log: the process ends");
    eprintln!("quorate: the disk has not finished a write of the log for {seconds} s, the process ends");
    // SAFETY: ends the process at once. Destructors would wait for threads that wait for the disk.
    unsafe { libc::_exit(1) }
}
