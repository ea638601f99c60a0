//! Domains: a type under another name, with rules for its values.
//!
//! As of an enum type, what a domain is over is registered once in the process and [`crate::SqlType::Domain`] points at
//! it. Its rules are not here: they are expressions, and belong to those who bind them. A value of a domain is one of the
//! type under it in every respect but where it comes to be one, so that nothing that stores, compares or prints values is
//! ever asked about a domain: it is asked about [`crate::SqlType::base`].

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::composite_type::object_of;
use crate::registered::{Kind, Registered, Registry};
use crate::sql_type::SqlType;

/// What a domain was made over: a domain as well, perhaps.
#[derive(PartialEq, Eq, Hash)]
pub struct Over(pub SqlType);

/// A registered domain.
pub type DomainType = Registered<Over>;

static DOMAINS: LazyLock<Registry<Over>> = LazyLock::new(Registry::default);
static ANY: AtomicBool = AtomicBool::new(false);

/// Whether this process has ever heard of a domain: where it has not, there is nothing to look for in what was bound.
#[must_use]
pub fn domains_exist() -> bool {
    ANY.load(Relaxed)
}

impl Kind for Over {
    fn unresolved() -> Self {
        Self(SqlType::Unknown)
    }

    fn registry() -> &'static Registry<Self> {
        &DOMAINS
    }

    fn registered(_new: DomainType) {
        ANY.store(true, Relaxed);
    }
}

impl DomainType {
    #[must_use]
    pub const fn over(self) -> SqlType {
        self.content().kind.0
    }

    /// The type under it and under the domains that it is over. Its elements may be of a domain.
    #[must_use]
    pub fn under(self) -> SqlType {
        match self.over() {
            SqlType::Domain(other) => other.under(),
            other => other,
        }
    }
}

impl SqlType {
    /// What values of it are stored, compared and printed as: the type under a domain, of arrays the arrays over that.
    #[must_use]
    pub fn base(self) -> Self {
        match self {
            Self::Domain(it) => it.over().base(),
            Self::Array(element) => match element.domain() {
                Some(domain) => Self::Domain(domain).base().array_of(),
                None => self,
            },
            other => other,
        }
    }

    /// Whether it is a domain, or the arrays of one.
    #[must_use]
    pub fn is_domain(&self) -> bool {
        match self {
            Self::Domain(_) => true,
            Self::Array(element) => element.domain().is_some(),
            _ => false,
        }
    }

    /// What clients are told that a value is: nothing of domains, as in PostgreSQL, but of arrays of them.
    #[must_use]
    pub fn sent(self) -> Self {
        match self {
            Self::Domain(it) => it.under().sent(),
            other => other,
        }
    }

    /// The user-defined type that it is, or is the arrays of; of a row type, the relation.
    #[must_use]
    pub fn user_type(&self) -> Option<u32> {
        match self {
            // Read of a descriptor, the elements of an array may be of any kind.
            Self::Enum(it) => Some(object_of(it.oid())),
            Self::Composite(it) => Some(it.object()),
            Self::Domain(it) => Some(it.oid()),
            Self::Range(it) | Self::MultiRange(it) => it.made().map(|it| it.oid()),
            Self::Array(element) => match element.get() {
                Self::Array(_) => None,
                element => element.user_type(),
            },
            _ => None,
        }
    }

    /// The user-defined types that it is made of, from the outside inwards.
    pub fn for_each_user_type(&self, visit: &mut dyn FnMut(u32)) {
        match self {
            Self::Enum(it) => visit(object_of(it.oid())),
            Self::Composite(it) => {
                visit(it.object());
                it.attributes().iter().for_each(|attribute| attribute.ty.for_each_user_type(visit));
            }
            Self::Domain(it) => {
                visit(it.oid());
                it.over().for_each_user_type(visit);
            }
            Self::Range(it) | Self::MultiRange(it) => {
                if let Some(made) = it.made() {
                    visit(made.oid());
                    it.subtype().for_each_user_type(visit);
                }
            }
            Self::Array(element) => match element.get() {
                Self::Array(_) => {}
                element => element.for_each_user_type(visit),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(oid: u32, name: &str, over: SqlType) -> SqlType {
        let array_name = format!("_{name}").into();
        SqlType::Domain(DomainType::of(crate::TypeContent { oid, schema: "public".into(), name: name.into(), array_name, kind: Over(over) }))
    }

    #[test]
    fn a_domain_is_what_is_under_it() {
        let short = domain(21_000, "short", SqlType::Varchar(Some(5)));
        let shorter = domain(21_002, "shorter", short);
        assert_eq!((short.base(), shorter.base()), (SqlType::Varchar(Some(5)), SqlType::Varchar(Some(5))));
        assert_eq!(shorter.array_of().base(), SqlType::Varchar(Some(5)).array_of());
        assert_eq!((shorter.category(), shorter.typmod(), shorter.array_oid()), (SqlType::Text.category(), -1, 21_003));
        assert_eq!((shorter.sent(), shorter.array_of().sent().oid()), (SqlType::Varchar(Some(5)), 21_003));
        assert!(!shorter.same_base(&short));
        let mut types = Vec::new();
        shorter.array_of().for_each_user_type(&mut |oid| types.push(oid));
        assert_eq!(types, [21_002, 21_000]);
        assert_eq!(shorter, domain(21_002, "shorter", short));
        let list = domain(21_004, "list", shorter.array_of());
        assert_eq!((list.base(), list.element()), (SqlType::Varchar(Some(5)).array_of(), None));
    }

    /// As stores have them: by their oids.
    #[test]
    fn golden_bytes_of_domains() {
        let ty = domain(300, "golden", SqlType::Int4);
        let stored = postcard::to_stdvec(&ty).unwrap();
        assert_eq!(stored[1..], [0xac, 0x02], "the oid");
        let read: SqlType = postcard::from_bytes(&stored).unwrap();
        assert_eq!((read.oid(), read.base()), (300, SqlType::Unknown));
        // The element type of an array is an oid of which the catalog knows what it is.
        let read: SqlType = postcard::from_bytes(&postcard::to_stdvec(&ty.array_of()).unwrap()).unwrap();
        assert_eq!((read.oid(), read.user_type()), (301, Some(300)));
    }
}
