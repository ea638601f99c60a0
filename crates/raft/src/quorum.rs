//! When a leader may serve reads: arithmetic over who supports it until when.

use hlc::Timestamp;

/// The time until which a quorum of every voter set supports the leader; each set lists its voters' support, `None`
/// for a voter that has promised nothing. A joint membership has two sets, and both must hold.
#[must_use]
pub(crate) fn quorum_expiration(configs: &[Vec<Option<Timestamp>>]) -> Option<Timestamp> {
    configs
        .iter()
        .map(|voters| {
            let mut support: Vec<Timestamp> = voters.iter().flatten().copied().collect();
            let quorum = voters.len() / 2 + 1;
            // The quorum's weakest member is what the lease rests on: take the strongest quorum there is.
            support.sort_unstable_by(|a, b| b.cmp(a));
            support.get(quorum - 1).copied()
        })
        .min()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Option<Timestamp> {
        Some(Timestamp::new(ns, 0))
    }

    #[test]
    fn the_weakest_member_of_the_strongest_quorum() {
        assert_eq!(quorum_expiration(&[vec![at(9)]]), at(9));
        assert_eq!(quorum_expiration(&[vec![at(9), at(5), at(7)]]), at(7));
        assert_eq!(quorum_expiration(&[vec![at(9), None, at(7)]]), at(7));
        assert_eq!(quorum_expiration(&[vec![at(9), None, None]]), None);
        assert_eq!(quorum_expiration(&[vec![at(9), at(8), None, None]]), None);
    }

    #[test]
    fn a_joint_membership_needs_both() {
        assert_eq!(quorum_expiration(&[vec![at(9), at(8), at(7)], vec![at(9), at(3), None]]), at(3));
        assert_eq!(quorum_expiration(&[vec![at(9), at(8), at(7)], vec![at(9), None, None]]), None);
        assert_eq!(quorum_expiration(&[]), None);
    }
}
