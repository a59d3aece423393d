//! What is on disk when the process is killed: the state store's file as it is at that moment.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tidegate_xds::report_service::{EdgeReport, Reporter};
use tidegate_xds::transport::report::{EdgeReports as _, EdgeStream};

use super::super::intake::{self, Intake};
use super::super::query::{Query, Window};
use super::{edge, key, outcome, report};
use crate::changes::ChangeLog;
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::store::Store;

fn open_fleet(directory: &Path) -> Arc<Fleet> {
    let clock = Clock::system();
    let (store, remembered) = Store::open(directory, &clock);
    let fleet = Fleet::new("mesh".to_owned(), clock, store, ChangeLog::default(), 0);
    fleet.topology().restore(&remembered.topology);
    Arc::new(fleet)
}

/// What a kill leaves.
fn killed(directory: &Path) -> TempDir {
    let left = TempDir::new().unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, left.path().join(path.file_name().unwrap())).unwrap();
    }
    left
}

fn stream(fleet: &Arc<Fleet>) -> Box<dyn EdgeStream> {
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    Intake::new(Arc::clone(fleet)).open(peer)
}

fn said(count: u64) -> EdgeReport {
    report(1, vec![edge(1, Some(key(Reporter::Source, "v1")), vec![outcome(200, "", count)])])
}

fn requests(fleet: &Fleet) -> u64 {
    let view = fleet.topology().snapshot(&Query { window: Window::Total, ..Query::default() });
    view.edges.iter().map(|edge| edge.requests).sum()
}

#[tokio::test]
async fn the_last_message_of_a_process_is_on_disk_when_it_is_acknowledged() {
    let directory = TempDir::new().unwrap();
    let fleet = open_fleet(directory.path());
    let ack = stream(&fleet).take(EdgeReport { last: true, ..said(5) }).await.unwrap();
    assert_eq!((ack.sequence, ack.interval_ms), (1, 1_000));

    let left = killed(directory.path());
    let fleet = open_fleet(left.path());

    assert_eq!(requests(&fleet), 5);
    // The answer was lost, so it says the same again.
    stream(&fleet).take(EdgeReport { last: true, ..said(5) }).await.unwrap();
    assert_eq!(requests(&fleet), 5);
}

#[tokio::test]
async fn what_was_not_on_disk_is_made_good_by_the_next_report_and_what_was_is_not_counted_again() {
    let directory = TempDir::new().unwrap();
    let fleet = open_fleet(directory.path());
    let mut reporting = stream(&fleet);
    reporting.take(said(5)).await.unwrap();
    assert!(intake::save(&fleet).await);
    let more = report(2, vec![edge(1, None, vec![outcome(200, "", 8)])]);
    reporting.take(more).await.unwrap();

    let left = killed(directory.path());
    let fleet = open_fleet(left.path());

    assert_eq!(requests(&fleet), 5);
    stream(&fleet).take(said(9)).await.unwrap();
    assert_eq!(requests(&fleet), 9);
}

#[tokio::test]
async fn where_nothing_is_kept_a_last_message_is_acknowledged_all_the_same() {
    let fleet = Fleet::new("mesh".to_owned(), Clock::system(), Store::none(), ChangeLog::default(), 0);
    let fleet = Arc::new(fleet);

    stream(&fleet).take(EdgeReport { last: true, ..said(5) }).await.unwrap();

    assert_eq!(requests(&fleet), 5);
}
