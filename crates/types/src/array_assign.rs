//! Arrays with some of their elements replaced, as `a[1] = …` and `a[2:3] = …` do. PostgreSQL's documentation, section 8.15.4.

use crate::array::{Array, Dimension, MAX_DIMENSIONS};
use crate::datum::Datum;
use crate::error::{SqlError, SqlResult, SqlState};

fn subscript_error(message: &str) -> SqlError {
    SqlError::new(SqlState::ArraySubscriptError, message)
}

impl Array {
    /// With one element replaced: an array of one dimension grows to either side, with NULLs between; others keep their bounds.
    ///
    /// # Errors
    /// 2202E and 54000.
    pub fn set_element(self, subscripts: &[i32], value: Datum) -> SqlResult<Self> {
        set_element(self, subscripts, value)
    }

    /// With the elements within bounds replaced by those of another array; a bound that is left out is the array's own.
    ///
    /// # Errors
    /// As [`Array::set_element`].
    pub fn set_slice(self, bounds: &[(Option<i32>, Option<i32>)], source: &Self) -> SqlResult<Self> {
        set_slice(self, bounds, source)
    }
}

/// PostgreSQL's limit of an array's size, in elements of eight bytes.
const ELEMENTS_MAX: i64 = (1 << 30) / 8 - 1;

/// How many NULLs one assignment puts between elements: a short statement does not take gigabytes.
const GAP_MAX: i64 = 1 << 20;

fn too_large() -> SqlError {
    let message = format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})");
    SqlError::new(SqlState::ProgramLimitExceeded, message)
}

/// The subscript behind the last element is a number as well.
fn check_bounds(dimensions: &[Dimension]) -> SqlResult<()> {
    let is_large = |it: &&Dimension| i64::from(it.lower_bound) + i64::from(it.length) > i64::from(i32::MAX);
    match dimensions.iter().find(is_large) {
        None => Ok(()),
        Some(it) => {
            let message = format!("array lower bound is too large: {}", it.lower_bound);
            Err(SqlError::new(SqlState::ProgramLimitExceeded, message))
        }
    }
}

fn set_element(array: Array, subscripts: &[i32], value: Datum) -> SqlResult<Array> {
    if subscripts.len() > MAX_DIMENSIONS {
        return Err(too_many(subscripts.len()));
    }
    if array.is_empty() {
        let dimensions: Vec<Dimension> =
            subscripts.iter().map(|subscript| Dimension { length: 1, lower_bound: *subscript }).collect();
        check_bounds(&dimensions)?;
        return Array::with_dimensions(&dimensions, vec![value]);
    }
    let dimensions = array.dimensions().to_vec();
    if dimensions.len() != subscripts.len() {
        return Err(subscript_error("wrong number of array subscripts"));
    }
    if let [dimension] = dimensions.as_slice() {
        let (elements, first) = grown(array, *dimension, i64::from(subscripts[0]), i64::from(subscripts[0]))?;
        let mut elements = elements;
        elements[(i64::from(subscripts[0]) - first) as usize] = value;
        return Ok(Array::with_lower_bound(elements, i32::try_from(first).expect("looked at before")));
    }
    let mut index = 0_usize;
    for (subscript, dimension) in subscripts.iter().zip(&dimensions) {
        let offset = i64::from(*subscript) - i64::from(dimension.lower_bound);
        if offset < 0 || offset >= i64::from(dimension.length) {
            return Err(subscript_error("array subscript out of range"));
        }
        index = index * dimension.length as usize + offset as usize;
    }
    let mut elements = array.into_elements();
    elements[index] = value;
    Array::with_dimensions(&dimensions, elements)
}

