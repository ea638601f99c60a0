//! Finding a match and taking it apart.

use rustc_hash::{FxHashMap, FxHashSet};
use types::SqlResult;

use super::parse::{Assertion, Kind, Node, Preference};
use super::program::{Instruction, Program};
use super::{Groups, Pattern, too_complex};

/// Steps that one search may take: some seconds.
const STEPS_MAX: u64 = 400_000_000;

pub(super) struct Matcher<'p> {
    pattern: &'p Pattern,
    text: &'p str,
    groups: Groups,
    steps: u64,
    /// Whether a look-around holds at a place.
    looks: FxHashMap<(usize, usize), bool>,
}

/// The instructions that are current at a place in the text.
#[derive(Default)]
struct Threads {
    list: Vec<usize>,
    seen: Vec<bool>,
}

impl Threads {
    fn of(program: &Program) -> Self {
        Self { list: Vec::new(), seen: vec![false; program.instructions.len()] }
    }

    fn clear(&mut self) {
        self.list.clear();
        self.seen.fill(false);
    }
}

fn is_word(c: Option<char>) -> bool {
    c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl<'p> Matcher<'p> {
    pub(super) fn new(pattern: &'p Pattern, text: &'p str) -> Self {
        let groups = vec![None; pattern.group_count + 1];
        Self { pattern, text, groups, steps: 0, looks: FxHashMap::default() }
    }

    pub(super) fn find(mut self, from: usize) -> SqlResult<Option<Groups>> {
        let mut from = from;
        loop {
            if let Some(scout) = &self.pattern.scout {
                match scout.find_at(self.text, from) {
                    Some(found) => from = found.start(),
                    None => return Ok(None),
                }
            }
            if self.matches_from(from)? {
                return Ok(Some(self.groups));
            }
            match self.text[from..].chars().next() {
                Some(c) => from += c.len_utf8(),
                None => return Ok(None),
            }
        }
    }

    /// Takes the match that starts here, if there is one.
    fn matches_from(&mut self, start: usize) -> SqlResult<bool> {
        let root = &self.pattern.root;
        let wants_first = root.prefers == Preference::Shortest && !self.pattern.has_backrefs;
        let mut ends = self.ends(root, start, self.text.len(), wants_first)?;
        if root.prefers != Preference::Shortest {
            ends.reverse();
        }
        for end in ends {
            self.groups.fill(None);
            if self.dissect(root, start, end)? {
                self.groups[0] = Some((start, end));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where matches of the node that start at `from` may end, up to `limit`, rising.
    fn ends(&mut self, node: &Node, from: usize, limit: usize, first_only: bool) -> SqlResult<Vec<usize>> {
        let program = self.pattern.program(node, false)?;
        self.run(program, from, limit, false, first_only)
    }

    /// Where matches of the node that end at `to` may start, down to `limit`, falling.
    fn starts(&mut self, node: &Node, to: usize, limit: usize) -> SqlResult<Vec<usize>> {
        let program = self.pattern.program(node, true)?;
        self.run(program, to, limit, true, false)
    }

    fn run(&mut self, program: &Program, from: usize, limit: usize, backward: bool, first_only: bool) -> SqlResult<Vec<usize>> {
        let mut found = Vec::new();
        let (mut now, mut next) = (Threads::of(program), Threads::of(program));
        let mut at = from;
        if self.follow(program, 0, at, &mut now)? {
            found.push(at);
        }
        while at != limit && !now.list.is_empty() && !(first_only && !found.is_empty()) {
            let c = if backward { self.text[..at].chars().next_back() } else { self.text[at..].chars().next() };
            let c = c.expect("the limit is in the text");
            at = if backward { at - c.len_utf8() } else { at + c.len_utf8() };
            next.clear();
            let mut matched = false;
            for place in &now.list {
                if let Instruction::Set(set) = &program.instructions[*place]
                    && set.contains(c)
                {
                    matched |= self.follow(program, place + 1, at, &mut next)?;
                }
            }
            self.steps += now.list.len() as u64 + 1;
            if self.steps > STEPS_MAX {
                return Err(too_complex());
            }
            if matched {
                found.push(at);
            }
            std::mem::swap(&mut now, &mut next);
        }
        Ok(found)
    }

    /// Adds an instruction and what follows of it without reading; whether that is a match.
    fn follow(&mut self, program: &Program, place: usize, at: usize, threads: &mut Threads) -> SqlResult<bool> {
        let mut waiting = vec![place];
        let mut matched = false;
        while let Some(place) = waiting.pop() {
            if std::mem::replace(&mut threads.seen[place], true) {
                continue;
            }
            match &program.instructions[place] {
                Instruction::Set(_) => threads.list.push(place),
                Instruction::Split(one, other) => waiting.extend([*other, *one]),
                Instruction::Jump(to) => waiting.push(*to),
                Instruction::Match => matched = true,
                Instruction::Assert(assertion) => {
                    if self.holds(*assertion, at) {
                        waiting.push(place + 1);
                    }
                }
                Instruction::Look(number) => {
                    let look = &program.looks[*number];
                    if self.looks_at(&look.node, look.ahead, at)? != look.negated {
                        waiting.push(place + 1);
                    }
                }
            }
        }
        Ok(matched)
    }

    fn holds(&self, assertion: Assertion, at: usize) -> bool {
        let before = || self.text[..at].chars().next_back();
        let after = || self.text[at..].chars().next();
        match assertion {
            Assertion::TextStart => at == 0,
            Assertion::TextEnd => at == self.text.len(),
            Assertion::LineStart => before().is_none_or(|c| c == '\n'),
            Assertion::LineEnd => after().is_none_or(|c| c == '\n'),
            Assertion::WordStart => !is_word(before()) && is_word(after()),
            Assertion::WordEnd => is_word(before()) && !is_word(after()),
            Assertion::WordBoundary => is_word(before()) != is_word(after()),
            Assertion::NotWordBoundary => is_word(before()) == is_word(after()),
        }
    }

    fn looks_at(&mut self, node: &Node, ahead: bool, at: usize) -> SqlResult<bool> {
        if let Some(known) = self.looks.get(&(node.id, at)) {
            return Ok(*known);
        }
        let program = self.pattern.program(node, !ahead)?;
        let limit = if ahead { self.text.len() } else { 0 };
        let found = !self.run(program, at, limit, !ahead, true)?.is_empty();
        self.looks.insert((node.id, at), found);
        Ok(found)
    }

    fn forget(&mut self, node: &Node) {
        self.groups[node.groups.0..node.groups.1].fill(None);
    }

    /// Sets the groups of a node that covers exactly this part of the text; whether that is possible.
    fn dissect(&mut self, node: &Node, from: usize, to: usize) -> SqlResult<bool> {
        if node.is_plain() {
            return Ok(true);
        }
        match &node.kind {
            Kind::Group(number, inner) => {
                let found = self.dissect(inner, from, to)?;
                if found {
                    self.groups[*number] = Some((from, to));
                }
                Ok(found)
            }
            Kind::Backref(number) => {
                let Some((start, end)) = self.groups[*number] else { return Ok(false) };
                let (given, wanted) = (&self.text[from..to], &self.text[start..end]);
                Ok(if self.pattern.ignore_case { given.eq_ignore_ascii_case(wanted) } else { given == wanted })
            }
            Kind::Concat(left, right) => {
                let mut middles = self.ends(left, from, to, false)?;
                let starts: FxHashSet<usize> = self.starts(right, to, from)?.into_iter().collect();
                middles.retain(|at| starts.contains(at));
                if left.prefers != Preference::Shortest {
                    middles.reverse();
                }
                for middle in middles {
                    self.forget(node);
                    if self.dissect(left, from, middle)? && self.dissect(right, middle, to)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Kind::Alternation(branches) => {
                for branch in branches {
                    self.forget(node);
                    if self.ends(branch, from, to, false)?.last() == Some(&to) && self.dissect(branch, from, to)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Kind::Repeat { node: inner, min, max } => {
                let max = max.map_or(usize::MAX, |max| max as usize);
                self.dissect_repeat(node.prefers, inner, *min as usize, max, from, to)
            }
            Kind::Empty | Kind::Set(_) | Kind::Fixed(_) | Kind::Assert(_) | Kind::Look { .. } => Ok(true),
        }
    }

    /// One repetition after another, each of the preferred length; empty ones only where `min` asks for them.
    fn dissect_repeat(
        &mut self,
        prefers: Preference,
        inner: &Node,
        min: usize,
        max: usize,
        from: usize,
        to: usize,
    ) -> SqlResult<bool> {
        if min == 0 && from == to {
            return Ok(true);
        }
        let min = min.max(1);
        // Where each repetition ends, and the other ends that it may still try, the best last.
        let mut chosen: Vec<usize> = Vec::new();
        let mut others: Vec<Vec<usize>> = Vec::new();
        // From where nothing led to the end, with so many repetitions behind.
        let mut dead: FxHashSet<(usize, usize)> = FxHashSet::default();
        let mut verified = 0;
        loop {
            let at = chosen.last().copied().unwrap_or(from);
            if others.len() == chosen.len() {
                let is_known = !inner.has_backref && dead.contains(&(at, chosen.len()));
                let mut ends = if is_known { Vec::new() } else { self.ends(inner, at, to, false)? };
                if chosen.len() >= min {
                    ends.retain(|end| *end != at);
                }
                if prefers == Preference::Shortest {
                    ends.reverse();
                }
                others.push(ends);
            }
            let choices = others.last_mut().expect("was just pushed");
            let Some(end) = choices.pop() else {
                others.pop();
                dead.insert((at, chosen.len()));
                if chosen.pop().is_none() {
                    return Ok(false);
                }
                verified = verified.min(chosen.len());
                continue;
            };
            let count = chosen.len() + 1;
            if end != to || count < min {
                if count < max {
                    chosen.push(end);
                }
                continue;
            }
            chosen.push(end);
            let mut failed = None;
            for number in verified..count {
                let start = if number == 0 { from } else { chosen[number - 1] };
                self.forget(inner);
                if !self.dissect(inner, start, chosen[number])? {
                    failed = Some(number);
                    break;
                }
                verified = number + 1;
            }
            let Some(failed) = failed else { return Ok(true) };
            chosen.truncate(failed);
            others.truncate(failed + 1);
        }
    }
}
