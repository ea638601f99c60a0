//! Where a store's key comes from: a file, or a command that prints it.
//!
//! A key is 32 bytes: as they are, as 64 hexadecimal digits, or in base64; white space around the latter two is passed over.
//! A command is run by `sh`, and what it prints is read like a file. So a key manager is asked by its own program. It has no
//! terminal: it runs in a process group of its own, which is killed as a whole where it takes too long.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::cipher::KEY_BYTES;
use crate::StorageError;

/// How long a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it is waited for what a command that has failed has said about it.
const EXPLANATION_TIMEOUT: Duration = Duration::from_secs(1);
/// More than any key is long.
const SOURCE_BYTES_MAX: u64 = 4096;

#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    File(PathBuf),
    Command(String),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            // It may have a secret among its arguments.
            Self::Command(_) => f.write_str("the command for the store's key"),
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl KeySource {
    /// # Errors
    /// [`StorageError::StoreKeySource`] when there is no key to be had.
    pub(super) fn read(&self) -> Result<StoreKey, StorageError> {
        let read = match self {
            Self::File(path) => read_file(path),
            Self::Command(command) => run(command, COMMAND_TIMEOUT),
        };
        read.and_then(|bytes| StoreKey::parse(&bytes))
            .map_err(|reason| StorageError::StoreKeySource { from: self.to_string(), reason })
    }
}

fn read_file(path: &PathBuf) -> Result<Zeroizing<Vec<u8>>, String> {
    let told = |error: std::io::Error| error.to_string();
    let file = std::fs::File::open(path).map_err(told)?;
    let metadata = file.metadata().map_err(told)?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Err("the key can be read by others: make it mode 0600".into());
    }
    let mut bytes = room();
    file.take(SOURCE_BYTES_MAX).read_to_end(&mut bytes).map_err(told)?;
    Ok(bytes)
}

fn run(command: &str, timeout: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("/bin/sh: {error}"))?;
    let deadline = Instant::now() + timeout;
    let output = drain(child.stdout.take());
    let said = drain(child.stderr.take());
    // The output before the child: as long as that is not collected, the number of its group is its own. The output ends
    // when all processes that have it have ended or closed it, also those that the child has left behind.
    let Ok(output) = output.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
        kill(&mut child);
        return Err(format!("it was not done within {} s", timeout.as_secs()));
    };
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            None => {
                kill(&mut child);
                return Err(format!("it was not done within {} s", timeout.as_secs()));
            }
        }
    };
    if status.success() {
        return Ok(output);
    }
    let said = said.recv_timeout(EXPLANATION_TIMEOUT).unwrap_or_default();
    let text = String::from_utf8_lossy(&said);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).map(|line| format!(": {}", line.trim()));
    Err(format!("it ended with {status}{}", line.unwrap_or_default()))
}

/// Reads a pipe to its end, beside who asks for what came.
fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Zeroizing<Vec<u8>>> {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = room();
        if let Some(mut pipe) = pipe {
            let _partial = pipe.by_ref().take(SOURCE_BYTES_MAX).read_to_end(&mut bytes);
            // What it says beyond is let through, so that it does not wait for a reader.
            let _rest = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        // Who has asked may have given up.
        let _heard = done.send(bytes);
    });
    wait
}

/// Kills a child that was not collected yet, with all that it has started, and collects it.
fn kill(child: &mut Child) {
    if let Ok(group) = libc::pid_t::try_from(child.id()) {
        // SAFETY: sends a signal to the group that the child leads.
        let _sent = unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    let _status = child.wait();
}

/// A buffer that does not grow: none of its contents is left behind by that.
fn room() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(SOURCE_BYTES_MAX as usize + 32))
}

/// A name for a store key that tells nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreKeyId(pub(super) [u8; 8]);

impl fmt::Display for StoreKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What the data keys of a store are sealed with.
pub(super) struct StoreKey {
    pub secret: Zeroizing<[u8; KEY_BYTES]>,
}

