//! A schema as SQLite understood it: its tables, columns, constraints and indexes.

use anyhow::{Result, anyhow};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

#[derive(Debug)]
pub(super) struct Shape {
    /// In the order in which they were made.
    pub(super) tables: Vec<Table>,
    pub(super) indexes: Vec<Index>,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) sql: String,
    pub(super) columns: Vec<Column>,
    /// CHECK constraints of the table as a whole.
    pub(super) checks: Vec<String>,
    /// Columns of a constraint, and what it says.
    foreign_keys: Vec<(Vec<String>, String)>,
    uniques: Vec<Vec<String>>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// As its table's statement has it.
    pub(super) definition: String,
    kind: String,
    not_null: bool,
    default: Option<String>,
    primary_key: i64,
    checks: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) table: String,
    pub(super) sql: String,
}

impl Shape {
    pub(super) fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    pub(super) async fn read(connection: &mut AnyConnection) -> Result<Self> {
        let of_kind = |kind| {
            format!(
                "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = '{kind}' AND sql IS NOT NULL \
                 AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY rowid"
            )
        };
        let rows = sqlx::query(AssertSqlSafe(of_kind("table"))).fetch_all(&mut *connection).await?;
        let mut tables = Vec::new();
        for row in rows {
            tables.push(Table::read(connection, row.try_get(0)?, row.try_get(2)?).await?);
        }
        let rows = sqlx::query(AssertSqlSafe(of_kind("index"))).fetch_all(&mut *connection).await?;
        let index =
            |row: &AnyRow| Ok(Index { name: row.try_get(0)?, table: row.try_get(1)?, sql: row.try_get(2)? });
        let indexes = rows.iter().map(index).collect::<Result<_, sqlx::Error>>()?;
        Ok(Self { tables, indexes })
    }
}

impl Index {
    pub(super) fn same(&self, other: &Self) -> bool {
        let text = |sql| words(sql).iter().map(Word::normal).collect::<Vec<_>>();
        self.name == other.name && text(&self.sql) == text(&other.sql)
    }
}

impl Table {
    async fn read(connection: &mut AnyConnection, name: String, sql: String) -> Result<Self> {
        let body = Body::parse(&sql);
        let text = "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info($1)";
        let mut columns = Vec::new();
        for row in sqlx::query(text).bind(name.as_str()).fetch_all(&mut *connection).await? {
            let column: String = row.try_get(0)?;
            let written = body.columns.iter().find(|(written, _)| *written == column);
            let (_, definition) =
                written.ok_or_else(|| anyhow!("{name}.{column} is not in its table's statement"))?;
            columns.push(Column {
                checks: checks(&words(definition)),
                name: column,
                definition: definition.clone(),
                kind: row.try_get::<String, _>(1)?.to_uppercase(),
                not_null: row.try_get::<i64, _>(2)? != 0,
                default: row.try_get(3)?,
                primary_key: row.try_get(4)?,
            });
        }
        let keys = sqlx::query(
            "SELECT group_concat(\"from\", ','), \"table\" || '(' || coalesce(group_concat(\"to\", ','), '') || ') ' \
             || on_update || ' ' || on_delete FROM pragma_foreign_key_list($1) GROUP BY id, \"table\", on_update, on_delete",
        );
        let columns_of = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut foreign_keys = Vec::new();
        for row in keys.bind(name.as_str()).fetch_all(&mut *connection).await? {
            foreign_keys.push((columns_of(row.try_get(0)?), row.try_get(1)?));
        }
        let keys = sqlx::query_scalar::<_, String>(
            "SELECT group_concat(i.name, ',') FROM pragma_index_list($1) l, pragma_index_info(l.name) i \
             WHERE l.origin = 'u' GROUP BY l.name",
        );
        let keys = keys.bind(name.as_str()).fetch_all(&mut *connection).await?;
        let uniques = keys.into_iter().map(columns_of).collect();
        Ok(Self { name, columns, checks: body.checks, foreign_keys, uniques, sql })
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Those whose columns are all among `which`, each as `column → table(column) on update, on delete`.
    pub(super) fn foreign_keys(&self, which: &impl Fn(&String) -> bool) -> Vec<String> {
        let keys = self.foreign_keys.iter().filter(|(columns, _)| columns.iter().all(which));
        keys.map(|(columns, to)| format!("{} → {to}", columns.join("+"))).collect()
    }

    pub(super) fn uniques(&self, which: &impl Fn(&String) -> bool) -> Vec<String> {
        let keys = self.uniques.iter().filter(|columns| columns.iter().all(which));
        keys.map(|columns| columns.join("+")).collect()
    }
}

impl Column {
    /// Why `ALTER TABLE … ADD COLUMN` cannot make it, on one database or the other.
    pub(super) fn cannot_be_added(&self, table: &Table) -> Option<&'static str> {
        let default = self.default.as_deref().map(str::to_uppercase);
        let null = default.as_deref().is_none_or(|default| default == "NULL");
        if self.primary_key > 0 {
            Some("a column of the primary key cannot be added")
        } else if table.uniques.iter().any(|columns| columns.contains(&self.name)) {
            Some("a unique column cannot be added; add the column and a unique index")
        } else if self.not_null && null {
            Some("NOT NULL without a default, so existing rows would have no value")
        } else if default.is_some_and(|default| default.starts_with(['(', 'C'])) {
            Some("its default is not a constant")
        } else if !null && table.foreign_keys.iter().any(|(columns, _)| columns.contains(&self.name)) {
            Some("a foreign key column can only be added with the default NULL")
        } else {
            None
        }
    }

