//! What the catalog holds of a range type beyond what it holds of any type.
//!
//! A range type has four oids and four names: its own, that of its arrays, that of its multirange type and that of the arrays
//! of this. One descriptor has all of them, so that they are made, renamed and dropped together.

use serde::{Deserialize, Serialize};
use types::SqlType;

use crate::descriptor::{Type, TypeKind};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeOf {
    pub subtype: SqlType,
    pub multirange_name: String,
    pub multirange_array_name: String,
    /// The function that tells how far apart two bounds are. Indexes here have no use for it; dumps ask for it.
    pub subtype_diff: Option<u32>,
}

impl Type {
    #[must_use]
    pub const fn range(&self) -> Option<&RangeOf> {
        match &self.kind {
            TypeKind::Range(range) => Some(range),
            TypeKind::Enum(_) | TypeKind::Domain(_) | TypeKind::Composite(_) => None,
        }
    }

    /// The types that it was made of.
    #[must_use]
    pub fn made_of(&self) -> Vec<SqlType> {
        match &self.kind {
            TypeKind::Enum(_) => Vec::new(),
            TypeKind::Domain(domain) => vec![domain.over],
            TypeKind::Range(range) => vec![range.subtype],
            TypeKind::Composite(composite) => composite.attributes.iter().map(|attribute| attribute.ty).collect(),
        }
    }

    pub(crate) fn for_each_type_mut(&mut self, change: &mut dyn FnMut(&mut SqlType)) {
        match &mut self.kind {
            TypeKind::Enum(_) => {}
            TypeKind::Domain(domain) => change(&mut domain.over),
            TypeKind::Range(range) => change(&mut range.subtype),
            TypeKind::Composite(composite) => composite.attributes.iter_mut().for_each(|attribute| change(&mut attribute.ty)),
        }
    }

    /// Every oid of it and every name, its own first.
    #[must_use]
    pub fn names(&self) -> Vec<(u32, &str)> {
        let mut names = vec![(self.id, self.name.as_str()), (self.array_id(), self.array_name.as_str())];
        if let Some(range) = self.range() {
            names.push((self.id + 2, &range.multirange_name));
            names.push((self.id + 3, &range.multirange_array_name));
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::Descriptor;

    /// As stores have them: what it is over, the names of the multirange type and of its arrays, the difference.
    #[test]
    fn golden_range() {
        let range = RangeOf {
            subtype: SqlType::Float8,
            multirange_name: "m".into(),
            multirange_array_name: "_m".into(),
            subtype_diff: Some(219),
        };
        let made = Type {
            id: 300,
            name: "r".into(),
            array_name: "_r".into(),
            schema: 2_200,
            owner: 10,
            comment: None,
            kind: TypeKind::Range(range),
        };
        let stored = postcard::to_stdvec(&Descriptor::Type(made.clone())).unwrap();
        let expected = [
            &[7, 0xac, 2, 1, b'r', 2, b'_', b'r', 0x98, 0x11, 10, 0][..],
            &[2, 5, 1, b'm', 2, b'_', b'm', 1, 0xdb, 1],
        ];
        assert_eq!(stored, expected.concat());
        assert_eq!(postcard::from_bytes::<Descriptor>(&stored).unwrap(), Descriptor::Type(made));
    }
}
