//! Takes secrets out of a policy file before it is shown.
//!
//! # Why by the text and not by what was parsed
//! A file is shown most of all when it is broken, and then nothing was parsed. Keys and passwords stand under `data` and
//! `stringData` of a `Secret`; their values are covered sign by sign, so that every line and column of a finding stays where it
//! is. Where the form is not the usual one (braces, one line), more is covered rather than less.

/// Keys of a `Secret` whose values nobody needs to see.
const COVERED: [&str; 2] = ["data", "stringData"];
/// What remains in a text only if a key stands where none was expected: as PEM, and as PEM in base64.
const KEY_MARKS: [&str; 2] = ["PRIVATE KEY", "LS0tLS1CRUdJTi"];

/// The text with secrets covered. `certain`: it is known to hold a `Secret`, however that is written.
pub(super) fn redact(text: &str, certain: bool) -> String {
    let mut documents: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            documents.push(Vec::new());
        }
        documents.last_mut().expect("begun with one").push(line);
    }
    let shown: String = documents.iter().map(|lines| document(lines)).collect();
    if certain && shown == text {
        // Written in a way that this module does not know (an escape in the kind): nothing of it is shown.
        return covered(text);
    }
    shown
}

fn document(lines: &[&str]) -> String {
    let whole = lines.concat();
    let shown = if whole.contains("Secret") { without_values(lines) } else { whole };
    if KEY_MARKS.iter().any(|mark| shown.contains(mark)) { covered(&shown) } else { shown }
}

/// A block of which values are covered.
#[derive(Clone, Copy)]
struct Block {
    /// The column of its key; what is deeper belongs to it.
    column: usize,
    /// The column of its entries, once there is one.
    entries: Option<usize>,
}

fn without_values(lines: &[&str]) -> String {
    let mut shown = String::new();
    let mut block: Option<Block> = None;
    for (index, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start_matches([' ', '-']);
        let column = line.len() - trimmed.len();
        let is_content = !trimmed.trim().is_empty() && !trimmed.starts_with('#');
        if let Some(open) = &mut block {
            if !is_content || column > open.column {
                if is_content {
                    open.entries.get_or_insert(column);
                }
                shown.push_str(&entry(line, trimmed, is_content && open.entries == Some(column)));
                continue;
            }
            block = None;
        }
        match value_of_covered(line) {
            None => shown.push_str(line),
            Some(at) if at.is_block => {
                let (key, value) = line.split_at(at.end);
                shown.push_str(key);
                shown.push_str(&covered(value));
                block = Some(Block { column, entries: None });
            }
            Some(at) => {
                // Within braces nothing tells where the value ends.
                let (key, value) = line.split_at(at.end);
                shown.push_str(key);
                shown.push_str(&covered(value));
                lines[index + 1..].iter().for_each(|rest| shown.push_str(&covered(rest)));
                return shown;
            }
        }
    }
    shown
}

/// A line of a covered block. Of an entry the name stays.
fn entry(line: &str, trimmed: &str, is_entry: bool) -> String {
    let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    match trimmed.split_once(':').map(|(name, _)| name).filter(is_name).filter(|_| is_entry) {
        Some(name) => {
            let (kept, value) = line.split_at(line.len() - trimmed.len() + name.len() + 1);
            format!("{kept}{}", covered(value))
        }
        None => covered(line),
    }
}

/// Where the value of a covered key begins.
struct Covered {
    end: usize,
    /// Whether the key begins its line, so that indentation says what belongs to it.
    is_block: bool,
}

fn value_of_covered(line: &str) -> Option<Covered> {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || b"-_./".contains(b));
    COVERED
        .iter()
        .flat_map(|key| line.match_indices(key).map(|(start, key)| (start, start + key.len())))
        .filter(|(start, _)| !is_word(start.checked_sub(1).and_then(|before| line.as_bytes().get(before))))
        .filter_map(|(start, end)| {
            let after = line[end..].trim_start_matches(['"', '\'', '\\']).trim_start();
            let rest = after.strip_prefix(':')?;
            let is_block = line[..start].trim_matches([' ', '-', '"', '\'']).is_empty();
            Some(Covered { end: line.len() - rest.len(), is_block })
        })
        .min_by_key(|covered| covered.end)
}

/// Every sign but white space becomes a star.
fn covered(text: &str) -> String {
    text.chars().map(|c| if c.is_whitespace() { c } else { '*' }).collect()
}

#[cfg(test)]
mod tests {
    use super::redact;

    const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: shop-tls\ndata:\n  tls.crt: QUJD\n  tls.key: |\n    geheim: 1\n    c2VjcmV0\n\n# old: hunter2\ntype: kubernetes.io/tls\n---\nkind: Service\ndata: 1\n";

    #[test]
    fn values_of_a_secret_are_covered_and_everything_stays_in_its_place() {
        let shown = redact(SECRET, true);

        assert_eq!(
            shown,
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: shop-tls\ndata:\n  tls.crt: ****\n  tls.key: *\n    ******* *\n    ********\n\n* **** *******\ntype: kubernetes.io/tls\n---\nkind: Service\ndata: 1\n"
        );
    }

    #[test]
    fn a_file_without_a_secret_is_shown_as_it_is() {
        let text = "kind: Gateway\nspec:\n  tls:\n    certificateRefs:\n    - kind: Secret\n      name: shop-tls\n# data follows\n";

        assert_eq!(redact(text, false), text);
    }

    #[test]
    fn unusual_forms_show_less_rather_than_more() {
        for text in [
            "{\"kind\": \"Secret\", \"data\": {\"tls.key\": \"c2VjcmV0\"},\n \"more\": \"c2VjcmV0\"}\n",
            "kind: Secret\ndata: {tls.key: c2VjcmV0,\n  other: c2VjcmV0}\n",
            "kind: List\nitems:\n- kind: Secret\n  stringData:\n    password: c2VjcmV0\n  metadata: {}\n",
            "kind: List\nitems:\n- data:\n    password: c2VjcmV0\n  kind: Secret\n",
            "kind: Secret\n\"data\" : \n  k: c2VjcmV0\n",
            "kind: Secret\nmetadata:\n  annotations:\n    last: '{\"data\":{\"k\":\"c2VjcmV0\"}}'\n",
            "kind: Secret\nmetadata:\n  annotations:\n    last: \"{\\\"data\\\":{\\\"k\\\":\\\"c2VjcmV0\\\"}}\"\n",
            "kind: ConfigMap\nx: |\n  -----BEGIN PRIVATE KEY-----\n  c2VjcmV0\n",
        ] {
            let shown = redact(text, false);

            assert!(!shown.contains("c2VjcmV0"), "{shown}");
            assert_eq!(shown.lines().count(), text.lines().count());
        }
        assert!(!redact("kind: \"\\x53ecret\"\ndata:\n  k: c2VjcmV0\n", true).contains("c2VjcmV0"));
    }
}
