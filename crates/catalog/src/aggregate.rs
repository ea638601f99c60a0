//! Aggregates by users, as they are stored: the functions that they consist of, and the type of their state.
//!
//! An aggregate is a [`Routine`] of the kind [`RoutineKind::Aggregate`](crate::RoutineKind::Aggregate) with a definition.
//! Bytes: fields with tags ([`keys::tagged`]), within the routine's.
//!
//! **Invariants**
//! - *functions-by-id*: a user's function is stored by its id, so that it may be renamed; a builtin by its name, which
//!   with the types of its arguments means one function.

use std::sync::Arc;

use builtins::{ArgType, Builtin, CallTypes};
use keys::encoding::{put_uvarint, take_uvarint};
use types::{SqlError, SqlResult, SqlState, SqlType};

use crate::routine::{Routine, StoredType};
use crate::snapshot::CatalogSnapshot;
use crate::tagged::{Malformed, Reader, Writer};

/// A function that an aggregate consists of.
#[derive(Clone, Debug, PartialEq)]
pub enum SupportFunction {
    Builtin(String),
    Routine(u32),
}

impl SupportFunction {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Routine(id) => put_uvarint(&mut out, (*id).into()),
            Self::Builtin(name) => {
                put_uvarint(&mut out, 0);
                out.extend_from_slice(name.as_bytes());
            }
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        match take_uvarint(&mut bytes).ok()? {
            0 => Some(Self::Builtin(String::from_utf8(bytes.to_vec()).ok()?)),
            id => bytes.is_empty().then_some(Self::Routine(u32::try_from(id).ok()?)),
        }
    }

    #[must_use]
    pub const fn routine(&self) -> Option<u32> {
        match self {
            Self::Builtin(_) => None,
            Self::Routine(id) => Some(*id),
        }
    }
}

/// What the value of a state is made of, and what it becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Transitions {
    pub transition: SupportFunction,
    pub state: StoredType,
    /// In bytes, as far as it was said.
    pub state_size: u32,
    /// The text of the first state; NULL without one.
    pub initial: Option<String>,
    pub last: Option<SupportFunction>,
    /// The last function has a NULL for each input behind the state.
    pub last_extra: bool,
    /// What the last function does with the state: `r`, `s` or `w`.
    pub last_modify: char,
}

impl Transitions {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes(2, &self.transition.encode());
        writer.bytes(4, &self.state.encode());
        writer.number(7, self.state_size.into(), 0);
        if let Some(text) = &self.initial {
            writer.bytes(8, text.as_bytes());
        }
        if let Some(last) = &self.last {
            writer.bytes(10, &last.encode());
        }
        writer.flag(12, self.last_extra);
        writer.number(15, u32::from(self.last_modify).into(), u32::from('r').into());
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let found = Self {
            transition: reader.bytes(2)?.and_then(SupportFunction::decode).ok_or(Malformed::Bad(2))?,
            state: reader.bytes(4)?.and_then(StoredType::decode).ok_or(Malformed::Bad(4))?,
            state_size: reader.id(7)?,
            initial: text(8, reader.bytes(8)?)?,
            last: function(10, reader.bytes(10)?)?,
            last_extra: reader.flag(12)?,
            last_modify: {
                let letter = reader.number(15, u32::from('r').into())?;
                u32::try_from(letter).ok().and_then(char::from_u32).ok_or(Malformed::Bad(15))?
            },
        };
        reader.finish()?;
        Ok(found)
    }

    fn functions(&self) -> impl Iterator<Item = &SupportFunction> {
        std::iter::once(&self.transition).chain(&self.last)
    }

    /// The users' functions that compute it.
    pub fn routines(&self) -> impl Iterator<Item = u32> {
        self.functions().filter_map(SupportFunction::routine)
    }
}

fn text(tag: u64, bytes: Option<&[u8]>) -> Result<Option<String>, Malformed> {
    bytes.map(|bytes| String::from_utf8(bytes.to_vec())).transpose().map_err(|_| Malformed::Bad(tag))
}

fn function(tag: u64, bytes: Option<&[u8]>) -> Result<Option<SupportFunction>, Malformed> {
    bytes.map(|bytes| SupportFunction::decode(bytes).ok_or(Malformed::Bad(tag))).transpose()
}

#[derive(Clone, Debug, PartialEq)]
pub struct AggregateDefinition {
    pub plain: Transitions,
    /// Kept and shown: nothing here combines states.
    pub combine: Option<SupportFunction>,
    /// For moving windows, with the function that takes a row out again. Kept and shown: the plain ones have the same
    /// answers.
    pub moving: Option<(Transitions, SupportFunction)>,
    /// The symbol of the operator whose first value it answers. Kept and shown.
    pub sort_operator: Option<String>,
}

