//! Which of the tables that a plan reads and writes the rules of the audit log choose.
//!
//! What a plan does is known from what it needs the right to, so that views, routines, policies and triggers are seen
//! through. To that come the tables whose rows foreign keys may change with it.

use audit::{Access, TableName, Whom};
use rustc_hash::FxHashSet;

use crate::descriptor::{ReferentialAction, Table};
use crate::privilege::{Need, PrivilegeSet};
use crate::snapshot::CatalogSnapshot;

/// A relation that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    pub relation: u32,
    /// With its schema.
    pub name: String,
    pub access: Access,
}

impl CatalogSnapshot {
    /// The relations of a plan that rules choose, of those rules that `is_meant` says are about who asks.
    #[must_use]
    pub fn audited(&self, database: u32, needs: &[Need], is_meant: &dyn Fn(&Whom) -> bool) -> Vec<Audited> {
        let mut found: Vec<Audited> = Vec::new();
        if self.cluster().audit.is_empty() {
            return found;
        }
        let database = self.database_by_id(database).map_or("", |database| database.name.as_str());
        for need in needs {
            let Need::Relation(need) = need else { continue };
            let has = |privileges: PrivilegeSet| !need.privileges.common(privileges).is_empty();
            let access = Access {
                reads: has(PrivilegeSet::SELECT),
                writes: has(PrivilegeSet::INSERT.union(PrivilegeSet::UPDATE).union(PrivilegeSet::DELETE)),
            };
            self.add_chosen(database, need.relation, access, is_meant, &mut found);
            for follower in self.followers_of(need.relation, has(PrivilegeSet::DELETE), has(PrivilegeSet::UPDATE)) {
                self.add_chosen(database, follower, Access { reads: false, writes: true }, is_meant, &mut found);
            }
        }
        found
    }

    fn add_chosen(
        &self,
        database: &str,
        relation: u32,
        access: Access,
        is_meant: &dyn Fn(&Whom) -> bool,
        found: &mut Vec<Audited>,
    ) {
        let rules = &self.cluster().audit;
        let chosen_as = |id: u32| {
            let Some(relation) = self.relation_by_id(id) else { return Access::NONE };
            let Some(schema) = self.schema_by_id(relation.schema()) else { return Access::NONE };
            rules.chosen(TableName { database, schema: &schema.name, table: relation.name() }, access, is_meant)
        };
        let mut chosen = chosen_as(relation);
        // Rows of a partition are rows of the tables above it, and those of a partitioned table lie in its partitions.
        if let Some(table) = self.table_by_id(relation)
            && (table.is_partitioned() || table.partition_parent().is_some())
        {
            for other in self.ancestors_of(table).iter().chain(&self.descendants_of(table)) {
                chosen = chosen.union(chosen_as(other.id));
            }
        }
        if chosen.is_none() {
            return;
        }
        match found.iter_mut().find(|known| known.relation == relation) {
            Some(known) => known.access = known.access.union(chosen),
            None => {
                let named = self.relation_by_id(relation);
                let schema = named.and_then(|named| self.schema_by_id(named.schema()));
                let (schema, name) = (schema.map_or("", |schema| &schema.name), named.map_or("", |named| named.name()));
                found.push(Audited { relation, name: format!("{schema}.{name}"), access: chosen });
            }
        }
    }

    /// The tables whose rows may change when rows of this one are deleted or their keys change.
    fn followers_of(&self, table: u32, deletes: bool, updates: bool) -> Vec<u32> {
        let mut known = FxHashSet::default();
        let mut reached: Vec<(u32, bool, bool)> = vec![(table, deletes, updates)];
        let mut at = 0;
        let acts = |action: ReferentialAction| match action {
            ReferentialAction::NoAction | ReferentialAction::Restrict => false,
            ReferentialAction::Cascade | ReferentialAction::SetNull | ReferentialAction::SetDefault => true,
        };
        while let Some((id, deletes, updates)) = reached.get(at).copied() {
            at += 1;
            if !deletes && !updates {
                continue;
            }
            let Some(table) = self.table_by_id(id) else { continue };
            // What refers to a partitioned table refers to its partitions.
            let above = self.ancestors_of(table);
            let family: Vec<&Table> = std::iter::once(&**table).chain(above.iter().map(|it| &**it)).collect();
            for referring in family.iter().flat_map(|it| &it.referenced_by) {
                let Some(other) = self.table_by_id(*referring) else { continue };
                for key in other.foreign_keys.iter().filter(|key| family.iter().any(|it| it.id == key.referenced_table)) {
                    let (on_delete, on_update) = (deletes && acts(key.on_delete), updates && acts(key.on_update));
                    let follows = key.on_delete == ReferentialAction::Cascade && on_delete;
                    let next = (other.id, follows, on_update || on_delete && !follows);
                    if (on_delete || on_update) && known.insert(next) {
                        reached.push(next);
                    }
                }
            }
        }
        let mut ids: Vec<u32> = reached.into_iter().skip(1).map(|(id, ..)| id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}
