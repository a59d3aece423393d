//! What `tidegate check` reads.

use std::fs;

use tempfile::TempDir;

use super::gather;

#[test]
fn files_and_directories_are_one_configuration_and_a_file_counts_once() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("b.yaml");
    fs::write(directory.path().join("a.yaml"), "a").unwrap();
    fs::write(&file, "b").unwrap();

    let files = gather(&[file.clone(), directory.path().to_owned()]).unwrap();

    let names: Vec<&str> = files.iter().map(|f| &*f.path).collect();
    let expected = [directory.path().join("a.yaml").display().to_string(), file.display().to_string()];
    assert_eq!(names, expected);
}

#[test]
fn what_cannot_be_read_is_an_error_and_not_an_empty_configuration() {
    let directory = TempDir::new().unwrap();

    assert!(gather(&[directory.path().join("no-such-file.yaml")]).is_err());
    assert!(gather(&[directory.path().to_owned()]).is_err());
}
