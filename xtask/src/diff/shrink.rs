//! The smallest statement that still shows a difference, by trying ever smaller ones.
//!
//! Each step takes the tree as it is, makes all trees that are one edit smaller, and tries them, those that take away the
//! most first. The first that still shows the difference is the next tree. It ends when none does, or when so many were
//! tried. Every step makes the text shorter, so it ends.

use std::collections::HashSet;

use super::tree::{List, Path, Piece, Sort, Tree};

#[derive(Debug)]
enum Edit {
    Replace { path: Path, with: Tree },
    Remove { path: Path, piece: usize },
    /// Items `from..to` of a list, and of all lists tied to it.
    Drop { path: Path, piece: usize, from: usize, to: usize },
}

/// Shrinks a tree for which `persists` has been true; `tries` bounds how often it is asked again.
pub fn shrink(tree: &Tree, mut tries: usize, mut persists: impl FnMut(&Tree) -> bool) -> Tree {
    let mut smallest = tree.clone();
    let mut tried: HashSet<String> = HashSet::new();
    loop {
        let length = smallest.print().len();
        let mut candidates: Vec<(usize, Tree)> = edits(&smallest)
            .iter()
            .map(|edit| apply(&smallest, edit))
            .map(|tree| (tree.print(), tree))
            .filter(|(text, _)| text.len() < length && !tried.contains(text))
            .map(|(text, tree)| (text.len(), tree))
            .collect();
        candidates.sort_by_key(|(length, _)| *length);
        let mut next = None;
        for (_, candidate) in candidates {
            if !tried.insert(candidate.print()) {
                continue;
            }
            if tries == 0 {
                return smallest;
            }
            tries -= 1;
            if persists(&candidate) {
                next = Some(candidate);
                break;
            }
        }
        match next {
            Some(candidate) => smallest = candidate,
            None => return smallest,
        }
    }
}

fn edits(tree: &Tree) -> Vec<Edit> {
    let mut edits = Vec::new();
    let all = tree.all();
    for (path, here) in &all {
        if let Sort::Expression(of) = here.sort {
            let simple = of.simple().iter().map(|it| Tree::leaf(here.sort, *it));
            edits.extend(simple.map(|with| Edit::Replace { path: path.clone(), with }));
        }
        let is_subject = matches!(here.sort, Sort::Statement | Sort::Query(_)) && path.len() <= 1;
        for (below, other) in &all {
            let fits = other.sort == here.sort || is_subject && matches!(other.sort, Sort::Query(_));
            if fits && here.sort != Sort::Clause && below.len() > path.len() && below.starts_with(path) {
                edits.push(Edit::Replace { path: path.clone(), with: (*other).clone() });
            }
        }
        for (piece, own) in here.pieces.iter().enumerate() {
            match own {
                Piece::Optional(_) => edits.push(Edit::Remove { path: path.clone(), piece }),
                Piece::List(list) => {
                    let mut length = list.items.len();
                    // Halves, quarters, and so on, down to single items.
                    while length > 0 {
                        for from in (0..list.items.len()).step_by(length) {
                            let to = (from + length).min(list.items.len());
                            if list.items.len() - (to - from) >= list.least {
                                edits.push(Edit::Drop { path: path.clone(), piece, from, to });
                            }
                        }
                        length /= 2;
                    }
                }
                Piece::Text(_) | Piece::Tree(_) | Piece::Again(_) => {}
            }
        }
    }
    edits
}

fn apply(tree: &Tree, edit: &Edit) -> Tree {
    let mut tree = tree.clone();
    match edit {
        Edit::Replace { path, with } => *tree.at_mut(path) = with.clone(),
        // Positions of other pieces must stay: an empty text takes the place.
        Edit::Remove { path, piece } => tree.at_mut(path).pieces[*piece] = Piece::Text(String::new()),
        Edit::Drop { path, piece, from, to } => {
            let Piece::List(list) = &mut tree.at_mut(path).pieces[*piece] else { unreachable!("the edit was made for a list") };
            let tie = list.tie;
            let drop = |list: &mut List| {
                let end = (*to).min(list.items.len());
                list.items.drain((*from).min(end)..end);
            };
            if tie == 0 {
                drop(list);
            } else {
                tree.for_each_list(&mut |list| {
                    if list.tie == tie {
                        drop(list);
                    }
                });
            }
        }
    }
    tree
}
