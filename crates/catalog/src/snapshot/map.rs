//! Maps and sets of a snapshot: a copy shares all that is not changed afterwards.
//!
//! A change of the catalog makes a new snapshot of the last one. With these maps that costs as much as has changed, however
//! many objects there are.

use std::borrow::Borrow;
use std::fmt::{self, Debug, Formatter};
use std::hash::Hash;

use rpds::HashTrieMapSync;
use rustc_hash::FxBuildHasher;

#[derive(Clone)]
pub(super) struct SharedMap<K: Eq + Hash, V>(HashTrieMapSync<K, V, FxBuildHasher>);

impl<K: Eq + Hash, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self(HashTrieMapSync::default())
    }
}

impl<K: Eq + Hash + Debug, V: Debug> Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter()).finish()
    }
}

impl<K: Eq + Hash + Clone, V: Clone> SharedMap<K, V> {
    pub fn get<Q: ?Sized + Hash + Eq>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    pub fn contains_key(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.0.size()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values()
    }

    pub fn insert(&mut self, key: K, value: V) {
        self.0.insert_mut(key, value);
    }

    pub fn remove<Q: ?Sized + Hash + Eq>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let found = self.0.get(key).cloned()?;
        self.0.remove_mut(key);
        Some(found)
    }
}

/// For each key a set of ids; a key without any is not in it.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedSets<K: Eq + Hash>(SharedMap<K, SharedMap<u32, ()>>);

impl<K: Eq + Hash + Clone> SharedSets<K> {
    pub fn add(&mut self, key: K, id: u32) {
        match self.0.0.get_mut(&key) {
            Some(ids) => ids.insert(id, ()),
            None => {
                let mut ids = SharedMap::default();
                ids.insert(id, ());
                self.0.insert(key, ids);
            }
        }
    }

    pub fn take<Q: ?Sized + Hash + Eq>(&mut self, key: &Q, id: u32)
    where
        K: Borrow<Q>,
    {
        let Some(ids) = self.0.0.get_mut(key) else { return };
        ids.remove(&id);
        if ids.is_empty() {
            self.0.remove(key);
        }
    }

    pub fn ids<'a, Q: ?Sized + Hash + Eq>(&'a self, key: &Q) -> impl Iterator<Item = u32> + use<'a, K, Q>
    where
        K: Borrow<Q>,
    {
        self.0.get(key).into_iter().flat_map(SharedMap::keys).copied()
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_not_changed_with_its_original() {
        let mut map: SharedMap<u32, u32> = SharedMap::default();
        (0..5_000).for_each(|at| map.insert(at, at));
        let before = map.clone();
        (0..5_000).step_by(2).for_each(|at| assert_eq!(map.remove(&at), Some(at)));
        map.insert(1, 7);
        assert_eq!((map.len(), before.len()), (2_500, 5_000));
        assert_eq!((map.get(&1), before.get(&1), map.get(&2), before.get(&2)), (Some(&7), Some(&1), None, Some(&2)));
        assert_eq!(before.values().copied().map(u64::from).sum::<u64>(), 5_000 * 4_999 / 2);
    }

    #[test]
    fn sets_hold_no_empty_ones() {
        let mut sets: SharedSets<String> = SharedSets::default();
        sets.add("a".to_owned(), 1);
        sets.add("a".to_owned(), 2);
        sets.add("a".to_owned(), 2);
        let before = sets.clone();
        sets.take("a", 1);
        assert_eq!(sets.ids("a").collect::<Vec<_>>(), [2]);
        sets.take("a", 2);
        sets.take("b", 2);
        assert_eq!((sets.keys().count(), before.ids("a").count()), (0, 2));
    }
}
