//! How text with operators is written: `literal %NAME% literal %NAME(ARGUMENT):LENGTH%`, and `%%` for a percent sign.
//!
//! # Why apart from the operators
//! Header values and access logs have the same grammar and different operators: what a header may say is known before the
//! request is sent, what a log may say only after it was answered. Whoever knows one kind should not have to learn another.

/// A part of such a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    Literal(&'t str),
    Operator(Named<'t>),
}

/// An operator as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'t> {
    /// `REQ`
    pub name: &'t str,
    /// What is in brackets.
    pub argument: Option<&'t str>,
    /// `:LENGTH`
    pub bytes_max: Option<usize>,
    /// All of it, between the percent signs.
    pub text: &'t str,
}

impl Named<'_> {
    /// What is said of one that nobody knows.
    pub fn unsupported(&self) -> String {
        format!("the operator `%{}%` is not supported", self.text)
    }
}

/// Takes a text apart.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        if !before.is_empty() {
            pieces.push(Piece::Literal(before));
        }
        if let Some(after) = after.strip_prefix('%') {
            pieces.push(Piece::Literal("%"));
            rest = after;
            continue;
        }
        let (operator, behind) = operator(after)?;
        pieces.push(Piece::Operator(operator));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    Ok(pieces)
}

/// `X?Y` is X, or Y where X is missing.
pub fn alternatives(argument: &str) -> (&str, Option<&str>) {
    match argument.split_once('?') {
        Some((first, second)) => (first, Some(second)),
        None => (argument, None),
    }
}

/// An operator behind its first percent sign, and what follows its last. An argument may hold percent signs of its own:
/// `%START_TIME(%s.%3f)%`.
fn operator(after: &str) -> Result<(Named<'_>, &str), String> {
    let name_end = after.find(|c: char| !matches!(c, 'A'..='Z' | '0'..='9' | '_')).unwrap_or(after.len());
    let (name, mut rest) = after.split_at(name_end);
    let mut argument = None;
    if let Some(opened) = rest.strip_prefix('(') {
        let Some((inside, behind)) = opened.split_once(')') else {
            let text = after.split_once('%').map_or(after, |(text, _)| text);
            return Err(format!("`%{text}%` lacks its closing bracket"));
        };
        (argument, rest) = (Some(inside), behind);
    }
    let mut bytes_max = None;
    if let Some(length) = rest.strip_prefix(':') {
        let end = length.find(|c: char| !c.is_ascii_digit()).unwrap_or(length.len());
        let (digits, behind) = length.split_at(end);
        if !digits.is_empty() {
            bytes_max = Some(digits.parse().map_err(|_| format!("`{digits}` is too long a length"))?);
            rest = behind;
        }
    }
    let Some(behind) = rest.strip_prefix('%') else {
        return Err(match after.split_once('%') {
            Some((text, _)) => format!("the operator `%{text}%` is not supported"),
            None => format!("`%{after}` is not closed; a percent sign is written %%"),
        });
    };
    let text = &after[..after.len() - behind.len() - 1];
    Ok((Named { name, argument, bytes_max, text }, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_may_hold_percent_signs() {
        let pieces = pieces("[%START_TIME(%s.%3f):9%]%%").unwrap();

        let named =
            Named { name: "START_TIME", argument: Some("%s.%3f"), bytes_max: Some(9), text: "START_TIME(%s.%3f):9" };
        assert_eq!(pieces, [Piece::Literal("["), Piece::Operator(named), Piece::Literal("]"), Piece::Literal("%")]);
    }

    #[test]
    fn what_is_no_operator_is_refused() {
        for text in ["%a%", "%REQ(a)b%", "%REQ:x%", "%REQ(a):%", "% %"] {
            assert!(pieces(text).unwrap_err().ends_with("is not supported"), "{text}");
        }
        assert!(pieces("%REQ(a):99999999999999999999999%").unwrap_err().ends_with("too long a length"));
    }
}
