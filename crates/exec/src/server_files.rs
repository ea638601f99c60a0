//! Files and programs of the server that statements may use: COPY, and large objects that are imported and exported.
//!
//! A node has none unless it was started with a directory for them. What lies elsewhere is out of reach, whatever links
//! lead there.
//!
//! **Invariant (inside-the-directory):** a path is opened only in the form that the file system resolves it to, and only
//! below the directory.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use types::{SqlError, SqlResult, SqlState};

/// What of the server statements may use.
#[derive(Debug)]
pub struct ServerFiles {
    /// As the file system resolves it.
    root: PathBuf,
    may_run_programs: bool,
}

/// Which statement opens a file, for what it says when it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileUser {
    Copy,
    LargeObject,
}

fn not_available(what: &str, flag: &str) -> SqlError {
    SqlError::not_supported(format!("{what} are not available"))
        .with_hint(format!("Start the node with {flag}, or use psql's \\copy command, which works on the client."))
}

/// # Errors
/// 0A000 where the node was started without files for its statements.
pub fn available(files: Option<&ServerFiles>) -> SqlResult<&ServerFiles> {
    files.ok_or_else(|| not_available("files of the server", "--server-files DIR"))
}

fn io_state(error: &io::Error) -> SqlState {
    match error.kind() {
        io::ErrorKind::NotFound => SqlState::UndefinedFile,
        io::ErrorKind::PermissionDenied => SqlState::InsufficientPrivilege,
        io::ErrorKind::AlreadyExists => SqlState::DuplicateFile,
        io::ErrorKind::StorageFull => SqlState::DiskFull,
        _ => SqlState::IoError,
    }
}

/// The text of an error of the file system, as C has it.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// What went wrong with a file that was open.
#[must_use]
pub fn file_error(verb: &str, path: &str, error: &io::Error) -> SqlError {
    SqlError::new(io_state(error), format!("could not {verb} file \"{path}\": {}", reason(error)))
}

impl ServerFiles {
    /// # Errors
    /// When there is no such directory.
    pub fn new(root: &Path, may_run_programs: bool) -> io::Result<Self> {
        let root = root.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a directory"));
        }
        Ok(Self { root, may_run_programs })
    }

    fn cannot_open(path: &str, user: FileUser, writes: bool, error: &io::Error) -> SqlError {
        let (verb, direction, process) = match writes {
            true => ("writing", "TO", "write"),
            false => ("reading", "FROM", "read"),
        };
        match user {
            FileUser::Copy => {
                let message = format!("could not open file \"{path}\" for {verb}: {}", reason(error));
                SqlError::new(io_state(error), message).with_hint(format!(
                    "COPY {direction} instructs the PostgreSQL server process to {process} a file. You may want a \
                     client-side facility such as psql's \\copy."
                ))
            }
            FileUser::LargeObject => {
                let verb = if writes { "create" } else { "open" };
                SqlError::new(io_state(error), format!("could not {verb} server file \"{path}\": {}", reason(error)))
            }
        }
    }

    /// Where a path of a statement leads: *inside-the-directory*. Of a file that is to be made its directory is there.
    async fn resolve(&self, path: &str, user: FileUser, writes: bool) -> SqlResult<PathBuf> {
        let wanted = self.root.join(path);
        let failed = |error: &io::Error| Self::cannot_open(path, user, writes, error);
        let resolved = match tokio::fs::canonicalize(&wanted).await {
            Ok(resolved) => resolved,
            Err(error) if error.kind() == io::ErrorKind::NotFound && writes => {
                let (Some(parent), Some(name)) = (wanted.parent(), wanted.file_name()) else { return Err(failed(&error)) };
                let made = tokio::fs::canonicalize(parent).await.map_err(|error| failed(&error))?.join(name);
                // A link to what is not there yet: opening would follow it and make that.
                if tokio::fs::symlink_metadata(&made).await.is_ok() {
                    return Err(self.outside(path));
                }
                made
            }
            Err(error) => {
                // What is outside of the directory is not told apart from what is not there.
                return Err(if wanted.starts_with(&self.root) { failed(&error) } else { self.outside(path) });
            }
        };
        if !resolved.starts_with(&self.root) {
            return Err(self.outside(path));
        }
        Ok(resolved)
    }

    fn outside(&self, path: &str) -> SqlError {
        let message = format!("file \"{path}\" is outside of the directory for files of the server");
        SqlError::new(SqlState::InsufficientPrivilege, message)
            .with_hint(format!("The node was started with --server-files {}.", self.root.display()))
    }

    /// Opens a file to be read.
    ///
    /// # Errors
    /// 58P01, 42501 and others of files.
    pub async fn read(&self, path: &str, user: FileUser) -> SqlResult<File> {
        let resolved = self.resolve(path, user, false).await?;
        let failed = |error: &io::Error| Self::cannot_open(path, user, false, error);
        // Before it is opened: to open a pipe waits for its writer, and nothing ends that.
        let metadata = tokio::fs::metadata(&resolved).await.map_err(|error| failed(&error))?;
        if metadata.is_dir() {
            return Err(SqlError::new(SqlState::WrongObjectType, format!("\"{path}\" is a directory")));
        }
        // A pipe would have no end.
        if !metadata.is_file() {
            return Err(SqlError::new(SqlState::WrongObjectType, format!("\"{path}\" is not a regular file")));
        }
        File::open(&resolved).await.map_err(|error| failed(&error))
    }

    /// Makes a file, or empties the one that is there.
    ///
    /// # Errors
    /// As [`ServerFiles::read`], and 42602 for a path that is relative.
    pub async fn write(&self, path: &str, user: FileUser) -> SqlResult<File> {
        if user == FileUser::Copy && !Path::new(path).is_absolute() {
            return Err(SqlError::new(SqlState::InvalidName, "relative path not allowed for COPY to file"));
        }
        let resolved = self.resolve(path, user, true).await?;
        if tokio::fs::metadata(&resolved).await.is_ok_and(|metadata| !metadata.is_file()) {
            return Err(SqlError::new(SqlState::WrongObjectType, format!("\"{path}\" is a directory")));
        }
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&resolved).await;
        options.map_err(|error| Self::cannot_open(path, user, true, &error))
    }

    /// Runs a command line whose output is read, or which is given input.
    ///
    /// # Errors
    /// 0A000 where the node runs no programs for statements.
    pub fn run(&self, command: &str, reads: bool) -> SqlResult<Program> {
        if !self.may_run_programs {
            return Err(not_available("programs of the server", "--server-programs"));
        }
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).current_dir(&self.root).stderr(Stdio::null()).kill_on_drop(true);
        match reads {
            true => shell.stdin(Stdio::null()).stdout(Stdio::piped()),
            false => shell.stdin(Stdio::piped()).stdout(Stdio::null()),
        };
        let child = shell.spawn().map_err(|error| {
            let message = format!("could not execute command \"{command}\": {}", reason(&error));
            SqlError::new(io_state(&error), message)
        })?;
        Ok(Program { child, command: command.to_owned() })
    }
}

