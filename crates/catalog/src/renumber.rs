//! Descriptors under other ids: what RESTORE makes of what a backup holds, since the ids of the backup may be in use.
//!
//! **Invariant (all-ids-mapped):** every field of a descriptor that holds an id is mapped here: those of the object, of its
//! parts, of what it refers to, and those in stored SQL, which names types by their oids. Upheld by patterns without `..`:
//! a new field does not compile until its place here is known. Ids of columns and indexes stay, since keys and rows have
//! them.

use types::{CompositeType, DomainType, EnumType, RangeType, SqlType, relation_of_row_type, row_type_oid};

use crate::descriptor::{
    Check, Column, ColumnDefault, Commented, Database, Descriptor, Domain, ForeignKey, Index, Role, Schema, Sequence, Table,
    Type, TypeKind, View,
};
use crate::partition::{KeyPart, Partitioned, Partitioning};
use crate::policy::{Policy, PolicyExpr};
use crate::privilege::{Acl, PrivilegeRow};
use crate::aggregate::{AggregateDefinition, SupportFunction, Transitions};
use crate::routine::{Routine, RoutineParameter, StoredType};
use crate::stored_view::{Materialized, NamedRelation, ViewDetails};
use crate::trigger::Trigger;

/// Where ids go.
pub struct Renumbering<'a> {
    /// Of objects and their parts; an id that does not change is returned as it is.
    pub object: &'a dyn Fn(u32) -> u32,
    /// None for a role that does not exist.
    pub role: &'a dyn Fn(u32) -> Option<u32>,
    /// Who gets the objects of roles that do not exist.
    pub owner: u32,
}

/// What stored SQL writes behind the id of a relation.
const RELATION_END: &str = "'::regclass";
/// What stored SQL writes before the oid of a type.
const TYPE_NAME: &str = "pg_catalog.\"#";

