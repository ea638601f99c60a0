//! How well a document satisfies a query: `ts_rank` and `ts_rank_cd`.
//!
//! Numbers are rounded to single precision where PostgreSQL does: answers are its own to the last digit.

use types::text_search::{Evidence, Found, Item, Lexeme, Operand, Operator, POSITION_MAX, Position, TsQuery, TsVector, Weight, matches};

/// What a lexeme of weight D, C, B and A counts.
pub(crate) const DEFAULT_WEIGHTS: [f32; 4] = [0.1, 0.2, 0.4, 1.0];

/// Bits of the normalization that a rank is divided by.
mod norm {
    pub const LOG_LENGTH: i64 = 1;
    pub const LENGTH: i64 = 2;
    pub const EXTENT_DISTANCE: i64 = 4;
    pub const UNIQUE: i64 = 8;
    pub const LOG_UNIQUE: i64 = 16;
    pub const ITSELF_PLUS_ONE: i64 = 32;
}

/// Of a lexeme without positions.
const NOWHERE: Position = Position::new(POSITION_MAX, Weight::D);

fn length(vector: &TsVector) -> usize {
    vector.lexemes().iter().map(|lexeme| lexeme.positions.len().max(1)).sum()
}

/// The operands, sorted, each text once.
fn sorted_operands(query: &TsQuery) -> Vec<&Operand> {
    let mut operands: Vec<&Operand> = query.operands().collect();
    operands.sort_by(|a, b| a.text.cmp(&b.text));
    operands.dedup_by(|a, b| a.text == b.text);
    operands
}

fn entries<'v>(vector: &'v TsVector, operand: &Operand) -> &'v [Lexeme] {
    match vector.get(&operand.text) {
        _ if operand.is_prefix => vector.with_prefix(&operand.text),
        Some(lexeme) => std::slice::from_ref(lexeme),
        None => &[],
    }
}

fn weight_of(weights: &[f32; 4], position: Position) -> f32 {
    weights[position.weight() as usize]
}

fn by_distance(distance: i32) -> f32 {
    if distance > 100 {
        return 1e-30;
    }
    (1.0 / (1.005 + 0.05 * (f64::from(distance as f32) / 1.5 - 2.0).exp())) as f32
}

/// `ts_rank`.
pub(crate) fn rank(weights: &[f32; 4], vector: &TsVector, query: &TsQuery, normalization: i64) -> f32 {
    let Some(first) = query.items().first().filter(|_| !vector.lexemes().is_empty()) else { return 0.0 };
    let is_and = matches!(first, Item::Operator { operator: Operator::And | Operator::Phrase(_), .. });
    let mut rank = if is_and { rank_and(weights, vector, query) } else { rank_or(weights, vector, query) };
    if rank < 0.0 {
        rank = 1e-20;
    }
    let divide = |rank: f32, by: f64| (f64::from(rank) / by) as f32;
    let unique = vector.lexemes().len() as f64;
    if normalization & norm::LOG_LENGTH != 0 {
        rank = divide(rank, (length(vector) as f64 + 1.0).ln() / 2f64.ln());
    }
    if normalization & norm::LENGTH != 0 {
        rank /= length(vector) as f32;
    }
    if normalization & norm::UNIQUE != 0 {
        rank /= unique as f32;
    }
    if normalization & norm::LOG_UNIQUE != 0 {
        rank = divide(rank, (unique + 1.0).ln() / 2f64.ln());
    }
    if normalization & norm::ITSELF_PLUS_ONE != 0 {
        rank /= rank + 1.0;
    }
    rank
}

