//! What the program is built from: every crate, its licence, and who needs whom.
//!
//! * Source: `cargo metadata`, for the machine and features of the release; build scripts and macros count, tests do not.
//! * The bill of materials is CycloneDX 1.5, without the moment and the random number that would make each one differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::rustc::Host;
use crate::guard::Guard;
use crate::workspace::{Workspace, capture};

/// The program's package.
const PROGRAM: &str = "exchange";

/// Every crate that the program is built from.
pub(super) struct Inventory {
    crates: BTreeMap<String, Crate>,
    /// By id: the ids of what each crate needs.
    needs: BTreeMap<String, Vec<String>>,
    program: String,
}

#[derive(Deserialize)]
struct Crate {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    license_file: Option<String>,
    /// None for our own.
    source: Option<String>,
    description: Option<String>,
    manifest_path: String,
    #[serde(skip)]
    sha256: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

impl Inventory {
    /// Asks cargo.
    pub(super) fn take(
        workspace: &Workspace,
        host: &Host,
        features: &str,
        guard: &mut Guard,
    ) -> Result<Self> {
        let features: Vec<String> =
            features.split(',').map(|feature| format!("{PROGRAM}/{feature}")).collect();
        let mut metadata = workspace.cargo(["metadata", "--format-version", "1", "--locked"]);
        metadata.args(["--filter-platform", &host.triple, "--features", &features.join(",")]);
        let metadata: Metadata = serde_json::from_str(&capture(&mut metadata, guard)?)?;
        let lock = fs::read_to_string(workspace.root.join("Cargo.lock")).context("Cargo.lock")?;
        Self::of(metadata, &checksums(&lock))
    }

    fn of(metadata: Metadata, checksums: &BTreeMap<(String, String), String>) -> Result<Self> {
        let program =
            metadata.packages.iter().find(|package| package.name == PROGRAM && package.source.is_none());
        let program = program.context("cargo metadata does not know the program")?.id.clone();
        let built = |dependency: &Dependency| {
            dependency.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev"))
        };
        let mut all: BTreeMap<String, Vec<String>> = metadata
            .resolve
            .nodes
            .into_iter()
            .map(|node| {
                let needs = node.deps.into_iter().filter(built).map(|dependency| dependency.pkg);
                (node.id, needs.collect())
            })
            .collect();
        let (mut needs, mut left) = (BTreeMap::new(), vec![program.clone()]);
        while let Some(id) = left.pop() {
            if let Some(found) = all.remove(&id) {
                left.extend(found.iter().cloned());
                needs.insert(id, found);
            }
        }
        let mut crates = BTreeMap::new();
        for mut package in metadata.packages.into_iter().filter(|package| needs.contains_key(&package.id)) {
            package.sha256 = checksums.get(&(package.name.clone(), package.version.clone())).cloned();
            crates.insert(package.id.clone(), package);
        }
        Ok(Self { crates, needs, program })
    }

    /// CycloneDX, as JSON.
    pub(super) fn bill_of_materials(&self) -> Result<String> {
        let program = self.crates.get(&self.program).context("the program is not among its crates")?;
        let components: Vec<Value> =
            self.crates.values().filter(|one| one.id != self.program).map(Crate::component).collect();
        let dependencies: Vec<Value> = self
            .needs
            .iter()
            .filter_map(|(id, needs)| {
                let needs: BTreeSet<String> =
                    needs.iter().filter_map(|id| Some(self.crates.get(id)?.url())).collect();
                Some(json!({"ref": self.crates.get(id)?.url(), "dependsOn": needs}))
            })
            .collect();
        let bill = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {"component": {
                "type": "application", "bom-ref": program.url(), "name": "bourse", "version": program.version,
                "description": program.description, "licenses": [{"expression": program.license}],
            }},
            "components": components,
            "dependencies": dependencies,
        });
        Ok(format!("{bill:#}\n"))
    }

    /// The licences of all that is not ours: who has which, and the texts, each once.
    pub(super) fn licences(&self) -> Result<String> {
        let others = || self.crates.values().filter(|package| package.source.is_some());
        let mut page = String::from("Bourse is built from these crates.\n\n");
        let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for package in others() {
            let name = format!("{} {}", package.name, package.version);
            let licence = package.license.as_deref().unwrap_or("see its text");
            writeln!(page, "{name}: {licence}")?;
            let found = package.texts()?;
            ensure!(
                package.license.is_some() || !found.is_empty(),
                "{name} names no licence and brings no text"
            );
            for text in found {
                texts.entry(text).or_default().insert(name.clone());
            }
        }
        for (text, names) in texts {
            let names: Vec<String> = names.into_iter().collect();
            write!(page, "\n{}\n{}\n\n{}\n", "-".repeat(80), names.join(", "), text.trim())?;
        }
        Ok(page)
    }
}