impl Renumbering<'_> {
    fn id(&self, id: &mut u32) {
        *id = (self.object)(*id);
    }

    fn ids(&self, ids: &mut [u32]) {
        ids.iter_mut().for_each(|id| self.id(id));
    }

    fn owner(&self, id: &mut u32) {
        *id = (self.role)(*id).unwrap_or(self.owner);
    }

    /// Of a type, of arrays of one, or of the rows of a relation.
    fn type_oid(&self, oid: u32) -> u32 {
        match relation_of_row_type(oid) {
            Some(relation) => row_type_oid((self.object)(relation)) | (oid & 1),
            None => (self.object)(oid),
        }
    }

    /// What the type consists of is known when the catalog has it.
    fn ty(&self, ty: &mut SqlType) {
        *ty = match *ty {
            SqlType::Enum(it) => SqlType::Enum(EnumType::unresolved(self.type_oid(it.oid()))),
            SqlType::Domain(it) => SqlType::Domain(DomainType::unresolved(self.type_oid(it.oid()))),
            SqlType::Composite(it) => SqlType::Composite(CompositeType::unresolved(self.type_oid(it.oid()))),
            SqlType::Range(RangeType::Made(it)) => SqlType::Range(RangeType::from(self.type_oid(it.oid()))),
            SqlType::MultiRange(RangeType::Made(it)) => SqlType::MultiRange(RangeType::from(self.type_oid(it.oid()))),
            SqlType::Array(element) => {
                let (oid, modifier) = element.into();
                match SqlType::from_oid(oid, modifier) {
                    Some(_) => SqlType::Array(element),
                    None => SqlType::Array((self.type_oid(oid), modifier).into()),
                }
            }
            other => other,
        };
    }

    fn stored_type(&self, ty: &mut StoredType) {
        match ty {
            StoredType::Oid { oid, modifier: _ } => *oid = self.type_oid(*oid),
            StoredType::Rows { relation, is_array: _ } => self.id(relation),
        }
    }

    /// Relations that stored SQL names by their ids: `'16400'::regclass`.
    fn relations_in(&self, text: &mut String) {
        let mut out = String::new();
        let mut from = 0;
        for (end, _) in text.match_indices(RELATION_END) {
            let Some(quote) = text[..end].rfind('\'') else { continue };
            // A doubled quote is part of a string.
            let is_literal = quote >= from && !text[..quote].ends_with('\'');
            if let (Ok(id), true) = (text[quote + 1..end].parse::<u32>(), is_literal) {
                out.push_str(&text[from..=quote]);
                out.push_str(&(self.object)(id).to_string());
                from = end;
            }
        }
        if from > 0 {
            out.push_str(&text[from..]);
            *text = out;
        }
    }

    fn text(&self, text: &mut String) {
        self.relations_in(text);
        if !text.contains(TYPE_NAME) {
            return;
        }
        let mut pieces = text.split(TYPE_NAME);
        let mut out = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            out.push_str(TYPE_NAME);
            let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
            match piece[..digits].parse::<u32>() {
                Ok(oid) if piece[digits..].starts_with('"') => out.push_str(&self.type_oid(oid).to_string()),
                _ => out.push_str(&piece[..digits]),
            }
            out.push_str(&piece[digits..]);
        }
        *text = out;
    }

    fn comments(&self, comments: &mut [(Commented, String)]) {
        for (on, _) in comments {
            match on {
                Commented::Part(oid) => self.id(oid),
                Commented::Column(_) => {}
            }
        }
    }

    fn names(&self, names: &mut [NamedRelation]) {
        for NamedRelation { schema: _, name: _, id, columns: _ } in names {
            self.id(id);
        }
    }

    fn triggers(&self, triggers: &mut [Trigger]) {
        for trigger in triggers {
            let Trigger {
                oid,
                name: _,
                routine,
                timing: _,
                for_each_row: _,
                events: _,
                columns: _,
                condition,
                arguments: _,
                old_table: _,
                new_table: _,
                constraint,
                enabled: _,
            } = trigger;
            self.id(oid);
            self.id(routine);
            condition.iter_mut().for_each(|text| self.text(text));
            if let Some(from) = constraint.as_mut().and_then(|constraint| constraint.from.as_mut()) {
                self.id(from);
            }
        }
    }

    fn column(&self, column: &mut Column) {
        let Column { id: _, name: _, ty, domain, nullable: _, default, missing: _, hidden: _ } = column;
        self.ty(ty);
        domain.iter_mut().for_each(|ty| self.ty(ty));
        match default {
            Some(ColumnDefault::Expr(text) | ColumnDefault::Stored(text)) => self.text(text),
            Some(ColumnDefault::Identity { sequence, always: _ }) => self.id(sequence),
            None => {}
        }
    }

    fn index(&self, index: &mut Index) {
        let Index {
            id: _,
            oid,
            name: _,
            unique: _,
            nulls_not_distinct: _,
            columns: _,
            included: _,
            predicate,
            constraint,
            details: _,
        } = index;
        self.id(oid);
        predicate.iter_mut().for_each(|text| self.text(text));
        constraint.iter_mut().for_each(|constraint| self.id(&mut constraint.oid));
    }

    fn partitioning(&self, partitioning: &mut Partitioning) {
        let Partitioning { partitioned, parent, parts } = partitioning;
        parent.iter_mut().for_each(|id| self.id(id));
        for (own, parents) in parts {
            self.id(own);
            self.id(parents);
        }
        let Some(Partitioned { key, partitions, .. }) = partitioned else { return };
        for key in key {
            self.ty(&mut key.ty);
            match &mut key.part {
                KeyPart::Expr(text) => self.text(text),
                KeyPart::Column(_) => {}
            }
        }
        partitions.iter_mut().for_each(|partition| self.id(&mut partition.id));
    }

    fn policy(&self, policy: &mut Policy) {
        let Policy { oid, name: _, command: _, permissive: _, roles, using, check } = policy;
        self.id(oid);
        // A policy without roles is for everybody: one for roles that do not exist is nobody's.
        roles.iter_mut().for_each(|role| self.owner(role));
        for PolicyExpr { text, path: _, names, depends_on, has_subquery: _, literals: _ } in using.iter_mut().chain(check) {
            self.text(text);
            self.names(names);
            self.ids(depends_on);
        }
    }

    fn table(&self, table: &mut Table) {
        let Table {
            id,
            name: _,
            schema,
            owner,
            columns,
            indexes,
            checks,
            foreign_keys,
            referenced_by,
            triggers,
            next_column: _,
            next_index: _,
            storage,
            comment: _,
            on_commit: _,
            comments,
            materialized,
            partitioning,
            security,
            // By the ids of indexes, which stay.
            zones: _,
            codecs,
        } = table;
        [id, schema, storage].into_iter().for_each(|id| self.id(id));
        self.owner(owner);
        columns.iter_mut().for_each(|column| self.column(column));
        indexes.iter_mut().for_each(|index| self.index(index));
        for Check { oid, name: _, expr, columns: _, validated: _ } in checks {
            self.id(oid);
            self.text(expr);
        }
        for key in foreign_keys {
            let ForeignKey {
                oid,
                name: _,
                columns: _,
                referenced_table,
                referenced_columns: _,
                on_delete: _,
                on_update: _,
                validated: _,
                deferrable: _,
                initially_deferred: _,
            } = key;
            self.id(oid);
            self.id(referenced_table);
        }
        self.ids(referenced_by);
        self.triggers(triggers);
        self.comments(comments);
        if let Some(made) = materialized {
            let Materialized { query, path: _, depends_on, names, is_populated: _, literals: _ } = std::sync::Arc::make_mut(made);
            self.text(query);
            self.ids(depends_on);
            self.names(names);
        }
        if let Some(it) = partitioning {
            self.partitioning(std::sync::Arc::make_mut(it));
        }
        if let Some(it) = security {
            std::sync::Arc::make_mut(it).policies.iter_mut().for_each(|policy| self.policy(policy));
        }
        *codecs = Default::default();
    }

    fn view(&self, view: &mut View) {
        let View { id, name: _, schema, owner, columns, query, path: _, depends_on, comment: _, comments, details, table } = view;
        self.id(id);
        self.id(schema);
        self.owner(owner);
        columns.iter_mut().for_each(|(_, ty)| self.ty(ty));
        self.text(query);
        self.ids(depends_on);
        self.comments(comments);
        let ViewDetails { names, options: _, defaults, triggers, literals: _ } = details;
        self.names(names);
        defaults.iter_mut().for_each(|(_, text)| self.text(text));
        self.triggers(triggers);
        *table = Default::default();
    }

    fn user_type(&self, it: &mut Type) {
        let Type { id, name: _, array_name: _, schema, owner, comment: _, kind } = it;
        self.id(id);
        self.id(schema);
        self.owner(owner);
        match kind {
            TypeKind::Enum(labels) => labels.iter_mut().for_each(|label| self.id(&mut label.oid)),
            TypeKind::Domain(Domain { over, not_null: _, default, checks }) => {
                self.ty(over);
                default.iter_mut().for_each(|text| self.text(text));
                for check in checks {
                    self.id(&mut check.oid);
                    self.text(&mut check.expr);
                }
            }
            TypeKind::Range(range) => {
                self.ty(&mut range.subtype);
                range.subtype_diff.iter_mut().for_each(|routine| self.id(routine));
            }
            TypeKind::Composite(it) => it.attributes.iter_mut().for_each(|attribute| self.ty(&mut attribute.ty)),
        }
    }

    fn routine(&self, routine: &mut Routine) {
        let Routine {
            id,
            schema,
            name: _,
            owner,
            kind: _,
            parameters,
            returns,
            returns_set: _,
            language: _,
            body: _,
            volatility: _,
            strict: _,
            security_definer: _,
            leakproof: _,
            parallel: _,
            cost: _,
            rows: _,
            settings: _,
            comment: _,
            aggregate,
        } = routine;
        self.id(id);
        self.id(schema);
        self.owner(owner);
        self.stored_type(returns);
        if let Some(aggregate) = aggregate {
            self.aggregate(aggregate);
        }
        for RoutineParameter { name: _, mode: _, ty, default } in parameters {
            self.stored_type(ty);
            default.iter_mut().for_each(|text| self.text(text));
        }
    }

    fn aggregate(&self, aggregate: &mut AggregateDefinition) {
        let AggregateDefinition { plain, combine, moving, sort_operator: _ } = aggregate;
        let function = |function: &mut SupportFunction| match function {
            SupportFunction::Routine(id) => self.id(id),
            SupportFunction::Builtin(_) => {}
        };
        let of = |transitions: &mut Transitions| {
            let Transitions { transition, state, state_size: _, initial: _, last, last_extra: _, last_modify: _ } =
                transitions;
            function(transition);
            self.stored_type(state);
            last.iter_mut().for_each(function);
        };
        of(plain);
        combine.iter_mut().for_each(function);
        if let Some((transitions, inverse)) = moving {
            of(transitions);
            function(inverse);
        }
    }

    /// *all-ids-mapped*
    pub fn descriptor(&self, descriptor: &mut Descriptor) {
        match descriptor {
            Descriptor::Database(Database { id, name: _, owner }) => {
                self.id(id);
                self.owner(owner);
            }
            Descriptor::Schema(Schema { id, database, name: _, owner, comment: _ }) => {
                self.id(id);
                self.id(database);
                self.owner(owner);
            }
            Descriptor::Role(Role { id, .. }) => self.owner(id),
            Descriptor::Table(it) => self.table(it),
            Descriptor::View(it) => self.view(it),
            Descriptor::Sequence(it) => {
                let Sequence {
                    id,
                    name: _,
                    schema,
                    owner,
                    ty: _,
                    start: _,
                    increment: _,
                    min: _,
                    max: _,
                    cache: _,
                    cycle: _,
                    owned_by,
                    comment: _,
                } = it;
                self.id(id);
                self.id(schema);
                self.owner(owner);
                if let Some((table, _)) = owned_by {
                    self.id(table);
                }
            }
            Descriptor::Cluster(it) => it.parts.zones.databases.iter_mut().for_each(|(database, _)| self.id(database)),
            Descriptor::Type(it) => self.user_type(it),
            Descriptor::Routine(it) => self.routine(it),
        }
    }

    /// What is granted on an object, which was `owner`'s; what roles were granted that do not exist is left out.
    #[must_use]
    pub fn privileges(&self, row: &PrivilegeRow, owner: u32) -> PrivilegeRow {
        let mut row = row.clone();
        let PrivilegeRow { id, acl, columns, members, no_inherit: _, bypasses_row_security: _, default } = &mut row;
        self.id(id);
        let known = |role: u32| match role {
            crate::privilege::acl::PUBLIC => Some(role),
            role if role == owner => Some((self.role)(role).unwrap_or(self.owner)),
            role => (self.role)(role),
        };
        let acls = acl.iter_mut().chain(columns.iter_mut().map(|(_, acl)| acl));
        for Acl(items) in acls {
            items.retain_mut(|item| {
                let (Some(grantee), grantor) = (known(item.grantee), known(item.grantor)) else { return false };
                (item.grantee, item.grantor) = (grantee, grantor.or_else(|| known(owner)).unwrap_or(self.owner));
                true
            });
        }
        members.retain_mut(|it| {
            let (Some(member), grantor) = ((self.role)(it.member), (self.role)(it.grantor)) else { return false };
            (it.member, it.grantor) = (member, grantor.unwrap_or(self.owner));
            true
        });
        if let Some(default) = default {
            self.id(&mut default.database);
            self.owner(&mut default.role);
            if default.schema != 0 {
                self.id(&mut default.schema);
            }
        }
        row
    }
}

