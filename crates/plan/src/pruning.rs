//! Which partitions a condition leaves out: while planning by constants, while a statement runs by what is known then, the
//! values of parameters and those of an outer row.
//!
//! **Invariant (no-row-lost):** a partition that is left out has no row that the condition lets through. What cannot be told of
//! a condition leaves nothing out.

use std::sync::Arc;

use catalog::{KeySet, Partitioned, Table};
use types::{Datum, SqlResult};

use crate::expr::Expr;

/// What a filter says of the parts of a partition key, by their places in it. Values depend on no row.
#[derive(Clone, Debug)]
pub enum KeyCondition {
    All(Vec<KeyCondition>),
    AnyOf(Vec<KeyCondition>),
    Equal(usize, Expr),
    In(usize, Vec<Expr>),
    /// One of the elements of an array.
    Element(usize, Expr),
    /// The end, and whether the value itself is inside.
    From(usize, Expr, bool),
    To(usize, Expr, bool),
    IsNull(usize),
    NotNull(usize),
}

/// Gives the value of an expression, or nothing where it is not known yet.
pub type Known<'a> = dyn FnMut(&Expr) -> SqlResult<Option<Datum>> + 'a;

impl KeyCondition {
    /// Whether it says more when the statement runs than it does now.
    #[must_use]
    pub fn is_known_later(&self) -> bool {
        let is_later = |value: &Expr| !matches!(value, Expr::Const(..));
        match self {
            Self::All(list) | Self::AnyOf(list) => list.iter().any(Self::is_known_later),
            Self::Equal(_, value) | Self::Element(_, value) | Self::From(_, value, _) | Self::To(_, value, _) => is_later(value),
            Self::In(_, values) => values.iter().any(is_later),
            Self::IsNull(_) | Self::NotNull(_) => false,
        }
    }

    /// Whether each partition may have rows that it lets through.
    ///
    /// # Errors
    /// What computing a value fails with.
    pub fn partitions(&self, of: &Partitioned, known: &mut Known<'_>) -> SqlResult<Vec<bool>> {
        match self {
            Self::AnyOf(list) => {
                let mut any = vec![false; of.partitions.len()];
                for condition in list {
                    let found = condition.partitions(of, known)?;
                    any.iter_mut().zip(found).for_each(|(any, found)| *any |= found);
                }
                Ok(any)
            }
            Self::All(list) => {
                let mut all = vec![true; of.partitions.len()];
                let mut sets = vec![KeySet::Any; of.key.len()];
                for condition in list {
                    match condition.set(known)? {
                        Some((place, set)) => {
                            let before = std::mem::replace(&mut sets[place], KeySet::Any);
                            sets[place] = before.and(set, &of.key[place].ty);
                        }
                        None => {
                            let found = condition.partitions(of, known)?;
                            all.iter_mut().zip(found).for_each(|(all, found)| *all &= found);
                        }
                    }
                }
                if sets.iter().any(|set| *set != KeySet::Any) {
                    all.iter_mut().zip(of.overlapping(&sets)).for_each(|(all, found)| *all &= found);
                }
                Ok(all)
            }
            single => Self::All(vec![single.clone()]).partitions(of, known),
        }
    }

    /// What it says of one part of the key; none of several.
    fn set(&self, known: &mut Known<'_>) -> SqlResult<Option<(usize, KeySet)>> {
        let none = || KeySet::Values(Vec::new());
        Ok(Some(match self {
            Self::All(_) | Self::AnyOf(_) => return Ok(None),
            Self::IsNull(place) => (*place, KeySet::Null),
            Self::NotNull(place) => (*place, KeySet::NOT_NULL),
            Self::Equal(place, value) => (*place, match known(value)? {
                None => KeySet::NOT_NULL,
                Some(Datum::Null) => none(),
                Some(value) => KeySet::Values(vec![value]),
            }),
            Self::In(place, list) => {
                let mut values = Vec::with_capacity(list.len());
                for value in list {
                    match known(value)? {
                        None => return Ok(Some((*place, KeySet::NOT_NULL))),
                        Some(Datum::Null) => {}
                        Some(value) => values.push(value),
                    }
                }
                (*place, KeySet::Values(values))
            }
            Self::Element(place, array) => (*place, match known(array)? {
                None => KeySet::NOT_NULL,
                Some(Datum::Array(array)) => {
                    KeySet::Values(array.elements().iter().filter(|it| !it.is_null()).cloned().collect())
                }
                Some(_) => none(),
            }),
            Self::From(place, value, is_inside) => (*place, match known(value)? {
                None => KeySet::NOT_NULL,
                Some(Datum::Null) => none(),
                Some(value) => KeySet::Range { lower: Some((value, *is_inside)), upper: None },
            }),
            Self::To(place, value, is_inside) => (*place, match known(value)? {
                None => KeySet::NOT_NULL,
                Some(Datum::Null) => none(),
                Some(value) => KeySet::Range { lower: None, upper: Some((value, *is_inside)) },
            }),
        }))
    }
}