/// A program that runs for a statement; it is killed when this is dropped.
pub struct Program {
    child: Child,
    command: String,
}

impl Program {
    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.child.stdout {
            Some(stdout) => stdout.read(into).await,
            None => Ok(0),
        }
    }

    async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match &mut self.child.stdin {
            Some(stdin) => stdin.write_all(data).await,
            None => Ok(()),
        }
    }

    /// No more is read or written: how it ended.
    async fn end(&mut self) -> SqlResult<()> {
        drop(self.child.stdin.take());
        drop(self.child.stdout.take());
        let status = self.child.wait().await.map_err(|error| file_error("close", &self.command, &error))?;
        if status.success() {
            return Ok(());
        }
        let message = format!("program \"{}\" failed", self.command);
        Err(SqlError::new(SqlState::ExternalRoutineException, message).with_detail(shown_status(status)))
    }
}

fn shown_status(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("child process exited with exit code {code}"),
        (None, Some(signal)) => format!("child process was terminated by signal {signal}"),
        (None, None) => "child process ended".to_owned(),
    }
}

/// An open file or a running program, as the end of a COPY.
pub enum ServerStream {
    File { file: File, path: String },
    Program(Program),
}

impl ServerStream {
    /// # Errors
    /// 58030 and others.
    pub async fn read(&mut self, into: &mut [u8]) -> SqlResult<usize> {
        match self {
            Self::File { file, path } => file.read(into).await.map_err(|error| file_error("read", path, &error)),
            Self::Program(program) => {
                program.read(into).await.map_err(|error| file_error("read", &program.command, &error))
            }
        }
    }

    /// # Errors
    /// 53100, 58030 and others; of a program that reads no more, how it ended.
    pub async fn write(&mut self, data: &[u8]) -> SqlResult<()> {
        match self {
            Self::File { file, path } => file.write_all(data).await.map_err(|error| file_error("write to", path, &error)),
            Self::Program(program) => match program.write(data).await {
                Ok(()) => Ok(()),
                Err(error) => {
                    program.end().await?;
                    Err(file_error("write to", &program.command, &error))
                }
            },
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// As [`ServerStream::write`], and 38000 when a program has failed.
    pub async fn end(&mut self) -> SqlResult<()> {
        match self {
            Self::File { file, path } => file.flush().await.map_err(|error| file_error("write to", path, &error)),
            Self::Program(program) => program.end().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn links_and_dots_do_not_lead_out() {
        let (inside, outside) = (tempfile::TempDir::new().unwrap(), tempfile::TempDir::new().unwrap());
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        std::fs::write(inside.path().join("own"), "y").unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("link")).unwrap();
        // To what is not there.
        std::os::unix::fs::symlink(outside.path().join("made"), inside.path().join("dangling")).unwrap();
        let files = ServerFiles::new(inside.path(), false).unwrap();
        let dangling = inside.path().join("dangling");
        let error = files.write(dangling.to_str().unwrap(), FileUser::Copy).await.unwrap_err();
        assert_eq!(error.code(), SqlState::InsufficientPrivilege);
        assert!(!outside.path().join("made").exists());
        let absolute = outside.path().join("secret");
        let dots = inside.path().join("..").join(outside.path().file_name().unwrap()).join("secret");
        for path in ["link/secret", absolute.to_str().unwrap(), dots.to_str().unwrap(), "link/none", "/nonexistent/x"] {
            let error = files.read(path, FileUser::Copy).await.unwrap_err();
            assert!(matches!(error.code(), SqlState::InsufficientPrivilege | SqlState::UndefinedFile), "{path}: {error}");
            assert!(files.write(path, FileUser::LargeObject).await.is_err(), "{path}");
        }
        assert!(files.read("own", FileUser::Copy).await.is_ok());
        assert!(files.write(inside.path().join("new").to_str().unwrap(), FileUser::Copy).await.is_ok());
        assert_eq!(files.write("new", FileUser::Copy).await.unwrap_err().code(), SqlState::InvalidName);
        assert_eq!(files.read(".", FileUser::Copy).await.unwrap_err().code(), SqlState::WrongObjectType);
        assert_eq!(files.run("true", true).err().unwrap().code(), SqlState::FeatureNotSupported);
    }
}
