//! Where the decoder stands in a message, and what it has met on the way.
//!
//! # Why a chain of borrowed steps
//! Almost no decode fails, so a path must cost nothing until it is printed. Each step lies on the stack of the function
//! that decodes that field and points to its parent; only an error or an ignored field walks the chain and allocates.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Display};

use super::FieldError;

/// What a decoder returns.
pub(super) type Checked<T> = Result<T, FieldError>;

/// What the elements of a repeated field decode to.
///
/// # Why not `collect`
/// That would put what is decoded into the memory of the messages and keep all of it. A message is several times as large as what
/// we keep of it, so ten thousand routes would take as much again for nothing.
pub(super) fn each<M, T>(
    at: &At<'_>,
    field: &str,
    messages: Vec<M>,
    one: impl Fn(&At<'_>, M) -> Checked<T>,
) -> Checked<Vec<T>> {
    let mut decoded = Vec::with_capacity(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        decoded.push(one(&at.item(field, index), message)?);
    }
    Ok(decoded)
}

/// At most this many ignored paths are kept for one resource: ten thousand endpoints that carry the same foreign
/// metadata are one fact, not ten thousand lines of a log. What is beyond is counted.
pub(super) const IGNORED_PATHS_MAX: usize = 64;

/// The ignored fields of one resource.
#[derive(Debug, Default)]
pub(super) struct Ignored {
    paths: Vec<String>,
    more: usize,
}

impl Ignored {
    /// The paths; when there were too many, a last line says how many are not shown.
    pub(super) fn into_paths(self) -> Vec<String> {
        let Self { mut paths, more } = self;
        if more > 0 {
            paths.push(format!("(and {more} more)"));
        }
        paths
    }
}

/// A place in the message tree.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
    ignored: &'a RefCell<Ignored>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Item(&'a str, usize),
    Key(&'a str, &'a str),
}

impl<'a> At<'a> {
    /// The resource itself.
    pub(super) fn root(ignored: &'a RefCell<Ignored>) -> Self {
        Self { parent: None, step: Step::Root, ignored }
    }

    /// A field of the message here.
    pub(super) fn field<'b>(&'b self, name: &'b str) -> At<'b> {
        self.step(Step::Field(name))
    }

    /// An element of a repeated field of the message here.
    pub(super) fn item<'b>(&'b self, name: &'b str, index: usize) -> At<'b> {
        self.step(Step::Item(name, index))
    }

    /// An entry of a map field of the message here.
    pub(super) fn key<'b>(&'b self, name: &'b str, key: &'b str) -> At<'b> {
        self.step(Step::Key(name, key))
    }

    fn step<'b>(&'b self, step: Step<'b>) -> At<'b> {
        At { parent: Some(self), step, ignored: self.ignored }
    }

    /// Refuses what is here.
    pub(super) fn error(&self, reason: impl Display) -> FieldError {
        FieldError { path: self.to_string(), reason: reason.to_string() }
    }

    /// Refuses something that Envoy knows and we do not have.
    pub(super) fn unsupported(&self) -> FieldError {
        self.error("not supported yet")
    }

    /// Refuses the absence of what should be here.
    pub(super) fn missing(&self) -> FieldError {
        self.error("is required")
    }

    /// Notes that `field` of the message here has no effect.
    pub(super) fn ignore(&self, field: &str) {
        self.field(field).ignore_here();
    }

    /// Notes that what is here has no effect.
    pub(super) fn ignore_here(&self) {
        let mut ignored = self.ignored.borrow_mut();
        if ignored.paths.len() < IGNORED_PATHS_MAX {
            ignored.paths.push(self.to_string());
        } else {
            ignored.more += 1;
        }
    }
}

impl Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return f.write_str("(root)") };
        if parent.parent.is_some() {
            write!(f, "{parent}.")?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) => f.write_str(name),
            Step::Item(name, index) => write!(f, "{name}[{index}]"),
            Step::Key(name, key) => write!(f, "{name}[{key:?}]"),
        }
    }
}

/// Whether a protobuf field was given a value. Scalars cannot tell "absent" from "default", and need not.
pub(super) trait IsSet {
    fn is_set(&self) -> bool;
}

impl<T> IsSet for Option<T> {
    fn is_set(&self) -> bool {
        self.is_some()
    }
}

impl<T> IsSet for Vec<T> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl<K, V> IsSet for HashMap<K, V> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl IsSet for String {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl IsSet for bool {
    fn is_set(&self) -> bool {
        *self
    }
}

impl IsSet for i32 {
    fn is_set(&self) -> bool {
        *self != 0
    }
}

impl IsSet for u32 {
    fn is_set(&self) -> bool {
        *self != 0
    }
}

/// The second fate: these fields have no effect here; those that are set are noted.
macro_rules! ignored {
    ($at:expr; $($field:ident),+ $(,)?) => {
        $(if $crate::resource::path::IsSet::is_set(&$field) {
            $at.ignore(stringify!($field));
        })+
    };
}

/// The third fate: these fields would change behaviour; one that is set refuses the resource.
macro_rules! refused {
    ($at:expr; $($field:ident),+ $(,)?) => {
        $(if $crate::resource::path::IsSet::is_set(&$field) {
            return Err($at.field(stringify!($field)).unsupported());
        })+
    };
}

pub(super) use {ignored, refused};
