//! Runs paths over JSON. Documentation, section 9.16.2.
//!
//! An error about the structure of a value or the kind of an item is *soft*: a predicate that meets one is unknown, and a caller may
//! want none of them (`silent`). Others, such as a variable that does not exist, end the call.

mod offset;

use std::borrow::Cow;
use std::cmp::Ordering;

use types::jsonpath::{Arithmetic, Comparison, Item, JsonPath, LEVEL_MAX, Method, Node, RegexFlags, Step};
use types::stack::{deep, grown};
use types::{Json, Numeric, SqlError, SqlResult, SqlState};

use crate::posix_regex::{Options, Pattern};

type Value<'j> = Cow<'j, Json>;

/// Why a path has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    Soft(SqlError),
    Hard(SqlError),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::Hard(error)
    }
}

fn soft<T>(code: SqlState, message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Soft(SqlError::new(code, message.into())))
}

/// Whether more is looked for.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    On,
    /// One was enough.
    Enough,
}

type Outcome = Result<Flow, Failure>;

/// What an expression may look at: `$.**.**.**` over a deep value would go on for ever, and nothing stops it meanwhile.
const VISITED_MAX: u64 = 20_000_000;

/// What is found.
struct Found<'j> {
    values: Vec<Value<'j>>,
    is_one_enough: bool,
}

impl<'j> Found<'j> {
    fn all() -> Self {
        Self { values: Vec::new(), is_one_enough: false }
    }

    fn any() -> Self {
        Self { values: Vec::new(), is_one_enough: true }
    }

    fn push(&mut self, value: Value<'j>) -> Outcome {
        self.values.push(value);
        Ok(if self.is_one_enough { Flow::Enough } else { Flow::On })
    }
}

/// The values that a path finds; without `strict`-mode errors where it is lax.
///
/// # Errors
/// Those of the path; the soft ones are the caller's to pass over.
pub(crate) fn query<'j>(path: &'j JsonPath, json: &'j Json, variables: &'j Json) -> Result<Vec<Value<'j>>, Failure> {
    let mut found = Found::all();
    run(path, json, variables, &mut found)?;
    Ok(found.values)
}

/// Whether a path finds anything. In strict mode all of it is looked at, for errors.
///
/// # Errors
/// As [`query`].
pub(crate) fn exists(path: &JsonPath, json: &Json, variables: &Json) -> Result<bool, Failure> {
    let mut found = if path.is_lax { Found::any() } else { Found::all() };
    run(path, json, variables, &mut found)?;
    Ok(!found.values.is_empty())
}

fn run<'j>(path: &'j JsonPath, json: &'j Json, variables: &'j Json, found: &mut Found<'j>) -> Outcome {
    if !matches!(variables, Json::Object(_)) {
        let error = SqlError::new(SqlState::InvalidParameterValue, "\"vars\" argument is not an object");
        return Err(error.with_detail("Jsonpath parameters should be encoded as key-value pairs of \"vars\" object.").into());
    }
    let root = Value::Borrowed(json);
    let mut evaluator = Evaluator {
        root: root.clone(),
        variables,
        current: root.clone(),
        is_lax: path.is_lax,
        ignores_structure: path.is_lax,
        array_size: None,
        visited: 0,
        patterns: Vec::new(),
    };
    deep(|| evaluator.node(&path.root, &root, found))
}

#[derive(Clone, Copy, PartialEq)]
enum Truth {
    True,
    False,
    Unknown,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

struct Evaluator<'j> {
    root: Value<'j>,
    variables: &'j Json,
    /// What `@` is.
    current: Value<'j>,
    is_lax: bool,
    /// Lax, or below `.**`.
    ignores_structure: bool,
    /// Of the innermost array whose subscripts are computed.
    array_size: Option<usize>,
    /// How many values were looked at.
    visited: u64,
    /// Compiled patterns, by their texts.
    patterns: Vec<(&'j str, RegexFlags, Pattern)>,
}

/// The elements of an array, or the values of an object.
fn children<'j>(value: Value<'j>) -> Vec<Value<'j>> {
    match value {
        Cow::Borrowed(Json::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Json::Object(pairs)) => pairs.iter().map(|(_, value)| Cow::Borrowed(value)).collect(),
        Cow::Owned(Json::Array(items)) => items.into_iter().map(Cow::Owned).collect(),
        Cow::Owned(Json::Object(pairs)) => pairs.into_iter().map(|(_, value)| Cow::Owned(value)).collect(),
        _ => Vec::new(),
    }
}

