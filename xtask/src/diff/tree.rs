//! A statement as a tree of pieces of text, so that one printer and one shrinker serve all of SQL.
//!
//! A tree knows what it stands for ([`Sort`]): an expression of a type, a query of so many columns, an item of FROM. A
//! tree may be replaced by any other of its sort. What else may be left out is said by the pieces: an optional part, an
//! item of a list. Nothing here knows SQL; whether a smaller statement still means something is for the servers to say.

use super::types::Type;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sort {
    Expression(Type),
    /// A query that returns so many columns.
    Query(usize),
    From,
    Statement,
    /// A clause: nothing can stand for it.
    Clause,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    pub sort: Sort,
    /// What it is, for the summary: the name of a clause, the template of an expression.
    pub label: &'static str,
    pub pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Text(String),
    Tree(Tree),
    /// The tree at this position of the same list of pieces, printed once more.
    Again(usize),
    /// May be left out.
    Optional(Tree),
    List(List),
}

#[derive(Clone, Debug, PartialEq)]
pub struct List {
    pub items: Vec<Tree>,
    pub between: &'static str,
    /// So many items must stay.
    pub least: usize,
    /// Lists of the same number lose items at the same position together: columns and their values. Zero stands alone.
    pub tie: u32,
}

/// The way to a tree within another: a position among the pieces, and one within a list there.
pub type Path = Vec<(usize, usize)>;

impl Tree {
    pub fn new(sort: Sort, label: &'static str, pieces: Vec<Piece>) -> Self {
        Self { sort, label, pieces }
    }

    /// A tree that is only text.
    pub fn leaf(sort: Sort, text: impl Into<String>) -> Self {
        Self::new(sort, "", vec![Piece::Text(text.into())])
    }

    pub fn clause(label: &'static str, pieces: Vec<Piece>) -> Self {
        Self::new(Sort::Clause, label, pieces)
    }

    pub fn print(&self) -> String {
        let mut text = String::new();
        self.print_to(&mut text);
        text
    }

    fn print_to(&self, text: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(own) => text.push_str(own),
                Piece::Tree(tree) | Piece::Optional(tree) => tree.print_to(text),
                Piece::Again(position) => match &self.pieces[*position] {
                    Piece::Tree(tree) | Piece::Optional(tree) => tree.print_to(text),
                    other => unreachable!("Again must name a tree, not {other:?}"),
                },
                Piece::List(list) => {
                    for (position, item) in list.items.iter().enumerate() {
                        if position > 0 {
                            text.push_str(list.between);
                        }
                        item.print_to(text);
                    }
                }
            }
        }
    }

    /// Every tree within this one with the way to it, itself first.
    pub fn all(&self) -> Vec<(Path, &Tree)> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect<'a>(&'a self, path: &mut Path, found: &mut Vec<(Path, &'a Tree)>) {
        found.push((path.clone(), self));
        for (position, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Tree(tree) | Piece::Optional(tree) => {
                    path.push((position, 0));
                    tree.collect(path, found);
                    path.pop();
                }
                Piece::List(list) => {
                    for (item, tree) in list.items.iter().enumerate() {
                        path.push((position, item));
                        tree.collect(path, found);
                        path.pop();
                    }
                }
                Piece::Text(_) | Piece::Again(_) => {}
            }
        }
    }

    pub fn at_mut(&mut self, path: &[(usize, usize)]) -> &mut Tree {
        let Some(((position, item), rest)) = path.split_first() else { return self };
        match &mut self.pieces[*position] {
            Piece::Tree(tree) | Piece::Optional(tree) => tree.at_mut(rest),
            Piece::List(list) => list.items[*item].at_mut(rest),
            other => unreachable!("a path leads through trees, not {other:?}"),
        }
    }

    /// Every list within, those of nested trees too.
    pub fn for_each_list(&mut self, visit: &mut impl FnMut(&mut List)) {
        for piece in &mut self.pieces {
            match piece {
                Piece::Tree(tree) | Piece::Optional(tree) => tree.for_each_list(visit),
                Piece::List(list) => {
                    visit(list);
                    for item in &mut list.items {
                        item.for_each_list(visit);
                    }
                }
                Piece::Text(_) | Piece::Again(_) => {}
            }
        }
    }

    /// The labels within, each once, in order.
    pub fn labels(&self) -> Vec<&'static str> {
        let mut labels: Vec<&'static str> = self.all().iter().map(|(_, tree)| tree.label).filter(|it| !it.is_empty()).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    }
}

pub fn text(own: impl Into<String>) -> Piece {
    Piece::Text(own.into())
}

/// A list whose items are dropped alone.
pub fn list(items: Vec<Tree>, between: &'static str, least: usize) -> Piece {
    Piece::List(List { items, between, least, tie: 0 })
}

pub fn tied(items: Vec<Tree>, between: &'static str, least: usize, tie: u32) -> Piece {
    Piece::List(List { items, between, least, tie })
}
