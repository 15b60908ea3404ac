use clap::CommandFactory as _;

use super::*;

fn parsed(line: &str) -> Result<Command, clap::Error> {
    CommandLine::try_parse_from(line.split(' ')).map(|line| line.command)
}

#[test]
fn the_command_line_is_consistent() {
    CommandLine::command().debug_assert();
}

#[test]
fn every_example_of_the_help_text_is_understood() {
    let examples = EXAMPLES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("sidestream "));
    let mut seen = 0;
    for example in examples {
        let command: Vec<&str> = example
            .split("  ")
            .next()
            .unwrap()
            .split(" >")
            .next()
            .unwrap()
            .split(' ')
            .collect();
        let line = std::iter::once("sidestream").chain(command.iter().copied());
        CommandLine::try_parse_from(line).unwrap_or_else(|error| panic!("{example}: {error}"));
        seen += 1;
    }
    assert_eq!(seen, 7);
}

#[test]
fn wrong_usage_is_refused() {
    for line in [
        "sidestream",
        "sidestream serve",
        "sidestream check",
        "sidestream run file.yaml",
        "sidestream healthcheck maybe",
        "sidestream healthcheck --admin a --config b",
        "sidestream drain --admin a --config b",
        "sidestream drain now",
        "sidestream demo --http-port 65536",
        "sidestream check a.yaml --output xml",
    ] {
        assert!(parsed(line).is_err(), "{line}");
    }
}

#[test]
fn demo_has_its_ports() {
    let Command::Demo(demo) =
        parsed("sidestream demo --http-port 1 --upstream http://a:2").unwrap()
    else {
        panic!("demo")
    };
    assert_eq!(
        (demo.http_port, demo.https_port, demo.control_port),
        (1, 8443, 8090)
    );
    assert_eq!(demo.upstream.as_deref(), Some("http://a:2"));
}

#[test]
fn the_file_is_looked_for_in_order() {
    let etc = "/etc/sidestream/sidestream.yaml";
    let here = "sidestream.yaml";
    // named, in the environment, existing -> chosen
    type Case<'a> = (
        Option<&'a str>,
        Option<&'a str>,
        &'a [&'a str],
        Option<&'a str>,
    );
    let cases: [Case<'_>; 6] = [
        (Some("a"), Some("b"), &[etc, here], Some("a")),
        (None, Some("b"), &[etc, here], Some("b")),
        (None, None, &[etc, here], Some(etc)),
        (None, None, &[here], Some(here)),
        (None, None, &[], None),
        (Some("missing"), None, &[etc], Some("missing")),
    ];
    for (named, variable, existing, expected) in cases {
        let chosen = file::choose(named.map(Into::into), variable.map(Into::into), |path| {
            existing.iter().any(|one| Path::new(one) == path)
        });
        match expected {
            Some(expected) => assert_eq!(chosen, Ok(PathBuf::from(expected))),
            None => {
                let failure = chosen.unwrap_err();
                assert_eq!(failure.code, 2);
                assert!(
                    failure.text.contains("--config FILE or SIDESTREAM_CONFIG"),
                    "{failure:?}"
                );
            }
        }
    }
}

#[test]
fn unreadable_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("binary.yaml");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    for (path, why) in [
        (directory.path().join("missing.yaml"), "No such file"),
        (directory.path().to_owned(), "Is a directory"),
        (binary, "not UTF-8"),
    ] {
        let failure = file::load(Some(path.clone())).unwrap_err();
        assert_eq!(failure.code, 2);
        assert!(
            failure.text.contains(&path.display().to_string()),
            "{failure:?}"
        );
        assert!(failure.text.contains(why), "{failure:?}");
    }
}