fn is_container(json: &Json) -> bool {
    matches!(json, Json::Array(_) | Json::Object(_))
}

fn number(json: &Json) -> Option<&Numeric> {
    match json {
        Json::Number(number) => Some(number),
        _ => None,
    }
}

impl<'j> Evaluator<'j> {
    fn node(&mut self, node: &'j Node, value: &Value<'j>, found: &mut Found<'j>) -> Outcome {
        grown(|| self.node_inner(node, value, found))
    }

    fn node_inner(&mut self, node: &'j Node, value: &Value<'j>, found: &mut Found<'j>) -> Outcome {
        let item = match &node.item {
            predicate if predicate.is_predicate() => Json::from(self.truth(predicate, value)?),
            Item::Null => Json::Null,
            Item::Bool(value) => Json::Bool(*value),
            Item::Number(number) => Json::Number(number.clone()),
            Item::String(text) => Json::String(text.clone()),
            Item::Root => return self.steps(&node.steps, self.root.clone(), self.is_lax, found),
            Item::Current => return self.steps(&node.steps, self.current.clone(), self.is_lax, found),
            Item::Variable(name) => match self.variables.get(name) {
                Some(value) => return self.steps(&node.steps, Cow::Borrowed(value), self.is_lax, found),
                None => {
                    let message = format!("could not find jsonpath variable \"{name}\"");
                    return Err(SqlError::new(SqlState::UndefinedObject, message).into());
                }
            },
            Item::Last => {
                let size = self.array_size.ok_or_else(|| SqlError::internal("LAST outside of an array subscript"))?;
                Json::Number(Numeric::from_i64(size as i64 - 1))
            }
            Item::Plus(inner) => return self.signed("+", inner, node, value, found, Numeric::clone),
            Item::Minus(inner) => return self.signed("-", inner, node, value, found, Numeric::neg),
            Item::Arithmetic(operator, left, right) => Json::Number(self.arithmetic(*operator, left, right, value)?),
            // Predicates came first.
            Item::Compare(..) | Item::And(..) | Item::Or(..) | Item::Not(_) | Item::IsUnknown(_) | Item::Exists(_)
            | Item::StartsWith(..) | Item::LikeRegex(..) => return Ok(Flow::On),
        };
        self.steps(&node.steps, Cow::Owned(item), self.is_lax, found)
    }

    /// Goes on with what is behind an item; `unwraps` says whether arrays are taken apart for the first step.
    fn steps(&mut self, steps: &'j [Step], value: Value<'j>, unwraps: bool, found: &mut Found<'j>) -> Outcome {
        self.visited += 1;
        if self.visited > VISITED_MAX {
            let message = format!("jsonpath expression looks at more than {VISITED_MAX} values");
            return Err(SqlError::new(SqlState::ProgramLimitExceeded, message).into());
        }
        match steps.split_first() {
            None => found.push(value),
            Some((step, rest)) => grown(|| self.step(step, rest, steps, value, unwraps, found)),
        }
    }

    /// The same steps for each element.
    fn unwrapped(&mut self, steps: &'j [Step], array: Value<'j>, found: &mut Found<'j>) -> Outcome {
        for element in children(array) {
            if self.steps(steps, element, false, found)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::On)
    }

    fn structural(&self, code: SqlState, message: impl FnOnce() -> String) -> Outcome {
        if self.ignores_structure { Ok(Flow::On) } else { soft(code, message()) }
    }

