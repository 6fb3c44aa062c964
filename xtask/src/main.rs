//! What a maintainer runs: `cargo xtask test` decides whether a change may go in, `cargo xtask chaos` breaks
//! things for longer, `cargo xtask bench` measures, `cargo xtask servers` lends the same servers to a shell.
//!
//! * Progress goes to standard error; standard output holds only what somebody asked for: the exports of `servers`,
//!   the tables of `bench`.
//! * Exit status: 0 when everything asked for passed, 1 with what did not and why, a line each, 2 for a wrong
//!   call.
//! * Nothing is left behind, whichever way the program ends: see [`guard`].

mod bench;
mod chaos;
mod debian;
mod guard;
mod needed;
mod postgres;
mod python;
mod servers;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Maintains Bourse: runs its checks, starts the servers that its tests need
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every check a change must pass, in order, up to the first that fails
    Test(test::Options),
    /// Run the tests that kill, cut and crash, for as long as asked
    Chaos(chaos::Options),
    /// Measure what a request costs, side by side with the least that it could cost
    Bench(bench::Options),
    /// Start the servers that tests use, print their addresses for a shell, and wait for Ctrl-C
    Servers(servers::Options),
    /// Make the Python environment that tests use, under the target directory
    Python,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Test(options) => test::run(&options),
        Task::Chaos(options) => chaos::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Servers(options) => servers::run(&options),
        Task::Python => python::make(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            eprintln!("error: {}", causes.join("\n       "));
            ExitCode::FAILURE
        }
    }
}
