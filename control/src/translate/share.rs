//! Shares as fractions.

use tidegate_policies::ir::share::Share;
use tidegate_xds::resource::matcher::Fraction;

/// Exactly the share.
pub(super) fn fraction(share: Share) -> Fraction {
    Fraction { numerator: share.millionths(), denominator: Share::ALL.millionths() }
}