/// The elements of an array of one dimension that holds the subscripts `from` to `to` as well, and its lower bound.
fn grown(array: Array, dimension: Dimension, from: i64, to: i64) -> SqlResult<(Vec<Datum>, i64)> {
    let first = i64::from(dimension.lower_bound);
    let last = first + i64::from(dimension.length) - 1;
    let (new_first, new_last) = (first.min(from), last.max(to));
    let length = new_last - new_first + 1;
    if length > ELEMENTS_MAX || new_last >= i64::from(i32::MAX) {
        return Err(too_large());
    }
    if (first - to - 1).max(from - last - 1) > GAP_MAX {
        let message = format!("an assignment puts at most {GAP_MAX} NULLs between elements of an array");
        return Err(SqlError::new(SqlState::ProgramLimitExceeded, message));
    }
    let mut elements = array.into_elements();
    if new_first < first {
        elements.splice(0..0, std::iter::repeat_n(Datum::Null, (first - new_first) as usize));
    }
    elements.resize(length as usize, Datum::Null);
    Ok((elements, new_first))
}

fn set_slice(array: Array, bounds: &[(Option<i32>, Option<i32>)], source: &Array) -> SqlResult<Array> {
    let reversed = || subscript_error("upper bound cannot be less than lower bound");
    if bounds.len() > MAX_DIMENSIONS {
        return Err(too_many(bounds.len()));
    }
    if array.is_empty() {
        let mut dimensions = Vec::with_capacity(bounds.len());
        for bound in bounds {
            let (Some(lower), Some(upper)) = *bound else {
                return Err(subscript_error("array slice subscript must provide both boundaries").with_detail(
                    "When assigning to a slice of an empty array value, slice boundaries must be fully specified.",
                ));
            };
            let length = i64::from(upper) - i64::from(lower) + 1;
            let length = u32::try_from(length).map_err(|_| reversed())?;
            dimensions.push(Dimension { length, lower_bound: lower });
        }
        let lengths = dimensions.iter().map(|dimension| i64::from(dimension.length));
        let count = lengths.fold(Some(1_i64), |count, length| count?.checked_mul(length)).filter(|it| *it <= ELEMENTS_MAX);
        let count = count.ok_or_else(too_large)? as usize;
        check_bounds(&dimensions)?;
        if source.len() < count {
            return Err(subscript_error("source array too small"));
        }
        return Array::with_dimensions(&dimensions, source.elements()[..count].to_vec());
    }
    let dimensions = array.dimensions().to_vec();
    if dimensions.len() < bounds.len() {
        return Err(subscript_error("wrong number of array subscripts"));
    }
    let mut ranges = Vec::with_capacity(dimensions.len());
    for (at, dimension) in dimensions.iter().enumerate() {
        let first = i64::from(dimension.lower_bound);
        let last = first + i64::from(dimension.length) - 1;
        let (lower, upper) = bounds.get(at).copied().unwrap_or((None, None));
        let (lower, upper) = (lower.map_or(first, i64::from), upper.map_or(last, i64::from));
        if lower > upper {
            return Err(reversed());
        }
        if dimensions.len() > 1 && (lower < first || upper > last) {
            return Err(subscript_error("array subscript out of range"));
        }
        ranges.push((lower, upper));
    }
    let lengths = ranges.iter().map(|(lower, upper)| upper - lower + 1);
    let count = lengths.fold(Some(1_i64), |count, length| count?.checked_mul(length)).filter(|it| *it <= ELEMENTS_MAX);
    let count = count.ok_or_else(too_large)?;
    if (source.len() as i64) < count {
        return Err(subscript_error("source array too small"));
    }
    if let ([dimension], [(lower, upper)]) = (dimensions.as_slice(), ranges.as_slice()) {
        let (mut elements, first) = grown(array, *dimension, *lower, *upper)?;
        for (at, value) in source.elements().iter().take(count as usize).enumerate() {
            elements[(*lower - first) as usize + at] = value.clone();
        }
        return Ok(Array::with_lower_bound(elements, i32::try_from(first).expect("looked at before")));
    }
    let mut elements = array.into_elements();
    let mut position: Vec<i64> = ranges.iter().map(|(lower, _)| *lower).collect();
    for value in source.elements().iter().take(count as usize) {
        let index = position.iter().zip(&dimensions).fold(0_usize, |index, (at, dimension)| {
            index * dimension.length as usize + (at - i64::from(dimension.lower_bound)) as usize
        });
        elements[index] = value.clone();
        for (at, (lower, upper)) in position.iter_mut().zip(&ranges).rev() {
            *at += 1;
            if *at <= *upper {
                break;
            }
            *at = *lower;
        }
    }
    Array::with_dimensions(&dimensions, elements)
}

