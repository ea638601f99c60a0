//! Which variable a name means, at a place of the body.
//!
//! Every block, loop and the function itself open a level with a label; a place sees the levels around it, the innermost
//! first. Levels are a list that grows at one end and branches, so that each expression keeps its place by a number.

use crate::function::VariableId;

/// A place in the list: what is visible there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScopeId(Option<u32>);

impl ScopeId {
    pub const EMPTY: Self = Self(None);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LabelKind {
    Block,
    Loop,
}

#[derive(Debug)]
enum Item {
    /// Begins a level.
    Label {
        name: Option<String>,
        kind: LabelKind,
    },
    Variable {
        name: String,
        id: VariableId,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Names {
    items: Vec<(Item, ScopeId)>,
}

impl Names {
    fn push(&mut self, item: Item, scope: ScopeId) -> ScopeId {
        self.items.push((item, scope));
        ScopeId(Some(u32::try_from(self.items.len() - 1).expect("a body has fewer than 2^32 names")))
    }

    #[must_use]
    pub fn level(&mut self, scope: ScopeId, name: Option<String>, kind: LabelKind) -> ScopeId {
        self.push(Item::Label { name, kind }, scope)
    }

    #[must_use]
    pub fn variable(&mut self, scope: ScopeId, name: impl Into<String>, id: VariableId) -> ScopeId {
        self.push(Item::Variable { name: name.into(), id }, scope)
    }

    fn walk(&self, scope: ScopeId) -> impl Iterator<Item = &Item> {
        let mut next = scope;
        std::iter::from_fn(move || {
            let (item, previous) = &self.items[next.0? as usize];
            next = *previous;
            Some(item)
        })
    }

    /// The variable of this name in the innermost level.
    pub fn in_level(&self, scope: ScopeId, name: &str) -> Option<VariableId> {
        for item in self.walk(scope) {
            match item {
                Item::Label { .. } => return None,
                Item::Variable { name: known, id } if known == name => return Some(*id),
                Item::Variable { .. } => {}
            }
        }
        None
    }

    /// The variable that a name of several parts begins with, and how many of them name it: one, or two with a label.
    pub fn lookup(&self, scope: ScopeId, parts: &[&str]) -> Option<(VariableId, usize)> {
        let (first, second) = (*parts.first()?, parts.get(1));
        // Of the level at hand.
        let mut labelled = None;
        for item in self.walk(scope) {
            match item {
                Item::Variable { name, id } => {
                    if name == first {
                        return Some((*id, 1));
                    }
                    if second.is_some_and(|second| name == second) && labelled.is_none() {
                        labelled = Some(*id);
                    }
                }
                Item::Label { name, .. } => {
                    if let (Some(name), Some(id)) = (name, labelled.take())
                        && name == first
                    {
                        return Some((id, 2));
                    }
                }
            }
        }
        None
    }

    /// The label of this name around a place.
    pub fn label(&self, scope: ScopeId, name: &str) -> Option<LabelKind> {
        self.walk(scope).find_map(|item| match item {
            Item::Label { name: Some(known), kind } if known == name => Some(*kind),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_level_wins_and_labels_reach_past_it() {
        let mut names = Names::default();
        let outer = names.level(ScopeId::EMPTY, Some("f".into()), LabelKind::Block);
        let outer = names.variable(outer, "x", VariableId(0));
        let inner = names.level(outer, Some("b".into()), LabelKind::Loop);
        let inner = names.variable(inner, "x", VariableId(1));
        let inner = names.variable(inner, "r", VariableId(2));
        let find = |scope, parts: &[&str]| names.lookup(scope, parts).map(|(id, used)| (id.0, used));
        assert_eq!(find(inner, &["x"]), Some((1, 1)));
        assert_eq!(find(inner, &["f", "x"]), Some((0, 2)));
        assert_eq!(find(inner, &["b", "x"]), Some((1, 2)));
        assert_eq!(find(inner, &["r", "x"]), Some((2, 1)), "a field of r");
        assert_eq!(find(outer, &["r"]), None);
        assert_eq!(find(inner, &["f", "r"]), None);
        assert_eq!(names.label(inner, "b"), Some(LabelKind::Loop));
        assert_eq!(names.label(outer, "b"), None);
        assert_eq!(names.in_level(inner, "x"), Some(VariableId(1)));
        assert_eq!(names.in_level(outer, "r"), None);
    }
}
