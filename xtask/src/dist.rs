//! `cargo xtask dist`: the release as one tarball, the same bytes from the same sources, compiler and profile.
//!
//! * Inside: the program, its manual pages and completions, the unit file, its licences and those of all that it is
//!   built from, and a bill of materials (CycloneDX).
//! * Beside it: its SHA-256, and the profile that the compiler was given. Training depends on the moment, so whoever
//!   wants the same bytes elsewhere gives that file (`--pgo FILE`); here it is kept until the sources change.
//! * Errors: what could not be built. Without `llvm-profdata` it is built without a profile, and says so.

mod build;
mod inventory;
mod pack;
mod profile;
pub(crate) mod rustc;
mod train;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::guard::Guard;
use crate::workspace::{Workspace, capture, run as run_command};
use build::Build;
use pack::Entry;
use profile::Choice;

/// What a release is built with besides the defaults.
const FEATURES: &str = "tls,kafka";

/// How to build the release.
#[derive(Args)]
#[command(after_help = "\
Examples:
  cargo xtask dist                                 target/dist-files/bourse-VERSION-TARGET.tar.gz
  cargo xtask dist --no-pgo                        without a profile: no training, half the time
  cargo xtask dist --twice                         build it again elsewhere, and compare every byte
  cargo xtask dist --pgo bourse-0.1.0.profdata     the same bytes as whoever made this profile

It takes minutes: fat LTO, and once more to be trained. The profile needs llvm-profdata: `rustup component add
llvm-tools`, else it is fetched by pip where that exists.")]
pub(crate) struct Options {
    /// Use this profile instead of training
    #[arg(long, value_name = "FILE", conflicts_with = "no_pgo")]
    pgo: Option<PathBuf>,
    /// Build without a profile
    #[arg(long)]
    no_pgo: bool,
    /// Build twice, from nothing and in another directory, and fail unless every byte is the same
    #[arg(long)]
    twice: bool,
    /// Where the files go [default: target/dist-files]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// Builds the release.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::find()?;
    let mut guard = Guard::start()?;
    let host = rustc::host()?;
    let into = options.into.clone().unwrap_or_else(|| workspace.target.join("dist-files"));
    fs::create_dir_all(&into).with_context(|| format!("cannot make {}", into.display()))?;

    let choice = match &options.pgo {
        Some(file) => Choice::Given(file.clone()),
        None if options.no_pgo => Choice::None,
        None => Choice::Trained,
    };
    let profile = profile::provide(choice, &workspace, &host, &mut guard)?;
    let build = Build { workspace: &workspace, host: &host, profile: profile.as_deref() };
    let program = build.run("dist-build", &mut guard)?;
    let name = format!("bourse-{}-{}", env!("CARGO_PKG_VERSION"), host.triple);
    let tarball = into.join(format!("{name}.tar.gz"));
    assemble(&workspace, &host, &program, &name, &tarball, &mut guard)?;

    if options.twice {
        let again = into.join(format!("{name}.again.tar.gz"));
        let program = build.run("dist-again", &mut guard)?;
        assemble(&workspace, &host, &program, &name, &again, &mut guard)?;
        let same = fs::read(&tarball)? == fs::read(&again)?;
        fs::remove_file(&again)?;
        ensure!(same, "two builds gave different bytes: compare target/dist-build with target/dist-again");
        eprintln!("built twice: every byte is the same");
    }
    if let Some(profile) = &profile {
        fs::copy(profile, into.join(format!("{name}.profdata"))).context("cannot copy the profile")?;
    }
    let sum = capture(workspace.command("sha256sum").arg(&tarball), &mut guard)?;
    let sum = sum.split(' ').next().context("sha256sum says nothing")?;
    fs::write(into.join(format!("{name}.tar.gz.sha256")), format!("{sum}  {name}.tar.gz\n"))?;
    println!("{}\n{sum}", tarball.display());
    Ok(())
}

/// The tarball of this program.
fn assemble(
    workspace: &Workspace,
    host: &rustc::Host,
    program: &Path,
    name: &str,
    tarball: &Path,
    guard: &mut Guard,
) -> Result<()> {
    let generated = workspace.target.join("dist-generated");
    let _ = fs::remove_dir_all(&generated);
    fs::create_dir_all(generated.join("man"))?;
    run_command(workspace.command(program).arg("man").arg("--into").arg(generated.join("man")), guard)?;
    for (shell, file) in [("bash", "bourse.bash"), ("zsh", "_bourse"), ("fish", "bourse.fish")] {
        let script = capture(workspace.command(program).args(["completions", shell]), guard)?;
        fs::write(generated.join(file), script)?;
    }
    let inventory = inventory::Inventory::take(workspace, host, FEATURES, guard)?;
    fs::write(generated.join("bourse.cdx.json"), inventory.bill_of_materials()?)?;
    fs::write(generated.join("THIRD-PARTY-LICENSES.txt"), inventory.licences()?)?;

    let mut entries = vec![Entry::program("bin/bourse", program)];
    for page in fs::read_dir(generated.join("man"))? {
        let page = page?;
        entries
            .push(Entry::file(format!("share/man/man1/{}", page.file_name().to_string_lossy()), page.path()));
    }
    for (to, from) in [
        ("share/bash-completion/completions/bourse", "bourse.bash"),
        ("share/zsh/site-functions/_bourse", "_bourse"),
        ("share/fish/vendor_completions.d/bourse.fish", "bourse.fish"),
        ("bourse.cdx.json", "bourse.cdx.json"),
        ("THIRD-PARTY-LICENSES.txt", "THIRD-PARTY-LICENSES.txt"),
    ] {
        entries.push(Entry::file(to.to_owned(), generated.join(from)));
    }
    for (to, from) in [
        ("lib/systemd/system/bourse.service", "deploy/systemd/bourse.service"),
        ("README.md", "README.md"),
        ("CHANGELOG.md", "CHANGELOG.md"),
        ("LICENSE-MIT", "LICENSE-MIT"),
        ("LICENSE-APACHE", "LICENSE-APACHE"),
    ] {
        entries.push(Entry::file(to.to_owned(), workspace.root.join(from)));
    }
    pack::write(tarball, name, entries, pack::date(workspace))
}
