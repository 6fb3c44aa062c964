//! What the Python package index brings for the tests: programs, and an engine that reads what streams wrote. They are
//! in a virtual environment under the target directory, which `cargo xtask test` makes.

use crate::server::said_of_much;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program of the environment; without it the test fails with the command that makes it.
pub(crate) fn program(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory");
    let program = target.join("tools/python/bin").join(name);
    assert!(program.exists(), "there is no {}: `cargo xtask python` makes it", program.display());
    program
}

/// A file that a package brought.
#[cfg(feature = "kafka")]
pub(crate) fn packaged(path: &str) -> PathBuf {
    let lib = program("python").parent().and_then(Path::parent).expect("an environment").join("lib");
    let pythons = std::fs::read_dir(lib).expect("an environment").map(|entry| entry.unwrap().path());
    let files = pythons.map(|python| python.join("site-packages").join(path));
    files.into_iter().find(|file| file.exists()).unwrap_or_else(|| {
        panic!("there is no {path} in the environment: `cargo xtask python` makes it");
    })
}

/// What DuckDB answers, a row a line, each cell as its text; NULL is "".
#[track_caller]
pub(crate) fn duckdb(sql: &str) -> Vec<Vec<String>> {
    const SCRIPT: &str = "import duckdb, json, sys\n\
        duck = duckdb.connect()\n\
        duck.execute('SET enable_progress_bar = false')\n\
        rows = duck.execute(sys.argv[1]).fetchall()\n\
        print(json.dumps([['' if cell is None else str(cell) for cell in row] for row in rows]))";
    let mut python = Command::new(program("python"));
    python.args(["-c", SCRIPT, sql]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let answer: Value = serde_json::from_str(&said_of_much(python).done()).expect("JSON");
    serde_json::from_value(answer).expect("rows of texts")
}
