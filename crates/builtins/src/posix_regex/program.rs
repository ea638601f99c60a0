//! Automata: a node as instructions that are followed all at once.

use types::SqlResult;

use super::parse::{Assertion, Kind, Node, Set};
use super::too_complex;

/// A longer program is refused.
const INSTRUCTIONS_MAX: usize = 100_000;

#[derive(Debug)]
pub(super) enum Instruction {
    /// A character of the set, then the next instruction.
    Set(Set),
    /// Both places.
    Split(usize, usize),
    Jump(usize),
    Assert(Assertion),
    /// A look-around, by its place in [`Program::looks`].
    Look(usize),
    Match,
}

#[derive(Debug)]
pub(super) struct Look {
    pub node: Node,
    pub ahead: bool,
    pub negated: bool,
}

#[derive(Debug)]
pub(super) struct Program {
    pub instructions: Vec<Instruction>,
    pub looks: Vec<Look>,
}

struct Builder<'n> {
    program: Program,
    root: &'n Node,
    backward: bool,
    /// Inside of what a back-reference stands for, where nothing is asserted.
    is_reference: bool,
}

impl Program {
    /// A program that reads the text forward, or backward from where the match ends.
    pub(super) fn new(node: &Node, root: &Node, backward: bool) -> SqlResult<Self> {
        let program = Program { instructions: Vec::new(), looks: Vec::new() };
        let mut builder = Builder { program, root, backward, is_reference: false };
        builder.add(node)?;
        builder.push(Instruction::Match)?;
        Ok(builder.program)
    }
}

impl Builder<'_> {
    fn push(&mut self, instruction: Instruction) -> SqlResult<usize> {
        let at = self.program.instructions.len();
        if at >= INSTRUCTIONS_MAX {
            return Err(too_complex());
        }
        self.program.instructions.push(instruction);
        Ok(at)
    }

    fn here(&self) -> usize {
        self.program.instructions.len()
    }

    fn add(&mut self, node: &Node) -> SqlResult<()> {
        match &node.kind {
            Kind::Empty => {}
            Kind::Set(set) => {
                self.push(Instruction::Set(set.clone()))?;
            }
            Kind::Concat(left, right) => {
                let (first, second) = if self.backward { (right, left) } else { (left, right) };
                self.add(first)?;
                self.add(second)?;
            }
            Kind::Fixed(list) if self.backward => list.iter().rev().try_for_each(|item| self.add(item))?,
            Kind::Fixed(list) => list.iter().try_for_each(|item| self.add(item))?,
            Kind::Alternation(branches) => {
                let mut jumps = Vec::new();
                for (at, branch) in branches.iter().enumerate() {
                    if at + 1 == branches.len() {
                        self.add(branch)?;
                        break;
                    }
                    let split = self.push(Instruction::Jump(0))?;
                    self.add(branch)?;
                    jumps.push(self.push(Instruction::Jump(0))?);
                    self.program.instructions[split] = Instruction::Split(split + 1, self.here());
                }
                let end = self.here();
                for jump in jumps {
                    self.program.instructions[jump] = Instruction::Jump(end);
                }
            }
            Kind::Repeat { node, min, max } => {
                for _ in 0..*min {
                    self.add(node)?;
                }
                match max {
                    None => {
                        let split = self.push(Instruction::Jump(0))?;
                        self.add(node)?;
                        self.push(Instruction::Jump(split))?;
                        self.program.instructions[split] = Instruction::Split(split + 1, self.here());
                    }
                    Some(max) => {
                        let mut splits = Vec::new();
                        for _ in *min..*max {
                            splits.push(self.push(Instruction::Jump(0))?);
                            self.add(node)?;
                        }
                        let end = self.here();
                        for split in splits {
                            self.program.instructions[split] = Instruction::Split(split + 1, end);
                        }
                    }
                }
            }
            Kind::Group(_, node) => self.add(node)?,
            Kind::Backref(number) => {
                let outer = std::mem::replace(&mut self.is_reference, true);
                if let Some(group) = self.root.group(*number) {
                    self.add(group)?;
                }
                self.is_reference = outer;
            }
            Kind::Assert(_) | Kind::Look { .. } if self.is_reference => {}
            Kind::Assert(assertion) => {
                self.push(Instruction::Assert(*assertion))?;
            }
            Kind::Look { node, ahead, negated } => {
                self.program.looks.push(Look { node: (**node).clone(), ahead: *ahead, negated: *negated });
                self.push(Instruction::Look(self.program.looks.len() - 1))?;
            }
        }
        Ok(())
    }
}
