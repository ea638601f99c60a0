//! Overload resolution: PostgreSQL's documentation, chapter 10, sections 2 (operators) and 3 (functions).
//!
//! An argument of type `None` is an unknown literal or an untyped parameter: it can become anything.

use smallvec::SmallVec;
use types::{CastContext, RangeType, SqlType, TypeCategory, can_cast};

use crate::registry;
use crate::signature::{Aggregate, ArgType, Operator, RetType, Signature};

/// Why no candidate was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveError {
    /// No candidate takes these arguments: 42883.
    None,
    /// More than one fits equally well: 42725.
    Ambiguous,
    /// Nothing says what a polymorphic argument is: 42804.
    Indeterminate,
}

/// The chosen candidate and what the call's types become.
#[derive(Debug, Clone)]
pub struct Resolved<'c, T> {
    pub chosen: &'c T,
    /// What each argument is cast to, implicitly.
    pub args: SmallVec<[SqlType; 4]>,
    pub ret: SqlType,
}

/// Something to choose by the arguments of a call.
pub trait Candidate {
    fn name(&self) -> &str;
    /// What it takes at a position of the call; none where it takes nothing.
    fn declared(&self, position: usize) -> Option<ArgType>;
    fn takes_count(&self, count: usize) -> bool;
    /// Whether it takes anything but fixed types.
    fn is_polymorphic(&self) -> bool;
    fn ret(&self) -> RetType;
}

impl Candidate for Signature {
    fn name(&self) -> &str {
        self.name
    }

    fn declared(&self, position: usize) -> Option<ArgType> {
        match self.args.get(position) {
            Some(arg) => Some(*arg),
            None if self.variadic => self.args.last().copied(),
            None => None,
        }
    }

    fn takes_count(&self, count: usize) -> bool {
        let required = self.args.len() - self.optional_count - usize::from(self.variadic);
        count >= required && (self.variadic || count <= self.args.len())
    }

    fn is_polymorphic(&self) -> bool {
        self.args.iter().any(|arg| !matches!(arg, ArgType::T(_)))
    }

    fn ret(&self) -> RetType {
        self.ret
    }
}

macro_rules! by_signature {
    ($($candidate:ty, $it:ident => $signature:expr;)*) => {$(
        impl Candidate for $candidate {
            fn name(&self) -> &str {
                let $it = self;
                Candidate::name(&$signature)
            }

            fn declared(&self, position: usize) -> Option<ArgType> {
                let $it = self;
                Candidate::declared(&$signature, position)
            }

            fn takes_count(&self, count: usize) -> bool {
                let $it = self;
                Candidate::takes_count(&$signature, count)
            }

            fn is_polymorphic(&self) -> bool {
                let $it = self;
                Candidate::is_polymorphic(&$signature)
            }

            fn ret(&self) -> RetType {
                let $it = self;
                Candidate::ret(&$signature)
            }
        }
    )*};
}

by_signature! {
    crate::Builtin, it => it.signature;
    Operator, it => it.function.signature;
    Aggregate, it => it.signature;
}

/// How one candidate would take the call.
struct Fit<'c, T> {
    candidate: &'c T,
    /// Declared types by position, with polymorphic ones settled where known arguments settle them.
    args: SmallVec<[SqlType; 4]>,
    ret: SqlType,
    exact_count: usize,
}

/// Resolves a function call.
pub fn resolve<'c, T: Candidate>(
    candidates: &[&'c T],
    args: &[Option<SqlType>],
) -> Result<Resolved<'c, T>, ResolveError> {
    let fits: Vec<Fit<'c, T>> = candidates.iter().filter_map(|candidate| fit(*candidate, args)).collect();
    choose(fits, args)
}

/// Resolves an aggregate by name.
pub fn resolve_aggregate(name: &str, args: &[Option<SqlType>]) -> Result<Resolved<'static, Aggregate>, ResolveError> {
    resolve(registry::aggregates(name), args)
}

/// Resolves a binary operator: a lone unknown operand is first taken to be of the other operand's type.
pub fn resolve_binary_operator(
    symbol: &str,
    left: Option<SqlType>,
    right: Option<SqlType>,
) -> Result<Resolved<'static, Operator>, ResolveError> {
    let candidates = registry::binary_operators(symbol);
    if let (Some(known), None) | (None, Some(known)) = (left, right) {
        let both = [Some(known), Some(known)];
        let exact = candidates.iter().filter_map(|candidate| fit(*candidate, &both));
        if let Some(found) = exact.into_iter().find(|fit| fit.exact_count == 2) {
            return Ok(found.into_resolved());
        }
    }
    resolve(candidates, &[left, right])
}

impl<'c, T> Fit<'c, T> {
    fn into_resolved(self) -> Resolved<'c, T> {
        Resolved { chosen: self.candidate, args: self.args, ret: self.ret }
    }
}