impl AggregateDefinition {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes(2, &self.plain.encode());
        if let Some(combine) = &self.combine {
            writer.bytes(5, &combine.encode());
        }
        if let Some((moving, inverse)) = &self.moving {
            writer.bytes(7, &moving.encode());
            writer.bytes(9, &inverse.encode());
        }
        if let Some(symbol) = &self.sort_operator {
            writer.bytes(11, symbol.as_bytes());
        }
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let plain = Transitions::decode(reader.bytes(2)?.ok_or(Malformed::Bad(2))?)?;
        let combine = function(5, reader.bytes(5)?)?;
        let moving = reader.bytes(7)?.map(Transitions::decode).transpose()?;
        let inverse = function(9, reader.bytes(9)?)?;
        let sort_operator = text(11, reader.bytes(11)?)?;
        reader.finish()?;
        Ok(Self { plain, combine, moving: moving.zip(inverse), sort_operator })
    }

    pub fn functions(&self) -> impl Iterator<Item = &SupportFunction> {
        let moving = self.moving.iter().flat_map(|(moving, inverse)| moving.functions().chain([inverse]));
        self.plain.functions().chain(&self.combine).chain(moving)
    }

    /// The users' functions that it consists of.
    pub fn routines(&self) -> impl Iterator<Item = u32> {
        self.functions().filter_map(SupportFunction::routine)
    }

    pub fn states(&self) -> impl Iterator<Item = StoredType> {
        std::iter::once(self.plain.state).chain(self.moving.iter().map(|(moving, _)| moving.state))
    }
}

/// A function of an aggregate, for a call with known types.
#[derive(Debug)]
pub enum Step {
    Builtin(&'static Builtin, CallTypes),
    Routine(Arc<Routine>, CallTypes),
}

impl Step {
    #[must_use]
    pub fn is_strict(&self) -> bool {
        match self {
            Self::Builtin(builtin, _) => builtin.strict,
            Self::Routine(routine, _) => routine.strict,
        }
    }
}

/// What computes an aggregate over inputs of known types.
#[derive(Debug)]
pub struct Steps {
    pub state: SqlType,
    pub transition: Step,
    pub last: Option<Step>,
}

/// What polymorphic types are where these declared types are given those.
struct Settled<'t> {
    declared: &'t [SqlType],
    given: &'t [SqlType],
}

impl Settled<'_> {
    fn pairs(&self) -> impl Iterator<Item = (SqlType, SqlType)> {
        self.declared.iter().copied().zip(self.given.iter().copied())
    }

    fn element(&self) -> Option<SqlType> {
        self.pairs().find_map(|(declared, given)| match declared {
            SqlType::AnyElement | SqlType::AnyNonArray | SqlType::AnyEnum => Some(given),
            SqlType::AnyArray => given.element(),
            SqlType::AnyRange | SqlType::AnyMultiRange => given.range_type().map(types::RangeType::subtype),
            _ => None,
        })
    }

    fn settle(&self, ty: SqlType) -> SqlType {
        let range = || self.pairs().find_map(|(declared, given)| match declared {
            SqlType::AnyRange | SqlType::AnyMultiRange => given.range_type(),
            _ => None,
        });
        match ty {
            SqlType::AnyElement | SqlType::AnyNonArray | SqlType::AnyEnum => self.element().unwrap_or(ty),
            SqlType::AnyArray => self.element().map_or(ty, |element| element.array_of()),
            SqlType::AnyRange => range().map_or(ty, SqlType::Range),
            SqlType::AnyMultiRange => range().map_or(ty, SqlType::MultiRange),
            ty => ty,
        }
    }
}

fn gone(name: &str) -> SqlError {
    let message = format!("a function or type of aggregate {name} does not exist any more");
    SqlError::new(SqlState::UndefinedFunction, message)
}

/// The builtin of a name that takes values of these types; polymorphic types stand for themselves.
#[must_use]
pub fn support_builtin(name: &str, args: &[SqlType]) -> Option<(&'static Builtin, CallTypes)> {
    let candidates = builtins::functions(name);
    let is_exact = |it: &&&'static Builtin| it.signature.args.iter().copied().eq(args.iter().map(|ty| ArgType::taking(*ty)));
    if args.iter().any(SqlType::is_pseudo)
        && let Some(exact) = candidates.iter().find(is_exact)
    {
        let ret = args.first().copied().unwrap_or(SqlType::Any);
        return Some((exact, CallTypes { args: args.iter().copied().collect(), ret }));
    }
    let known: Vec<Option<SqlType>> = args.iter().map(|ty| Some(*ty)).collect();
    let resolved = builtins::resolve(candidates, &known).ok()?;
    Some((resolved.chosen, CallTypes { args: resolved.args, ret: resolved.ret }))
}