impl Crate {
    /// Its package URL: what the world calls it.
    fn url(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }

    fn component(&self) -> Value {
        let mut component = json!({
            "type": "library", "bom-ref": self.url(), "name": self.name, "version": self.version, "purl": self.url(),
        });
        if let Some(licence) = &self.license {
            // An old way to write OR.
            component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
        }
        if let Some(sha256) = &self.sha256 {
            component["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
        }
        component
    }

    /// What its files say of copyright and licence.
    fn texts(&self) -> Result<Vec<String>> {
        let dir = Path::new(&self.manifest_path).parent().context("a manifest is in no directory")?;
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let upper = name.to_uppercase();
            if ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"]
                .iter()
                .any(|prefix| upper.starts_with(prefix))
            {
                names.insert(name);
            }
        }
        names.extend(self.license_file.clone());
        let texts = names.iter().map(|name| dir.join(name)).filter(|path| path.is_file());
        let read = |path: std::path::PathBuf| {
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        texts.map(read).collect()
    }
}

/// The SHA-256 of each crate, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut checksums = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let value = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
            value.and_then(|value| value.strip_suffix('"')).map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(sha256)) =
            (field("name"), field("version"), field("checksum"))
        {
            checksums.insert((name, version), sha256);
        }
    }
    checksums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory() -> Inventory {
        let package = |name: &str, source: Option<&str>| {
            json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "license_file": null,
                   "source": source, "description": null, "manifest_path": format!("/none/{name}/Cargo.toml")})
        };
        let needs = |id: &str, deps: &[(&str, Option<&str>)]| {
            let deps: Vec<Value> =
                deps.iter().map(|(name, kind)| json!({"pkg": name, "dep_kinds": [{"kind": kind}]})).collect();
            json!({"id": id, "deps": deps})
        };
        let metadata = json!({
            "packages": [package(PROGRAM, None), package("used", Some("r")), package("tested", Some("r")),
                         package("built", Some("r")), package("stranger", Some("r"))],
            "resolve": {"nodes": [
                needs(PROGRAM, &[("used", None), ("tested", Some("dev"))]),
                needs("used", &[("built", Some("build"))]), needs("built", &[]), needs("tested", &[]),
                needs("stranger", &[])]},
        });
        let lock = "[[package]]\nname = \"used\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n";
        Inventory::of(serde_json::from_value(metadata).unwrap(), &checksums(lock)).unwrap()
    }

    #[test]
    fn a_bill_of_materials_lists_what_is_built_in_and_nothing_else() {
        let bill: Value = serde_json::from_str(&inventory().bill_of_materials().unwrap()).unwrap();
        let names: Vec<&str> =
            bill["components"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
        assert_eq!(names, ["built", "used"]);
        assert_eq!(bill["components"][1]["hashes"][0]["content"], "abc");
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        let needs =
            bill["dependencies"].as_array().unwrap().iter().find(|one| one["ref"] == "pkg:cargo/used@1.0.0");
        assert_eq!(needs.unwrap()["dependsOn"], json!(["pkg:cargo/built@1.0.0"]));
    }
}
