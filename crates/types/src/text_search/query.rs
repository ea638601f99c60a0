//! The value of a `tsquery`.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::query_tree::{QUERY_DEPTH_MAX, Tree};
use super::vector::{Weight, malformed, take, take_text, write_quoted};
use super::{LEXEME_BYTES_END, PHRASE_DISTANCE_MAX};
use crate::error::{SqlError, SqlResult, SqlState};
use crate::stack::{deep, too_deep};

/// Their order is that of how tightly they bind, NOT aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operator {
    Not,
    And,
    Or,
    /// The right operand's match ends so many places behind the left one's.
    Phrase(u16),
}

impl Operator {
    /// Higher binds tighter.
    #[must_use]
    pub const fn priority(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Phrase(_) => 3,
            Self::Not => 4,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Not => 1,
            Self::And => 2,
            Self::Or => 3,
            Self::Phrase(_) => 4,
        }
    }

    const fn distance(self) -> u16 {
        match self {
            Self::Phrase(distance) => distance,
            Self::Not | Self::And | Self::Or => 0,
        }
    }
}

/// A lexeme that is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Operand {
    pub text: Box<str>,
    /// Bits of [`Weight`]; none stands for any weight.
    pub weights: u8,
    /// Whatever begins with the text.
    pub is_prefix: bool,
}

impl Operand {
    /// Without weights, not a prefix.
    #[must_use]
    pub fn plain(text: &str) -> Self {
        Self { text: text.into(), weights: 0, is_prefix: false }
    }

    /// A checksum that PostgreSQL's order of queries goes by.
    fn checksum(&self) -> i32 {
        let crc = self.text.bytes().fold(u32::MAX, |crc, byte| {
            let mut entry = (crc >> 24) ^ u32::from(byte);
            for _ in 0..8 {
                entry = if entry & 1 == 1 { (entry >> 1) ^ 0xedb8_8320 } else { entry >> 1 };
            }
            entry ^ (crc << 8)
        });
        (!crc).cast_signed()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Item {
    Operand(Operand),
    Operator {
        operator: Operator,
        /// How many items further the left operand is; of NOT, which has a right one only, 0.
        left: u32,
    },
}

/// *query-prefix-notation*
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TsQuery {
    items: Vec<Item>,
}

impl TsQuery {
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Whether it has no lexemes: nothing satisfies it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn operands(&self) -> impl Iterator<Item = &Operand> {
        self.items.iter().filter_map(|item| match item {
            Item::Operand(operand) => Some(operand),
            Item::Operator { .. } => None,
        })
    }

    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        40 + self.items.len() * size_of::<Item>() + self.operands().map(|it| it.text.len()).sum::<usize>()
    }

    /// # Errors
    /// 54001 when the tree is too deep.
    pub fn from_tree(tree: Option<&Tree>) -> SqlResult<Self> {
        let mut items = Vec::new();
        if let Some(tree) = tree {
            if tree.depth() > QUERY_DEPTH_MAX {
                return Err(too_deep());
            }
            deep(|| put(tree, &mut items));
        }
        Ok(Self { items })
    }

    #[must_use]
    pub fn to_tree(&self) -> Option<Tree> {
        (!self.is_empty()).then(|| deep(|| self.tree_at(0)))
    }

    fn tree_at(&self, at: usize) -> Tree {
        match &self.items[at] {
            Item::Operand(operand) => Tree::Operand(operand.clone()),
            Item::Operator { operator: Operator::Not, .. } => Tree::Not(Box::new(self.tree_at(at + 1))),
            Item::Operator { operator, left } => {
                let left = self.tree_at(at + *left as usize);
                Tree::Binary(*operator, Box::new(left), Box::new(self.tree_at(at + 1)))
            }
        }
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            deep(|| self.write_at(0, 0, false, out));
        }
    }

