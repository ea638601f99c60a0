//! A disk that forgets what was not synced, and that can be full.
//!
//! The test binary has its own `fsync`, `fdatasync`, `write`, `pwrite`, `rename` and `unlink`, which the linker prefers
//! to the C library's for RocksDB too. They note what of each file and directory under a watched root was synced, and
//! pass the call on. A cut then writes down what a machine without power would find: names that a sync of their
//! directory covered, each with the bytes that a sync of the file covered.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, RwLock};

/// A file or directory, as long as it exists: numbers of inodes are used again, with their time of birth they are not.
type Identity = (u64, i64, u32);

#[derive(Default)]
struct Durable {
    files: BTreeMap<Identity, Vec<u8>>,
    dirs: BTreeMap<PathBuf, BTreeMap<PathBuf, (Identity, bool)>>,
}

static ROOT: OnceLock<PathBuf> = OnceLock::new();
static DURABLE: Mutex<Option<Durable>> = Mutex::new(None);
/// Held for writing while a cut is taken: nothing may change beneath it.
static RUNNING: RwLock<()> = RwLock::new(());
static FULL: OnceLock<PathBuf> = OnceLock::new();

thread_local! {
    /// Calls made by this module itself.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// What of the unsynced a cut keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    Power,
    /// Of each file or name all, a part or nothing, by chance: caches are written back in any order.
    Torn(u64),
    /// All of it: the process was killed, and the machine lives on.
    Kill,
}

/// From now on what happens under `root` is noted. Once in a process.
pub fn watch(root: &Path) {
    let root = root.canonicalize().unwrap();
    *DURABLE.lock().unwrap() = Some(Durable::default());
    ROOT.set(root.clone()).expect("one root in a process");
    note_dir(&root);
}

/// From now on no write under `dir` finds room.
pub fn fill(dir: &Path) {
    FULL.set(dir.canonicalize().unwrap()).expect("filled once");
}

/// Writes into `to` what is left of `dir`, which lies under the root, after a cut at this moment.
pub fn cut(dir: &Path, to: &Path, cut: Cut) {
    let _still = RUNNING.write().unwrap();
    INSIDE.set(true);
    let durable = DURABLE.lock().unwrap();
    let mut state = if let Cut::Torn(seed) = cut { seed.wrapping_mul(2).wrapping_add(1) } else { 0 };
    let mut chance = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    leave(durable.as_ref().expect("a root is watched"), &dir.canonicalize().unwrap(), to, cut, &mut chance);
    INSIDE.set(false);
}

fn leave(durable: &Durable, dir: &Path, to: &Path, cut: Cut, chance: &mut impl FnMut() -> u64) {
    std::fs::create_dir_all(to).unwrap();
    let mut names = durable.dirs.get(dir).cloned().unwrap_or_default();
    let now = list(dir);
    match cut {
        Cut::Power => {}
        Cut::Torn(_) => names.extend(now.into_iter().filter(|_| chance() % 2 == 0)),
        Cut::Kill => names = now,
    }
    for (name, (identity, is_dir)) in names {
        if is_dir {
            leave(durable, &dir.join(&name), &to.join(&name), cut, chance);
            continue;
        }
        let synced = durable.files.get(&identity).cloned().unwrap_or_default();
        let current = || {
            let path = dir.join(&name);
            (self::identity(&path) == Some(identity)).then(|| std::fs::read(&path).unwrap())
        };
        let bytes = match cut {
            Cut::Power => synced,
            Cut::Kill => current().expect("a name was listed with its file"),
            Cut::Torn(_) => match (chance() % 3, current()) {
                (0, _) | (_, None) => synced,
                (1, Some(bytes)) => bytes,
                (_, Some(mut bytes)) => {
                    // Past what was synced, as much as came out in time.
                    let more = bytes.len().saturating_sub(synced.len()) as u64;
                    bytes.truncate(synced.len() + (chance() % (more + 1)) as usize);
                    bytes
                }
            },
        };
        std::fs::write(to.join(&name), bytes).unwrap();
    }
}