fn too_many(count: usize) -> SqlError {
    let message = format!("number of array dimensions ({count}) exceeds the maximum allowed ({MAX_DIMENSIONS})");
    SqlError::new(SqlState::ProgramLimitExceeded, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Formatting, SqlType, parse_text, to_text};

    fn array(text: &str) -> Array {
        let value = parse_text(&SqlType::INT4_ARRAY, text, &Formatting::default()).unwrap();
        value.as_array().cloned().unwrap()
    }

    fn shown(outcome: SqlResult<Array>) -> String {
        match outcome {
            Ok(array) => {
                to_text(&SqlType::INT4_ARRAY, &Datum::Array(Arc::new(array)), &Formatting::default())
            }
            Err(error) => error.message().to_owned(),
        }
    }

    /// As PostgreSQL 15 answers.
    #[test]
    fn elements_are_set_as_in_postgresql() {
        for (old, subscripts, expected) in [
            ("{}", &[3][..], "[3:3]={9}"),
            ("[2:3]={1,2}", &[0], "[0:3]={9,NULL,1,2}"),
            ("{1,2}", &[5], "{1,2,NULL,NULL,9}"),
            ("{1,2}", &[2], "{1,9}"),
            ("{1,2}", &[1, 1], "wrong number of array subscripts"),
            ("{{1,2},{3,4}}", &[1, 2], "{{1,9},{3,4}}"),
            ("{{1,2},{3,4}}", &[1, 3], "array subscript out of range"),
            ("{}", &[1, 1], "{{9}}"),
            ("{}", &[i32::MAX], "array lower bound is too large: 2147483647"),
        ] {
            assert_eq!(
                shown(set_element(array(old), subscripts, Datum::Int(9))),
                expected,
                "{old} {subscripts:?}"
            );
        }
        let far = set_element(array("{1}"), &[i32::MAX - 1], Datum::Int(9)).unwrap_err();
        assert_eq!(far.code(), SqlState::ProgramLimitExceeded);
        let gap = set_element(array("{1}"), &[2_000_000], Datum::Int(9)).unwrap_err();
        assert_eq!(gap.code(), SqlState::ProgramLimitExceeded);
    }

    #[test]
    fn slices_are_set_as_in_postgresql() {
        for (old, bounds, source, expected) in [
            ("{}", &[(Some(2), Some(3))][..], "{1}", "source array too small"),
            ("{}", &[(Some(2), Some(3))], "{1,2}", "[2:3]={1,2}"),
            ("{}", &[(Some(1), Some(65_536)); 4], "{1}", "array size exceeds the maximum allowed (134217727)"),
            ("{}", &[(None, Some(3))], "{1,2}", "array slice subscript must provide both boundaries"),
            ("{1,2,3}", &[(Some(2), None)], "{8,9}", "{1,8,9}"),
            ("{1,2,3}", &[(Some(3), Some(4))], "{8,9}", "{1,2,8,9}"),
            ("{1,2,3}", &[(Some(3), Some(2))], "{8,9}", "upper bound cannot be less than lower bound"),
            ("{{1,2},{3,4}}", &[(Some(1), Some(2)), (Some(2), Some(2))], "{8,9}", "{{1,8},{3,9}}"),
            ("{{1,2},{3,4}}", &[(Some(1), Some(3))], "{8,9}", "array subscript out of range"),
        ] {
            assert_eq!(shown(set_slice(array(old), bounds, &array(source))), expected, "{old} {bounds:?}");
        }
    }
}
