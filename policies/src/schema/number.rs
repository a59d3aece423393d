//! Numbers with a fraction, and the shares of requests that are written with them.
//!
//! # Why shares are not kept as written
//! A share is compared with a random number for every request. Millionths are exact for every percentage that Istio accepts,
//! so nothing after the reader has to round.

use crate::diagnostic::{Code, Report};
use crate::ir::share::Share;
use crate::source::Spanned;
use crate::tree::{Content, Node, ScalarKind};

/// A number, whole or not. Neither infinite nor "not a number".
pub(crate) fn decimal(node: &Node, report: &mut Report) -> Option<Spanned<f64>> {
    if let Content::Scalar(scalar) = &node.content
        && scalar.kind() == ScalarKind::Number
        && let Ok(value) = scalar.text.parse::<f64>()
        && value.is_finite()
    {
        return Some(Spanned { value, span: node.span });
    }
    report
        .add(Code::WrongType, node.span, format!("expected a number, found {}", node.describe()))
        .help("write a number without quotes, such as 0.5 or 20");
    None
}

/// A number within bounds.
pub(crate) fn decimal_within(node: &Node, min: f64, max: f64, report: &mut Report) -> Option<Spanned<f64>> {
    let number = decimal(node, report)?;
    if (min..=max).contains(&number.value) {
        return Some(number);
    }
    report.add(Code::BadValue, number.span, format!("{} is not in range {min}-{max}", number.value));
    None
}

/// A percentage between 0 and 100 as a share; `None` outside.
pub(crate) fn share_of_percent(percent: f64) -> Option<Share> {
    if !(0.0..=100.0).contains(&percent) {
        return None;
    }
    // Within range, so the cast loses only what is below a millionth.
    Share::from_millionths((percent * 10_000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_percentage_is_one_millionth() {
        assert_eq!(share_of_percent(0.0001).map(Share::millionths), Some(1));
        assert_eq!(share_of_percent(100.0), Some(Share::ALL));
        assert_eq!(share_of_percent(0.0), Some(Share::NONE));
        assert_eq!(share_of_percent(33.3).map(Share::millionths), Some(333_000));
    }

    #[test]
    fn percentages_outside_of_a_hundred_are_no_share() {
        for percent in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(share_of_percent(percent), None, "{percent}");
        }
    }
}