impl StoreKey {
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = bytes.trim_ascii();
        let raw = <&[u8; KEY_BYTES]>::try_from(bytes).ok();
        // 32 random bytes are never all letters, whatever stands around them.
        let is_typed = |bytes: &[u8]| {
            bytes.len() == KEY_BYTES && bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
        };
        if is_typed(text) || is_typed(bytes) {
            return Err("it is a text of 32 characters, which is no key: a key is 32 random bytes (openssl rand -hex 32)".into());
        }
        let secret = raw.map(|raw| Zeroizing::new(*raw)).or_else(|| unhex(text)).or_else(|| {
            let engines = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
            let decoded = engines.iter().find_map(|engine| engine.decode(text).ok()).map(Zeroizing::new)?;
            <[u8; KEY_BYTES]>::try_from(&decoded[..]).ok().map(Zeroizing::new)
        });
        match secret {
            Some(secret) => Ok(Self { secret }),
            None => Err(format!("{} bytes that are no key: a key is 32 bytes, as they are, in hexadecimal or in base64", bytes.len())),
        }
    }

    pub fn id(&self) -> StoreKeyId {
        let mut sum = Sha256::new();
        sum.update(b"quorate store key");
        sum.update(&self.secret[..]);
        let mut id = [0; 8];
        id.copy_from_slice(&sum.finalize()[..8]);
        StoreKeyId(id)
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store key {}", self.id())
    }
}

fn unhex(text: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_in_three_forms() {
        let raw: Vec<u8> = (0..32).map(|n| n * 7 + 3).collect();
        let hex = crate::golden::hex(&raw);
        let forms = [raw.clone(), hex.clone().into_bytes(), format!(" {}\n", hex.to_uppercase()).into_bytes(), STANDARD.encode(&raw).into_bytes()];
        for form in forms {
            assert_eq!(StoreKey::parse(&form).unwrap().secret.as_slice(), raw);
        }
        // As typed into a file: the end of the line is none of 32 random bytes.
        let typed = [
            &b"correct horse battery staple 12\n"[..],
            b"correct horse battery staple 1\r\n",
            b"\tcorrect horse battery staple 1\n",
        ];
        assert!(typed.iter().all(|typed| typed.len() == KEY_BYTES));
        for phrase in typed {
            let refused = StoreKey::parse(phrase).unwrap_err();
            assert!(refused.contains("a text of 32 characters"), "{refused}");
        }
        for wrong in [&b""[..], b"secret", b"0123456789abcdef0123456789abcdef", &[7; 33], &[b'g'; 64]] {
            let refused = StoreKey::parse(wrong).unwrap_err();
            assert!(refused.contains("32"), "{refused}");
        }
        assert_eq!(StoreKey::parse(&[1; 32]).unwrap().id().to_string(), StoreKey::parse(&[1; 32]).unwrap().id().to_string());
        assert_ne!(StoreKey::parse(&[1; 32]).unwrap().id(), StoreKey::parse(&[2; 32]).unwrap().id());
    }

    #[test]
    fn commands_print_keys() {
        let hex = "0f".repeat(32);
        let read = KeySource::Command(format!("echo asked >&2; printf %s {hex}")).read().unwrap();
        assert_eq!(read.secret.as_slice(), [0x0f; 32]);
        let check = |command: &str, expected: &str| {
            let refused = KeySource::Command(command.into()).read().unwrap_err().to_string();
            assert!(refused.contains(expected) && !refused.contains('\n'), "{refused}");
            assert!(!refused.contains("s3cret"), "the command itself is not shown: {refused}");
        };
        check("echo s3cret >/dev/null; echo no such vault >&2; exit 7", "7: no such vault");
        check("echo nonsense", "32 bytes");
        assert!(run("yes | head -c 1000000", COMMAND_TIMEOUT).is_ok(), "it need not wait for a reader");
    }

    /// Whoever is left with the pipes is not waited for.
    #[test]
    fn a_command_takes_no_longer_than_it_may() {
        let (from, short) = (Instant::now(), Duration::from_millis(100));
        // One that does not end, one that leaves another with its output, and one that closes it and goes on.
        for command in ["sleep 600", "sleep 600 & exit 0", "exec >&-; sleep 600; exit 0"] {
            let refused = run(command, short).unwrap_err();
            assert!(refused.contains("not done within"), "{command}: {refused}");
        }
        // What it has left behind is killed with it.
        let dir = tempfile::tempdir().unwrap();
        let alive = dir.path().join("alive");
        let command = format!("(sleep 1; touch {}) & sleep 600", alive.display());
        assert!(run(&command, short).is_err());
        // Messages alone are not worth waiting for.
        assert!(run("sleep 30 >/dev/null & echo key", COMMAND_TIMEOUT).is_ok());
        let refused = run("sleep 30 >/dev/null & exit 3", COMMAND_TIMEOUT).unwrap_err();
        assert!(refused.contains("ended with"), "{refused}");
        assert!(from.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!alive.exists());
    }

    #[test]
    fn files_of_keys_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let source = KeySource::File(path.clone());
        assert!(source.read().unwrap_err().to_string().contains("os error 2"));
        std::fs::write(&path, [200; 32]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(source.read().unwrap_err().to_string().contains("mode 0600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(source.read().unwrap().secret.as_slice(), [200; 32]);
    }
}
