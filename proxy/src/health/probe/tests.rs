//! The health message; the exchanges themselves are shown over sockets by the promises.

use super::*;

#[test]
fn the_health_message_is_read_whatever_surrounds_the_status() {
    assert_eq!(serving_status(&[0, 0, 0, 0, 2, 0x08, 0x01]), Some(1));
    assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
    assert_eq!(serving_status(&[0, 0, 0, 0, 5, 0x12, 0x01, b'x', 0x08, 0x02]), Some(2));
    for broken in [&[][..], &[0, 0, 0], &[0, 0, 0, 0, 2, 0x08], &[0, 0, 0, 0, 2, 0x12, 0x7f], &[1, 0, 0, 0, 2, 8, 1]] {
        assert_eq!(serving_status(broken), None, "{broken:?}");
    }
}

#[test]
fn the_question_names_its_service() {
    assert_eq!(&health_request("")[..], [0, 0, 0, 0, 0]);
    assert_eq!(&health_request("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
    assert_eq!(&health_request(&"a".repeat(200))[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
}
