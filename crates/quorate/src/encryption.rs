//! Encryption at rest on the command line: the flags of `quorate start`, and `quorate encryption-status`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use server::{EncryptionConfig, EncryptionStatus, FileBytes, KeySource, Rotation};

#[derive(clap::Args)]
#[group(skip)]
pub struct Flags {
    /// Encrypt the store with the key in this file: 32 bytes, as they are, in hexadecimal or in base64, in a file that only
    /// the node's user can read. A store that is not encrypted becomes so as its files are written anew.
    #[arg(long, value_name = "FILE", conflicts_with = "encryption_key_command")]
    encryption_key_file: Option<PathBuf>,
    /// The same, with the key that this command prints; sh runs it.
    #[arg(long, value_name = "COMMAND")]
    encryption_key_command: Option<String>,
    /// The key that the store had until now: the other takes its place. Once the node has started it is of no use.
    #[arg(long, value_name = "FILE", conflicts_with = "encryption_old_key_command")]
    encryption_old_key_file: Option<PathBuf>,
    /// The same, with the key that this command prints.
    #[arg(long, value_name = "COMMAND")]
    encryption_old_key_command: Option<String>,
    /// A data key is replaced when it is as old as this.
    #[arg(long, value_name = "SECONDS", default_value_t = 7 * 24 * 3600, value_parser = clap::value_parser!(u64).range(1..))]
    encryption_rotate_after: u64,
    /// A data key is replaced when so much has been written with it.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 40, value_parser = clap::value_parser!(u64).range(1 << 20..))]
    encryption_rotate_bytes: u64,
}

fn source(file: Option<PathBuf>, command: Option<String>) -> Option<KeySource> {
    file.map(KeySource::File).or(command.map(KeySource::Command))
}

impl Flags {
    pub fn config(self) -> EncryptionConfig {
        EncryptionConfig {
            key: source(self.encryption_key_file, self.encryption_key_command),
            old_key: source(self.encryption_old_key_file, self.encryption_old_key_command),
            rotation: Rotation {
                after: Duration::from_secs(self.encryption_rotate_after),
                after_bytes: self.encryption_rotate_bytes,
            },
        }
    }
}

#[derive(clap::Args)]
pub struct Status {
    /// Where the node keeps its data.
    #[arg(long, value_name = "DIR", default_value = "quorate-data")]
    store: PathBuf,
}

/// Prints the store's keys, and a line for each data key that files name.
pub fn status(status: &Status) -> Result<(), String> {
    let found = EncryptionStatus::read(&status.store).map_err(|error| format!("{}: {error}", status.store.display()))?;
    let mut text = match found.keys {
        Some((store_key, active)) => format!("store key {store_key}, active data key {active}\n"),
        None => "not encrypted\n".to_owned(),
    };
    text += &format!("{:<16}  {:>8}  {:>16}\n", "data key", "files", "bytes");
    let mut line = |name: &str, of: FileBytes| text += &format!("{name:<16}  {:>8}  {:>16}\n", of.files, of.bytes);
    for (key, of) in &found.usage.by_key {
        line(&key.to_string(), *of);
    }
    line("plaintext", found.usage.plaintext);
    if found.usage.damaged.files > 0 {
        line("damaged", found.usage.damaged);
    }
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}