/// A partitioned table as a plan reads it.
#[derive(Clone, Debug)]
pub struct PruneNode {
    pub table: Arc<Table>,
    /// Its key over the columns of the table that is read.
    pub key: Vec<Expr>,
    /// What is known of its key when the statement runs, if that is more than was known before.
    pub condition: Option<KeyCondition>,
    /// For each partition, in their order.
    pub branches: Vec<PruneBranch>,
}

#[derive(Clone, Debug)]
pub enum PruneBranch {
    /// Left out while planning.
    Out,
    /// The input that reads it, by its place.
    Input(usize),
    Node(Box<PruneNode>),
}

impl PruneNode {
    /// Whether there is anything to be looked at when the statement runs.
    #[must_use]
    pub fn is_known_later(&self) -> bool {
        self.condition.is_some()
            || self.branches.iter().any(|branch| match branch {
                PruneBranch::Node(node) => node.is_known_later(),
                PruneBranch::Out | PruneBranch::Input(_) => false,
            })
    }

    /// The same where columns of the table that is read have certain values when the statement runs, and nothing else is known
    /// then.
    #[must_use]
    pub fn where_equal(&self, value_of: &dyn Fn(usize) -> Option<Expr>) -> Self {
        let equal = |(place, key): (usize, &Expr)| match key {
            Expr::Column(column, _) => value_of(*column).map(|value| KeyCondition::Equal(place, value)),
            _ => None,
        };
        let conditions: Vec<KeyCondition> = self.key.iter().enumerate().filter_map(equal).collect();
        let branch = |branch: &PruneBranch| match branch {
            PruneBranch::Node(node) => PruneBranch::Node(Box::new(node.where_equal(value_of))),
            PruneBranch::Out => PruneBranch::Out,
            PruneBranch::Input(input) => PruneBranch::Input(*input),
        };
        Self {
            table: self.table.clone(),
            key: self.key.clone(),
            condition: (!conditions.is_empty()).then_some(KeyCondition::All(conditions)),
            branches: self.branches.iter().map(branch).collect(),
        }
    }

    /// The values that are looked at.
    pub fn for_each_value(&self, visit: &mut dyn FnMut(&Expr)) {
        fn values(condition: &KeyCondition, visit: &mut dyn FnMut(&Expr)) {
            match condition {
                KeyCondition::All(list) | KeyCondition::AnyOf(list) => list.iter().for_each(|it| values(it, visit)),
                KeyCondition::Equal(_, value)
                | KeyCondition::Element(_, value)
                | KeyCondition::From(_, value, _)
                | KeyCondition::To(_, value, _) => visit(value),
                KeyCondition::In(_, list) => list.iter().for_each(visit),
                KeyCondition::IsNull(_) | KeyCondition::NotNull(_) => {}
            }
        }
        self.condition.iter().for_each(|condition| values(condition, visit));
        for branch in &self.branches {
            if let PruneBranch::Node(node) = branch {
                node.for_each_value(visit);
            }
        }
    }

    /// Marks the inputs that are to be read.
    ///
    /// # Errors
    /// What computing a value fails with.
    pub fn read(&self, known: &mut Known<'_>, inputs: &mut [bool]) -> SqlResult<()> {
        let found = match (&self.condition, self.table.partitioned()) {
            (Some(condition), Some(of)) => Some(condition.partitions(of, known)?),
            _ => None,
        };
        for (at, branch) in self.branches.iter().enumerate() {
            if found.as_ref().is_some_and(|found| found.get(at) == Some(&false)) {
                continue;
            }
            match branch {
                PruneBranch::Out => {}
                PruneBranch::Input(input) => inputs[*input] = true,
                PruneBranch::Node(node) => node.read(known, inputs)?,
            }
        }
        Ok(())
    }
}