fn rank_or(weights: &[f32; 4], vector: &TsVector, query: &TsQuery) -> f32 {
    let operands = sorted_operands(query);
    let mut rank = 0f32;
    for entry in operands.iter().flat_map(|operand| entries(vector, operand)) {
        let positions = if entry.positions.is_empty() { &[Position::new(0, Weight::D)][..] } else { &entry.positions };
        let (mut sum, mut highest, mut highest_at) = (0f32, -1f32, 0);
        for (at, position) in positions.iter().enumerate() {
            let weight = weight_of(weights, *position);
            sum += weight / ((at + 1) * (at + 1)) as f32;
            if weight > highest {
                (highest, highest_at) = (weight, at);
            }
        }
        // The sum of 1/n² is π²/6.
        let part = highest + sum - highest / ((highest_at + 1) * (highest_at + 1)) as f32;
        rank = (f64::from(rank) + f64::from(part) / 1.644_934_066_85) as f32;
    }
    if operands.is_empty() { rank } else { rank / operands.len() as f32 }
}

fn rank_and(weights: &[f32; 4], vector: &TsVector, query: &TsQuery) -> f32 {
    let operands = sorted_operands(query);
    if operands.len() < 2 {
        return rank_or(weights, vector, query);
    }
    // Of each operand the positions of its last entry, and whether there are any.
    let mut seen: Vec<Option<(&[Position], bool)>> = vec![None; operands.len()];
    let mut rank = -1f32;
    for (i, operand) in operands.iter().enumerate() {
        for entry in entries(vector, operand) {
            let is_nowhere = entry.positions.is_empty();
            let positions = if is_nowhere { &[NOWHERE][..] } else { &entry.positions };
            seen[i] = Some((positions, is_nowhere));
            for (others, other_is_nowhere) in seen[..i].iter().flatten() {
                for position in positions {
                    for other in *others {
                        let mut distance = (i32::from(position.at()) - i32::from(other.at())).abs();
                        if distance == 0 {
                            if !is_nowhere && !other_is_nowhere {
                                continue;
                            }
                            distance = i32::from(POSITION_MAX) + 1;
                        }
                        let product = weight_of(weights, *position) * weight_of(weights, *other) * by_distance(distance);
                        let one = f64::from(product).sqrt() as f32;
                        rank = match rank < 0.0 {
                            true => one,
                            false => (1.0 - (1.0 - f64::from(rank)) * (1.0 - f64::from(one))) as f32,
                        };
                    }
                }
            }
        }
    }
    rank
}

/// A place in a document where lexemes of a query are.
struct Occurrence {
    position: Position,
    /// Numbers of operands.
    operands: Vec<usize>,
}

/// The occurrences, in the order of their positions.
fn occurrences(vector: &TsVector, operands: &[&Operand]) -> Vec<Occurrence> {
    let mut found: Vec<(Position, usize, usize)> = Vec::new();
    for (number, operand) in operands.iter().enumerate() {
        for entry in entries(vector, operand) {
            let at = vector.lexemes().partition_point(|lexeme| lexeme.text < entry.text);
            let wanted = |it: &&Position| operand.weights == 0 || it.weight().bit() & operand.weights != 0;
            found.extend(entry.positions.iter().filter(wanted).map(|position| (*position, at, number)));
        }
    }
    found.sort_by_key(|(position, at, _)| (position.at(), position.weight(), *at));
    let mut all: Vec<Occurrence> = Vec::new();
    let mut last = None;
    for (position, at, number) in found {
        match all.last_mut().filter(|_| last == Some((position, at))) {
            Some(same) => same.operands.push(number),
            None => all.push(Occurrence { position, operands: vec![number] }),
        }
        last = Some((position, at));
    }
    all
}

/// What of a query was seen in a stretch of occurrences.
struct Seen<'q> {
    operands: &'q [&'q Operand],
    positions: Vec<Vec<u32>>,
    is_reversed: bool,
}

impl<'q> Seen<'q> {
    fn new(operands: &'q [&'q Operand], is_reversed: bool) -> Self {
        Self { operands, positions: vec![Vec::new(); operands.len()], is_reversed }
    }

    fn add(&mut self, occurrence: &Occurrence) {
        let at = u32::from(occurrence.position.at());
        for number in &occurrence.operands {
            let positions = &mut self.positions[*number];
            if positions.last() != Some(&at) {
                positions.push(at);
            }
        }
    }

    fn of(&self, operand: &Operand) -> &[u32] {
        let number = self.operands.iter().position(|it| *it == operand);
        number.map_or(&[], |number| &self.positions[number])
    }
}

