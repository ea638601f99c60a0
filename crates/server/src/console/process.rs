//! What the operating system says of this process and its machine. Where it says nothing (it is not Linux) numbers are 0.

use std::fs;

/// Of `/proc/self/stat`: Linux counts in hundredths of a second, whatever its timer does.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time that this process has used.
pub(crate) fn cpu_seconds() -> f64 {
    fs::read_to_string("/proc/self/stat").ok().and_then(|text| ticks_of(&text)).map_or(0.0, |ticks| ticks as f64 / TICKS_PER_SECOND)
}

/// User and system time, the 14th and 15th fields; the second, the program's name, may have blanks and parentheses in it.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut number = || fields.next()?.parse::<u64>().ok();
    Some(number()? + number()?)
}

/// Memory of this process that is not swapped out, in bytes.
pub(crate) fn memory_bytes() -> u64 {
    kilobytes("/proc/self/status", "VmRSS:") << 10
}

/// The machine's memory.
pub(crate) fn memory_total_bytes() -> u64 {
    kilobytes("/proc/meminfo", "MemTotal:") << 10
}

fn kilobytes(file: &str, field: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    number_behind(&text, field).unwrap_or(0)
}

fn number_behind(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let stat = "42 (a) name) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0";
        assert_eq!(ticks_of(stat), Some(175));
        assert_eq!(ticks_of("nonsense"), None);
        assert_eq!(number_behind("VmPeak:\t 1 kB\nVmRSS:\t  812 kB\n", "VmRSS:"), Some(812));
    }
}