/// Types that differ only in a modifier are one type here.
fn same_base(a: SqlType, b: SqlType) -> bool {
    a.oid() == b.oid()
}

fn implicitly_casts(from: SqlType, to: SqlType) -> bool {
    same_base(from, to) || matches!(can_cast(&from, &to), Some(CastContext::Implicit))
}

fn is_any_element<T: Candidate>(candidate: &T, position: usize) -> bool {
    matches!(candidate.declared(position), Some(ArgType::AnyElement | ArgType::AnyNonArray))
}

fn fit<'c, T: Candidate>(candidate: &'c T, args: &[Option<SqlType>]) -> Option<Fit<'c, T>> {
    if !candidate.takes_count(args.len()) {
        return None;
    }
    let range = settle_range(candidate, args)?;
    let element = match range {
        Some(of) => Some(elements_of(of, candidate, args)?),
        None => settle_element(candidate, args)?,
    };
    let mut settled = SmallVec::new();
    let mut exact_count = 0;
    for (position, arg) in args.iter().enumerate() {
        let target = match candidate.declared(position)? {
            ArgType::T(wanted) => wanted,
            ArgType::Any => arg.unwrap_or(SqlType::Text),
            ArgType::AnyElement | ArgType::AnyNonArray => element?,
            ArgType::AnyEnum => element.filter(|ty| matches!(ty, SqlType::Enum(_)))?,
            ArgType::AnyArray => match arg {
                // int2vector and oidvector are arrays too, and stay what they are.
                Some(vector @ (SqlType::Int2Vector | SqlType::OidVector)) => *vector,
                _ => element?.array_of(),
            },
            // No argument tells which: the call is refused if this candidate is chosen.
            ArgType::AnyRange => range.map_or(SqlType::AnyRange, SqlType::Range),
            ArgType::AnyMultiRange => range.map_or(SqlType::AnyMultiRange, SqlType::MultiRange),
        };
        if let Some(given) = arg {
            if same_base(*given, target) {
                // A record keeps the fields that are known of it.
                let is_declared = matches!(candidate.declared(position), Some(ArgType::T(_)));
                let keeps = !is_declared || matches!(target, SqlType::Record(_));
                // In PostgreSQL no polymorphic argument matches exactly; `||` depends on it.
                exact_count += usize::from(!is_any_element(candidate, position));
                settled.push(if keeps { *given } else { target });
                continue;
            }
            if !implicitly_casts(*given, target) {
                return None;
            }
            if matches!(target, SqlType::Record(_)) && given.is_row() {
                settled.push(*given);
                continue;
            }
        }
        settled.push(target);
    }
    let ret = match candidate.ret() {
        RetType::T(fixed) => fixed,
        RetType::AnyElement | RetType::AnyEnum => element?,
        RetType::AnyArray => element?.array_of(),
        RetType::AnyRange => range.map_or(SqlType::AnyRange, SqlType::Range),
        RetType::AnyMultiRange => range.map_or(SqlType::AnyMultiRange, SqlType::MultiRange),
        RetType::SameAs(position) => *settled.get(position)?,
    };
    Some(Fit { candidate, args: settled, ret, exact_count })
}

/// The range type that all ranges and multiranges are of: `Some(None)` when there are none, `None` when they differ.
#[allow(clippy::option_option)]
fn settle_range<T: Candidate>(candidate: &T, args: &[Option<SqlType>]) -> Option<Option<RangeType>> {
    let mut range: Option<RangeType> = None;
    for (position, arg) in args.iter().enumerate() {
        let found = match (candidate.declared(position)?, arg) {
            (ArgType::AnyRange, Some(SqlType::Range(of))) | (ArgType::AnyMultiRange, Some(SqlType::MultiRange(of))) => *of,
            (ArgType::AnyRange | ArgType::AnyMultiRange, Some(_)) => return None,
            _ => continue,
        };
        if range.is_some_and(|before| before.oid() != found.oid()) {
            return None;
        }
        range = Some(found);
    }
    Some(range)
}

/// What the ranges of a call are over, which all its other polymorphic arguments must be of as well.
fn elements_of<T: Candidate>(of: RangeType, candidate: &T, args: &[Option<SqlType>]) -> Option<SqlType> {
    let subtype = of.subtype();
    let agrees = |(position, arg): (usize, &Option<SqlType>)| match (candidate.declared(position), arg) {
        (Some(ArgType::AnyElement | ArgType::AnyNonArray | ArgType::AnyEnum), Some(given)) => same_base(*given, subtype),
        (Some(ArgType::AnyArray), Some(given)) => given.element().is_some_and(|element| same_base(element, subtype)),
        _ => true,
    };
    args.iter().enumerate().all(agrees).then_some(subtype)
}

