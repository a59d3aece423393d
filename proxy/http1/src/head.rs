//! What a head is made of, in one piece of memory.
//!
//! # Why a box, and one for both kinds
//! A head is a few hundred bytes and passes through many hands: it is parsed where it stays, and what is handed on is a pointer.
//! The memory of a head that is over serves the next one, be it a request's or an answer's, so both kinds share this type; each
//! reads only what is its own.

use crate::fields::{Fields, Span};
use crate::meaning::{Framing, Meaning, Version};
use crate::request::Method;
use crate::target::TargetForm;

#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) fields: Fields,
    /// The start line as it is to be forwarded, when the buffer holds it.
    pub(crate) line: Option<Span>,
    pub(crate) version: Version,
    pub(crate) framing: Framing,
    pub(crate) meaning: Meaning,
    pub(crate) target: RequestLine,
    pub(crate) status: StatusLine,
}

/// What only a request has.
#[derive(Debug, Clone)]
pub(crate) struct RequestLine {
    pub(crate) method: Method,
    pub(crate) path: Span,
    /// With its question mark, directly behind the path; or empty.
    pub(crate) query: Span,
    pub(crate) authority: Span,
    pub(crate) scheme: Option<&'static str>,
    pub(crate) form: TargetForm,
}

/// What only an answer has.
#[derive(Debug, Clone, Default)]
pub(crate) struct StatusLine {
    pub(crate) status: u16,
    pub(crate) reason: Span,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            fields: Fields::default(),
            line: None,
            version: Version::Http11,
            framing: Framing::None,
            meaning: Meaning::default(),
            target: RequestLine::default(),
            status: StatusLine::default(),
        }
    }
}

impl Default for RequestLine {
    fn default() -> Self {
        let none = Span::default();
        let (method, form) = (Method::Other(none), TargetForm::Origin);
        Self { method, path: none, query: none, authority: none, scheme: None, form }
    }
}

/// The memory of a head that is over, to be used for the next one.
#[derive(Debug, Default)]
pub struct HeadMemory {
    pub(crate) head: Option<Box<Head>>,
}

impl HeadMemory {
    /// How much is held.
    pub fn bytes(&self) -> usize {
        let held = |head: &Head| size_of::<Head>() + head.fields.buf.capacity() + head.fields.list.memory_bytes();
        self.head.as_deref().map_or(0, held)
    }

    /// Forgets the head's lines, so that the next head is not compared with them: for memory that goes to somebody else.
    pub fn forget(&mut self) {
        if let Some(head) = &mut self.head {
            head.fields.list.end(0, false);
        }
    }

    pub(crate) fn of(head: Box<Head>) -> Self {
        Self { head: Some(head) }
    }

    /// Runs a builder in this memory. Where it fails the memory stays.
    pub(crate) fn build<E>(&mut self, build: impl FnOnce(&mut Head) -> Result<(), E>) -> Result<Box<Head>, E> {
        let mut head = self.head.take().unwrap_or_default();
        match build(&mut head) {
            Ok(()) => Ok(head),
            Err(error) => {
                self.head = Some(head);
                Err(error)
            }
        }
    }

    /// Runs a parser in this memory. What becomes a head leaves it; where nothing does it stays.
    pub(crate) fn parse<E>(
        &mut self,
        parse: impl FnOnce(&mut Head) -> Result<Option<usize>, E>,
    ) -> Result<Option<(Box<Head>, usize)>, E> {
        let mut head = self.head.take().unwrap_or_default();
        let parsed = parse(&mut head);
        if let Ok(Some(consumed)) = parsed {
            return Ok(Some((head, consumed)));
        }
        // Its list may be half of another head's by now.
        head.fields.list.end(0, false);
        self.head = Some(head);
        parsed.map(|_| None)
    }
}