    /// What differs in `other`, the same column elsewhere.
    pub(super) fn changes(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        [
            (self.kind != other.kind, "its type changes"),
            (self.not_null != other.not_null, "its nullability changes"),
            (self.default != other.default, "its default changes"),
            (self.primary_key != other.primary_key, "its place in the primary key changes"),
            (self.checks != other.checks, "its check changes"),
        ]
        .into_iter()
        .filter_map(|(differs, what)| differs.then_some(what))
    }
}

/// What stands between a CREATE TABLE statement's parentheses.
struct Body {
    columns: Vec<(String, String)>,
    checks: Vec<String>,
}

impl Body {
    fn parse(sql: &str) -> Self {
        let mut body = Self { columns: Vec::new(), checks: Vec::new() };
        let words = words(sql);
        let open = words.iter().position(|word| word.text == "(").unwrap_or(words.len());
        let (mut depth, mut start) = (0, open + 1);
        for (i, word) in words.iter().enumerate().skip(open) {
            match word.text {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && word.text == ",") {
                body.part(sql, &words[start..i]);
                start = i + 1;
            }
            if depth == 0 {
                break;
            }
        }
        body
    }

    fn part(&mut self, sql: &str, words: &[Word<'_>]) {
        let (Some(first), Some(last)) = (words.first(), words.last()) else {
            return;
        };
        match first.normal().as_str() {
            "constraint" | "primary" | "unique" | "check" | "foreign" => self.checks.extend(checks(words)),
            _ => {
                let name = first.text.trim_matches(['"', '`', '[', ']']).to_owned();
                self.columns.push((name, sql[first.at..last.at + last.text.len()].to_owned()));
            }
        }
    }
}

/// Every `CHECK (…)` among `words`.
fn checks(words: &[Word<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    for (i, _) in words.iter().enumerate().filter(|(_, word)| word.normal() == "check") {
        let (mut depth, mut text) = (0, Vec::new());
        for word in &words[i + 1..] {
            depth += i32::from(word.text == "(") - i32::from(word.text == ")");
            text.push(word.normal());
            if depth == 0 {
                break;
            }
        }
        found.push(text.join(" "));
    }
    found.sort();
    found
}

/// A word, a literal or a sign of an SQL text, and where it stands there.
#[derive(Clone, Copy)]
struct Word<'a> {
    at: usize,
    text: &'a str,
}

impl Word<'_> {
    /// The same for two ways of writing the same.
    fn normal(&self) -> String {
        if self.text.starts_with(['\'', '"', '`']) { self.text.to_owned() } else { self.text.to_lowercase() }
    }
}

/// `sql` without spaces and comments.
fn words(sql: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(first) = sql[at..].chars().next() {
        let rest = &sql[at..];
        let until =
            |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |i| from + i + end.len());
        let (length, keep) = match first {
            '-' if rest.starts_with("--") => (until("\n", 0), false),
            '/' if rest.starts_with("/*") => (until("*/", 2), false),
            '\'' | '"' | '`' => (until(&first.to_string(), 1), true),
            '[' => (until("]", 1), true),
            _ if first.is_whitespace() => (first.len_utf8(), false),
            _ if first.is_alphanumeric() || first == '_' => {
                (rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()), true)
            }
            _ => (first.len_utf8(), true),
        };
        if keep {
            words.push(Word { at, text: &rest[..length] });
        }
        at += length;
    }
    words
}
