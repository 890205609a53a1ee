//! Settings from all their sources.

use std::{path::Path, time::Duration};

use super::*;

fn file(dir: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("millpond.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn from(
    config: Option<&Path>,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &'static str, &str)],
) -> Sources {
    Sources {
        config: config.map(Path::to_owned),
        environment: environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        flags: flags.iter().map(|(name, key, v)| Flag { name, key, value: (*v).to_owned() }).collect(),
    }
}

fn problems(sources: &Sources) -> Vec<String> {
    match Settings::load(sources) {
        Err(SettingsError::Invalid(problems)) => problems,
        other => panic!("it should not load: {other:?}"),
    }
}

#[test]
fn flags_go_over_variables_over_the_file_over_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        &dir,
        "data_dir = '/a'\nlisten = '127.0.0.1:1'\n\n[log]\npartitions = 4\nsegment_bytes = '16MiB'\n",
    );
    let environment = [
        ("MILLPOND_LISTEN", "127.0.0.1:2"),
        ("MILLPOND_LOG__PARTITIONS", "16"),
        ("MILLPOND_API__WRITE_WAIT", "1500ms"),
        ("MILLPOND_SERVER", "http://elsewhere"),
        ("PATH", "/bin"),
    ];
    let loaded =
        Settings::load(&from(Some(&path), &environment, &[("--listen", "listen", "127.0.0.1:3")])).unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.listen.port(), 3);
    assert_eq!((settings.log.partitions, settings.log.segment_bytes), (16, ByteSize(16 << 20)));
    assert_eq!(settings.api.write_wait, Duration::from_millis(1500));
    assert_eq!(settings.shards, Shards::default());
    let origin = |key| loaded.origin(key).to_string();
    assert_eq!(origin("listen"), "--listen");
    assert_eq!(origin("log.partitions"), "MILLPOND_LOG__PARTITIONS");
    assert_eq!(origin("log.segment_bytes"), format!("{}:6", path.display()));
    assert_eq!(origin("shards.count"), "default");
}

#[test]
fn an_unknown_key_is_an_error_with_its_place_and_a_suggestion() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        &dir,
        "lisen = '127.0.0.1:1'\n[log]\npartition = 4\n[shard]\ncount = 1\n[api]\nsegment_bytes = 1\n",
    );
    let at = path.display();
    let environment = [("MILLPOND_LOG_PARTITIONS", "1"), ("MILLPOND_XYZZY", "1"), ("MILLPOND_SERVERS", "")];
    let mut found = problems(&from(Some(&path), &environment, &[]));
    found.sort();
    let mut expected = vec![
        format!("{at}:1: unknown key lisen; did you mean listen?"),
        format!("{at}:3: unknown key log.partition; did you mean log.partitions?"),
        format!("{at}:4: unknown section shard; did you mean shards?"),
        format!("{at}:7: unknown key api.segment_bytes; did you mean log.segment_bytes?"),
        "environment: unknown variable MILLPOND_LOG_PARTITIONS; did you mean MILLPOND_LOG__PARTITIONS?"
            .to_owned(),
        "environment: unknown variable MILLPOND_SERVERS; did you mean MILLPOND_SERVER?".to_owned(),
        "environment: unknown variable MILLPOND_XYZZY".to_owned(),
    ];
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_value_of_the_wrong_kind_says_what_it_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        &dir,
        "insecure = 'yes'\nlisten = 7420\n[log]\npartitions = '8'\n[writer]\nflush_time_max = -1\n",
    );
    let found = problems(&from(Some(&path), &[("MILLPOND_TELEMETRY__LOG_FORMAT", "xml")], &[])).join("\n");
    for wanted in [
        ":1: insecure is not true or false",
        ":2: listen is not an address such as \"127.0.0.1:7420\"",
        ":4: log.partitions is not a whole number up to 4294967295",
        ":6: writer.flush_time_max is not a duration such as",
        "MILLPOND_TELEMETRY__LOG_FORMAT: telemetry.log_format is not \"pretty\" or \"json\"",
    ] {
        assert!(found.contains(wanted), "{wanted} is missing in:\n{found}");
    }
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "insecure = true\n[log\n");
    assert!(problems(&from(Some(&path), &[], &[]))[0].starts_with(&format!("{}:2: ", path.display())));
    let missing = problems(&from(Some(&dir.path().join("none")), &[], &[]));
    assert!(missing[0].contains("none: cannot be read"), "{missing:?}");
}

#[test]
fn values_that_no_role_could_run_with_are_named_with_their_origin() {
    let environment = [("MILLPOND_SHARDS__COUNT", "9"), ("MILLPOND_API__HEAD_TIMEOUT", "0")];
    let found = problems(&from(None, &environment, &[]));
    assert_eq!(
        found,
        [
            "MILLPOND_SHARDS__COUNT: shards.count is 1 to 8, not 9",
            "MILLPOND_API__HEAD_TIMEOUT: api.head_timeout is longer than nothing",
        ]
    );
}

#[test]
fn listening_beyond_loopback_has_to_be_asked_for() {
    let open = [("--listen", "listen", "0.0.0.0:7420")];
    let Err(SettingsError::Unsafe(why)) = Settings::load(&from(None, &[], &open)) else { panic!("refused") };
    assert!(why.contains("--insecure") && why.contains("127.0.0.1:7420"), "{why}");
    Settings::load(&from(None, &[("MILLPOND_INSECURE", "true")], &open)).unwrap();
    Settings::load(&from(None, &[], &[("--listen", "listen", "[::1]:0")])).unwrap();
    Settings::load(&from(None, &[], &[("--ops-listen", "ops_listen", "0.0.0.0:1")])).unwrap();
}