    fn write_at(&self, at: usize, around: u8, is_right_of_phrase: bool, out: &mut Vec<u8>) {
        match &self.items[at] {
            Item::Operand(operand) => write_operand(operand, out),
            Item::Operator { operator, left } => {
                let priority = operator.priority();
                let is_phrase = matches!(operator, Operator::Phrase(_));
                // The order of phrases matters.
                let is_grouped = priority < around || is_phrase && is_right_of_phrase;
                if is_grouped {
                    out.extend_from_slice(b"( ");
                }
                if *operator == Operator::Not {
                    out.push(b'!');
                    self.write_at(at + 1, priority, false, out);
                } else {
                    self.write_at(at + *left as usize, priority, false, out);
                    match operator {
                        Operator::And => out.extend_from_slice(b" & "),
                        Operator::Or => out.extend_from_slice(b" | "),
                        Operator::Phrase(1) => out.extend_from_slice(b" <-> "),
                        Operator::Phrase(distance) => out.extend_from_slice(format!(" <{distance}> ").as_bytes()),
                        Operator::Not => {}
                    }
                    self.write_at(at + 1, priority, is_phrase, out);
                }
                if is_grouped {
                    out.extend_from_slice(b" )");
                }
            }
        }
    }

    /// How many items, then each: its kind, and of a lexeme weights, whether it is a prefix, and text up to a zero byte; of an
    /// operator its number and a phrase's distance.
    pub fn write_binary(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.items.len() as i32).to_be_bytes());
        for item in &self.items {
            match item {
                Item::Operand(operand) => {
                    out.extend_from_slice(&[1, operand.weights, u8::from(operand.is_prefix)]);
                    out.extend_from_slice(operand.text.as_bytes());
                    out.push(0);
                }
                Item::Operator { operator, .. } => {
                    out.extend_from_slice(&[2, operator.number()]);
                    if let Operator::Phrase(distance) = operator {
                        out.extend_from_slice(&distance.to_be_bytes());
                    }
                }
            }
        }
    }

    /// # Errors
    /// 22P03 for bytes that are no query, 54001 for one that is too deep.
    pub fn parse_binary(input: &[u8]) -> SqlResult<Self> {
        let mut rest = input;
        let count = i32::from_be_bytes(*take::<4>(&mut rest)?);
        let count = usize::try_from(count).ok().filter(|count| *count <= input.len() / 2);
        let count = count.ok_or_else(|| malformed("invalid size of tsquery"))?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(take_item(&mut rest)?);
        }
        if !rest.is_empty() {
            return Err(malformed("incorrect binary data format"));
        }
        link(&mut items)?;
        Ok(Self { items })
    }

    /// The size by which PostgreSQL orders queries.
    fn ordering_bytes(&self) -> usize {
        self.items.len() * 12 + self.operands().map(|operand| operand.text.len() + 1).sum::<usize>()
    }

    fn compare_at(&self, at: usize, other: &Self, other_at: usize) -> Ordering {
        match (&self.items[at], &other.items[other_at]) {
            (Item::Operand(a), Item::Operand(b)) => compare_operands(a, b),
            // Here and below, more comes first.
            (Item::Operand(_), Item::Operator { .. }) => Ordering::Greater,
            (Item::Operator { .. }, Item::Operand(_)) => Ordering::Less,
            (Item::Operator { operator: a, left: a_left }, Item::Operator { operator: b, left: b_left }) => {
                b.number().cmp(&a.number()).then_with(|| {
                    let right = self.compare_at(at + 1, other, other_at + 1);
                    let left = || match a {
                        Operator::Not => Ordering::Equal,
                        _ => self.compare_at(at + *a_left as usize, other, other_at + *b_left as usize),
                    };
                    right.then_with(left).then_with(|| b.distance().cmp(&a.distance()))
                })
            }
        }
    }
}

pub(super) fn compare_operands(a: &Operand, b: &Operand) -> Ordering {
    b.checksum().cmp(&a.checksum()).then_with(|| a.text.cmp(&b.text))
}

