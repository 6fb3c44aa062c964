//! Sources, ranges and the one line of each error.

use super::table::{TABLE, nearest};
use super::*;

fn pairs(text: &str) -> Vec<(String, String)> {
    text.split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (k.into(), v.into()))
        .collect()
}

fn read(toml: &str, dotenv: &str, environment: &str, flags: &str) -> (String, Result<Config>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("b.toml");
    std::fs::write(&file, toml).unwrap();
    match Settings::gather(Some(&file), pairs(dotenv), pairs(environment), pairs(flags)) {
        Ok(settings) => (settings.to_string(), Config::from(&settings)),
        Err(error) => (String::new(), Err(error)),
    }
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let (shown, config) = read("", "", "", "");
    let config = config.unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.data_dir, PathBuf::from("./bourse-data"));
    assert_eq!(config.database.url, "sqlite:./bourse-data/catalogue.sqlite");
    assert_eq!(config.seed, None);
    assert_eq!(config.clock, Clock::Virtual);
    let limit = config.rate_limit.unwrap();
    assert_eq!((limit.requests, limit.window_us, config.rate_limit_key), (3, 60_000_000, RateLimitKey::Body));
    for spec in TABLE {
        assert!(
            shown.contains(spec.key) && shown.contains(&spec.variable()) && shown.contains(&spec.range())
        );
    }
}

#[test]
fn a_sink_that_was_not_built_is_refused_with_what_to_build() {
    for (variable, key) in
        [("BOURSE_KAFKA_BROKERS", "kafka.brokers"), ("BOURSE_CLICKHOUSE_URL", "clickhouse.url")]
    {
        let settings =
            |value: &str| Settings::gather(None, vec![], pairs(&format!("{variable}={value}")), vec![]);
        let said =
            streams::is_set(&settings("http://127.0.0.1:1").unwrap(), key, false).unwrap_err().to_string();
        let feature = key.split('.').next().unwrap();
        assert!(said.contains(variable) && said.contains(&format!("`--features {feature}`")), "{said}");
        assert!(!streams::is_set(&settings("").unwrap(), key, false).unwrap());
    }
}

#[test]
fn a_flag_wins_over_the_environment_over_dotenv_over_the_file() {
    let layers = ["seed = 1", "BOURSE_SEED=2", "BOURSE_SEED=3", "seed=4"];
    for expected in 1..=4 {
        let layer = |i: usize| if i < expected { layers[i] } else { "" };
        let (shown, config) = read(layer(0), layer(1), layer(2), layer(3));
        assert_eq!(config.unwrap().seed, Some(expected as u64));
        let source = ["b.toml", ".env", "environment", "flag"][expected - 1];
        let line = shown.lines().find(|line| line.starts_with("seed ")).unwrap();
        assert!(line.ends_with(source), "{line}");
    }
}

#[test]
fn a_bad_or_unknown_setting_is_named_in_one_line() {
    for (toml, environment, expected) in [
        ("[rate_limit]\nrequest = 3", "", "rate_limit.request: unknown setting in"),
        ("[rate_limit]\nrequest = 3", "", "did you mean rate_limit.requests?"),
        (
            "",
            "BOURSE_LISEN=:1",
            "BOURSE_LISEN: unknown setting in the environment; did you mean BOURSE_LISTEN?",
        ),
        ("", "BOURSE_XYZZY=1", "BOURSE_XYZZY: unknown setting in the environment; `bourse config show`"),
        ("listen = 8000", "", "\"8000\" is not valid; it takes HOST:PORT"),
        (
            "",
            "BOURSE_WORKERS=0",
            "BOURSE_WORKERS (environment): \"0\" is not valid; it takes auto, or 1 to 256",
        ),
        ("seed = -1", "", "seed ("),
        ("seed = 2025-01-01", "", "a datetime is not taken here"),
        ("seed = ", "", "b.toml:1: "),
        ("a = 1\n\n[b", "", "b.toml:3: "),
        ("", "BOURSE_SIMULATION_CLOCK=wall", "it takes virtual | real"),
        ("", "BOURSE_RATE_LIMIT_KEY=forwarded:0", "forwarded:N (1 to 16)"),
        ("", "BOURSE_RATE_LIMIT_REQUESTS=1001", "0 to 1000"),
        ("", "BOURSE_REDIS_URL=http://u:secret@x", "BOURSE_REDIS_URL (environment) is no redis://"),
        (
            "",
            "BOURSE_REDIS_URL=redis://a,,redis://b,nonsense",
            "BOURSE_REDIS_URL (environment) is no redis://",
        ),
        ("", "BOURSE_REDIS_URL=,", "BOURSE_REDIS_URL (environment) names no Redis"),
        (
            "[journal]\nenabled = false\n[redis]\nurl = \"redis://x\"",
            "",
            "leave one of redis.url and journal.enabled",
        ),
        ("", "BOURSE_JOURNAL_SYNC_MS=-1", "0 to 60000"),
        ("", "BOURSE_RATE_LIMIT_FALLBACK=none", "local | allow | deny"),
    ] {
        let error = read(toml, "", environment, "").1.unwrap_err();
        let line = format!("{error:#}");
        assert!(line.contains(expected) && !line.contains('\n'), "{line}\n  should hold {expected}");
    }
}

#[test]
fn a_segment_is_no_large_part_of_what_may_be_kept_or_wait_for_a_sink() {
    for (toml, mib) in [
        ("", 256),
        ("[streams]\nretain_mib = 2048", 128),
        ("[journal]\nretain_mib = 2048", 128),
        ("[streams]\nretain_mib = 100", 64),
        ("[journal]\nsegment_mib = 300", 300),
    ] {
        let journal = read(toml, "", "", "workers=2").1.unwrap().journal.unwrap();
        assert_eq!(journal.segment_bytes_most() >> 20, mib, "{toml}");
    }
}

#[test]
fn zero_requests_turn_the_limit_off_and_empty_variables_are_unset() {
    assert_eq!(read("rate_limit.requests = 0", "", "", "").1.unwrap().rate_limit, None);
    assert_eq!(read("", "", "BOURSE_SEED= BOURSE_TEST_X=1 PATH=/", "").1.unwrap().seed, None);
}

#[test]
fn a_password_is_never_shown() {
    let url = "BOURSE_DATABASE_URL=postgres://me:hunter2@db/bourse";
    let asked = "BOURSE_DATABASE_URL=postgres://db/bourse?user=me&password=hunter2&sslmode=disable";
    let (shown, _) = read("", "", asked, "");
    assert!(shown.contains("postgres://db/bourse?user=me&password=***&sslmode=disable"), "{shown}");
    let replicas = "BOURSE_DATABASE_REPLICA_URLS=postgres://me:hunter2@a/b,postgres://me:hun:ter2@c/d";
    let (shown, config) = read("", "", &format!("{url} {replicas}"), "");
    assert!(shown.contains("postgres://me:***@db/bourse") && !shown.contains("ter2"), "{shown}");
    let config = config.unwrap();
    assert_eq!(config.database.replica_urls.len(), 2);
    let sinks = "BOURSE_LAKE_SECRET=hunter2 BOURSE_CLICKHOUSE_URL=http://me:hunter2@db:8123";
    let (shown, _) = read("", "", sinks, "");
    assert!(shown.contains("http://me:***@db:8123") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_nearest_name_is_offered_only_if_it_is_near() {
    let known = || TABLE.iter().map(|spec| spec.key);
    assert_eq!(nearest("listn", known()), Some("listen"));
    assert_eq!(nearest("something_else", known()), None);
}
