//! Queries as trees, which is how they are made and changed.

use super::query::{Operand, Operator, TsQuery, compare_operands};
use crate::error::SqlResult;
use crate::stack::{DEPTH_MAX, deep};
use std::cmp::Ordering;

/// How deep a query may be. A chain of n operators is n deep.
pub const QUERY_DEPTH_MAX: usize = DEPTH_MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    Operand(Operand),
    Not(Box<Tree>),
    /// The operator, then the left operand and the right one.
    Binary(Operator, Box<Tree>, Box<Tree>),
}

impl Tree {
    /// Levels; counted without recursion, as a tree that is too deep is counted too.
    pub(super) fn depth(&self) -> usize {
        let mut deepest = 0;
        let mut rest = vec![(self, 1)];
        while let Some((tree, depth)) = rest.pop() {
            deepest = deepest.max(depth);
            match tree {
                Self::Operand(_) => {}
                Self::Not(inner) => rest.push((inner, depth + 1)),
                Self::Binary(_, left, right) => rest.extend([(&**left, depth + 1), (&**right, depth + 1)]),
            }
        }
        deepest
    }

    /// What is left when what is under NOT counts for nothing: the part that an index can look for. None: any row may match.
    #[must_use]
    pub fn without_negations(self) -> Option<Self> {
        match self {
            Self::Operand(_) => Some(self),
            Self::Not(_) => None,
            Self::Binary(operator, left, right) => {
                let (left, right) = (left.without_negations(), right.without_negations());
                match (operator, left, right) {
                    (_, Some(left), Some(right)) => Some(Self::Binary(operator, Box::new(left), Box::new(right))),
                    (Operator::Or, _, _) => None,
                    (_, left, right) => left.or(right),
                }
            }
        }
    }
}

impl TsQuery {
    /// Two queries under one operator; an empty one counts for nothing.
    ///
    /// # Errors
    /// 54001 when the result is too deep.
    pub fn joined(&self, operator: Operator, other: &Self) -> SqlResult<Self> {
        match (self.to_tree(), other.to_tree()) {
            (Some(left), Some(right)) => Self::of(Some(Tree::Binary(operator, Box::new(left), Box::new(right)))),
            (None, _) => Ok(other.clone()),
            (_, None) => Ok(self.clone()),
        }
    }

    /// # Errors
    /// 54001 when the result is too deep.
    pub fn negated(&self) -> SqlResult<Self> {
        Self::of(self.to_tree().map(|tree| Tree::Not(Box::new(tree))))
    }

    fn of(tree: Option<Tree>) -> SqlResult<Self> {
        let query = Self::from_tree(tree.as_ref());
        deep(move || drop(tree));
        query
    }

    /// With `target` replaced by `substitute` wherever it is found. Of a chain of ANDs or ORs, `target` may be some of its members
    /// in any order.
    ///
    /// # Errors
    /// 54001 when the result is too deep.
    pub fn rewritten(&self, target: &Self, substitute: &Self) -> SqlResult<Self> {
        let (Some(tree), Some(target)) = (self.to_tree(), target.to_tree()) else { return Ok(self.clone()) };
        let substitute = substitute.to_tree();
        deep(move || {
            let target = Chain::of(target).flattened().sorted();
            let substitute = substitute.map(Chain::of);
            let found = Chain::of(tree).flattened().sorted().replaced(&target, substitute.as_ref());
            Self::of(found.map(Chain::into_tree))
        })
    }
}

/// A query whose ANDs and ORs may have many operands. Operands stand from right to left.
#[derive(Clone, Debug)]
enum Chain {
    Operand(Operand),
    Operator { operator: Operator, operands: Vec<Chain>, /** Put in place of something: it is not searched. */ is_new: bool },
    /// As above.
    NewOperand(Operand),
}

impl Chain {
    fn of(tree: Tree) -> Self {
        match tree {
            Tree::Operand(operand) => Self::Operand(operand),
            Tree::Not(inner) => Self::Operator { operator: Operator::Not, operands: vec![Self::of(*inner)], is_new: false },
            Tree::Binary(operator, left, right) => {
                Self::Operator { operator, operands: vec![Self::of(*right), Self::of(*left)], is_new: false }
            }
        }
    }

    /// Members of a chain within one of the same operator become members of that one.
    fn flattened(self) -> Self {
        let Self::Operator { operator, operands, is_new } = self else { return self };
        let operands = operands.into_iter().map(Self::flattened);
        if !matches!(operator, Operator::And | Operator::Or) {
            return Self::Operator { operator, operands: operands.collect(), is_new };
        }
        let mut all = Vec::new();
        for operand in operands {
            match operand {
                Self::Operator { operator: inner, operands, .. } if inner == operator => all.extend(operands),
                other => all.push(other),
            }
        }
        Self::Operator { operator, operands: all, is_new }
    }

