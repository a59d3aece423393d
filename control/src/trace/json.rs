//! Reading JSON of strangers within bounds.
//!
//! # Why not plain structures
//! `[{},{},{}]` has three bytes for what becomes a structure of some hundred. Lists of spans are therefore cut into the texts of their
//! elements ([`serde_json::value::RawValue`]) and read one by one, and lists within a span keep their first elements only ([`Capped`]).

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The first `N` elements of a list.
#[derive(Debug)]
pub struct Capped<T, const N: usize> {
    /// These.
    pub kept: Vec<T>,
    /// How many more there were.
    pub dropped: u32,
}

impl<T, const N: usize> Default for Capped<T, N> {
    fn default() -> Self {
        Self { kept: Vec::new(), dropped: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Capped<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const N: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for List<T, N> {
            type Value = Capped<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Capped::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut read = Capped::default();
                while read.kept.len() < N {
                    match list.next_element()? {
                        Some(element) => read.kept.push(element),
                        None => return Ok(read),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    read.dropped = read.dropped.saturating_add(1);
                }
                Ok(read)
            }
        }
        deserializer.deserialize_any(List(PhantomData))
    }
}

/// The first `N` entries of a map, in their order.
#[derive(Debug)]
pub struct Entries<'a, const N: usize> {
    /// These.
    pub kept: Vec<(Cow<'a, str>, Scalar<'a>)>,
    /// How many more there were.
    pub dropped: u32,
}

impl<const N: usize> Default for Entries<'_, N> {
    fn default() -> Self {
        Self { kept: Vec::new(), dropped: 0 }
    }
}

impl<'de: 'a, 'a, const N: usize> Deserialize<'de> for Entries<'a, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<const N: usize>;
        impl<'de, const N: usize> Visitor<'de> for Map<N> {
            type Value = Entries<'de, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Entries::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut read = Entries::default();
                while read.kept.len() < N {
                    match map.next_entry::<Scalar<'de>, Scalar<'de>>()? {
                        Some((Scalar(key), value)) => read.kept.push((key, value)),
                        None => return Ok(read),
                    }
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    read.dropped = read.dropped.saturating_add(1);
                }
                Ok(read)
            }
        }
        deserializer.deserialize_any(Map)
    }
}

/// A text, or the text of a number or a truth: 64-bit numbers are texts in JSON of protobuf, and plain numbers elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scalar<'a>(pub Cow<'a, str>);

impl Scalar<'_> {
    /// As a number; nothing where there is none, or where it is negative.
    pub fn unsigned(&self) -> Option<u64> {
        self.0.parse().ok()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a number")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Scalar::default())
            }

            fn visit_bool<E: Error>(self, truth: bool) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Borrowed(if truth { "true" } else { "false" })))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Owned(number.to_string())))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Owned(number.to_string())))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Owned(number.to_string())))
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_first_elements_and_counts_the_others() {
        let list: Capped<u8, 2> = serde_json::from_str("[1,2,3,{\"x\":[]}]").unwrap();

        assert_eq!((list.kept, list.dropped), (vec![1, 2], 2));
        assert!(serde_json::from_str::<Capped<u8, 2>>("null").is_ok_and(|list| list.kept.is_empty()));
        assert!(serde_json::from_str::<Capped<u8, 2>>("{}").is_err());
    }

    #[test]
    fn a_number_may_be_a_text() {
        for (text, number) in [("\"17\"", Some(17)), ("17", Some(17)), ("-1", None), ("null", None), ("\"\"", None)] {
            assert_eq!(serde_json::from_str::<Scalar<'_>>(text).unwrap().unsigned(), number, "{text}");
        }
    }
}
