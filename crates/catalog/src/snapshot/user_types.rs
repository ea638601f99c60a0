//! User-defined types in a snapshot, and what is made of them.

use std::sync::Arc;

use types::{
    DomainType, EnumLabel, EnumType, Labels, Over, RangeOver, RangeType, Registered, SqlType, TypeContent,
};

use super::{CatalogSnapshot, Relation, UserType};
use crate::descriptor::{Table, Type, TypeKind, View};

impl CatalogSnapshot {
    pub(super) fn put_type(&mut self, mut it: Arc<Type>) {
        let id = it.id;
        // *types-of-this-version*
        if it.made_of().into_iter().any(|part| self.resolve(part) != part) {
            Arc::make_mut(&mut it).for_each_type_mut(&mut |part| *part = self.resolve(*part));
        }
        for under in it.made_of().into_iter().filter_map(|part| part.user_type()) {
            self.made_over.add(under, id);
        }
        let schema = self.schemas.get(&it.schema).map_or("", |schema| &schema.name);
        let (schema, name, array_name) = (schema.into(), it.name.as_str().into(), it.array_name.as_str().into());
        let ty = match &it.kind {
            TypeKind::Enum(labels) => {
                let label = |it: &crate::descriptor::Label| EnumLabel::new(it.oid, &it.text, &it.sort_key, it.order, it.is_new);
                let kind = Labels(labels.iter().map(label).collect());
                SqlType::Enum(EnumType::of(TypeContent { oid: id, schema, name, array_name, kind }))
            }
            TypeKind::Domain(domain) => {
                let kind = Over(domain.over);
                SqlType::Domain(DomainType::of(TypeContent { oid: id, schema, name, array_name, kind }))
            }
            TypeKind::Range(range) => {
                let kind = RangeOver {
                    subtype: range.subtype,
                    multirange_name: range.multirange_name.as_str().into(),
                    multirange_array_name: range.multirange_array_name.as_str().into(),
                };
                let content = TypeContent { oid: id, schema, name, array_name, kind };
                SqlType::Range(RangeType::Made(Registered::of(content)))
            }
            TypeKind::Composite(composite) => self.composite_of(&it, composite),
        };
        self.indexes.add_domain(&it);
        for (oid, name) in it.names() {
            self.type_names.insert((it.schema, name.to_owned()), oid);
        }
        self.types.insert(id, UserType { descriptor: it, ty });
        // Those that were read before it know of arrays of multiranges only the oid of these.
        let multirange = ty.range_type().map(RangeType::multirange_oid);
        std::iter::once(id).chain(multirange).for_each(|oid| self.type_changed(oid));
    }

    /// Upholds *types-of-this-version* where a type, or the relation of a row type, consists of something else now. What would
    /// hold itself is not followed: there is no end of it.
    pub(super) fn type_changed(&mut self, id: u32) {
        let over: Vec<Arc<Type>> = self.types_made_of(id).cloned().collect();
        over.into_iter().for_each(|ty| self.put_type(ty));
        let users: Vec<u32> = self.type_users.ids(&id).collect();
        for user in users {
            if let Some(before) = self.relations.get(&user).cloned() {
                let relation = self.with_types(before.clone());
                for ty in relation.user_types() {
                    self.type_users.add(ty, user);
                }
                let is_changed = !relation.is_same(&before);
                let is_of_own_rows = relation.user_types().contains(&user);
                self.relations.insert(user, relation);
                if is_changed && !is_of_own_rows {
                    self.type_changed(user);
                }
            }
        }
    }

    /// The types that were made of a type or of the rows of a relation, or of arrays of these.
    pub fn types_made_of(&self, id: u32) -> impl Iterator<Item = &Arc<Type>> {
        self.made_over.ids(&id).filter_map(|id| Some(&self.types.get(&id)?.descriptor))
    }

    /// *types-of-this-version*
    pub(super) fn with_types(&self, relation: Relation) -> Relation {
        let mut is_old = false;
        relation.for_each_type(&mut |ty| is_old |= self.resolve(ty) != ty);
        if !is_old {
            return relation;
        }
        match relation {
            Relation::Table(it) => {
                let mut table = Table::clone(&it);
                for column in &mut table.columns {
                    column.ty = self.resolve(column.ty);
                    column.domain = column.domain.map(|ty| self.resolve(ty));
                    if let Some(labelled) = column.ty.with_labels(column.missing.clone()) {
                        column.missing = labelled;
                    }
                }
                if table.is_partitioned()
                    && let Some(partitioned) = &mut table.partitioning_mut().partitioned
                {
                    partitioned.resolve(&|ty| self.resolve(ty));
                }
                Relation::Table(Arc::new(table))
            }
            Relation::View(it) => {
                let mut view = View::clone(&it);
                view.columns.iter_mut().for_each(|(_, ty)| *ty = self.resolve(*ty));
                Relation::View(Arc::new(view))
            }
            other => other,
        }
    }

    /// A type as this snapshot has it.
    #[must_use]
    pub fn resolve(&self, ty: SqlType) -> SqlType {
        let Some(id) = ty.user_type() else { return ty };
        let known = self.types.get(&id).or_else(|| self.range_of(id)).map(|known| known.ty);
        known.or_else(|| self.row_type_of(id)).map_or(ty, |known| ty.with_content(known))
    }

    /// The range type whose multirange type has this oid.
    pub(super) fn range_of(&self, oid: u32) -> Option<&UserType> {
        self.types.get(&oid.checked_sub(2)?).filter(|it| matches!(it.ty, SqlType::Range(_)))
    }

    /// Labels that were added can be used from their commit on.
    pub(crate) fn commit_labels(&mut self) {
        let is_new = |ty: &&UserType| ty.descriptor.labels().iter().any(|label| label.is_new);
        let changed: Vec<Type> = self.types.values().filter(is_new).map(|ty| Type::clone(&ty.descriptor)).collect();
        for mut ty in changed {
            if let TypeKind::Enum(labels) = &mut ty.kind {
                labels.iter_mut().for_each(|label| label.is_new = false);
            }
            self.put_type(Arc::new(ty));
        }
    }

    pub(crate) fn has_new_labels(&self) -> bool {
        self.types.values().any(|ty| ty.descriptor.labels().iter().any(|label| label.is_new))
    }
}
