//! What a statement needs the right to, noted while it is bound.
//!
//! As in PostgreSQL, each mention of a relation is looked at by itself: which columns it reads, and which the statement
//! gives or changes. Privileges are no part of binding: a plan is shared by roles, and what it needs is looked at each time
//! that it is executed.

use std::{cell::RefCell, rc::Rc};

use catalog::Table;
use catalog::privilege::{Need, PrivilegeSet, RelationNeed};

use crate::bind::same::same_expr;
use crate::expr::Expr;
use crate::scope::shift_columns;

/// What a mention of a relation needs, as far as that has been bound.
#[derive(Clone, Debug)]
pub(crate) struct Mention(Rc<RefCell<RelationNeed>>);

/// The columns of a mentioned relation in a scope's row.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    mention: Mention,
    /// The position of the first.
    pub first: usize,
    /// Their ids; none of what nobody can name.
    ids: Rc<[Option<u32>]>,
    /// Of a view that is written through: its columns' values over the row, and their ids.
    values: Vec<(Expr, u32)>,
}

/// In the order in which they were met.
#[derive(Debug)]
enum Noted {
    Mention(Mention),
    /// Of a relation that is changed through the view that `top` mentions: it needs the same privileges.
    Below { mention: Mention, top: Mention },
    Other(Need),
    /// Also of a statement that keeps what it binds.
    Always(Need),
}

#[derive(Debug, Default)]
pub(crate) struct Needs(RefCell<Vec<Noted>>);

fn add(columns: &mut Vec<u32>, column: u32) {
    if !columns.contains(&column) {
        columns.push(column);
    }
}

/// The id of a table's column, by its position.
fn id_of(table: &Table, position: usize) -> u32 {
    table.columns[position].id.get()
}

impl Mention {
    /// Whose privileges count, unless they are the user's.
    pub fn role(&self) -> Option<u32> {
        self.0.borrow().role
    }

    /// Whether a privilege is needed so far.
    pub fn has(&self, privilege: PrivilegeSet) -> bool {
        self.0.borrow().privileges.has(privilege)
    }

    pub fn needs(&self, privileges: PrivilegeSet) {
        let mut need = self.0.borrow_mut();
        need.privileges = need.privileges.union(privileges);
    }

    /// Columns that the statement gives values for.
    pub fn inserts(&self, table: &Table, positions: &[usize]) {
        self.inserts_ids(positions.iter().map(|at| id_of(table, *at)));
    }

    pub fn inserts_ids(&self, ids: impl IntoIterator<Item = u32>) {
        let mut need = self.0.borrow_mut();
        ids.into_iter().for_each(|id| add(&mut need.inserted, id));
    }

    /// Columns that the statement changes; ON CONFLICT may make it change some.
    pub fn updates_ids(&self, ids: impl IntoIterator<Item = u32>) {
        let mut need = self.0.borrow_mut();
        need.privileges = need.privileges.union(PrivilegeSet::UPDATE);
        ids.into_iter().for_each(|id| add(&mut need.updated, id));
    }

    /// A column that the statement reads.
    pub fn select(&self, column: u32) {
        let mut need = self.0.borrow_mut();
        need.privileges = need.privileges.union(PrivilegeSet::SELECT);
        add(&mut need.selected, column);
    }

    /// The columns of a table, from the start of a row.
    pub fn of_table(&self, table: &Table) -> Reads {
        let ids = table.columns.iter().map(|column| (!column.hidden).then_some(column.id.get()));
        Reads { mention: self.clone(), first: 0, ids: ids.collect(), values: Vec::new() }
    }

    /// The columns of a view or a sequence, which are numbered from 1.
    pub fn of_width(&self, width: usize) -> Reads {
        let ids = (1..=width).map(|number| u32::try_from(number).ok());
        Reads { mention: self.clone(), first: 0, ids: ids.collect(), values: Vec::new() }
    }

    /// The columns of a view that is written through, by their values over the row of its table.
    pub fn of_values(&self, values: Vec<(Expr, u32)>) -> Reads {
        Reads { mention: self.clone(), first: 0, ids: Rc::default(), values }
    }
}

impl Reads {
    /// The row's columns come after `by` others.
    pub fn shift(&mut self, by: usize) {
        self.first += by;
        self.values.iter_mut().for_each(|(value, _)| shift_columns(value, by));
    }

    /// Notes the columns of the relation that an expression over the row consists of.
    pub fn mark(&self, expr: &Expr) {
        if !self.values.is_empty() {
            return self.mark_values(expr);
        }
        expr.any(&mut |expr| {
            if let Expr::Column(at, _) = expr
                && let Some(at) = at.checked_sub(self.first)
                && let Some(Some(id)) = self.ids.get(at)
            {
                self.mention.select(*id);
            }
            false
        });
    }

