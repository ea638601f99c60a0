//! jsonb values with a part replaced, as `j['a'][0] = …` does. PostgreSQL's documentation, section 8.14.5.
//!
//! What a path leads through and is not there is made: objects for names, arrays for numbers, NULLs before an element. What
//! is there and is neither an object nor an array is not replaced by one.

use crate::error::{SqlError, SqlResult, SqlState};
use crate::json::{Json, MAX_DEPTH};
use crate::stack::too_deep;

/// How many NULLs one path puts before an element: a short statement does not take gigabytes.
const GAP_MAX: i64 = 1 << 20;

/// A subscript of a jsonb value: its text, and whether it was a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonStep {
    pub text: String,
    pub is_number: bool,
}

impl JsonStep {
    fn index(&self) -> Option<i64> {
        self.text.parse::<i32>().ok().map(i64::from)
    }
}

fn no_container() -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, "cannot replace existing key")
        .with_detail("The path assumes key is a composite object, but it is a scalar value.")
}

fn check_gap(count: i64) -> SqlResult<()> {
    if count > GAP_MAX {
        let message = format!("an assignment puts at most {GAP_MAX} NULLs between elements of a jsonb array");
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
    }
    Ok(())
}

fn with_nulls(count: i64, value: Json) -> SqlResult<Json> {
    check_gap(count)?;
    let mut items = vec![Json::Null; usize::try_from(count).unwrap_or(0)];
    items.push(value);
    Ok(Json::Array(items))
}

/// What a path that leads nowhere makes.
fn made(path: &[JsonStep], value: Json) -> SqlResult<Json> {
    check_gap(path.iter().filter_map(JsonStep::index).map(|index| index.max(0)).sum())?;
    path.iter().rev().try_fold(value, |value, step| match step.index() {
        Some(index) => with_nulls(index, value),
        None => Ok(Json::object(vec![(step.text.as_str().into(), value)])),
    })
}

impl Json {
    /// With the value at a path replaced, or made there. `None`: SQL's NULL, which becomes an array or an object, as the first
    /// step is a number or not.
    ///
    /// # Errors
    /// 22023 where a value in the way is no object and no array, and for a place before an array's beginning, 22P02 for a name
    /// of an array's element, 54000 and 54001.
    pub fn set_path(container: Option<Self>, path: &[JsonStep], value: Self) -> SqlResult<Self> {
        if path.len() > MAX_DEPTH {
            return Err(too_deep());
        }
        let container = match (container, path.first()) {
            (Some(container), _) => container,
            (None, Some(first)) if first.is_number => Self::Array(Vec::new()),
            (None, _) => Self::Object(Vec::new()),
        };
        set(container, path, 1, value)?.checked()
    }
}

fn set(container: Json, path: &[JsonStep], place: usize, value: Json) -> SqlResult<Json> {
    let Some((step, rest)) = path.split_first() else { return Ok(value) };
    match container {
        Json::Object(mut pairs) => {
            match pairs.iter().position(|(key, _)| **key == *step.text) {
                Some(at) => {
                    let before = std::mem::replace(&mut pairs[at].1, Json::Null);
                    pairs[at].1 = set(before, rest, place + 1, value)?;
                }
                None => pairs.push((step.text.as_str().into(), made(rest, value)?)),
            }
            Ok(Json::object(pairs))
        }
        Json::Array(mut items) => {
            let length = items.len() as i64;
            let index = step.index().ok_or_else(|| {
                let message = format!("path element at position {place} is not an integer: \"{}\"", step.text);
                SqlError::new(SqlState::InvalidTextRepresentation, message)
            })?;
            let at = if index < 0 { index + length } else { index };
            if at < 0 {
                let message = format!("path element at position {place} is out of range: {index}");
                return Err(SqlError::new(SqlState::InvalidParameterValue, message));
            }
            match usize::try_from(at).ok().and_then(|at| items.get_mut(at)) {
                Some(item) => {
                    let before = std::mem::replace(item, Json::Null);
                    *item = set(before, rest, place + 1, value)?;
                }
                None => {
                    let Json::Array(more) = with_nulls(at - length, made(rest, value)?)? else { return Err(no_container()) };
                    items.extend(more);
                }
            }
            Ok(Json::Array(items))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Err(no_container()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(container: Option<&str>, path: &[&str], value: &str) -> String {
        let step = |text: &&str| JsonStep { text: (*text).to_owned(), is_number: text.parse::<i64>().is_ok() };
        let path: Vec<JsonStep> = path.iter().map(step).collect();
        let container = container.map(|text| Json::parse(text).unwrap());
        match Json::set_path(container, &path, Json::parse(value).unwrap()) {
            Ok(json) => {
                let mut out = Vec::new();
                json.write(&mut out);
                String::from_utf8(out).unwrap()
            }
            Err(error) => error.message().to_owned(),
        }
    }

    /// As PostgreSQL 15 answers.
    #[test]
    fn paths_are_set_as_in_postgresql() {
        for (container, path, value, expected) in [
            (None, &["a"][..], "1", r#"{"a": 1}"#),
            (None, &["1"], "7", "[null, 7]"),
            (None, &["a", "1", "b"], "7", r#"{"a": [null, {"b": 7}]}"#),
            (Some(r#"{"a": 1}"#), &["a"], "2", r#"{"a": 2}"#),
            (Some(r#"{"a": 1}"#), &["b", "c"], "2", r#"{"a": 1, "b": {"c": 2}}"#),
            (Some(r#"{"a": 1}"#), &["a", "b"], "2", "cannot replace existing key"),
            (Some(r#"{"a": null}"#), &["a", "b"], "2", "cannot replace existing key"),
            (Some("[1, 2]"), &["-1"], "9", "[1, 9]"),
            (Some("[1, 2]"), &["4"], "9", "[1, 2, null, null, 9]"),
            (Some("[1, 2]"), &["-3"], "9", "path element at position 1 is out of range: -3"),
            (Some("[1, 2]"), &["x"], "9", "path element at position 1 is not an integer: \"x\""),
            (Some("1"), &["x"], "9", "cannot replace existing key"),
        ] {
            assert_eq!(shown(container, path, value), expected, "{container:?} {path:?}");
        }
    }
}
