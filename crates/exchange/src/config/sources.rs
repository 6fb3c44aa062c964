//! Where settings come from, and how a value is read out of its text.

use super::table::{Spec, TABLE, Takes, nearest};
use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use utoipa::ToSchema;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Nobody said otherwise.
    Default,
    /// The TOML file.
    File(PathBuf),
    /// The file `.env` in the working directory.
    DotEnv,
    /// The environment.
    Environment,
    /// The command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::DotEnv => f.write_str(".env"),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

#[derive(Debug)]
struct Setting {
    spec: &'static Spec,
    value: String,
    source: Source,
}

/// A value for every setting, and where it came from.
#[derive(Debug)]
pub struct Settings(Vec<Setting>);

/// Names with their values, as the environment gives them.
pub(super) type Pairs = Vec<(String, String)>;

impl Settings {
    /// Lays the sources over the defaults, the weakest first.
    pub fn gather(file: Option<&Path>, dotenv: Pairs, environment: Pairs, flags: Pairs) -> Result<Self> {
        let default = |spec| Setting { spec, value: spec.default.to_owned(), source: Source::Default };
        let mut settings = Self(TABLE.iter().map(default).collect());
        if let Some(path) = file {
            settings.lay_file(path)?;
        }
        settings.lay_variables(dotenv, &Source::DotEnv)?;
        settings.lay_variables(environment, &Source::Environment)?;
        for (key, value) in flags {
            settings.set(&key, value, Source::Flag)?;
        }
        Ok(settings)
    }

    fn lay_file(&mut self, path: &Path) -> Result<()> {
        let shown = path.display();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{shown}: the file cannot be read"))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            anyhow!("{shown}:{line}: {}", error.message().replace('\n', " "))
        })?;
        self.lay_table("", &table, path)
    }

    fn lay_table(&mut self, prefix: &str, table: &toml::Table, path: &Path) -> Result<()> {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            match value {
                toml::Value::Table(inner) => self.lay_table(&format!("{key}."), inner, path)?,
                _ => self.set(&key, text_of(&key, value, path)?, Source::File(path.to_owned()))?,
            }
        }
        Ok(())
    }

    fn lay_variables(&mut self, variables: Pairs, source: &Source) -> Result<()> {
        for (name, value) in variables {
            // Compose files pass variables that nobody has set as empty ones.
            if !name.starts_with("BOURSE_")
                || name.starts_with("BOURSE_TEST_")
                || name == "BOURSE_CONFIG"
                || value.is_empty()
            {
                continue;
            }
            match TABLE.iter().find(|spec| spec.variable() == name) {
                Some(spec) => self.set(spec.key, value, source.clone())?,
                None => {
                    let known: Vec<String> = TABLE.iter().map(Spec::variable).collect();
                    let meant = did_you_mean(nearest(&name, known.iter().map(String::as_str)));
                    bail!("{name}: unknown setting in the {source}{meant}");
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: String, source: Source) -> Result<()> {
        let Some(setting) = self.0.iter_mut().find(|setting| setting.spec.key == key) else {
            let meant = did_you_mean(nearest(key, TABLE.iter().map(|spec| spec.key)));
            bail!("{key}: unknown setting in {source}{meant}");
        };
        (setting.value, setting.source) = (value, source);
        Ok(())
    }

    #[expect(clippy::expect_used, reason = "keys are literals of this program, and its tests read every one")]
    fn get(&self, key: &str) -> &Setting {
        self.0.iter().find(|setting| setting.spec.key == key).expect("a key of the table")
    }

    /// The value as it was written.
    pub fn text(&self, key: &str) -> &str {
        &self.get(key).value
    }

    /// How many there are, and how many somebody has set.
    pub fn counts(&self) -> (usize, usize) {
        (self.0.len(), self.0.iter().filter(|setting| setting.source != Source::Default).count())
    }

    /// The setting and where its value came from, for the start of an error.
    pub fn named(&self, key: &str) -> String {
        let setting = self.get(key);
        match &setting.source {
            Source::Environment | Source::DotEnv => {
                format!("{} ({})", setting.spec.variable(), setting.source)
            }
            source => format!("{key} ({source})"),
        }
    }

    fn refused(&self, key: &str) -> anyhow::Error {
        let setting = self.get(key);
        let takes = setting.spec.range();
        if matches!(setting.spec.takes, Takes::Digests(_) | Takes::Password(_)) {
            // Most likely it is the secret itself.
            return anyhow!("{} is not valid; it takes {takes}", self.named(key));
        }
        anyhow!("{}: {:?} is not valid; it takes {takes}", self.named(key), setting.value)
    }

    /// The value, by a reader that knows its form.
    pub fn parse<T>(&self, key: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        read(self.text(key)).ok_or_else(|| self.refused(key))
    }

    /// The number, within the range of its table row.
    pub fn number<T: TryFrom<u64>>(&self, key: &str) -> Result<T> {
        let (Takes::Number(low, high) | Takes::NumberOr(low, high, _)) = self.get(key).spec.takes else {
            return Err(self.refused(key));
        };
        self.parse(key, |text| {
            text.parse().ok().filter(|n| (low..=high).contains(n)).and_then(|n| T::try_from(n).ok())
        })
    }

    /// What the word stands for.
    pub fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<T> {
        self.parse(key, |text| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value))
    }
}

impl Setting {
    /// The value as it may be shown.
    fn shown(&self) -> String {
        match (&self.spec.takes, self.value.as_str()) {
            (_, "") => String::new(),
            (Takes::Secret(_), value) => masked(value),
            (Takes::Password(_), _) => "***".to_owned(),
            (Takes::Digests(_), value) => abridged(value),
            (_, value) => value.to_owned(),
        }
    }
}

/// Every setting with its value, unit, default, range and where its value came from.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |setting: &Setting| Some(setting.shown()).filter(|text| !text.is_empty());
        let values: Vec<String> =
            self.0.iter().map(|setting| shown(setting).unwrap_or_else(|| "-".to_owned())).collect();
        let width = values.iter().map(|value| value.chars().count()).max().unwrap_or(0).max(5);
        writeln!(f, "{:<26} {:<width$} {:<12} source", "setting", "value", "unit")?;
        for (setting, value) in self.0.iter().zip(values) {
            let spec = setting.spec;
            writeln!(f, "{:<26} {value:<width$} {:<12} {}", spec.key, spec.unit, setting.source)?;
            let default = if spec.default.is_empty() { "none" } else { spec.default };
            writeln!(f, "  {}; default {default}; takes {}; {}", spec.help, spec.range(), spec.variable())?;
        }
        Ok(())
    }
}

