//! The topology's rows: names and contents that only [`crate::topology`] understands.

use redb::{ReadTransaction, ReadableTable as _, TableDefinition, WriteTransaction};

use crate::topology::{Checkpoint, Row};

/// Name -> content.
pub(super) const TOPOLOGY: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("topology");
/// Above whatever may follow the beginning of a name there: the last byte of a name's beginning decides before it.
const ABOVE: [u8; 8] = [u8::MAX; 8];

/// Writes a checkpoint, all of it or nothing.
pub(super) fn write(transaction: WriteTransaction, checkpoint: &Checkpoint) -> Result<(), redb::Error> {
    if checkpoint.whole {
        transaction.delete_table(TOPOLOGY)?;
    }
    {
        let mut table = transaction.open_table(TOPOLOGY)?;
        for beginning in &checkpoint.gone {
            let above = [&**beginning, &ABOVE].concat();
            table.retain_in(&**beginning..=&*above, |_, _| false)?;
        }
        for (name, content) in &checkpoint.rows {
            table.insert(&**name, &**content)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// All rows.
pub(super) fn read(transaction: &ReadTransaction) -> Result<Vec<Row>, redb::Error> {
    let mut rows = Vec::new();
    for row in transaction.open_table(TOPOLOGY)?.iter()? {
        let (name, content) = row?;
        rows.push((name.value().to_vec(), content.value().to_vec()));
    }
    Ok(rows)
}