/// PostgreSQL's order, which says nothing to people.
impl TsQuery {
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        let size = self.items.len().cmp(&other.items.len());
        size.then_with(|| self.ordering_bytes().cmp(&other.ordering_bytes())).then_with(|| match self.is_empty() {
            true => Ordering::Equal,
            false => deep(|| self.compare_at(0, other, 0)),
        })
    }
}

fn put(tree: &Tree, items: &mut Vec<Item>) {
    match tree {
        Tree::Operand(operand) => items.push(Item::Operand(operand.clone())),
        Tree::Not(inner) => {
            items.push(Item::Operator { operator: Operator::Not, left: 0 });
            put(inner, items);
        }
        Tree::Binary(operator, left, right) => {
            let at = items.len();
            items.push(Item::Operator { operator: *operator, left: 0 });
            put(right, items);
            let distance = (items.len() - at) as u32;
            items[at] = Item::Operator { operator: *operator, left: distance };
            put(left, items);
        }
    }
}

fn take_item(rest: &mut &[u8]) -> SqlResult<Item> {
    match take::<1>(rest)? {
        [1] => {
            let [weights, is_prefix] = *take::<2>(rest)?;
            if weights > 0xf {
                return Err(malformed("invalid tsquery: invalid weight bitmap"));
            }
            let text = take_text(rest)?;
            if text.len() >= LEXEME_BYTES_END {
                return Err(malformed("invalid tsquery: operand too long"));
            }
            Ok(Item::Operand(Operand { text: text.into(), weights, is_prefix: is_prefix != 0 }))
        }
        [2] => {
            let operator = match take::<1>(rest)? {
                [1] => Operator::Not,
                [2] => Operator::And,
                [3] => Operator::Or,
                [4] => {
                    let distance = u16::from_be_bytes(*take::<2>(rest)?);
                    if distance > PHRASE_DISTANCE_MAX {
                        return Err(malformed("invalid tsquery: distance of a phrase is too large"));
                    }
                    Operator::Phrase(distance)
                }
                [other] => {
                    let message = format!("invalid tsquery: unrecognized operator type {other}");
                    return Err(SqlError::new(SqlState::InvalidBinaryRepresentation, message));
                }
            };
            Ok(Item::Operator { operator, left: 0 })
        }
        [other] => Err(SqlError::new(
            SqlState::InvalidBinaryRepresentation,
            format!("unrecognized tsquery node type: {other}"),
        )),
    }
}

/// Finds the left operands. Prefix notation without them is read from its end: each operator takes the operands behind it.
fn link(items: &mut [Item]) -> SqlResult<()> {
    let missing = || malformed("malformed tsquery: operand not found");
    // Of each operand that is complete: where it begins, and how deep it is.
    let mut complete: Vec<(usize, usize)> = Vec::new();
    for at in (0..items.len()).rev() {
        let depth = match &mut items[at] {
            Item::Operand(_) => 1,
            Item::Operator { operator, left } => {
                let (_, right_depth) = complete.pop().ok_or_else(missing)?;
                let left_depth = match operator {
                    Operator::Not => 0,
                    Operator::And | Operator::Or | Operator::Phrase(_) => {
                        let (begin, depth) = complete.pop().ok_or_else(missing)?;
                        *left = (begin - at) as u32;
                        depth
                    }
                };
                right_depth.max(left_depth) + 1
            }
        };
        if depth > QUERY_DEPTH_MAX {
            return Err(too_deep());
        }
        complete.push((at, depth));
    }
    if complete.len() > 1 { Err(malformed("malformed tsquery: extra nodes")) } else { Ok(()) }
}

fn write_operand(operand: &Operand, out: &mut Vec<u8>) {
    write_quoted(&operand.text, out);
    if operand.is_prefix || operand.weights != 0 {
        out.push(b':');
    }
    if operand.is_prefix {
        out.push(b'*');
    }
    for weight in [Weight::A, Weight::B, Weight::C, Weight::D] {
        if operand.weights & weight.bit() != 0 {
            out.push(weight.letter() as u8);
        }
    }
}
