//! What shells and `man` are told of the command line.

use crate::server::{Home, said};
use std::process::{Command, Stdio};

#[test]
fn a_shell_completes_commands_and_what_they_take() {
    let home = Home::empty();
    let script = home.write("bourse.bash", said(home.command(&["completions", "bash"])).done());
    for (words, expected) in [
        ("bourse jo", vec!["journal"]),
        ("bourse journal c", vec!["cat"]),
        ("bourse serve --list", vec!["--listen"]),
    ] {
        let count = words.split(' ').count();
        let (before, last) = words.rsplit_once(' ').unwrap();
        let previous = before.split(' ').next_back().unwrap();
        let ask = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={}; _bourse bourse '{last}' '{previous}'; echo ${{COMPREPLY[@]}}",
            script.display(),
            count - 1
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &ask]).stdout(Stdio::piped()).stderr(Stdio::piped());
        assert_eq!(said(bash).done().split_whitespace().collect::<Vec<_>>(), expected, "{words}");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(said(home.command(&["completions", shell])).done().contains("load-data"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page_whatever_the_settings_are() {
    let home = Home::empty().set("BOURSE_WORKERS", "many");
    let pages = home.path("pages");
    std::fs::create_dir(&pages).unwrap();
    said(home.command(&["man", "--into", "pages"])).done();
    let help = said(home.command(&["--help"])).done();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    // What a long line goes on with stands further in.
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut seen = 0;
    for command in names.filter(|name| !name.is_empty() && *name != "help") {
        let page = std::fs::read_to_string(pages.join(format!("bourse-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
        seen += 1;
    }
    assert!(seen > 5, "{help}");
    let refused = said(home.command(&["man", "--into", "nowhere"]));
    assert!(
        !refused.ok && refused.err.contains("nowhere") && refused.err.contains("must be a directory"),
        "{refused:?}"
    );
}