    fn sorted(self) -> Self {
        let Self::Operator { operator, operands, is_new } = self else { return self };
        let mut operands: Vec<Self> = operands.into_iter().map(Self::sorted).collect();
        if !matches!(operator, Operator::Phrase(_)) {
            operands.sort_by(Self::compare);
        }
        Self::Operator { operator, operands, is_new }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Operand(a) | Self::NewOperand(a), Self::Operand(b) | Self::NewOperand(b)) => compare_operands(a, b),
            (Self::Operand(_) | Self::NewOperand(_), Self::Operator { .. }) => Ordering::Greater,
            (Self::Operator { .. }, Self::Operand(_) | Self::NewOperand(_)) => Ordering::Less,
            (
                Self::Operator { operator: a, operands: a_operands, .. },
                Self::Operator { operator: b, operands: b_operands, .. },
            ) => {
                let number = |operator: &Operator| match operator {
                    Operator::Not => 1,
                    Operator::And => 2,
                    Operator::Or => 3,
                    Operator::Phrase(_) => 4,
                };
                let distance = |operator: &Operator| if let Operator::Phrase(distance) = operator { *distance } else { 0 };
                // More comes first.
                let first = number(b).cmp(&number(a)).then_with(|| b_operands.len().cmp(&a_operands.len()));
                let operands = || {
                    let mut orders = a_operands.iter().zip(b_operands).map(|(a, b)| a.compare(b));
                    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
                };
                first.then_with(operands).then_with(|| distance(b).cmp(&distance(a)))
            }
        }
    }

    fn marked_new(self) -> Self {
        match self {
            Self::Operand(operand) | Self::NewOperand(operand) => Self::NewOperand(operand),
            Self::Operator { operator, operands, .. } => Self::Operator { operator, operands, is_new: true },
        }
    }

    /// None where nothing is left.
    fn replaced(self, target: &Self, substitute: Option<&Self>) -> Option<Self> {
        let new = || substitute.cloned().map(Self::marked_new);
        match (self, target) {
            (Self::NewOperand(operand), _) => Some(Self::NewOperand(operand)),
            (whole @ Self::Operator { is_new: true, .. }, _) => Some(whole),
            (Self::Operand(operand), Self::Operand(_)) => {
                let whole = Self::Operand(operand);
                if whole.compare(target).is_eq() { new() } else { Some(whole) }
            }
            (Self::Operand(operand), _) => Some(Self::Operand(operand)),
            (Self::Operator { operator, operands, is_new }, target) => {
                let mut operands = operands;
                if let Self::Operator { operator: wanted, operands: wanted_operands, .. } = target
                    && std::mem::discriminant(wanted) == std::mem::discriminant(&operator)
                {
                    let whole = Self::Operator { operator, operands, is_new };
                    if whole.compare(target).is_eq() {
                        return new();
                    }
                    let Self::Operator { operands: again, .. } = whole else { return None };
                    operands = again;
                    if operands.len() > wanted_operands.len()
                        && let Some(rest) = without_members(&operands, wanted_operands)
                    {
                        operands = rest;
                        operands.extend(new());
                        operands.sort_by(Self::compare);
                    }
                }
                let mut left: Vec<Self> =
                    operands.into_iter().filter_map(|operand| operand.replaced(target, substitute)).collect();
                if left.len() == 1 && operator != Operator::Not {
                    return left.pop();
                }
                (!left.is_empty()).then_some(Self::Operator { operator, operands: left, is_new })
            }
        }
    }

    fn into_tree(self) -> Tree {
        match self {
            Self::Operand(operand) | Self::NewOperand(operand) => Tree::Operand(operand),
            Self::Operator { operator, operands, .. } => {
                let mut operands = operands.into_iter().map(Self::into_tree);
                // Every operator has an operand.
                let first = operands.next().unwrap_or_else(|| Tree::Operand(Operand::plain("")));
                match operator {
                    Operator::Not => Tree::Not(Box::new(first)),
                    operator => operands.fold(first, |right, left| Tree::Binary(operator, Box::new(left), Box::new(right))),
                }
            }
        }
    }
}

/// The operands that are none of the wanted; none where not all of these are there. Both are sorted.
fn without_members(operands: &[Chain], wanted: &[Chain]) -> Option<Vec<Chain>> {
    let mut rest = Vec::new();
    let mut wanted = wanted.iter().peekable();
    for operand in operands {
        match wanted.peek().map(|wanted| operand.compare(wanted)) {
            Some(Ordering::Equal) => {
                wanted.next();
            }
            Some(Ordering::Greater) => return None,
            Some(Ordering::Less) | None => rest.push(operand.clone()),
        }
    }
    wanted.next().is_none().then_some(rest)
}
