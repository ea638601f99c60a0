//! Array values: any number of dimensions, each with a lower bound, elements in row-major order.

use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

use crate::datum::Datum;
use crate::error::{SqlError, SqlResult, SqlState};

/// PostgreSQL's `MAXDIM`.
pub const MAX_DIMENSIONS: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dimension {
    pub length: u32,
    pub lower_bound: i32,
}

/// **Invariant (array-shape):** the product of the dimensions is the number of elements; an empty array has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Array {
    dimensions: SmallVec<[Dimension; 1]>,
    elements: Vec<Datum>,
}

impl Array {
    /// One dimension from 1.
    #[must_use]
    pub fn from_elements(elements: Vec<Datum>) -> Self {
        Self::with_lower_bound(elements, 1)
    }

    #[must_use]
    pub fn with_lower_bound(elements: Vec<Datum>, lower_bound: i32) -> Self {
        if elements.is_empty() {
            return Self::default();
        }
        Self { dimensions: smallvec![Dimension { length: elements.len() as u32, lower_bound }], elements }
    }

    /// Any shape; an error when the shape does not fit the elements.
    pub fn with_dimensions(dimensions: &[Dimension], elements: Vec<Datum>) -> SqlResult<Self> {
        if dimensions.len() > MAX_DIMENSIONS {
            return Err(SqlError::new(
                SqlState::ProgramLimitExceeded,
                format!("number of array dimensions ({}) exceeds the maximum allowed ({MAX_DIMENSIONS})", dimensions.len()),
            ));
        }
        if elements.is_empty() {
            return Ok(Self::default());
        }
        let product = dimensions.iter().try_fold(1_usize, |n, d| n.checked_mul(d.length as usize));
        if dimensions.is_empty() || product != Some(elements.len()) {
            return Err(SqlError::new(SqlState::ArraySubscriptError, "malformed array: dimensions do not fit"));
        }
        Ok(Self { dimensions: dimensions.into(), elements })
    }

    #[must_use]
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// In row-major order.
    #[must_use]
    pub fn elements(&self) -> &[Datum] {
        &self.elements
    }

    #[must_use]
    pub fn into_elements(self) -> Vec<Datum> {
        self.elements
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// The element at these subscripts, one for each dimension; `None` outside the bounds.
    #[must_use]
    pub fn get(&self, subscripts: &[i64]) -> Option<&Datum> {
        if subscripts.len() != self.dimensions.len() {
            return None;
        }
        let mut index = 0_usize;
        for (subscript, dimension) in subscripts.iter().zip(&self.dimensions) {
            let offset = subscript.checked_sub(i64::from(dimension.lower_bound))?;
            if offset < 0 || offset >= i64::from(dimension.length) {
                return None;
            }
            index = index * dimension.length as usize + offset as usize;
        }
        self.elements.get(index)
    }

    /// The same shape with every element replaced.
    pub fn try_map(&self, f: impl FnMut(&Datum) -> SqlResult<Datum>) -> SqlResult<Self> {
        let elements = self.elements.iter().map(f).collect::<SqlResult<Vec<Datum>>>()?;
        Ok(Self { dimensions: self.dimensions.clone(), elements })
    }
}
