//! The page holds the table, the whole table, and nothing else.

use std::collections::BTreeSet;

use super::*;
use crate::changes::ChangeLog;
use crate::clock::{Clock, Timestamp};
use crate::store::Store;

fn page_of(format: Format, has_store: bool) -> String {
    let clock = Clock::of(|| Timestamp::from_unix_ms(0));
    let fleet = Arc::new(Fleet::new("/etc/mesh".to_owned(), clock, Store::none(), ChangeLog::default(), 0));
    if has_store {
        fleet.limit_store().set_used();
    }
    render(format, &Hub::new(fleet), &Live::new(None))
}

fn names(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).map(|(name, _)| name).collect()
}

#[test]
fn the_page_has_every_entry_of_the_table_and_no_other() {
    let page = page_of(Format::Prometheus, true);

    let table: BTreeSet<&str> = metric::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(names(&page), table);
    for metric in metric::ALL {
        assert!(page.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind.as_str())), "{}", metric.name);
        assert!(page.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{}", metric.name);
    }
    let samples = page.lines().filter(|line| !line.starts_with('#')).count();
    assert!(samples > metric::ALL.len(), "{page}");
}

#[test]
fn a_store_that_is_not_there_is_not_called_down() {
    assert!(!page_of(Format::Prometheus, false).contains("rate_limit_store"));
}

#[test]
fn who_asks_for_openmetrics_gets_a_page_that_says_it_is_whole() {
    let page = page_of(Format::OpenMetrics, true);

    assert!(page.ends_with("# EOF\n") && page.contains("# TYPE tidegate_control_nacks counter\n"));
    assert!(page.contains("# UNIT process_resident_memory_bytes bytes\n"));
    let series = |page: &str| -> BTreeSet<String> {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    assert_eq!(series(&page), series(&page_of(Format::Prometheus, true)));
}