/// A setting, as JSON shows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ShownSetting {
    /// Its name in TOML.
    #[schema(example = "redis.timeout_ms")]
    setting: &'static str,
    /// Its value, without passwords; empty if there is none.
    #[schema(example = "100")]
    value: String,
    #[schema(example = "ms")]
    unit: &'static str,
    #[schema(example = "100")]
    default: &'static str,
    /// What it takes.
    #[schema(example = "1 to 5000")]
    takes: String,
    /// Its name in the environment.
    #[schema(example = "BOURSE_REDIS_TIMEOUT_MS")]
    variable: String,
    /// Where the value came from: `default`, the file, `.env`, `environment` or `flag`.
    #[schema(example = "environment")]
    source: String,
}

impl Settings {
    /// The same for programs.
    pub fn shown(&self) -> Vec<ShownSetting> {
        let shown = |setting: &Setting| ShownSetting {
            setting: setting.spec.key,
            value: setting.shown(),
            unit: setting.spec.unit,
            default: setting.spec.default,
            takes: setting.spec.range(),
            variable: setting.spec.variable(),
            source: setting.source.to_string(),
        };
        self.0.iter().map(shown).collect()
    }
}

fn did_you_mean(name: Option<&str>) -> String {
    let all = "; `bourse config show` lists them all".to_owned();
    name.map_or(all, |name| format!("; did you mean {name}?"))
}

fn text_of(key: &str, value: &toml::Value, path: &Path) -> Result<String> {
    let one = |value: &toml::Value| match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    };
    let text = match value {
        toml::Value::Array(values) => {
            values.iter().map(one).collect::<Option<Vec<_>>>().map(|all| all.join(","))
        }
        value => one(value),
    };
    text.with_context(|| format!("{key} ({}): a {} is not taken here", path.display(), value.type_str()))
}

/// Every sum of a list by its first digits, as the audit log names them.
fn abridged(digests: &str) -> String {
    digests
        .split(',')
        .map(|digest| digest.trim().chars().take(8).collect::<String>() + "…")
        .collect::<Vec<_>>()
        .join(",")
}

/// Every URL of a list, each without its password, be it before the host or among the parameters.
fn masked(urls: &str) -> String {
    let one = |url: &str| {
        let (place, parameters) = url.split_once('?').map_or((url, None), |(place, p)| (place, Some(p)));
        let shown =
            match place.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
                Some((scheme, (user, host))) => {
                    let name = user.split(':').next().unwrap_or_default();
                    let secret = if user.contains(':') { ":***" } else { "" };
                    format!("{scheme}://{name}{secret}@{host}")
                }
                None => place.to_owned(),
            };
        let parameter = |parameter: &str| match parameter.split_once('=') {
            Some((name, _)) if name.contains("password") => format!("{name}=***"),
            _ => parameter.to_owned(),
        };
        let parameters = parameters.map(|p| p.split('&').map(parameter).collect::<Vec<_>>().join("&"));
        parameters.map_or(shown.clone(), |parameters| format!("{shown}?{parameters}"))
    };
    urls.split(',').map(one).collect::<Vec<_>>().join(",")
}