    fn step(
        &mut self,
        step: &'j Step,
        rest: &'j [Step],
        steps: &'j [Step],
        value: Value<'j>,
        unwraps: bool,
        found: &mut Found<'j>,
    ) -> Outcome {
        let is_array = matches!(*value, Json::Array(_));
        match step {
            Step::Key(_) | Step::AnyKey | Step::Filter(_) if unwraps && is_array => self.unwrapped(steps, value, found),
            Step::Key(key) => match &*value {
                Json::Object(_) => {
                    let member = match &value {
                        Cow::Borrowed(json) => json.get(key).map(Cow::Borrowed),
                        Cow::Owned(json) => json.get(key).cloned().map(Cow::Owned),
                    };
                    match member {
                        Some(member) => self.steps(rest, member, self.is_lax, found),
                        None => self.structural(SqlState::SqlJsonMemberNotFound, || {
                            format!("JSON object does not contain key \"{key}\"")
                        }),
                    }
                }
                _ => self.structural(SqlState::SqlJsonMemberNotFound, || {
                    "jsonpath member accessor can only be applied to an object".to_owned()
                }),
            },
            Step::AnyKey => match &*value {
                Json::Object(_) => self.each(rest, value, found),
                _ => self.structural(SqlState::SqlJsonObjectNotFound, || {
                    "jsonpath wildcard member accessor can only be applied to an object".to_owned()
                }),
            },
            Step::AnyElement if is_array => self.each(rest, value, found),
            Step::AnyElement if self.is_lax => self.steps(rest, value, true, found),
            Step::AnyElement => self.structural(SqlState::SqlJsonArrayNotFound, || {
                "jsonpath wildcard array accessor can only be applied to an array".to_owned()
            }),
            Step::Elements(list) if is_array || self.is_lax => self.elements(list, rest, &value, found),
            Step::Elements(_) => self.structural(SqlState::SqlJsonArrayNotFound, || {
                "jsonpath array accessor can only be applied to an array".to_owned()
            }),
            Step::AnyLevel { first, last } => {
                if *first == 0 {
                    let flow = self.ignoring(|it| it.steps(rest, value.clone(), it.is_lax, found))?;
                    if flow == Flow::Enough {
                        return Ok(flow);
                    }
                }
                self.levels(rest, value, 1, (*first, *last), found)
            }
            Step::Filter(predicate) => {
                let outer = std::mem::replace(&mut self.current, value.clone());
                let truth = self.truth(&predicate.item, &value);
                self.current = outer;
                match truth? {
                    Truth::True => self.steps(rest, value, self.is_lax, found),
                    Truth::False | Truth::Unknown => Ok(Flow::On),
                }
            }
            Step::Method(method) => self.method(method, rest, steps, value, unwraps, found),
        }
    }

