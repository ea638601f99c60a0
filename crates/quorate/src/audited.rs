//! `quorate audit`, and what `quorate start` is told of the audit log.

use std::path::PathBuf;

use audit::{Fault, Mark};
use clap::Subcommand;
use server::AuditConfig;

#[derive(Subcommand)]
pub enum Audit {
    /// See whether each line of an audit log follows from the one before, and say where it does not.
    Verify {
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// A line that an earlier run has printed as the last: it must still be there, with this chain.
        #[arg(long, value_name = "SEQ:CHAIN")]
        expect: Option<Mark>,
    },
}

#[derive(clap::Args)]
#[group(skip)]
pub struct Flags {
    /// Keeps an audit log there: who connects, who is not let in, which statements change objects, roles, privileges or
    /// the cluster's settings, and who reads and writes the tables that SET CLUSTER SETTING sql.audit.rules chooses.
    #[arg(long, value_name = "DIR")]
    audit_dir: Option<PathBuf>,
    /// A file of the audit log that grows above this is left, and the next begun.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(4096..))]
    audit_file_bytes: u64,
}

impl Flags {
    pub fn config(self) -> Option<AuditConfig> {
        self.audit_dir.map(|dir| AuditConfig { dir, file_bytes_max: self.audit_file_bytes })
    }
}

/// # Errors
/// Where the log does not hold.
pub fn run(command: &Audit) -> Result<(), Fault> {
    let Audit::Verify { dir, expect } = command;
    let verified = audit::verify_with(dir, *expect)?;
    let Some(end) = verified.end() else {
        println!("no lines");
        return Ok(());
    };
    println!("lines {} to {} in {} files hold", verified.first, verified.last, verified.files);
    if verified.first > 1 {
        println!("older files are gone");
    }
    println!("the last is {end}");
    if verified.torn > 0 {
        println!("{} bytes of a line that was not finished follow", verified.torn);
    }
    Ok(())
}