/// The element type all polymorphic arguments agree on: `Some(None)` when there are none, `None` when they differ.
#[allow(clippy::option_option)]
fn settle_element<T: Candidate>(candidate: &T, args: &[Option<SqlType>]) -> Option<Option<SqlType>> {
    let mut element: Option<SqlType> = None;
    let mut polymorphic = false;
    for (position, arg) in args.iter().enumerate() {
        let found = match (candidate.declared(position)?, arg) {
            (ArgType::T(_) | ArgType::Any, _) => continue,
            // No range at all: what is known is something else.
            (ArgType::AnyRange | ArgType::AnyMultiRange, Some(_)) => return None,
            (_, None) => {
                polymorphic = true;
                continue;
            }
            (ArgType::AnyArray, Some(array)) => array.element()?,
            (ArgType::AnyNonArray, Some(given)) if given.is_array() => return None,
            (ArgType::AnyEnum, Some(given)) if !matches!(given, SqlType::Enum(_)) => return None,
            (_, Some(given)) => *given,
        };
        polymorphic = true;
        element = match element {
            None => Some(found),
            Some(before) if same_base(before, found) => Some(before),
            Some(before) if implicitly_casts(found, before) => Some(before),
            Some(before) if implicitly_casts(before, found) => Some(found),
            Some(_) => return None,
        };
    }
    // All polymorphic arguments unknown: text, as PostgreSQL takes for unknown literals in the end.
    Some(element.or_else(|| polymorphic.then_some(SqlType::Text)))
}

fn keep_best<T>(fits: &mut Vec<Fit<'_, T>>, score: impl Fn(&Fit<'_, T>) -> usize) {
    let best = fits.iter().map(&score).max().unwrap_or(0);
    fits.retain(|fit| score(fit) == best);
}

/// Functions whose unknown arguments are text, where others refuse: in PostgreSQL those over `anycompatible`.
const COMPATIBLE: &[&str] = &[
    "array_append", "array_cat", "array_position", "array_positions", "array_prepend", "array_remove", "array_replace",
    "width_bucket",
];

/// Whether every polymorphic argument is unknown, and the candidate takes none such.
fn is_indeterminate<T: Candidate>(candidate: &T, args: &[Option<SqlType>]) -> bool {
    let is_one = |position: usize| {
        matches!(
            candidate.declared(position),
            Some(
                ArgType::AnyElement
                    | ArgType::AnyArray
                    | ArgType::AnyNonArray
                    | ArgType::AnyEnum
                    | ArgType::AnyRange
                    | ArgType::AnyMultiRange
            )
        )
    };
    let mut polymorphic = (0..args.len()).filter(|position| is_one(*position)).peekable();
    polymorphic.peek().is_some() && polymorphic.all(|position| args[position].is_none()) && !COMPATIBLE.contains(&candidate.name())
}

fn choose<'c, T: Candidate>(fits: Vec<Fit<'c, T>>, args: &[Option<SqlType>]) -> Result<Resolved<'c, T>, ResolveError> {
    let none_known = !args.is_empty() && args.iter().all(Option::is_none);
    if none_known && fits.len() > 1 && fits.iter().all(|fit| is_indeterminate(fit.candidate, args)) {
        return Err(ResolveError::Ambiguous);
    }
    let chosen = choose_fit(fits, args)?;
    let no_range = chosen.args.iter().any(|ty| matches!(ty, SqlType::AnyRange | SqlType::AnyMultiRange));
    if no_range || is_indeterminate(chosen.candidate, args) { Err(ResolveError::Indeterminate) } else { Ok(chosen.into_resolved()) }
}

fn choose_fit<'c, T: Candidate>(mut fits: Vec<Fit<'c, T>>, args: &[Option<SqlType>]) -> Result<Fit<'c, T>, ResolveError> {
    let known_count = args.iter().filter(|arg| arg.is_some()).count();
    if known_count == args.len() {
        if let Some(position) = fits.iter().position(|fit| fit.exact_count == args.len() && !is_polymorphic(fit)) {
            return Ok(fits.swap_remove(position));
        }
    }
    keep_best(&mut fits, |fit| fit.exact_count);
    if fits.len() > 1 && fits.iter().any(|fit| !is_polymorphic(fit)) && known_count == args.len() {
        // A concrete signature beats a polymorphic one that fits as well.
        let concrete_best = fits.iter().filter(|fit| !is_polymorphic(fit)).count();
        if concrete_best > 0 {
            fits.retain(|fit| !is_polymorphic(fit));
        }
    }
    keep_best(&mut fits, |fit| preferred_count(fit, args));
    if fits.len() > 1 && known_count < args.len() {
        narrow_by_category(&mut fits, args);
        narrow_by_known_type(&mut fits, args);
        if fits.iter().filter(|fit| !is_polymorphic(fit)).count() == 1 {
            fits.retain(|fit| !is_polymorphic(fit));
        }
    }
    match fits.len() {
        0 => Err(ResolveError::None),
        1 => Ok(fits.swap_remove(0)),
        _ => Err(ResolveError::Ambiguous),
    }
}