impl CatalogSnapshot {
    fn step(&self, function: &SupportFunction, args: &[SqlType]) -> Option<Step> {
        match function {
            SupportFunction::Builtin(name) => {
                support_builtin(name, args).map(|(builtin, types)| Step::Builtin(builtin, types))
            }
            SupportFunction::Routine(id) => {
                let routine = self.routine_by_id(*id)?;
                let declared: Vec<SqlType> =
                    routine.inputs().map(|it| self.stored_type(it.ty)).collect::<Option<_>>()?;
                let settled = Settled { declared: &declared, given: args };
                let ret = settled.settle(self.result_type(routine)?);
                let is_open = |ty: SqlType| ty.is_pseudo() && (ty.row_type().is_none() || ty == SqlType::RECORD);
                let args = settled.pairs().map(|(declared, given)| if is_open(declared) { given } else { declared });
                Some(Step::Routine(routine.clone(), CallTypes { args: args.collect(), ret }))
            }
        }
    }

    /// What computes an aggregate over inputs of these types.
    ///
    /// # Errors
    /// 42883 where something of it has gone.
    pub fn aggregate_steps(&self, routine: &Routine, inputs: &[SqlType]) -> SqlResult<Steps> {
        let missing = || gone(&routine.name);
        let plain = &routine.aggregate.as_ref().ok_or_else(missing)?.plain;
        let declared: Vec<SqlType> =
            routine.inputs().map(|it| self.stored_type(it.ty)).collect::<Option<_>>().ok_or_else(missing)?;
        let settled = Settled { declared: &declared, given: inputs };
        let state = settled.settle(self.stored_type(plain.state).ok_or_else(missing)?);
        let with_inputs: Vec<SqlType> = std::iter::once(state).chain(inputs.iter().copied()).collect();
        let transition = self.step(&plain.transition, &with_inputs).ok_or_else(missing)?;
        let last_args = if plain.last_extra { with_inputs.as_slice() } else { &with_inputs[..1] };
        let last = match &plain.last {
            Some(last) => Some(self.step(last, last_args).ok_or_else(missing)?),
            None => None,
        };
        Ok(Steps { state, transition, last })
    }

    /// The oid of a function as the catalogs have it, 0 without one.
    #[must_use]
    pub fn support_oid(&self, function: Option<&SupportFunction>, args: &[SqlType]) -> u32 {
        match function {
            None => 0,
            Some(SupportFunction::Routine(id)) => *id,
            Some(SupportFunction::Builtin(name)) => support_builtin(name, args).map_or(0, |(builtin, _)| builtin.oid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> AggregateDefinition {
        let plain = Transitions {
            transition: SupportFunction::Builtin("int4_avg_accum".into()),
            state: StoredType::plain(1_016),
            state_size: 64,
            initial: Some("{0,0}".into()),
            last: Some(SupportFunction::Routine(16_400)),
            last_extra: true,
            last_modify: 's',
        };
        let moving = Transitions { initial: None, last: None, last_extra: false, last_modify: 'r', ..plain.clone() };
        AggregateDefinition {
            plain,
            combine: Some(SupportFunction::Builtin("int4_avg_combine".into())),
            moving: Some((moving, SupportFunction::Routine(16_401))),
            sort_operator: Some("<".into()),
        }
    }

    #[test]
    fn golden_bytes_of_a_definition() {
        let bytes = definition().encode();
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(AggregateDefinition::decode(&bytes).unwrap(), definition());
        assert_eq!(shown, include_str!("aggregate.golden").trim(), "bytes that are stored stay readable");
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = definition().encode();
        for end in 0..bytes.len() {
            // An error, or fields that are whole.
            let _ = AggregateDefinition::decode(&bytes[..end]);
        }
        assert!(AggregateDefinition::decode(&[]).is_err(), "an empty value is no definition");
    }

    #[test]
    fn polymorphic_states_follow_the_inputs() {
        let settled = Settled { declared: &[SqlType::AnyElement], given: &[SqlType::Text] };
        assert_eq!(settled.settle(SqlType::AnyArray), SqlType::Text.array_of());
        assert_eq!(settled.settle(SqlType::Int4), SqlType::Int4);
    }
}