impl Descriptor {
    /// The oids that it defines, each with how many after it are its as well (types of arrays and of multiranges, rows of
    /// composite types).
    #[must_use]
    pub fn defines(&self) -> Vec<(u32, u32)> {
        let mut ids = Vec::new();
        let mut one = |id: u32| ids.push((id, 0));
        match self {
            Self::Database(it) => one(it.id),
            Self::Schema(it) => one(it.id),
            Self::Role(it) => one(it.id),
            Self::Sequence(it) => one(it.id),
            Self::Routine(it) => one(it.id),
            Self::Cluster(_) => {}
            Self::View(it) => {
                one(it.id);
                it.details.triggers.iter().for_each(|trigger| one(trigger.oid));
            }
            Self::Table(it) => {
                one(it.id);
                one(it.storage);
                for index in &it.indexes {
                    one(index.oid);
                    index.constraint.iter().for_each(|constraint| one(constraint.oid));
                }
                it.checks.iter().for_each(|check| one(check.oid));
                it.foreign_keys.iter().for_each(|key| one(key.oid));
                it.triggers.iter().for_each(|trigger| one(trigger.oid));
                it.policies().iter().for_each(|policy| one(policy.oid));
            }
            Self::Type(it) => {
                match &it.kind {
                    TypeKind::Enum(labels) => labels.iter().for_each(|label| one(label.oid)),
                    TypeKind::Domain(domain) => domain.checks.iter().for_each(|check| one(check.oid)),
                    TypeKind::Range(_) | TypeKind::Composite(_) => {}
                }
                ids.push((it.id, 3));
            }
        }
        ids
    }

