//! Formats of an access log from a command line, and lines in them about requests of strangers.

use tidegate_proxy::fuzzing::{Line, Said};

/// Formats that are there whatever a command line says.
const JSON: [&str; 3] = ["json", "otel", "ecs"];
/// Longer ones are cut in a line.
const NAME_BYTES_MAX: usize = 16 * 1024;

/// Format, filter, redaction, name, target, field and answer, with a zero behind each. The number is made of the length of all.
pub(crate) fn access_log_format(bytes: &[u8]) {
    let mut parts = bytes.splitn(7, |byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let [format, filter, redaction, name, target] = [(); 5].map(|()| String::from_utf8_lossy(next()));
    let (field, answer) = (next(), next());
    let number = bytes.iter().fold(0_u64, |number, byte| number.wrapping_mul(31) ^ u64::from(*byte));
    let fields = [("user-agent", field), ("referer", field), ("x-request-id", field), ("authorization", field)];
    let said = Said { target: &target, fields: &fields, answer, name: &name, number };

    if let Ok(line) = Line::compile(&format, &filter, &redaction) {
        let (line, _) = line.write(&said);
        is_one_line(&line, JSON.contains(&&*format), format.contains('\t'));
    }
    for format in JSON {
        let Ok(line) = Line::compile(format, "", &redaction) else { continue };
        let (line, is_wanted) = line.write(&said);
        assert!(is_wanted, "without a filter everything has a line");
        is_one_line(&line, true, false);
        let json: serde_json::Value = serde_json::from_slice(&line).expect("a line is JSON");
        let places = [&json["tidegate"]["listener"], &json["tidegate.listener"], &json["listener"]];
        let shown = places.into_iter().find_map(serde_json::Value::as_str);
        assert!(shown == Some(&*name) || name.len() > NAME_BYTES_MAX, "{shown:?} is not {name:?}");
    }
}

/// One line break, at the end; nothing that moves the cursor of whoever reads it.
fn is_one_line(line: &[u8], is_json: bool, may_have_tabs: bool) {
    let text = std::str::from_utf8(line).unwrap_or_else(|_| panic!("no UTF-8: {:?}", String::from_utf8_lossy(line)));
    let body = text.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {text:?}"));
    let is_harmful = |c: char| c.is_control() && !(may_have_tabs && c == '\t');
    assert!(!body.contains(is_harmful), "{text:?}");
    if is_json {
        let json: Result<serde_json::Value, _> = serde_json::from_str(body);
        assert!(json.is_ok_and(|json| json.is_object()), "{text:?}");
    }
}