fn is_polymorphic<T: Candidate>(fit: &Fit<'_, T>) -> bool {
    fit.candidate.is_polymorphic()
}

/// Positions where the candidate takes the argument's own type or the preferred type of its category.
fn preferred_count<T: Candidate>(fit: &Fit<'_, T>, args: &[Option<SqlType>]) -> usize {
    let preferred = |(position, (arg, target)): (usize, (&Option<SqlType>, &SqlType))| {
        let is_polymorphic = is_any_element(fit.candidate, position);
        arg.is_some_and(|given| {
            !is_polymorphic
                && (same_base(given, *target) || (target.is_preferred() && target.category() == given.category()))
        })
    };
    args.iter().zip(&fit.args).enumerate().filter(|pair| preferred(*pair)).count()
}

/// Unknown arguments: string category if any candidate takes it there, else the one all agree on; then the
/// candidates of that category, and among those the ones with its preferred type.
fn narrow_by_category<T>(fits: &mut Vec<Fit<'_, T>>, args: &[Option<SqlType>]) {
    let mut chosen: SmallVec<[(usize, TypeCategory); 4]> = SmallVec::new();
    for (position, _) in args.iter().enumerate().filter(|(_, arg)| arg.is_none()) {
        let first = fits[0].args[position].category();
        if fits.iter().any(|fit| fit.args[position].category() == TypeCategory::String) {
            chosen.push((position, TypeCategory::String));
        } else if fits.iter().all(|fit| fit.args[position].category() == first) {
            chosen.push((position, first));
        } else {
            return;
        }
    }
    let in_category = |fit: &Fit<'_, T>| chosen.iter().all(|(position, category)| fit.args[*position].category() == *category);
    if fits.iter().any(in_category) {
        fits.retain(in_category);
    }
    let preferred = |fit: &Fit<'_, T>| chosen.iter().all(|(position, _)| fit.args[*position].is_preferred());
    if fits.iter().any(preferred) {
        fits.retain(preferred);
    }
}

/// If all known arguments have one type, try the unknown ones as that type too.
fn narrow_by_known_type<T>(fits: &mut Vec<Fit<'_, T>>, args: &[Option<SqlType>]) {
    let mut known = args.iter().flatten();
    let Some(first) = known.next() else { return };
    if fits.len() < 2 || !known.all(|other| same_base(*other, *first)) {
        return;
    }
    let takes_first = |fit: &Fit<'_, T>| fit.args.iter().all(|target| implicitly_casts(*first, *target));
    if fits.iter().filter(|fit| takes_first(fit)).count() == 1 {
        fits.retain(takes_first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(symbol: &str, left: Option<SqlType>, right: Option<SqlType>, args: [SqlType; 2], ret: SqlType) {
        let found = resolve_binary_operator(symbol, left, right);
        let found = found.unwrap_or_else(|error| panic!("{left:?} {symbol} {right:?}: {error:?}"));
        assert_eq!((found.args.as_slice(), found.ret), (args.as_slice(), ret), "{left:?} {symbol} {right:?}");
    }

    #[test]
    fn operators_resolve_as_chapter_ten_says() {
        use SqlType::{Bool, Date, Float8, Int4, Int8, Text};
        check("+", Some(Int4), Some(Int4), [Int4, Int4], Int4);
        check("+", Some(Int4), Some(Int8), [Int8, Int8], Int8);
        check("+", Some(Int4), None, [Int4, Int4], Int4);
        check("+", Some(Int4), Some(SqlType::NUMERIC), [SqlType::NUMERIC, SqlType::NUMERIC], SqlType::NUMERIC);
        check("*", Some(Float8), Some(SqlType::NUMERIC), [Float8, Float8], Float8);
        check("=", Some(Text), None, [Text, Text], Bool);
        check("=", Some(SqlType::VARCHAR), None, [Text, Text], Bool);
        check("=", None, None, [Text, Text], Bool);
        check("||", Some(Text), Some(Int4), [Text, Int4], Text);
        check("-", Some(Date), Some(Date), [Date, Date], Int4);
        check("+", Some(Date), Some(Int4), [Date, Int4], Date);
    }

    #[test]
    fn what_fits_nothing_is_refused() {
        let refused = resolve_binary_operator("+", Some(SqlType::Bool), Some(SqlType::Bool));
        assert_eq!(refused.map(|_| ()), Err(ResolveError::None));
    }
}
