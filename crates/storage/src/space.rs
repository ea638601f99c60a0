//! How much room the disk has left.
//!
//! A database that finds its disk full in the middle of a write can only stop. So some room is kept back: when less is
//! left, what clients write is refused, while what is under way is still logged, applied and written out, and rows
//! can be read and deleted.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::{Engine, StorageError};

impl Engine {
    /// Looks at the disk and lets go of what only idle readers hold. To be called every second or so.
    pub fn tend(&self) {
        self.release_idle_readers();
        match free_bytes(&self.inner.dir) {
            Ok(free) => {
                let low = free < self.inner.config.disk_reserve_bytes;
                let was_low = self.inner.low_on_disk.swap(low, Ordering::Relaxed);
                if low && !was_low {
                    tracing::error!(free, "the disk is nearly full: writes are refused");
                } else if was_low && !low {
                    tracing::info!(free, "the disk has room again: writes are taken");
                }
            }
            Err(error) => tracing::warn!(%error, "free space"),
        }
    }

    /// The file system that the engine is on: what it has free, and all of it, in bytes.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn disk_space(&self) -> Result<(u64, u64), StorageError> {
        let stat = space_of(&self.inner.dir)?;
        Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }

    /// Whether clients may write.
    ///
    /// # Errors
    /// [`StorageError::DiskFull`] when [`crate::EngineConfig::disk_reserve_bytes`] were not free when last looked.
    pub fn check_space(&self) -> Result<(), StorageError> {
        if self.inner.low_on_disk.load(Ordering::Relaxed) { Err(self.too_full(0)) } else { Ok(()) }
    }

    /// Whether so many bytes may be written in bulk, which would be at the end of the reserve before [`Engine::tend`]
    /// is called again. Asks the disk.
    ///
    /// # Errors
    /// [`StorageError::DiskFull`] when [`crate::EngineConfig::disk_reserve_bytes`] would not be free after it.
    pub fn check_room(&self, bytes: u64) -> Result<(), StorageError> {
        let needed = self.inner.config.disk_reserve_bytes.saturating_add(bytes);
        if free_bytes(&self.inner.dir)? < needed { Err(self.too_full(bytes)) } else { Ok(()) }
    }

    fn too_full(&self, bytes: u64) -> StorageError {
        let needed = self.inner.config.disk_reserve_bytes.saturating_add(bytes) >> 20;
        StorageError::DiskFull { what: format!("{} has less than {needed} MiB left", self.inner.dir.display()) }
    }
}

/// What an ordinary user may still write to the file system of `dir`.
fn free_bytes(dir: &Path) -> Result<u64, StorageError> {
    let stat = space_of(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn space_of(dir: &Path) -> Result<libc::statvfs, StorageError> {
    let failed = |error| StorageError::io("look for free space in", dir, error);
    let path = CString::new(dir.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    // SAFETY: the struct is plain numbers, and the call fills it in.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &mut stat) != 0 {
            return Err(failed(std::io::Error::last_os_error()));
        }
        stat
    };
    Ok(stat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineConfig;

    #[test]
    fn writes_are_refused_while_room_is_short() {
        let dir = tempfile::tempdir().unwrap();
        let config = EngineConfig { disk_reserve_bytes: u64::MAX, ..EngineConfig::small() };
        let engine = Engine::open(dir.path(), &config).unwrap();
        // Known from the start, not a second later.
        let refused = engine.check_space().unwrap_err();
        assert!(refused.to_string().starts_with("no space left on the device"), "{refused}");
        let roomy = tempfile::tempdir().unwrap();
        let engine = Engine::open(roomy.path(), &EngineConfig::small()).unwrap();
        engine.tend();
        engine.check_space().unwrap();
        engine.check_room(1).unwrap();
        assert!(matches!(engine.check_room(u64::MAX), Err(StorageError::DiskFull { .. })));
    }
}
