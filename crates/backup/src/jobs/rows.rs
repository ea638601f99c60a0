//! Where jobs lie in the system keyspace.

use keys::encoding::put_u64;
use keys::{Key, Span, keyspace};

fn of_job(table: &str, id: u64) -> Key {
    let mut out = keyspace::system(table).as_bytes().to_vec();
    put_u64(&mut out, id);
    out.into()
}

/// All jobs, by id.
pub(super) fn jobs() -> Span {
    Span::prefix(keyspace::system("job"))
}

/// The state of a job.
pub(super) fn job(id: u64) -> Key {
    of_job("job", id)
}

/// What a job is to do, which does not change.
pub(super) fn details(id: u64) -> Key {
    of_job("job/details", id)
}

/// How far a job has come.
pub(super) fn progress(id: u64) -> Key {
    of_job("job/progress", id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_keys() {
        let printed = |key: Key| key.as_bytes().escape_ascii().to_string();
        assert_eq!(printed(job(7)), r"\x04job\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07");
        assert_eq!(printed(details(7)), r"\x04job/details\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07");
        assert_eq!(printed(progress(7)), r"\x04job/progress\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07");
        assert!(jobs().contains(job(u64::MAX).as_bytes()) && !jobs().contains(details(1).as_bytes()));
    }
}
