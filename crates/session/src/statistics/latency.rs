//! How long things take: a histogram whose buckets grow with the time, four for each doubling, so that any quantile is
//! within a tenth of the truth and a histogram takes half a kilobyte.

/// Of 1.024 µs.
const UNIT_SHIFT: u32 = 10;

/// The last takes all above 2.4 hours.
pub const BUCKETS: usize = 128;

/// The bucket of a duration.
#[must_use]
pub(crate) fn bucket_of(nanoseconds: u64) -> usize {
    let units = nanoseconds >> UNIT_SHIFT;
    if units < 4 {
        return units as usize;
    }
    let doubling = units.ilog2() - 2;
    let quarter = (units >> doubling) & 3;
    (4 + doubling as usize * 4 + quarter as usize).min(BUCKETS - 1)
}

/// Where a bucket begins, in nanoseconds.
fn begin_of(bucket: usize) -> u64 {
    let units = match bucket.checked_sub(4) {
        None => bucket as u64,
        Some(rest) => (4 + rest as u64 % 4) << (rest / 4),
    };
    units << UNIT_SHIFT
}

/// The duration, in milliseconds, that this share of what was counted stays below; none if nothing was.
#[must_use]
pub fn quantile_ms(counts: &[u64], share: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = share * total as f64;
    let mut below = 0_u64;
    for (bucket, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let upto = below + count;
        if upto as f64 >= rank {
            let within = ((rank - below as f64) / *count as f64).clamp(0.0, 1.0);
            let (begin, end) = (begin_of(bucket), begin_of(bucket + 1));
            return Some((begin as f64 + (end - begin) as f64 * within) / 1e6);
        }
        below = upto;
    }
    Some(begin_of(counts.len()) as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_in_its_bucket() {
        for shift in 0..63 {
            for nanoseconds in [1_u64 << shift, (1 << shift) + (1 << shift) / 3, (2 << shift) - 1] {
                let bucket = bucket_of(nanoseconds);
                assert!(begin_of(bucket) <= nanoseconds, "{nanoseconds} in {bucket}");
                assert!(bucket == BUCKETS - 1 || nanoseconds < begin_of(bucket + 1), "{nanoseconds} in {bucket}");
            }
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn quantiles_are_close() {
        let mut counts = [0; BUCKETS];
        for thousandth in 1..=1000_u64 {
            counts[bucket_of(thousandth * 1_000_000)] += 1;
        }
        for (share, truth) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let found = quantile_ms(&counts, share).unwrap();
            assert!((found - truth).abs() < truth / 10.0, "{share}: {found}");
        }
        assert_eq!(quantile_ms(&[0; BUCKETS], 0.5), None);
    }
}
