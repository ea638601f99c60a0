//! Disks of nodes that can be made to stall: a file system in a file, frozen and thawed as a backup would.
//!
//! While it is frozen every write and sync on it waits in the kernel, as on a device that has stopped answering. Needs
//! root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{IoContext, Result, capture, run};

const BYTES: u64 = 4 << 30;

/// A mounted file system, gone when dropped.
pub struct Disk {
    mount: PathBuf,
}

impl Disk {
    /// Whether this user may have any.
    pub fn is_possible() -> bool {
        capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
            && ["mkfs.ext4", "mount", "fsfreeze"].iter().all(|name| {
                crate::command::find_program(name, &["/usr/sbin", "/sbin", "/usr/bin", "/bin"]).is_some()
            })
    }

    /// Makes one, and mounts it at `mount`.
    pub fn make(image: &Path, mount: &Path) -> Result<Self> {
        let file = File::create(image).context(format!("creating {}", image.display()))?;
        // Sparse: it takes what is written to it.
        file.set_len(BYTES).context("sizing a disk")?;
        fs::create_dir_all(mount).context(format!("creating {}", mount.display()))?;
        run(Command::new("mkfs.ext4").arg("-q").arg(image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(mount))?;
        Ok(Self { mount: mount.to_path_buf() })
    }

    pub fn freeze(&self) -> Result {
        run(Command::new("fsfreeze").arg("-f").arg(&self.mount))
    }

    pub fn thaw(&self) -> Result {
        run(Command::new("fsfreeze").arg("-u").arg(&self.mount))
    }

    /// For where something failed in between.
    pub fn thaw_if_frozen(&self) {
        // It refuses what is not frozen.
        let _thawed = capture(Command::new("fsfreeze").arg("-u").arg(&self.mount));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.thaw_if_frozen();
        // What is left mounted is said by the removal of the folder, which fails.
        let _unmounted = capture(Command::new("umount").arg(&self.mount));
    }
}
