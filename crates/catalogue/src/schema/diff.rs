//! The difference between two schemas, as SQL that leads from one to the other and back, on both databases.
//!
//! Both schemas are run on an empty SQLite in memory and read back from there, so that they are compared as a database
//! understands them. The result is then run too: what does not end exactly at the declared schema, and back, is
//! refused.
//!
//! * Errors: one line per table and column that portable SQL cannot change, all of them at once.

mod shape;

use anyhow::{Context as _, Result, bail};
use shape::{Column, Shape, Table};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

/// One change, and the way back from it.
struct Change {
    up: String,
    down: String,
}

/// The SQL up and down from what `migrations` give to what `declared` says; None if that is the same.
pub(super) async fn between(migrations: &[&str], declared: &str) -> Result<Option<(String, String)>> {
    sqlx::any::install_default_drivers();
    let before = shape_of(migrations, "the migrations").await?;
    let after = shape_of(&[declared], "the declared schema").await?;
    let (mut changes, mut refusals) = (Vec::new(), Vec::new());
    plan(&before, &after, &mut changes, &mut refusals);
    if !refusals.is_empty() {
        bail!("nothing written, this must be a migration by hand: {}", refusals.join("; "));
    }
    if changes.is_empty() {
        return Ok(None);
    }
    let up: String = changes.iter().map(|change| format!("{};\n", change.up)).collect();
    let down: String = changes.iter().rev().map(|change| format!("{};\n", change.down)).collect();
    prove(migrations, &up, &after).await?;
    prove(&[migrations, &[&up]].concat(), &down, &before).await?;
    Ok(Some((up, down)))
}

/// What `step` makes of `scripts` is `expected`.
async fn prove(scripts: &[&str], step: &str, expected: &Shape) -> Result<()> {
    let got = shape_of(&[scripts, &[step]].concat(), "what autogenerate wrote").await?;
    let (mut changes, mut refusals) = (Vec::new(), Vec::new());
    plan(&got, expected, &mut changes, &mut refusals);
    if changes.is_empty() && refusals.is_empty() {
        return Ok(());
    }
    bail!("nothing written, this difference must be a migration by hand: {}", step.replace('\n', " "))
}

async fn shape_of(scripts: &[&str], whose: &str) -> Result<Shape> {
    let mut connection = AnyConnection::connect("sqlite::memory:").await?;
    for script in scripts {
        let run = sqlx::raw_sql(AssertSqlSafe((*script).to_owned())).execute(&mut connection).await;
        run.map_err(|error| anyhow::anyhow!("{whose} cannot be run: {}", crate::database::plain(&error)))?;
    }
    let shape = Shape::read(&mut connection).await;
    shape.with_context(|| format!("cannot read back {whose}"))
}

/// In the order in which they can be run: indexes go before what they index, and come after it.
fn plan(before: &Shape, after: &Shape, changes: &mut Vec<Change>, refusals: &mut Vec<String>) {
    let common = |table: &&Table| before.table(&table.name).is_some() && after.table(&table.name).is_some();
    for index in &before.indexes {
        let table_stays = after.table(&index.table).is_some();
        if table_stays && !after.indexes.iter().any(|other| other.same(index)) {
            changes.push(Change { up: format!("DROP INDEX {}", index.name), down: index.sql.clone() });
        }
    }
    for table in after.tables.iter().filter(|table| before.table(&table.name).is_none()) {
        changes.push(Change { up: table.sql.clone(), down: format!("DROP TABLE {}", table.name) });
    }
    for table in after.tables.iter().filter(common) {
        if let Some(old) = before.table(&table.name) {
            plan_table(old, table, changes, refusals);
        }
    }
    for table in before.tables.iter().rev().filter(|table| after.table(&table.name).is_none()) {
        let indexes = before.indexes.iter().filter(|index| index.table == table.name);
        let back: Vec<&str> = std::iter::once(&*table.sql).chain(indexes.map(|index| &*index.sql)).collect();
        changes.push(Change { up: format!("DROP TABLE {}", table.name), down: back.join(";\n") });
    }
    for index in &after.indexes {
        if !before.indexes.iter().any(|other| other.same(index)) {
            changes.push(Change { up: index.sql.clone(), down: format!("DROP INDEX {}", index.name) });
        }
    }
}

fn plan_table(before: &Table, after: &Table, changes: &mut Vec<Change>, refusals: &mut Vec<String>) {
    let table = &before.name;
    for column in &after.columns {
        match before.column(&column.name) {
            None => match column.cannot_be_added(after) {
                Some(why) => refusals.push(format!("{table}.{}: {why}", column.name)),
                None => changes.push(add(table, column)),
            },
            Some(old) => {
                refusals.extend(old.changes(column).map(|why| format!("{table}.{}: {why}", column.name)));
            }
        }
    }
    for column in before.columns.iter().filter(|column| after.column(&column.name).is_none()) {
        match column.cannot_be_added(before) {
            Some(why) => {
                refusals.push(format!("{table}.{} is dropped, and there is no way back: {why}", column.name));
            }
            None => {
                let Change { up, down } = add(table, column);
                changes.push(Change { up: down, down: up });
            }
        }
    }
    let stays = |name: &String| before.column(name).is_some() && after.column(name).is_some();
    for (what, old, new) in [
        ("a foreign key", before.foreign_keys(&stays), after.foreign_keys(&stays)),
        ("a unique constraint", before.uniques(&stays), after.uniques(&stays)),
        ("a table's check", before.checks.clone(), after.checks.clone()),
    ] {
        for (lost, changed) in [(&old, &new), (&new, &old)].into_iter().enumerate() {
            let verb = if lost == 0 { "is dropped" } else { "is added" };
            for constraint in changed.0.iter().filter(|constraint| !changed.1.contains(constraint)) {
                refusals.push(format!("{table}.{constraint}: {what} {verb}"));
            }
        }
    }
}

fn add(table: &str, column: &Column) -> Change {
    Change {
        up: format!("ALTER TABLE {table} ADD COLUMN {}", column.definition),
        down: format!("ALTER TABLE {table} DROP COLUMN {}", column.name),
    }
}

#[cfg(test)]
mod tests;