    fn mark_values(&self, expr: &Expr) {
        let mut is_known = false;
        for (_, id) in self.values.iter().filter(|(value, _)| same_expr(value, expr)) {
            self.mention.select(*id);
            is_known = true;
        }
        if !is_known {
            expr.for_each_child(&mut |child| self.mark_values(child));
        }
    }
}

impl Needs {
    /// A relation is mentioned: by a view of this role, or by the statement itself.
    pub fn mention(&self, relation: u32, role: Option<u32>, privileges: PrivilegeSet) -> Mention {
        let need = RelationNeed { relation, role, privileges, ..RelationNeed::default() };
        let mention = Mention(Rc::new(RefCell::new(need)));
        self.0.borrow_mut().push(Noted::Mention(mention.clone()));
        mention
    }

    /// A relation is changed through a view.
    pub fn mention_below(&self, relation: u32, role: Option<u32>, top: &Mention) -> Mention {
        let need = RelationNeed { relation, role, ..RelationNeed::default() };
        let mention = Mention(Rc::new(RefCell::new(need)));
        self.0.borrow_mut().push(Noted::Below { mention: mention.clone(), top: top.clone() });
        mention
    }

    pub fn add(&self, need: Need) {
        let mut noted = self.0.borrow_mut();
        let is_known = noted.iter().any(|known| matches!(known, Noted::Other(known) if *known == need));
        if !is_known {
            noted.push(Noted::Other(need));
        }
    }

    /// What a statement needs whether or not it executes what it binds.
    pub fn always(&self, need: Need) {
        self.0.borrow_mut().push(Noted::Always(need));
    }

    /// How much was noted so far.
    pub fn mark(&self) -> usize {
        self.0.borrow().len()
    }

    /// Forgets what was noted since: it is bound but not executed.
    pub fn forget_since(&self, mark: usize) {
        self.0.borrow_mut().truncate(mark);
    }

    /// Whether a column of a relation is among what is read since.
    pub fn reads_since(&self, mark: usize, relation: u32, column: u32) -> bool {
        self.0.borrow().iter().skip(mark).any(|noted| match noted {
            Noted::Mention(mention) | Noted::Below { mention, .. } => {
                let need = mention.0.borrow();
                need.relation == relation && need.selected.contains(&column)
            }
            Noted::Other(_) | Noted::Always(_) => false,
        })
    }

    /// Forgets in which schemas names were found since: they were looked up when the object was made that has them.
    pub fn forget_lookups_since(&self, mark: usize) {
        let mut noted = self.0.borrow_mut();
        let from = mark.min(noted.len());
        let since = noted.split_off(from);
        noted.extend(since.into_iter().filter(|it| !matches!(it, Noted::Other(Need::Lookup { .. }))));
    }

    /// What was noted: names first, as they are looked up before anything else; then relations, then routines.
    pub fn all(&self) -> Vec<Need> {
        let noted = self.0.borrow();
        let mut all: Vec<Need> = Vec::with_capacity(noted.len());
        let others = |wanted: fn(&Need) -> bool| {
            noted.iter().filter_map(move |it| match it {
                Noted::Other(need) | Noted::Always(need) if wanted(need) => Some(need.clone()),
                Noted::Other(_) | Noted::Always(_) | Noted::Mention(_) | Noted::Below { .. } => None,
            })
        };
        all.extend(others(|need| matches!(need, Need::Lookup { .. })));
        let mentions = noted.iter().filter_map(|it| match it {
            Noted::Mention(mention) => Some(mention.0.borrow().clone()),
            Noted::Below { .. } | Noted::Other(_) | Noted::Always(_) => None,
        });
        let below = noted.iter().filter_map(|it| match it {
            Noted::Below { mention, top } => {
                Some(RelationNeed { privileges: top.0.borrow().privileges, ..mention.0.borrow().clone() })
            }
            Noted::Mention(_) | Noted::Other(_) | Noted::Always(_) => None,
        });
        for need in mentions.chain(below).map(Need::Relation) {
            if !all.contains(&need) {
                all.push(need);
            }
        }
        all.extend(others(|need| !matches!(need, Need::Lookup { .. })));
        all
    }

    /// Without what is bound only to be kept: that is executed by others, or later.
    pub fn of_definition(&self) -> Vec<Need> {
        let noted = self.0.borrow();
        let needs = noted.iter().filter_map(|it| match it {
            Noted::Always(need) | Noted::Other(need @ Need::Lookup { .. }) => Some(need.clone()),
            Noted::Other(_) | Noted::Mention(_) | Noted::Below { .. } => None,
        });
        needs.collect()
    }
}
