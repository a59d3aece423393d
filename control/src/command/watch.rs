//! Shows something again and again, until Ctrl-C.
//!
//! On a terminal each picture replaces the one before. Elsewhere they follow each other, so that they can be kept.

use std::io::IsTerminal as _;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::progress::Reader;
use super::show;

/// How often: often enough for a person to see it change.
const INTERVAL: Duration = Duration::from_secs(2);
/// Cursor to the top left, and what is below away.
const REDRAW: &str = "\u{1b}[H\u{1b}[J";

/// `draw` until Ctrl-C, or until it fails. `reader` waits for the first picture only; then there is one to look at.
pub(super) async fn watch<E>(reader: Reader, draw: impl AsyncFn(Reader) -> Result<String, E>) -> Result<(), E> {
    let is_terminal = std::io::stdout().is_terminal();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reader = reader;
    let pictures = async {
        loop {
            ticks.tick().await;
            let picture = draw(reader).await?;
            reader = Reader::Program;
            show(&if is_terminal { format!("{REDRAW}{picture}") } else { format!("{picture}\n") });
        }
    };
    tokio::select! {
        failed = pictures => failed,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