fn list(dir: &Path) -> BTreeMap<PathBuf, (Identity, bool)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return BTreeMap::new() };
    let mut out = BTreeMap::new();
    for entry in entries.flatten() {
        if let (Some(identity), Ok(kind)) = (identity(&entry.path()), entry.file_type()) {
            out.insert(entry.file_name().into(), (identity, kind.is_dir()));
        }
    }
    out
}

fn identity(path: &Path) -> Option<Identity> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: `statx` is plain numbers, and the call fills it in.
    let stat = unsafe {
        let mut stat: libc::statx = std::mem::zeroed();
        let flags = libc::STATX_INO | libc::STATX_BTIME;
        if libc::statx(libc::AT_FDCWD, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW, flags, &mut stat) != 0 {
            return None;
        }
        stat
    };
    Some((stat.stx_ino, stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))
}

fn note_dir(path: &Path) {
    let names = list(path);
    if let Some(durable) = DURABLE.lock().unwrap().as_mut() {
        durable.dirs.insert(path.to_owned(), names);
    }
}

/// The path behind a descriptor, if it lies under the root.
fn watched(fd: c_int) -> Option<PathBuf> {
    let root = ROOT.get()?;
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    path.starts_with(root).then_some(path)
}

/// Lets a call happen, but not during a cut.
fn pass<R>(call: impl FnOnce() -> R) -> R {
    if ROOT.get().is_none() || INSIDE.try_with(Cell::get).unwrap_or(true) {
        return call();
    }
    let _running = RUNNING.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    call()
}

fn sync(fd: c_int, number: libc::c_long) -> c_int {
    pass(|| {
        let inside = INSIDE.replace(true);
        // What is there before the call is what the call makes durable; what others add meanwhile is luck.
        let path = if inside { None } else { watched(fd) };
        if let Some(path) = path {
            if path.is_dir() {
                note_dir(&path);
            } else if let (Some(identity), Ok(bytes)) = (identity(&path), std::fs::read(&path)) {
                if let Some(durable) = DURABLE.lock().unwrap().as_mut() {
                    durable.files.insert(identity, bytes);
                }
            }
        }
        INSIDE.set(inside);
        // SAFETY: the caller's own call.
        unsafe { libc::syscall(number, fd) as c_int }
    })
}

fn no_space(fd: c_int) -> bool {
    let Some(full) = FULL.get() else { return false };
    if !watched(fd).is_some_and(|path| path.starts_with(full)) {
        return false;
    }
    // SAFETY: the address of this thread's errno is always valid.
    unsafe { *libc::__errno_location() = libc::ENOSPC };
    true
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

#[unsafe(no_mangle)]
extern "C" fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize {
    if no_space(fd) {
        return -1;
    }
    // SAFETY: the caller's own call.
    pass(|| unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) as isize })
}

#[unsafe(no_mangle)]
extern "C" fn pwrite(fd: c_int, bytes: *const c_void, count: usize, offset: i64) -> isize {
    if no_space(fd) {
        return -1;
    }
    // SAFETY: the caller's own call.
    pass(|| unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, count, offset) as isize })
}

#[unsafe(no_mangle)]
extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, count: usize, offset: i64) -> isize {
    pwrite(fd, bytes, count, offset)
}

#[unsafe(no_mangle)]
extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's own call.
    pass(|| unsafe { libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) as c_int })
}

#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's own call.
    pass(|| unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) as c_int })
}

/// So that a build that prefers the C library's calls fails the tests instead of passing them.
pub fn assert_in_place(root: &Path) {
    let path = root.join("probe");
    let file = std::fs::File::create(&path).unwrap();
    std::fs::write(&path, b"probe").unwrap();
    file.sync_all().unwrap();
    let known = identity(&path).unwrap();
    let durable = DURABLE.lock().unwrap();
    let synced = durable.as_ref().and_then(|durable| durable.files.get(&known));
    assert_eq!(synced.map(Vec::as_slice), Some(&b"probe"[..]), "syncs are seen");
    drop(durable);
    std::fs::remove_file(path).unwrap();
}