#[test]
fn what_is_shown_loads_to_the_same_settings() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("MILLPOND_DATA_DIR", "/a \"b\""), ("MILLPOND_SWEEPER__INTERVAL", "2500ms")];
    let loaded = Settings::load(&from(None, &environment, &[])).unwrap();
    let text = loaded.to_toml();
    assert!(text.contains("interval = \"2500ms\"  # MILLPOND_SWEEPER__INTERVAL"), "{text}");
    let path = file(&dir, &text);
    assert_eq!(Settings::load(&from(Some(&path), &[], &[])).unwrap().settings, loaded.settings);
    assert_eq!(loaded.to_json()["sweeper.interval"]["value"], "2500ms");
    assert_eq!(loaded.to_json()["log.partitions"]["value"], 8);
}

#[test]
fn shards_and_properties_are_tables_and_dots_need_no_quotes() {
    let dir = tempfile::tempdir().unwrap();
    let shard = "[[shard]]\nname = 'a'\nprimary = 'postgres://m@h/a'\n";
    let path = file(
        &dir,
        &format!(
            "[kafka]\nbrokers = 'k:1'\naccept = ['retention.ms']\n[kafka.properties]\nclient.id = 'x'\n\
             'linger.ms' = 5\n{shard}replicas = ['postgres://m@r/a']\n{shard}"
        ),
    );
    let settings = Settings::load(&from(Some(&path), &[], &[])).unwrap().settings;
    assert_eq!(settings.kafka.accept, ["retention.ms"]);
    let properties: Vec<_> =
        settings.kafka.properties.0.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(properties, [("client.id", "x"), ("linger.ms", "5")]);
    assert_eq!(settings.seeds.len(), 2);
    assert_eq!((settings.seeds[0].replicas.len(), settings.seeds[1].replicas.len()), (1, 0));
    let again = file(&dir, &Settings::load(&from(Some(&path), &[], &[])).unwrap().to_toml());
    assert_eq!(Settings::load(&from(Some(&again), &[], &[])).unwrap().settings, settings);
}

#[test]
fn a_broken_shard_table_is_an_error_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    for (table, wanted) in [
        ("[[shard]]\nname = 'a'", ":1: a shard needs a name and a primary"),
        ("\n[[shard]]\nname = 'a'\nprimary = 'p'\nreplica = 'r'", ":2: unknown key shard.replica"),
        ("[[shard]]\nname = 1\nprimary = 'p'", ":1: shard.name is not text"),
        ("shard = [1]", ":1: shard is not a table"),
    ] {
        let found = problems(&from(Some(&file(&dir, table)), &[], &[]));
        assert!(found[0].contains(wanted), "{found:?}");
    }
}

#[test]
fn defaults_are_the_roles_own() {
    let settings = Settings::default();
    let same = |ours: &dyn std::fmt::Debug, theirs: &dyn std::fmt::Debug| {
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    };
    same(&settings.writer_config(), &millpond_writer::Config::default());
    same(&settings.sweeper_config(), &millpond_sweeper::Config::default());
    same(&settings.api_config(), &millpond_api::Config::default());
    let (ours, theirs) = (settings.embedded(), crate::embedded::Options::new("./millpond-data"));
    assert_eq!((ours.partitions, ours.shards), (theirs.partitions, theirs.shards));
    assert_eq!((ours.segment_bytes, ours.queue_bytes_max), (theirs.segment_bytes, theirs.queue_bytes_max));
}

#[test]
fn every_default_in_a_help_text_is_the_default() {
    for section in &sections::SECTIONS {
        for field in section.fields {
            let help = field.help.concat();
            let shown = Settings::default().section_mut(section.name).get_field(field.name);
            let shown = shown.trim_matches('"');
            assert!(help.contains(&format!("Default {shown}")), "{}: {shown} is not in: {help}", field.name);
        }
    }
}

#[test]
fn an_age_below_a_day_and_a_budget_of_nothing_are_refused() {
    let set = |key: &str, value: &str| {
        let variables = [(key, value)];
        Settings::load(&from(None, &variables, &[])).map(|loaded| loaded.settings.log)
    };
    let (age, budget) = ("MILLPOND_LOG__TRIM_AFTER", "MILLPOND_LOG__BACKLOG_BYTES_MAX");
    assert_eq!(set(age, "off").unwrap(), Log::default());
    assert_eq!(set(age, "24h").unwrap().trim_after, OrOff(Some(Duration::from_hours(24))));
    assert_eq!(set(budget, "10GiB").unwrap().backlog_bytes_max, OrOff(Some(ByteSize(10 << 30))));
    for (key, value, told) in [
        (age, "23h", "at least 24h"),
        (age, "soon", "\"off\" or a duration"),
        (budget, "1KiB", "at least 1MiB"),
        (budget, "much", "\"off\" or "),
    ] {
        let Err(SettingsError::Invalid(problems)) = set(key, value) else { panic!("{key}={value} is taken") };
        assert!(problems[0].contains(told), "{problems:?}");
    }
}