    /// The role that it belongs to.
    #[must_use]
    pub fn owner(&self) -> Option<u32> {
        match self {
            Self::Database(it) => Some(it.owner),
            Self::Schema(it) => Some(it.owner),
            Self::Table(it) => Some(it.owner),
            Self::View(it) => Some(it.owner),
            Self::Sequence(it) => Some(it.owner),
            Self::Type(it) => Some(it.owner),
            Self::Routine(it) => Some(it.owner),
            Self::Role(_) | Self::Cluster(_) => None,
        }
    }

    /// Gives it to a role.
    pub fn set_owner(&mut self, role: u32) {
        match self {
            Self::Database(it) => it.owner = role,
            Self::Schema(it) => it.owner = role,
            Self::Table(it) => it.owner = role,
            Self::View(it) => it.owner = role,
            Self::Sequence(it) => it.owner = role,
            Self::Type(it) => it.owner = role,
            Self::Routine(it) => it.owner = role,
            Self::Role(_) | Self::Cluster(_) => {}
        }
    }

    /// The schema that it is in.
    #[must_use]
    pub fn schema(&self) -> Option<u32> {
        match self {
            Self::Table(it) => Some(it.schema),
            Self::View(it) => Some(it.schema),
            Self::Sequence(it) => Some(it.schema),
            Self::Type(it) => Some(it.schema),
            Self::Routine(it) => Some(it.schema),
            Self::Database(_) | Self::Schema(_) | Self::Role(_) | Self::Cluster(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{TypeKind, stored_type_name};
    use crate::privilege::{AclItem, PrivilegeSet};

    const SHIFT: u32 = 1_000;

    fn shift(id: u32) -> u32 {
        if id >= crate::descriptor::FIRST_USER_ID { id + SHIFT } else { id }
    }

    fn with<T>(body: impl FnOnce(&Renumbering<'_>) -> T) -> T {
        body(&Renumbering { object: &shift, role: &|role| (role != 99).then_some(role), owner: 10 })
    }

    #[test]
    fn stored_text_names_the_new_types() {
        let mut text = format!("a = 'x'::{} OR b = '\"#17'::{}[]", stored_type_name(20_000), stored_type_name(20_010));
        with(|it| it.text(&mut text));
        assert_eq!(text, format!("a = 'x'::{} OR b = '\"#17'::{}[]", stored_type_name(21_000), stored_type_name(21_010)));
    }

    #[test]
    fn stored_text_names_the_new_relations() {
        for (text, expected) in [
            ("nextval('20000'::regclass)", "nextval('21000'::regclass)"),
            ("nextval('20000'::regclass) + nextval('20001'::regclass) + 1", "nextval('21000'::regclass) + nextval('21001'::regclass) + 1"),
            ("nextval('s'::regclass)", "nextval('s'::regclass)"),
            ("'x''20000'::regclass", "'x''20000'::regclass"),
            ("20000", "20000"),
        ] {
            let mut renumbered = text.to_owned();
            with(|it| it.text(&mut renumbered));
            assert_eq!(renumbered, expected);
        }
    }

    #[test]
    fn types_keep_what_they_are() {
        for (ty, expected) in [
            (SqlType::Enum(EnumType::unresolved(20_000)), Some(21_000)),
            (SqlType::Enum(EnumType::unresolved(20_000)).array_of(), Some(21_000)),
            (SqlType::Composite(CompositeType::unresolved(row_type_oid(20_000))), Some(21_000)),
            (SqlType::Int4.array_of(), None),
        ] {
            let mut new = ty;
            with(|it| it.ty(&mut new));
            assert_eq!((new.user_type(), new.is_array()), (expected, ty.is_array()));
        }
    }

    #[test]
    fn a_type_defines_four_ids() {
        let name = String::new;
        let ty = Type { id: 20_000, name: name(), array_name: name(), schema: 1, owner: 1, comment: None, kind: TypeKind::Enum(Vec::new()) };
        assert_eq!(Descriptor::Type(ty).defines(), [(20_000, 3)]);
    }

    #[test]
    fn what_was_granted_to_roles_that_do_not_exist_is_left_out() {
        let item = |grantee| AclItem { grantee, grantor: 99, privileges: PrivilegeSet::SELECT, options: PrivilegeSet::NONE };
        let row = PrivilegeRow { acl: Some(Acl(vec![item(99), item(12), item(0)])), ..PrivilegeRow::new(20_000) };
        let of_known = with(|it| it.privileges(&row, 12));
        let grantees = |row: &PrivilegeRow| row.acl.iter().flat_map(|acl| &acl.0).map(|item| (item.grantee, item.grantor)).collect::<Vec<_>>();
        assert_eq!((of_known.id, grantees(&of_known)), (21_000, vec![(12, 12), (0, 12)]));
        // The owner's own entries go to the new owner.
        assert_eq!(grantees(&with(|it| it.privileges(&row, 99))), [(10, 10), (12, 10), (0, 10)]);
    }
}
