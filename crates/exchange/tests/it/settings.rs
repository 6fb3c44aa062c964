//! Settings: every name, every source, and one line for a bad one.

use crate::server::{Home, eventually};

/// The contract's table: name, environment, default.
const NAMES: &[(&str, &str, &str)] = &[
    ("listen", "BOURSE_LISTEN", "127.0.0.1:8000"),
    ("data_dir", "BOURSE_DATA_DIR", "./bourse-data"),
    ("workers", "BOURSE_WORKERS", ""),
    ("seed", "BOURSE_SEED", "random"),
    ("database.url", "BOURSE_DATABASE_URL", "sqlite:{data_dir}/catalogue.sqlite"),
    ("database.replica_urls", "BOURSE_DATABASE_REPLICA_URLS", "none"),
    ("redis.url", "BOURSE_REDIS_URL", "none"),
    ("rate_limit.requests", "BOURSE_RATE_LIMIT_REQUESTS", "3"),
    ("rate_limit.window_s", "BOURSE_RATE_LIMIT_WINDOW_S", "60"),
    ("rate_limit.key", "BOURSE_RATE_LIMIT_KEY", "body"),
    ("simulation.clock", "BOURSE_SIMULATION_CLOCK", "virtual"),
    ("log.auctions", "BOURSE_LOG_AUCTIONS", "none"),
    ("admin.listen", "BOURSE_ADMIN_LISTEN", "127.0.0.1:8001"),
    ("admin.token_sha256", "BOURSE_ADMIN_TOKEN_SHA256", "none"),
    ("admin.allow_remote", "BOURSE_ADMIN_ALLOW_REMOTE", "false"),
];

/// What `config show` says about a setting: the lines from its name to the next.
fn shown(text: &str, name: &str) -> String {
    let mut lines = text.lines().skip_while(|line| line.split_whitespace().next() != Some(name));
    let first = lines.next().unwrap_or_else(|| panic!("{name} is not shown:\n{text}")).to_owned();
    let more = lines.take_while(|line| line.starts_with(' '));
    more.fold(first, |all, line| all + "\n" + line)
}

#[test]
fn config_show_lists_every_name_with_its_default_and_its_source() {
    let home = Home::empty();
    let mut command = home.command(&["config", "show"]);
    let text = crate::server::said({
        command.env_remove("BOURSE_RATE_LIMIT_REQUESTS");
        command
    })
    .done();
    for (name, variable, default) in NAMES {
        let shown = shown(&text, name);
        assert!(shown.contains(variable) && shown.contains(default), "{name}:\n{shown}");
        assert!(shown.lines().next().unwrap().ends_with("default"), "{name}:\n{shown}");
    }
}

#[test]
fn the_flag_wins_over_the_environment_and_that_over_the_file() {
    let home =
        Home::empty().set("BOURSE_DATA_DIR", "from-environment").set("BOURSE_SIMULATION_CLOCK", "real");
    home.write(
        "bourse.toml",
        "data_dir = \"from-file\"\nlisten = \"127.0.0.1:1\"\n[simulation]\nclock = \"virtual\"\n",
    );
    home.write(".env", "BOURSE_DATA_DIR=from-dotenv\nBOURSE_SEED=5\n");
    let with_flag =
        home.run(&["config", "show", "--config", "bourse.toml", "--data-dir", "from-flag"]).done();
    let without = home.run(&["config", "show", "--config", "bourse.toml"]).done();
    for (text, name, value, source) in [
        (&with_flag, "data_dir", "from-flag", "flag"),
        (&without, "data_dir", "from-environment", "environment"),
        (&without, "simulation.clock", "real", "environment"),
        (&without, "listen", "127.0.0.1:1", "bourse.toml"),
        (&without, "seed", "5", ".env"),
        (&without, "workers", "auto", "default"),
    ] {
        let shown = shown(text, name);
        let line = shown.lines().next().unwrap();
        assert!(line.contains(value) && line.contains(source), "{name}: {line}");
    }
}

#[test]
fn every_flag_of_the_contract_is_one() {
    let home = Home::empty().usual();
    let server = home.serve_with(&[
        "--data-dir",
        "bourse-data",
        "--workers",
        "1",
        "--busy-poll",
        "--seed",
        "7",
        "--log-auctions",
        "all",
    ]);
    assert!(server.ready.contains("1 worker"), "{}", server.ready);
    eventually("the seed is logged", || server.log().contains("seed=7"));
}

