//! What a refusal says: each resource with its reason, in a length that fits into logs and headers.

use std::sync::Arc;

use super::NACK_BYTES_MAX;

/// `name: reason; name: reason`, cut to [`NACK_BYTES_MAX`] with a count of what did not fit.
pub(super) fn nack_message(faults: &[(Arc<str>, String)]) -> String {
    // Room for the count.
    const TAIL_BYTES: usize = 32;
    let mut message = String::new();
    for (i, (name, reason)) in faults.iter().enumerate() {
        let part = format!("{name}: {reason}");
        let separator = if i == 0 { "" } else { "; " };
        let room = (NACK_BYTES_MAX - TAIL_BYTES).saturating_sub(message.len() + separator.len());
        if part.len() > room {
            if i == 0 {
                let end = (0..=room).rev().find(|at| part.is_char_boundary(*at)).unwrap_or(0);
                message.push_str(&part[..end]);
            }
            let left = faults.len() - i - usize::from(i == 0);
            if left > 0 {
                message.push_str(&format!("; and {left} more"));
            }
            break;
        }
        message.push_str(separator);
        message.push_str(&part);
    }
    message
}