impl Evidence for Seen<'_> {
    fn has(&self, operand: &Operand) -> Found {
        if self.of(operand).is_empty() { Found::No } else { Found::Yes }
    }

    fn positions(&self, operand: &Operand) -> (Found, Vec<u32>) {
        let mut positions = self.of(operand).to_vec();
        if self.is_reversed {
            positions.reverse();
        }
        (self.has(operand), positions)
    }
}

/// A shortest stretch that satisfies a query: the first and the last occurrence.
struct Cover {
    first: usize,
    last: usize,
}

/// The next cover, of occurrences from a number on.
fn next_cover(found: &[Occurrence], query: &TsQuery, operands: &[&Operand], from: &mut usize) -> Option<Cover> {
    loop {
        let mut seen = Seen::new(operands, false);
        let last = (*from..found.len()).find(|number| {
            seen.add(&found[*number]);
            matches(query, &seen)
        })?;
        let mut seen = Seen::new(operands, true);
        let first = (*from..=last).rev().find(|number| {
            seen.add(&found[*number]);
            matches(query, &seen)
        });
        match first {
            Some(first) if found[last].position.at() > 0 => {
                *from = first + 1;
                return Some(Cover { first, last });
            }
            _ => *from += 1,
        }
    }
}

/// `ts_rank_cd`.
pub(crate) fn rank_by_cover(weights: &[f32; 4], vector: &TsVector, query: &TsQuery, normalization: i64) -> f32 {
    let mut operands: Vec<&Operand> = Vec::new();
    for operand in query.operands() {
        if !operands.contains(&operand) {
            operands.push(operand);
        }
    }
    let found = occurrences(vector, &operands);
    if found.is_empty() {
        return 0.0;
    }
    let inverse = weights.map(|weight| 1.0 / f64::from(weight));
    let (mut rank, mut distances, mut middle_before, mut covers) = (0f64, 0f64, 0f64, 0);
    let mut from = 0;
    while let Some(cover) = next_cover(&found, query, &operands, &mut from) {
        let inside = &found[cover.first..=cover.last];
        let sum: f64 = inside.iter().map(|it| inverse[it.position.weight() as usize]).sum();
        let place = |number: usize| i32::from(found[number].position.at());
        let (begin, end) = (place(cover.first), place(cover.last));
        let steps = (cover.last - cover.first) as i32;
        // Positions end at a number: many lexemes may share the last.
        let noise = match end - begin - steps {
            noise if noise < 0 => steps / 2,
            noise => noise,
        };
        rank += inside.len() as f64 / sum / f64::from(1 + noise);
        let middle = f64::from(begin + end) / 2.0;
        if covers > 0 && middle > middle_before {
            distances += 1.0 / (middle - middle_before);
        }
        middle_before = middle;
        covers += 1;
    }
    let unique = vector.lexemes().len() as f64;
    if normalization & norm::LOG_LENGTH != 0 {
        rank /= (length(vector) as f64 + 1.0).ln();
    }
    if normalization & norm::LENGTH != 0 {
        rank /= length(vector) as f64;
    }
    if normalization & norm::EXTENT_DISTANCE != 0 && covers > 0 && distances > 0.0 {
        rank /= f64::from(covers) / distances;
    }
    if normalization & norm::UNIQUE != 0 {
        rank /= unique;
    }
    if normalization & norm::LOG_UNIQUE != 0 {
        rank /= (unique + 1.0).ln() / 2f64.ln();
    }
    if normalization & norm::ITSELF_PLUS_ONE != 0 {
        rank /= rank + 1.0;
    }
    rank as f32
}