    fn ignoring<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.ignores_structure, true);
        let done = work(self);
        self.ignores_structure = outer;
        done
    }

    fn each(&mut self, rest: &'j [Step], container: Value<'j>, found: &mut Found<'j>) -> Outcome {
        for child in children(container) {
            if self.steps(rest, child, self.is_lax, found)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::On)
    }

    /// Below a value, from one level to another.
    fn levels(
        &mut self,
        rest: &'j [Step],
        value: Value<'j>,
        level: u32,
        (first, last): (u32, u32),
        found: &mut Found<'j>,
    ) -> Outcome {
        if level > last {
            return Ok(Flow::On);
        }
        for child in children(value) {
            let is_leaf_wanted = first == LEVEL_MAX && last == LEVEL_MAX && !is_container(&child);
            if (level >= first || is_leaf_wanted)
                && self.ignoring(|it| it.steps(rest, child.clone(), it.is_lax, found))? == Flow::Enough
            {
                return Ok(Flow::Enough);
            }
            if level < last
                && is_container(&child)
                && grown(|| self.levels(rest, child, level + 1, (first, last), found))? == Flow::Enough
            {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::On)
    }

    fn elements(
        &mut self,
        list: &'j [(Node, Option<Node>)],
        rest: &'j [Step],
        value: &Value<'j>,
        found: &mut Found<'j>,
    ) -> Outcome {
        let size = if let Json::Array(items) = &**value { items.len() } else { 1 };
        for (first, last) in list {
            let outer = self.array_size.replace(size);
            let bounds = self.subscript(first, value).and_then(|first| match last {
                Some(last) => Ok((first, self.subscript(last, value)?)),
                None => Ok((first, first)),
            });
            self.array_size = outer;
            let (first, last) = bounds?;
            if !self.ignores_structure && (first < 0 || first > last || last >= size as i64) {
                return soft(SqlState::InvalidSqlJsonSubscript, "jsonpath array subscript is out of bounds");
            }
            for at in first.max(0)..=last.min(size as i64 - 1) {
                let element = match value {
                    Cow::Borrowed(Json::Array(items)) => Cow::Borrowed(&items[at as usize]),
                    Cow::Owned(Json::Array(items)) => Cow::Owned(items[at as usize].clone()),
                    scalar => scalar.clone(),
                };
                if self.steps(rest, element, self.is_lax, found)? == Flow::Enough {
                    return Ok(Flow::Enough);
                }
            }
        }
        Ok(Flow::On)
    }

    fn subscript(&mut self, node: &'j Node, value: &Value<'j>) -> Result<i64, Failure> {
        let mut found = Found::all();
        self.node(node, value, &mut found)?;
        let index = match &found.values[..] {
            [one] => number(one),
            _ => None,
        };
        let Some(index) = index else {
            return soft(SqlState::InvalidSqlJsonSubscript, "jsonpath array subscript is not a single numeric value");
        };
        let index = index.trunc(0).to_i64("integer").ok().filter(|index| i32::try_from(*index).is_ok());
        match index {
            Some(index) => Ok(index),
            None => soft(SqlState::InvalidSqlJsonSubscript, "jsonpath array subscript is out of integer range"),
        }
    }

    fn method(
        &mut self,
        method: &'j Method,
        rest: &'j [Step],
        steps: &'j [Step],
        value: Value<'j>,
        unwraps: bool,
        found: &mut Found<'j>,
    ) -> Outcome {
        let name = method.name();
        let only = |code: SqlState, what: &str| soft(code, format!("jsonpath item method .{name}() can only be applied to {what}"));
        let is_array = matches!(*value, Json::Array(_));
        let result = match method {
            Method::Type => Json::String(value.type_name().into()),
            Method::Size => match &*value {
                Json::Array(items) => Json::Number(Numeric::from_i64(items.len() as i64)),
                _ if self.is_lax => Json::Number(Numeric::ONE),
                _ => {
                    return self.structural(SqlState::SqlJsonArrayNotFound, || {
                        format!("jsonpath item method .{name}() can only be applied to an array")
                    });
                }
            },
            Method::Abs | Method::Floor | Method::Ceiling | Method::Double | Method::KeyValue | Method::Datetime(_)
                if unwraps && is_array =>
            {
                return self.unwrapped(steps, value, found);
            }
            Method::Abs | Method::Floor | Method::Ceiling => match number(&value) {
                None => return only(SqlState::NonNumericSqlJsonItem, "a numeric value"),
                Some(number) => Json::Number(match method {
                    Method::Abs => number.abs(),
                    Method::Floor => number.floor(),
                    _ => number.ceil(),
                }),
            },
            Method::Double => match &*value {
                Json::Number(number) => {
                    if !number.to_f64_checked().is_ok_and(f64::is_finite) {
                        let message =
                            format!("numeric argument of jsonpath item method .{name}() is out of range for type double precision");
                        return soft(SqlState::NonNumericSqlJsonItem, message);
                    }
                    Json::Number(number.clone())
                }
                Json::String(text) => match text.trim().parse::<f64>().ok().filter(|value| value.is_finite()) {
                    Some(value) => Json::Number(Numeric::from_f64(value)),
                    None => {
                        let message = format!(
                            "string argument of jsonpath item method .{name}() is not a valid representation of a double precision number"
                        );
                        return soft(SqlState::NonNumericSqlJsonItem, message);
                    }
                },
                _ => return only(SqlState::NonNumericSqlJsonItem, "a string or numeric value"),
            },
            Method::KeyValue => {
                let Json::Object(pairs) = &*value else { return only(SqlState::SqlJsonObjectNotFound, "an object") };
                let id = offset::offset_of(&self.root, &value).unwrap_or(0) as i64;
                for (key, value) in pairs.clone() {
                    let pair = Json::object(vec![
                        ("key".into(), Json::String(key)),
                        ("value".into(), value),
                        ("id".into(), Json::Number(Numeric::from_i64(id))),
                    ]);
                    if self.steps(rest, Cow::Owned(pair), self.is_lax, found)? == Flow::Enough {
                        return Ok(Flow::Enough);
                    }
                }
                return Ok(Flow::On);
            }
            Method::Datetime(_) => {
                return Err(SqlError::not_supported("jsonpath item method .datetime() is not supported").into());
            }
        };
        self.steps(rest, Cow::Owned(result), self.is_lax, found)
    }

    /// What a node finds; in lax mode arrays are taken apart.
    fn items(&mut self, node: &'j Node, value: &Value<'j>, unwraps: bool) -> Result<Vec<Value<'j>>, Failure> {
        let mut found = Found::all();
        self.node(node, value, &mut found)?;
        if !(unwraps && self.is_lax) {
            return Ok(found.values);
        }
        let flat = found.values.into_iter().flat_map(|value| match &*value {
            Json::Array(_) => children(value),
            _ => vec![value],
        });
        Ok(flat.collect())
    }

    fn signed(
        &mut self,
        symbol: &str,
        inner: &'j Node,
        node: &'j Node,
        value: &Value<'j>,
        found: &mut Found<'j>,
        change: fn(&Numeric) -> Numeric,
    ) -> Outcome {
        for item in self.items(inner, value, true)? {
            let Some(number) = number(&item) else {
                // Whether there is one is all that is asked.
                if found.is_one_enough && node.steps.is_empty() {
                    continue;
                }
                let message = format!("operand of unary jsonpath operator {symbol} is not a numeric value");
                return soft(SqlState::NonNumericSqlJsonItem, message);
            };
            let changed = Cow::Owned(Json::Number(change(number)));
            if self.steps(&node.steps, changed, self.is_lax, found)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::On)
    }

    fn arithmetic(
        &mut self,
        operator: Arithmetic,
        left: &'j Node,
        right: &'j Node,
        value: &Value<'j>,
    ) -> Result<Numeric, Failure> {
        let left = self.items(left, value, true)?;
        let right = self.items(right, value, true)?;
        let single = |items: &[Value<'_>]| match items {
            [one] => number(one).cloned(),
            _ => None,
        };
        let missing = |side: &str| {
            let message = format!("{side} operand of jsonpath operator {} is not a single numeric value", operator.symbol());
            soft(SqlState::SingletonSqlJsonItemRequired, message)
        };
        let Some(left) = single(&left) else { return missing("left") };
        let Some(right) = single(&right) else { return missing("right") };
        let result = match operator {
            Arithmetic::Add => left.add(&right),
            Arithmetic::Subtract => left.sub(&right),
            Arithmetic::Multiply => left.mul(&right),
            Arithmetic::Divide => left.div(&right),
            Arithmetic::Modulo => left.rem(&right),
        };
        result.map_err(Failure::Soft)
    }

    fn truth(&mut self, item: &'j Item, value: &Value<'j>) -> Result<Truth, Failure> {
        grown(|| self.truth_inner(item, value))
    }

    fn truth_inner(&mut self, item: &'j Item, value: &Value<'j>) -> Result<Truth, Failure> {
        Ok(match item {
            Item::And(left, right) => match self.truth(&left.item, value)? {
                Truth::False => Truth::False,
                left => match self.truth(&right.item, value)? {
                    Truth::True => left,
                    right => right,
                },
            },
            Item::Or(left, right) => match self.truth(&left.item, value)? {
                Truth::True => Truth::True,
                left => match self.truth(&right.item, value)? {
                    Truth::False => left,
                    right => right,
                },
            },
            Item::Not(inner) => match self.truth(&inner.item, value)? {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                Truth::Unknown => Truth::Unknown,
            },
            Item::IsUnknown(inner) => Truth::from(self.truth(&inner.item, value)? == Truth::Unknown),
            Item::Exists(inner) => {
                let mut found = if self.is_lax { Found::any() } else { Found::all() };
                match self.node(inner, value, &mut found) {
                    Ok(_) => Truth::from(!found.values.is_empty()),
                    Err(Failure::Soft(_)) => Truth::Unknown,
                    Err(hard) => return Err(hard),
                }
            }
            Item::Compare(comparison, left, right) => {
                let (Some(left), Some(right)) = (self.operand(left, value, true)?, self.operand(right, value, true)?) else {
                    return Ok(Truth::Unknown);
                };
                self.any_pair(&left, &right, &mut |_, a, b| Ok(compare(*comparison, a, b)))?
            }
            Item::StartsWith(whole, initial) => {
                let (Some(whole), Some(initial)) = (self.operand(whole, value, true)?, self.operand(initial, value, false)?) else {
                    return Ok(Truth::Unknown);
                };
                self.any_pair(&whole, &initial, &mut |_, whole, initial| {
                    Ok(match (whole, initial) {
                        (Json::String(whole), Json::String(initial)) => Truth::from(whole.starts_with(&**initial)),
                        _ => Truth::Unknown,
                    })
                })?
            }
            Item::LikeRegex(inner, pattern, flags) => {
                let Some(items) = self.operand(inner, value, true)? else { return Ok(Truth::Unknown) };
                let nothing = [Cow::Owned(Json::Null)];
                self.any_pair(&items, &nothing, &mut |it, text, _| it.is_like(text, pattern, *flags))?
            }
            // The parser lets predicates alone stand here.
            Item::Null | Item::Bool(_) | Item::Number(_) | Item::String(_) | Item::Root | Item::Current | Item::Variable(_)
            | Item::Last | Item::Plus(_) | Item::Minus(_) | Item::Arithmetic(..) => Truth::Unknown,
        })
    }

    /// The operand of a predicate; none where it has an error.
    fn operand(&mut self, node: &'j Node, value: &Value<'j>, unwraps: bool) -> Result<Option<Vec<Value<'j>>>, Failure> {
        match self.items(node, value, unwraps) {
            Ok(items) => Ok(Some(items)),
            Err(Failure::Soft(_)) => Ok(None),
            Err(hard) => Err(hard),
        }
    }

    /// Whether a predicate holds of any pair. In strict mode none may be unknown.
    fn any_pair(
        &mut self,
        left: &[Value<'j>],
        right: &[Value<'j>],
        test: &mut dyn FnMut(&mut Self, &Json, &Json) -> Result<Truth, Failure>,
    ) -> Result<Truth, Failure> {
        let (mut is_found, mut is_unknown) = (false, false);
        for a in left {
            for b in right {
                match test(self, a, b)? {
                    Truth::Unknown if !self.is_lax => return Ok(Truth::Unknown),
                    Truth::Unknown => is_unknown = true,
                    Truth::True if self.is_lax => return Ok(Truth::True),
                    Truth::True => is_found = true,
                    Truth::False => {}
                }
            }
        }
        Ok(match (is_found, is_unknown) {
            (true, _) => Truth::True,
            (false, true) => Truth::Unknown,
            (false, false) => Truth::False,
        })
    }

    fn is_like(&mut self, text: &Json, pattern: &'j str, flags: RegexFlags) -> Result<Truth, Failure> {
        let Json::String(text) = text else { return Ok(Truth::Unknown) };
        let at = match self.patterns.iter().position(|(known, with, _)| *known == pattern && *with == flags) {
            Some(at) => at,
            None => {
                let options = Options {
                    ignore_case: flags.ignores_case,
                    newline_stops: !flags.dot_all,
                    newline_anchors: flags.multiline,
                    expanded: false,
                    literal: flags.is_literal,
                };
                self.patterns.push((pattern, flags, Pattern::new(pattern, options)?));
                self.patterns.len() - 1
            }
        };
        Ok(Truth::from(self.patterns[at].2.is_match(text)?))
    }
}

impl From<Truth> for Json {
    fn from(truth: Truth) -> Self {
        match truth {
            Truth::True => Self::Bool(true),
            Truth::False => Self::Bool(false),
            Truth::Unknown => Self::Null,
        }
    }
}

fn compare(comparison: Comparison, a: &Json, b: &Json) -> Truth {
    let order = match (a, b) {
        (Json::Null, Json::Null) => Ordering::Equal,
        // Null differs from all else, and has no order.
        (Json::Null, _) | (_, Json::Null) => return Truth::from(comparison == Comparison::NotEqual),
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (Json::Number(a), Json::Number(b)) => a.cmp(b),
        (Json::String(a), Json::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        _ => return Truth::Unknown,
    };
    Truth::from(match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}

/// What a caller that wants no soft errors gets.
pub(crate) fn silenced<T>(result: Result<T, Failure>, is_silent: bool) -> SqlResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Soft(_)) if is_silent => Ok(None),
        Err(Failure::Soft(error) | Failure::Hard(error)) => Err(error),
    }
}
