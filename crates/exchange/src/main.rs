//! Bourse: an ad exchange in one binary.
//!
//! `main` reads the command line and the settings, and hands over; every command is a room of its own.

use anyhow::Result;
use clap::Parser;
use exchange::cli::{self, Cli, Command};
use exchange::config::{Config, Settings};
use exchange::{catalogue_commands, serve};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line for one cause; a list of problems brings its own lines.
            eprintln!("bourse: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let settings = settings(cli)?;
    let config = Config::from(&settings)?;
    match &cli.command {
        Command::Serve(_) => serve::run(&config),
        Command::Db(command) => catalogue_commands::db(&config, command),
        Command::LoadData { input } => catalogue_commands::load_data(&config, input),
        Command::GenerateData { output, supplies, bidders, seed } => {
            catalogue_commands::generate_data(output, *supplies, *bidders, *seed)
        }
        Command::Config(cli::Config::Show) => {
            print!("{settings}");
            Ok(())
        }
    }
}

fn settings(cli: &Cli) -> Result<Settings> {
    let mut flags = cli.global.settings();
    if let Command::Serve(serve) = &cli.command {
        flags.extend(serve.settings());
    }
    let dotenv = match dotenvy::from_filename_iter(".env") {
        Ok(pairs) => pairs.collect::<Result<_, _>>().map_err(|error| anyhow::anyhow!(".env: {error}"))?,
        Err(_) => Vec::new(),
    };
    // A variable that is not UTF-8 is none of ours.
    let environment: Vec<_> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let named = environment.iter().find(|(name, value)| name == "BOURSE_CONFIG" && !value.is_empty());
    let file = cli.global.config.clone().or_else(|| named.map(|(_, path)| path.into()));
    Settings::gather(file.as_deref(), dotenv, environment, flags)
}
