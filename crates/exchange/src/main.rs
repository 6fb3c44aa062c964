//! Bourse: an ad exchange in one binary.
//!
//! `main` reads the command line and the settings, and hands over; every command is a room of its own.

use anyhow::{Result, anyhow, bail};
use clap::Parser;
use exchange::cli::{self, Cli, Command};
use exchange::config::{Config, Settings};
use exchange::{catalogue_commands, event_commands, journal_commands, serve};
use std::io::ErrorKind;
use std::path::PathBuf;
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
        Command::Journal(command) => journal_commands::run(&config, command),
        Command::Events(command) => event_commands::run(&config, command),
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
    // This directory's only; dotenvy would look in those above it, too.
    let dotenv = match std::fs::read(".env") {
        Ok(text) => dotenvy::from_read_iter(&*text)
            .collect::<Result<_, _>>()
            .map_err(|error| anyhow!(".env: {error}"))?,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => bail!(".env: {error}"),
    };
    // A variable that is not UTF-8 is none of ours.
    let environment: Vec<_> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let config = |pairs: &[(String, String)]| {
        let named = pairs.iter().find(|(name, value)| name == "BOURSE_CONFIG" && !value.is_empty());
        named.map(|(_, path)| PathBuf::from(path))
    };
    let file = cli.global.config.clone().or_else(|| config(&environment)).or_else(|| config(&dotenv));
    Settings::gather(file.as_deref(), dotenv, environment, flags)
}