#[test]
fn a_bad_or_unknown_variable_stops_the_start_with_a_line_that_names_it() {
    for (variable, value) in [
        ("BOURSE_LISTEN", "nowhere"),
        ("BOURSE_LISTEN", "127.0.0.1:70000"),
        ("BOURSE_WORKERS", "0"),
        ("BOURSE_WORKERS", "many"),
        ("BOURSE_SEED", "-1"),
        ("BOURSE_SEED", "18446744073709551616"),
        ("BOURSE_RATE_LIMIT_REQUESTS", "-3"),
        ("BOURSE_RATE_LIMIT_REQUESTS", "3.5"),
        ("BOURSE_RATE_LIMIT_WINDOW_S", "0"),
        ("BOURSE_RATE_LIMIT_KEY", "forwarded:0"),
        ("BOURSE_RATE_LIMIT_KEY", "cookie"),
        ("BOURSE_SIMULATION_CLOCK", "Real"),
        ("BOURSE_LOG_AUCTIONS", "some"),
        ("BOURSE_LOG_AUCTIONS", "0"),
        ("BOURSE_DATABASE_URL", "mysql://localhost/bourse"),
        ("BOURSE_DATABASE_REPLICA_URLS", "mysql://localhost/bourse"),
        ("BOURSE_RATE_LIMITS_REQUESTS", "3"),
        ("BOURSE_NONSENSE", "1"),
        ("BOURSE_RATELIMIT_REQUESTS", "3"),
    ] {
        // The flag would win over the variable of the same setting.
        let flags =
            if variable == "BOURSE_LISTEN" { &["serve"][..] } else { &["serve", "--listen", "127.0.0.1:0"] };
        let said = Home::empty().set(variable, value).run(flags);
        let line = said.one_line_error();
        let name = variable.trim_start_matches("BOURSE_").to_lowercase();
        assert!(
            line.contains(variable) || line.to_lowercase().contains(&name.replacen('_', ".", 1)),
            "{variable}={value}: {line}"
        );
    }
}

#[test]
fn a_bad_or_unknown_setting_of_the_file_stops_the_start_with_a_line_that_names_it() {
    let home = Home::empty();
    for (toml, named) in [
        ("nonsense = 1", "nonsense"),
        ("[rate_limit]\nrequest = 3", "rate_limit.request"),
        ("[rate_limit]\nwindow_s = \"long\"", "rate_limit.window_s"),
        ("[simulation]\nclock = 1", "simulation.clock"),
        ("workers = [1]\nworkers2 = 3", "workers"),
        ("[workers]\nn = 1", "workers"),
        ("seed = -1", "seed"),
        ("seed = 1.5", "seed"),
        ("this is no toml", "bourse.toml"),
        ("seed = 1\nseed = 2", "bourse.toml"),
    ] {
        home.write("bourse.toml", toml);
        for command in [
            &["serve", "--config", "bourse.toml", "--listen", "127.0.0.1:0"][..],
            &["config", "show", "--config", "bourse.toml"],
        ] {
            let said = home.run(command);
            assert!(said.one_line_error().contains(named), "{toml:?}: {said:?}");
        }
    }
    let said = home.run(&["config", "show", "--config", "missing.toml"]);
    assert!(said.one_line_error().contains("missing.toml"), "{said:?}");
}

#[test]
fn a_bad_flag_stops_the_start_and_names_it() {
    let home = Home::empty();
    for (flags, named) in [
        (&["--workers", "0"][..], "workers"),
        (&["--seed", "x"], "seed"),
        (&["--log-auctions", "some"], "log"),
        (&["--listen", "x"], "listen"),
        (&["--nonsense"], "--nonsense"),
    ] {
        let said = home.run(&[&["serve"][..], flags].concat());
        assert!(!said.ok && said.err.contains(named), "{flags:?}: {said:?}");
    }
}

#[test]
fn passwords_are_never_shown() {
    let home = Home::empty().set("BOURSE_DATABASE_URL", "postgres://user:s3cret@127.0.0.1:1/bourse").set(
        "BOURSE_DATABASE_REPLICA_URLS",
        "postgres://user:s3cret@127.0.0.1:1/a,postgres://user:s3cret@127.0.0.1:1/b",
    );
    let shown = home.run(&["config", "show"]);
    assert!(!shown.out.contains("s3cret") && shown.out.contains("user"), "{shown:?}");
    let said = home.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(!said.one_line_error().contains("s3cret"), "{said:?}");
}

#[test]
fn every_command_explains_itself() {
    let home = Home::empty();
    for (command, words) in [
        (&["--help"][..], &["serve", "db", "load-data", "generate-data", "config"][..]),
        (
            &["serve", "--help"],
            &["--listen", "--workers", "--seed", "--log-auctions", "--data-dir", "--config"],
        ),
        (&["db", "--help"], &["upgrade", "downgrade", "current", "history", "revision"]),
        (&["generate-data", "--help"], &["-o", "--supplies", "--bidders", "--seed", "10", "12"]),
        (&["load-data", "--help"], &["-i", "data.json"]),
        (&["admin", "token", "--help"], &["--json", "bourse admin token"]),
    ] {
        let help = home.run(command).done();
        words.iter().for_each(|word| assert!(help.contains(word), "{command:?} does not mention {word}"));
    }
    assert!(home.run(&["--version"]).done().contains(env!("CARGO_PKG_VERSION")));
}
